"""Campaigns: accept them, show them, pause, resume and cancel them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import JsonAnswer
from api.backend import Backend, Page, Principal, Verdict
from api.call_files import FORMATS
from api.csv_export import csv_download
from api.offload import in_thread
from api.payloads import MAX_LIMIT, cursor, limit_of, number_position, one_of, query
from api.problems import Problem, not_found
from api.resource import path_id, resource
from api.submission import submit
from dialer.core.csv_writing import Row
from dialer.core.model import CampaignStatus, Disposition

CALL_STATES = ("scheduled", "live", "finished")


def routes(backend: Backend) -> list[Route]:
    """The paths under /campaign."""

    async def create(request: Request, who: Principal) -> Response:
        return await submit(backend, "campaign", request, who)

    async def listing(request: Request, who: Principal) -> Response:
        asked = query(request, "status", "limit", "cursor")
        items, position = await in_thread(
            backend.views.campaigns,
            who.account_id,
            status=one_of("status", asked, list(CampaignStatus)),
            limit=limit_of(asked),
            after=number_position("campaign", asked),
        )
        return JsonAnswer({"items": items, "next_cursor": cursor("campaign", position)})

    async def show(request: Request, who: Principal) -> Response:
        query(request)
        return await shown(path_id(request, "campaign"), who)

    async def shown(uuid: str, who: Principal) -> Response:
        campaign = await in_thread(backend.views.campaign, who.account_id, uuid)
        if campaign is None:
            raise not_found("campaign")
        return JsonAnswer(campaign)

    async def calls(request: Request, who: Principal) -> Response:
        return await _calls(backend, request, who)

    def order(
        give: Callable[[int, str], Awaitable[Verdict]],
    ) -> Callable[[Request, Principal], Awaitable[Response]]:
        async def carry_out(request: Request, who: Principal) -> Response:
            uuid = path_id(request, "campaign")
            query(request)
            verdict = await give(who.account_id, uuid)
            if verdict is Verdict.UNKNOWN:
                raise not_found("campaign")
            if verdict is Verdict.FINAL:
                raise Problem(HTTPStatus.CONFLICT, "The campaign is over: it was completed or cancelled")
            return await shown(uuid, who)

        return carry_out

    accounts, control = backend.accounts, backend.control
    return [
        resource("/campaign", accounts, after_body={"POST"}, GET=listing, POST=create),
        resource("/campaign/{id}", accounts, GET=show),
        resource("/campaign/{id}/calls", accounts, GET=calls),
        resource("/campaign/{id}/pause", accounts, POST=order(control.pause)),
        resource("/campaign/{id}/resume", accounts, POST=order(control.resume)),
        resource("/campaign/{id}/cancel", accounts, POST=order(control.cancel)),
    ]


async def _calls(backend: Backend, request: Request, who: Principal) -> Response:
    uuid = path_id(request, "campaign")
    asked = query(request, "state", "disposition", "limit", "cursor", "format")
    wanted = one_of("format", asked, ("json", *FORMATS)) or "json"
    state = one_of("state", asked, CALL_STATES)
    disposition = one_of("disposition", asked, list(Disposition))
    limit, after = limit_of(asked), number_position("calls", asked)
    if wanted != "json":
        limit, after = MAX_LIMIT, None

    async def page_after(position: int | None) -> Page:
        page = await in_thread(
            backend.views.calls,
            who.account_id,
            uuid,
            state=state,
            disposition=disposition,
            limit=limit,
            after=position,
        )
        if page is None:
            raise not_found("campaign")
        return page

    page = await page_after(after)
    if wanted != "json":
        return _file(wanted, page, page_after)
    return JsonAnswer({"items": page[0], "next_cursor": cursor("calls", page[1])})


def _file(wanted: str, first: Page, page_after: Callable[[int | None], Awaitable[Page]]) -> Response:
    head, rows_of = FORMATS[wanted]

    async def pages() -> AsyncIterator[Iterable[Row]]:
        items, position = first
        while True:
            yield [row for call in items for row in rows_of(call)]
            if position is None:
                return
            items, position = await page_after(int(position))

    return csv_download(f"{wanted if wanted != 'csv' else 'calls'}.csv", head, pages())
