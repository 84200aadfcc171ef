"""GET /trace: the SIP messages of one call as they pass (server-sent events). While nobody looks, it costs nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from api.backend import Backend, Principal, Tap, Taps
from api.event_stream import HEADERS, MEDIA_TYPE
from api.identifiers import canonical_uuid
from api.offload import in_thread
from api.payloads import one_of, query
from api.problems import Problem, bad_request, not_found
from api.resource import resource
from dialer.core.timetable import show_time
from dialer.log_lines import masked
from dialer.ports import WireMessage

# Each makes every call a little dearer.
_MOST = 5
_KEEP_ALIVE_SECONDS = 15.0
_LONGEST_SECONDS = 900.0
# So long after the last message it is looked at whether the call is finished.
_QUIET_SECONDS = 1.0
_UUID_CHARACTERS = 36


def routes(backend: Backend, taps: Taps) -> list[Route]:
    """The path /trace."""
    watching = 0

    async def trace(request: Request, who: Principal) -> Response:
        asked = query(request, "call", "numbers")
        numbers = one_of("numbers", asked, ("0", "1")) == "1"
        call = await _wanted(backend, who.account_id, asked.get("call") or None)
        if request.method == "HEAD":
            return Response(media_type=MEDIA_TYPE, headers=HEADERS)
        if watching >= _MOST:
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS, f"{_MOST} calls are traced already", headers={"Retry-After": "10"}
            )
        return StreamingResponse(stream(who.account_id, call, numbers=numbers), media_type=MEDIA_TYPE, headers=HEADERS)

    async def stream(account: int, call: str | None, *, numbers: bool) -> AsyncIterator[bytes]:
        nonlocal watching
        watching += 1
        try:
            with taps(call or "") as tap:
                yield b": tracing\n\n"
                async for frame in _frames(backend, account, call, tap, numbers=numbers):
                    yield frame
        finally:
            watching -= 1

    return [resource("/trace", backend.accounts, GET=trace)]


async def _wanted(backend: Backend, account: int, asked: str | None) -> str | None:
    """The id of the call that is asked for, which goes on or is still to come; None: the next one."""
    if asked is None:
        return None
    uuid = canonical_uuid(asked)
    if uuid is None:
        raise bad_request("call must be a UUID")
    found = await in_thread(backend.views.call, account, uuid)
    if found is None:
        raise not_found("call")
    if found["state"] == "finished":
        raise Problem(HTTPStatus.CONFLICT, "The call is finished, and its messages were not kept")
    return uuid


async def _frames(backend: Backend, account: int, call: str | None, tap: Tap, *, numbers: bool) -> AsyncIterator[bytes]:
    """What passes, until the call is finished, the server stops, or it was long enough. `call` None: the account's next."""
    loop = asyncio.get_running_loop()
    until, alive_at, strangers = loop.time() + _LONGEST_SECONDS, loop.time(), set[str]()
    while loop.time() < until and not _closing(backend):
        try:
            message = await asyncio.wait_for(tap.messages.get(), _QUIET_SECONDS)
        except TimeoutError:
            found = None if call is None else await in_thread(backend.views.call, account, call)
            if found is not None and found["state"] == "finished":
                yield _frame(found, "end")
                return
            if loop.time() - alive_at > _KEEP_ALIVE_SECONDS:
                alive_at = loop.time()
                yield b": keep-alive\n\n"
            continue
        uuid = message.sip_call_id[:_UUID_CHARACTERS]
        if call is None and uuid not in strangers and _begins(message):
            if await in_thread(backend.views.call, account, uuid) is None:
                strangers.add(uuid)
            else:
                call = uuid
                tap.narrow(uuid)
        if uuid == call:
            yield _frame(_shown(message, call, numbers=numbers))


def _closing(backend: Backend) -> bool:
    return backend.events is not None and backend.events.feed.closing.is_set()


def _begins(message: WireMessage) -> bool:
    """Whether it is the first of a call: not of one that was under way already."""
    to = next((line for line in message.text.split("\r\n") if line.lower().startswith("to:")), "")
    return message.sent and message.text.startswith("INVITE ") and ";tag=" not in to


def _shown(message: WireMessage, call: str, *, numbers: bool) -> dict[str, Any]:
    return {
        "call_id": call,
        "sip_call_id": message.sip_call_id,
        "at": show_time(message.at),
        "direction": "sent" if message.sent else "received",
        "transport": message.transport,
        "peer": message.peer,
        "text": message.text if numbers else masked(message.text),
    }


def _frame(told: dict[str, Any], event: str = "") -> bytes:
    # JSON holds no line break, so one data line is enough.
    named = f"event: {event}\n" if event else ""
    return f"{named}data: {json.dumps(told, separators=(',', ':'))}\n\n".encode()
