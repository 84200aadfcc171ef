"""Pages that are open are kept up to date (server-sent events, WHATWG HTML 9.2).

Each look is drawn once in a beat, whoever many have it open, and what has not changed is not sent. Events:

    section   {"id", "html"}: what is in that element now
    say       a text for screen readers: something changed that matters
    bye       the login is over
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from http import HTTPStatus

import structlog
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.event_stream import HEADERS, MEDIA_TYPE
from api.page.doors import Doors, Visitor
from api.page.screens import Drawn, Look, Screens
from api.page.watch import PERIOD_SECONDS, Watch
from api.problems import Problem, not_found

log = structlog.get_logger("page")

_MOST_STREAMS = 100
_MOST_FOR_AN_ACCOUNT = 20
# A proxy that lets idle connections go after a minute lets these be.
_QUIET_BEATS = round(15 / PERIOD_SECONDS)
# A browser comes back by itself.
_LONGEST_BEATS = round(900 / PERIOD_SECONDS)


class _Channel:
    """One look, drawn each beat while somebody has it open."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self.viewers = 0
        self.html: dict[str, Markup] = {}
        self.frames: dict[str, bytes] = {}
        self.said = b""
        self._states: dict[str, str] = {}
        self.drawn = asyncio.Event()
        self.over = False
        self.task: asyncio.Task[None] | None = None

    def take(self, drawn: Drawn) -> None:
        """A new beat: what is shown now."""
        for name, html in drawn.sections.items():
            if self.html.get(name) != html:
                self.html[name] = html
                self.frames[name] = _frame("section", {"id": name, "html": html})
        news = [f"{what}: {word}" for what, word in drawn.states.items() if self._states.get(what, word) != word]
        self._states = dict(drawn.states)
        self.said = _frame("say", "; ".join(news)) if news else b""
        self.ring()

    def ring(self) -> None:
        """Wake all who wait for the beat."""
        self.drawn.set()
        self.drawn = asyncio.Event()


class Streams:
    """All open pages."""

    def __init__(self, screens: Screens, doors: Doors, watch: Watch) -> None:
        self._screens = screens
        self._doors = doors
        self._watch = watch
        self._channels: dict[Look, _Channel] = {}
        self._viewers: Counter[int] = Counter()

    async def open(self, request: Request, visitor: Visitor, look: Look) -> Response:
        """The stream of a look. Raises the problems 404 and 429."""
        account = visitor.principal.account_id
        if await self._screens.draw(look) is None:
            raise not_found(look.screen)
        if self._viewers.total() >= _MOST_STREAMS or self._viewers[account] >= _MOST_FOR_AN_ACCOUNT:
            raise Problem(HTTPStatus.TOO_MANY_REQUESTS, "Too many pages are open", headers={"Retry-After": "10"})
        if request.method == "HEAD":
            return Response(media_type=MEDIA_TYPE, headers=HEADERS)
        return StreamingResponse(self._stream(visitor, look), media_type=MEDIA_TYPE, headers=HEADERS)

    async def _stream(self, visitor: Visitor, look: Look) -> AsyncIterator[bytes]:
        account = visitor.principal.account_id
        self._viewers[account] += 1
        channel = self._enter(look)
        sent: dict[str, bytes] = {}
        quiet = 0
        try:
            yield b"retry: 1000\n\n"
            for _ in range(_LONGEST_BEATS):
                await channel.drawn.wait()
                if channel.over:
                    return
                if not await self._may_look(visitor, look):
                    yield _frame("bye", "")
                    return
                news = [frame for name, frame in channel.frames.items() if sent.get(name) is not frame]
                sent = dict(channel.frames)
                if channel.said:
                    news.append(channel.said)
                quiet = 0 if news else quiet + 1
                if news or quiet % _QUIET_BEATS == 0:
                    yield b"".join(news) or b": still here\n\n"
        finally:
            self._viewers[account] -= 1
            self._leave(channel)

    async def _may_look(self, visitor: Visitor, look: Look) -> bool:
        """Whether the login still stands, and still for as much as is shown."""
        session = self._doors.sessions.find(visitor.cookie)
        principal = None if session is None else await self._doors.standing(session)
        if session is None or principal is None:
            return False
        now = Visitor(principal, session, visitor.cookie, visitor.rules)
        return (now.steers, now.mask) == (look.steers, look.mask)

    def _enter(self, look: Look) -> _Channel:
        channel = self._channels.get(look)
        if channel is None:
            channel = self._channels[look] = _Channel(look)
            channel.task = asyncio.create_task(self._draw(channel), name="page")
        channel.viewers += 1
        return channel

    def _leave(self, channel: _Channel) -> None:
        channel.viewers -= 1
        if channel.viewers == 0:
            if self._channels.get(channel.look) is channel:
                del self._channels[channel.look]
            if channel.task is not None:
                channel.task.cancel()

    async def _draw(self, channel: _Channel) -> None:
        """Draw each beat, until it is gone or cannot be drawn: whoever has it open asks anew then, and is told why."""
        try:
            while not self._watch.closing.is_set():
                drawn = await self._screens.draw(channel.look, again=True)
                if drawn is None:
                    return
                channel.take(drawn)
                await self._watch.next_beat()
        except Exception:
            log.exception("a page cannot be drawn", screen=channel.look.screen)
        finally:
            channel.over = True
            if self._channels.get(channel.look) is channel:
                del self._channels[channel.look]
            channel.ring()


def _frame(event: str, data: object) -> bytes:
    # JSON holds no line break, so one data line is enough.
    return f"event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode("utf-8", "replace")
