"""GET /events: the account's events as they happen (server-sent events, WHATWG HTML 9.2), resumable by Last-Event-ID."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from api import topics
from api.backend import Backend, Events, Principal
from api.feed import Feed
from api.offload import in_thread
from api.payloads import query
from api.problems import Problem, bad_request
from api.resource import resource
from dialer.ports import RecordedEvent

_AT_ONCE = 100
_KEEP_ALIVE_SECONDS = 15.0
# A token that expires or is revoked hears no more after so long; and a client comes back by itself, in time.
_LOOK_AT_TOKEN_SECONDS = 15.0
_LONGEST_SECONDS = 900.0
_MOST_LISTENERS = 100
_MOST_FOR_AN_ACCOUNT = 10
MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def routes(backend: Backend, events: Events) -> list[Route]:
    """The path /events."""
    feed = events.feed
    listeners: Counter[int] = Counter()

    async def listen(request: Request, who: Principal) -> Response:
        asked = query(request, "last_event_id")
        given = request.headers.get("last-event-id") or asked.get("last_event_id") or None
        if request.method == "HEAD":
            return Response(media_type=MEDIA_TYPE, headers=HEADERS)
        if listeners.total() >= _MOST_LISTENERS or listeners[who.account_id] >= _MOST_FOR_AN_ACCOUNT:
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS, "Too many listen to events already", headers={"Retry-After": "10"}
            )
        after = None if given is None else _position(feed, given)
        return StreamingResponse(stream(who, after), media_type=MEDIA_TYPE, headers=HEADERS)

    async def stream(who: Principal, after: int | None) -> AsyncIterator[bytes]:
        account, now = who.account_id, asyncio.get_running_loop().time
        listeners[account] += 1
        try:
            async with feed.listening():
                end = await in_thread(feed.log.end)
                yield b"retry: 2000\n\n"
                position = end if after is None else min(after, end)
                if position < await in_thread(feed.log.removed):
                    yield b'event: gap\ndata: {"reason":"events after the last one were removed"}\n\n'
                until, look = now() + _LONGEST_SECONDS, now() + _LOOK_AT_TOKEN_SECONDS
                while not feed.closing.is_set() and now() < until:
                    found = await _next(feed, position)
                    if now() >= look:
                        if await in_thread(backend.accounts.standing, who.token_id) is None:
                            return
                        look = now() + _LOOK_AT_TOKEN_SECONDS
                    if not found:
                        yield b": keep-alive\n\n"
                        continue
                    position = found[-1].position
                    mine = [event for event in found if event.account_id == account]
                    if mine:
                        yield b"".join(_frame(event) for event in mine)
        finally:
            listeners[account] -= 1

    return [resource("/events", backend.accounts, GET=listen)]


def _position(feed: Feed, event_id: str) -> int:
    after = feed.log.position_of(event_id)
    if after is None:
        raise bad_request("Last-Event-ID must be the id of an event that came from here")
    return after


async def _next(feed: Feed, position: int) -> list[RecordedEvent]:
    """The next events; none when nothing came for a while, or the server stops."""
    coming = asyncio.ensure_future(feed.after(position, _AT_ONCE))
    closing = asyncio.ensure_future(feed.closing.wait())
    try:
        await asyncio.wait({coming, closing}, timeout=_KEEP_ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        return coming.result() if coming.done() else []
    finally:
        coming.cancel()
        closing.cancel()


def _frame(event: RecordedEvent) -> bytes:
    # JSON holds no line break, so one data line is enough.
    return b"id: %b\ndata: %b\n\n" % (event.payload["event_id"].encode(), topics.body(event.payload))
