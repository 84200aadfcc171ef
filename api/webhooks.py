"""Webhooks: the account's addresses for its events."""

from http import HTTPStatus
from typing import get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import JsonAnswer
from api.backend import Backend, Events, Principal
from api.offload import in_thread
from api.payloads import json_object, query
from api.problems import Problem, bad_request, not_found
from api.resource import path_id, resource
from api.schemas import EventType
from api.scopes import require
from api.webhook_targets import check_url
from dialer.core.targets import ForbiddenTarget

EVENT_TYPES: tuple[str, ...] = get_args(EventType)
_MAX_BYTES = 1 << 16


def routes(backend: Backend, events: Events) -> list[Route]:
    """The paths under /webhook."""
    webhooks = events.webhooks

    async def listing(request: Request, who: Principal) -> Response:
        query(request)
        return JsonAnswer({"items": await in_thread(webhooks.list, who.account_id), "next_cursor": None})

    async def create(request: Request, who: Principal) -> Response:
        query(request)
        given = await json_object(request, min(_MAX_BYTES, backend.max_body_bytes))
        if unknown := sorted(set(given) - {"url", "events"}):
            raise bad_request(f"Unknown field {unknown[0]!r} (known: url, events)")
        types = given.get("events", [])
        if not isinstance(types, list) or any(kind not in EVENT_TYPES for kind in types):
            raise bad_request(
                f"events must be an array of {', '.join(EVENT_TYPES)}", [{"field": "events", "reason": "unknown type"}]
            )
        # Before a name is looked up: that is something done.
        require(who.scope, request.method, request.url.path)
        try:
            url = await check_url(given.get("url"), allow_private=events.allow_private())
        except ForbiddenTarget as error:
            raise bad_request(f"url: {error}", [{"field": "url", "reason": str(error)}]) from None
        record = await in_thread(webhooks.create, who.account_id, url, list(dict.fromkeys(types)))
        if record is None:
            raise Problem(HTTPStatus.CONFLICT, "The account has as many webhooks as it may have; delete one first")
        return JsonAnswer(record, HTTPStatus.CREATED, headers={"Location": f"/webhook/{record['id']}"})

    async def show(request: Request, who: Principal) -> Response:
        uuid = path_id(request, "webhook")
        query(request)
        record = await in_thread(webhooks.get, who.account_id, uuid)
        if record is None:
            raise not_found("webhook")
        return JsonAnswer(record)

    async def delete(request: Request, who: Principal) -> Response:
        uuid = path_id(request, "webhook")
        query(request)
        if not await in_thread(webhooks.delete, who.account_id, uuid):
            raise not_found("webhook")
        return Response(status_code=HTTPStatus.NO_CONTENT)

    accounts = backend.accounts
    return [
        resource("/webhook", accounts, after_body={"POST"}, GET=listing, POST=create),
        resource("/webhook/{id}", accounts, GET=show, DELETE=delete),
    ]
