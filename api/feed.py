"""The events as they come, for all who pass them on: one reader of the outbox, and one keeper of how far each is.

The newest events stay in memory for those who keep up, a bounded number; who is behind reads the database. Positions are
stored once a second: what was sent in between is sent again after a crash, never lost.
"""

import asyncio
import contextlib
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn

import structlog

from api.event_log import EventLog
from api.offload import in_thread
from dialer.ports import RecordedEvent, StoreUnavailable

log = structlog.get_logger("events")

_KEPT_IN_MEMORY = 2000
# Read on the loop, a millisecond at a time: a thread would take the interpreter lock from the loop at each of its system
# calls, for 5 ms each (calls went out 100 ms late at 600 events a second).
_READ_AT_ONCE = 32
# News of one burst is read together.
_GATHER_SECONDS = 0.02
# Loader processes and commands cannot ring: somebody looks so often anyway.
_LOOK_SECONDS = 1.0
_KEEP_SECONDS = 1.0
_STREAM_LOOK_SECONDS = 10.0
_TIDY_PAUSE_SECONDS = 0.005
# Calls of a whole campaign are told at this pace, so that what happens now is not behind them; and not at all while those
# who keep up are so many events behind, or the slowest (a broker that is away) so many.
_SPREAD_PER_SECOND = 1000.0
_BEHIND_WITH_NEWS = 2000
_BEHIND_AT_ALL = 100_000


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long events stay. `stream_ms`: for GET /events, counted also from the last listener. What no sink took in
    `longest_ms`, or lies before the newest `most`, is given up.
    """

    stream_ms: int
    longest_ms: int
    most: int


class Feed:
    """`run` it beside those who take from it. `ring` may be called at any time, on the loop."""

    def __init__(self, events: EventLog, keeping: Keeping) -> None:
        self.log = events
        self.keeping = keeping
        self.given_up = 0
        self._recent: list[RecordedEvent] = []
        self._recent_positions: list[int] = []
        self._start = self._end = self._newest = 0
        self._reading = asyncio.Lock()
        self._bell = asyncio.Event()
        self._spread_bell = asyncio.Event()
        self._positions: dict[str, int] = {}
        self._stored: dict[str, int] = {}
        self._more = False
        self._listeners = 0
        self._streaming = False
        self._stream_look_at = 0.0
        self.closing = asyncio.Event()

    async def open(self) -> None:
        """Find out where the events end now. Raises `StoreUnavailable`."""
        self._start = self._end = self._newest = await in_thread(self.log.end)
        self._streaming = "stream" in await in_thread(self.log.positions)

    async def run(self) -> NoReturn:
        """Store positions, remove what is not needed, tell calls of what happened to their campaign. Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._repeat(self._tidy, lambda: asyncio.sleep(_KEEP_SECONDS)), name="events-keeper")
            tasks.create_task(self._repeat(self._spread, self._until_spread), name="events-spreader")
        raise AssertionError("the tasks never end by themselves")

    def ring(self) -> None:
        """Something was recorded."""
        self._bell.set()

    def accepted(self) -> None:
        """A campaign was accepted: its calls are to be told of."""
        self._bell.set()
        self._spread_bell.set()

    async def after(self, position: int, limit: int) -> list[RecordedEvent]:
        """The events after `position`, at least one: waits until there is one."""
        while True:
            if position >= self._start:
                index = bisect_right(self._recent_positions, position)
                found = self._recent[index : index + limit]
            else:
                await asyncio.sleep(0)
                found = self.log.after(position, min(limit, _READ_AT_ONCE))
            if found:
                return found
            await self._read_on(max(position, self._start))

    @property
    def end(self) -> int:
        """The position of the newest event that is known here."""
        return self._newest

    @property
    def waiting(self) -> int:
        """How many events some sink has not passed on yet."""
        return max(0, self._newest - min(self._positions.values(), default=self._newest))

    def begin(self, sink: str, position: int) -> None:
        """The sink takes part from here on."""
        self._positions[sink] = self._stored[sink] = position

    def passed(self, sink: str, position: int) -> None:
        """The sink has passed on everything up to `position`."""
        if sink in self._positions:
            self._positions[sink] = position

    def leave(self, sink: str) -> None:
        """The sink takes no more part; where it was stays stored."""
        self._positions.pop(sink, None)
        self._stored.pop(sink, None)

    async def wait_until_passed(self, seconds: float) -> None:
        """Until all sinks have passed on what there is, at most so long."""
        with contextlib.suppress(TimeoutError, StoreUnavailable):
            async with asyncio.timeout(seconds):
                self._newest = await in_thread(self.log.end)
                while self.waiting:  # noqa: ASYNC110 - many can be the last one
                    await asyncio.sleep(0.02)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """While somebody is on GET /events: events are recorded and kept for it."""
        self._listeners += 1
        try:
            if not self._streaming:
                await in_thread(self.log.open, "stream")
                self._streaming = True
            yield
        finally:
            self._listeners -= 1

    @property
    def listeners(self) -> int:
        """How many are on GET /events."""
        return self._listeners

    async def store_positions(self) -> None:
        """Put on disk how far the sinks are."""
        moved = {sink: at for sink, at in self._positions.items() if at > self._stored.get(sink, 0)}
        if moved:
            await in_thread(self.log.keep, moved)
            self._stored |= {sink: at for sink, at in moved.items() if sink in self._stored}

    async def _read_on(self, position: int) -> None:
        """Wait for news, and read it, unless another has read beyond `position` meanwhile."""
        async with self._reading:
            if self._end > position:
                return
            if not self._more:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._bell.wait()
                        await asyncio.sleep(_GATHER_SECONDS)
                self._bell.clear()
            await asyncio.sleep(0)
            try:
                news = self.log.after(self._end, _READ_AT_ONCE)
            except StoreUnavailable as fault:
                log.warning("events cannot be read now", fault=str(fault))
                await asyncio.sleep(_LOOK_SECONDS)
                return
            self._more = len(news) == _READ_AT_ONCE
            if not news:
                return
            self._recent += news
            surplus = len(self._recent) - _KEPT_IN_MEMORY
            if surplus > 0:
                self._start = self._recent[surplus - 1].position
                del self._recent[:surplus]
            self._recent_positions = [event.position for event in self._recent]
            self._end = news[-1].position
            self._newest = max(self._newest, self._end)

    async def _repeat(self, act: Callable[[], Awaitable[None]], pause: Callable[[], Awaitable[None]]) -> None:
        failing = False
        while True:
            await pause()
            try:
                await act()
                failing = False
            except StoreUnavailable as fault:
                if not failing:
                    log.warning("the outbox cannot be written now", fault=str(fault))
                failing = True
                await asyncio.sleep(_LOOK_SECONDS)

    async def _tidy(self) -> None:
        self._newest = await in_thread(self.log.end)
        await self.store_positions()
        now = asyncio.get_running_loop().time()
        if self._streaming and now >= self._stream_look_at:
            self._stream_look_at = now + min(_STREAM_LOOK_SECONDS, self.keeping.stream_ms / 4000)
            self._streaming = await in_thread(
                self.log.stream_listened, listening=self._listeners > 0, keep_ms=self.keeping.stream_ms
            )
        while True:
            removed, early = await in_thread(
                self.log.remove,
                stream_ms=self.keeping.stream_ms,
                longest_ms=self.keeping.longest_ms,
                most=self.keeping.most,
            )
            if early:
                self.given_up += early
                log.error("events were given up: nobody took them in time", events=early)
            if not removed:
                break
            await asyncio.sleep(_TIDY_PAUSE_SECONDS)

    async def _spread(self) -> None:
        if self._crowded():
            await asyncio.sleep(_GATHER_SECONDS)
            self._spread_bell.set()
            return
        told = await in_thread(self.log.spread)
        if told:
            self._newest += told
            self._bell.set()
            self._spread_bell.set()
            await asyncio.sleep(told / _SPREAD_PER_SECOND)

    async def _until_spread(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._spread_bell.wait()
        self._spread_bell.clear()

    def _crowded(self) -> bool:
        positions = self._positions.values()
        if not positions:
            return False
        newest = self._newest
        return newest - max(positions) > _BEHIND_WITH_NEWS or newest - min(positions) > _BEHIND_AT_ALL
