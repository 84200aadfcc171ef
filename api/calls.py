"""Single calls: those under way, place one, show one with its attempts, cancel one."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import JsonAnswer
from api.backend import Backend, Principal, Verdict
from api.offload import in_thread
from api.payloads import cursor, limit_of, number_position, one_of, query
from api.problems import Problem, not_found
from api.resource import path_id, resource
from api.submission import submit
from dialer.core.timetable import show_time


def routes(backend: Backend) -> list[Route]:
    """The paths under /call."""

    async def live(request: Request, who: Principal) -> Response:
        asked = query(request, "state", "limit", "cursor")
        # What else there is has its own lists: a campaign's calls.
        one_of("state", asked, ("live",))
        items, position = await in_thread(
            backend.views.live_calls, who.account_id, limit=limit_of(asked), after=number_position("live", asked)
        )
        return JsonAnswer({"items": items, "next_cursor": cursor("live", position)})

    async def create(request: Request, who: Principal) -> Response:
        return await submit(backend, "call", request, who)

    async def show(request: Request, who: Principal) -> Response:
        query(request)
        return await shown(path_id(request, "call"), who)

    async def shown(uuid: str, who: Principal) -> Response:
        call = await in_thread(backend.views.call, who.account_id, uuid)
        if call is None:
            raise not_found("call")
        return JsonAnswer(call)

    async def explain(request: Request, who: Principal) -> Response:
        uuid = path_id(request, "call")
        query(request)
        hold = await backend.control.explain(who.account_id, uuid)
        if hold is None:
            raise not_found("call")
        until = None if hold.until is None else show_time(hold.until)
        return JsonAnswer({"id": uuid, "rule": hold.rule, "reason": hold.reason, "clears_at": until})

    async def cancel(request: Request, who: Principal) -> Response:
        uuid = path_id(request, "call")
        query(request)
        verdict = await backend.control.cancel_call(who.account_id, uuid)
        if verdict is Verdict.UNKNOWN:
            raise not_found("call")
        if verdict is Verdict.FINAL:
            raise Problem(HTTPStatus.CONFLICT, "The call is finished already")
        return await shown(uuid, who)

    accounts = backend.accounts
    return [
        resource("/call", accounts, after_body={"POST"}, GET=live, POST=create),
        resource("/call/{id}", accounts, GET=show),
        resource("/call/{id}/cancel", accounts, POST=cancel),
        resource("/call/{id}/explain", accounts, GET=explain),
    ]
