"""Calls under review: a restored database does not know whether they were made. People look at them, and decide."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import JsonAnswer
from api.backend import Backend, Principal
from api.identifiers import canonical_uuid
from api.offload import in_thread
from api.payloads import cursor, json_object, limit_of, number_position, query
from api.problems import bad_request, not_found
from api.resource import resource
from api.schemas import ReviewChoice
from api.scopes import require

_MAX_BYTES = 1 << 17
_CHOICE: TypeAdapter[ReviewChoice] = TypeAdapter(ReviewChoice)
_WRONG = 'The body must be one of {"campaign_id": "..."}, {"call_ids": ["...", ...]} (1 to 1,000), {"all": true}'

Decide = Callable[[int, str | None, Sequence[str]], Awaitable[int | None]]


def routes(backend: Backend) -> list[Route]:
    """The paths under /review."""

    async def listing(request: Request, who: Principal) -> Response:
        asked = query(request, "campaign_id", "limit", "cursor")
        campaign = asked.get("campaign_id") or None
        page = await in_thread(
            backend.views.under_review,
            who.account_id,
            None if campaign is None else _id_of_campaign(campaign),
            limit=limit_of(asked),
            after=number_position("review", asked),
        )
        if page is None:
            raise not_found("campaign")
        return JsonAnswer({"items": page[0], "next_cursor": cursor("review", page[1])})

    def decision(decide: Decide, word: str) -> Callable[[Request, Principal], Awaitable[Response]]:
        async def carry_out(request: Request, who: Principal) -> Response:
            query(request)
            body = await json_object(request, min(_MAX_BYTES, backend.max_body_bytes))
            try:
                choice: Mapping[str, Any] = _CHOICE.validate_python(body, strict=True)
            except ValidationError:
                raise bad_request(_WRONG) from None
            require(who.scope, request.method, request.url.path)
            campaign, calls = None, []
            if "campaign_id" in choice:
                campaign = _id_of_campaign(choice["campaign_id"])
            elif "call_ids" in choice:
                # One that is no UUID cannot be a call's either.
                calls = list(dict.fromkeys(canonical_uuid(call) or call for call in choice["call_ids"]))
            done = await decide(who.account_id, campaign, calls)
            if done is None:
                raise not_found("call" if calls else "campaign")
            return JsonAnswer({word: done})

        return carry_out

    accounts, control = backend.accounts, backend.control
    return [
        resource("/review", accounts, GET=listing),
        resource("/review/release", accounts, after_body={"POST"}, POST=decision(control.release, "released")),
        resource(
            "/review/cancel", accounts, after_body={"POST"}, POST=decision(control.cancel_under_review, "cancelled")
        ),
    ]


def _id_of_campaign(text: str) -> str:
    uuid = canonical_uuid(text)
    if uuid is None:
        raise not_found("campaign")
    return uuid
