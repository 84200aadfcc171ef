"""What pages show, read at most once a second for each account, however many look; and the keeper of the minutes.

A page that nobody looks at costs nothing: everything is read when a page asks for it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog

from api.offload import in_thread
from dialer.core.model import WallMs
from dialer.ports import Clock, StoreUnavailable
from dialer.recent import MINUTE_MS, Ended, Recent

log = structlog.get_logger("page")

T = TypeVar("T")
Record = dict[str, Any]
Page = tuple[list[Record], int | None]

# From one reading to the next: with what a reading takes, news are shown within a second. All readings are of the same
# beat, so that what reads what another has read is never a whole period behind.
PERIOD_SECONDS = 0.9
DAY_STEP_MINUTES = 15
_DAY_MINUTES = 24 * 60
_LOOK_SECONDS = 1.0
_KEEP_SECONDS = 10.0
# So many kinds of ends (of POST /call each has a campaign of its own) are not kept in memory for longer.
_MANY = 2000
_FORGET_SECONDS = 3600.0
_MOST_READINGS = 200
# Beats: what is costly to read is read so seldom, each ten seconds.
SELDOM = 11
LIVE_ON_OVERVIEW = 12
CAMPAIGNS_ON_OVERVIEW = 20
LIVE_AT_MOST = 100


class Board(Protocol):
    """What is shown of an account. Methods touch the database; times are Unix milliseconds. See `scheduler.board.Board`."""

    def overview(self, account_id: int, ended: Sequence[Ended], *, calls: int, campaigns: int) -> Record:
        """What goes on now, and the last hour."""
        ...

    def under_review(self, account_id: int) -> int:
        """How many of its calls wait for a person to decide about them."""
        ...

    def outcomes(self, account_id: int, ended: Sequence[Ended], *, since: int, step: int) -> list[tuple[int, str, int]]:
        """(minute, disposition, attempts) from a minute on, in steps of so many minutes."""
        ...

    def live(self, account_id: int, *, calls: int) -> Record:
        """The attempts under way."""
        ...

    def campaigns(self, account_id: int, *, status: str | None, limit: int, after: int | None) -> Page:
        """The account's campaigns, newest first."""
        ...

    def campaign(self, account_id: int, uuid: str) -> Record | None:
        """One campaign."""
        ...

    def calls(
        self, account_id: int, uuid: str, *, state: str | None, disposition: str | None, limit: int, after: int | None
    ) -> Page | None:
        """The campaign's calls in the order of its contacts."""
        ...

    def calls_to(self, account_id: int, phone: str, *, limit: int) -> list[Record]:
        """The calls to a number, newest first."""
        ...


class Minutes(Protocol):
    """Where it is kept what attempts came to by the minute. Methods touch the database."""

    def add(self, ended: Sequence[Ended]) -> None:
        """Count these too."""
        ...

    def forget(self, now: WallMs) -> None:
        """Remove what is too old to be shown."""
        ...


@dataclass(slots=True)
class _Reading:
    """What is or was read last under a key, and in which beat."""

    beat: int
    task: asyncio.Future[Any]

    @property
    def failed(self) -> bool:
        """Whether there is nothing to be had from it."""
        return self.task.done() and (self.task.cancelled() or self.task.exception() is not None)


class Watch:
    """Run `run` beside the pages. Everything is called on the event loop."""

    def __init__(self, board: Board, minutes: Minutes, recent: Recent, clock: Clock) -> None:
        self.board = board
        self.recent = recent
        self.closing = asyncio.Event()
        self._minutes = minutes
        self._clock = clock
        self._leaving: list[Ended] = []
        # Between the memory and the table an end must be counted neither twice nor not at all.
        self._moving = asyncio.Lock()
        self._readings: dict[tuple[object, ...], _Reading] = {}

    @property
    def now(self) -> WallMs:
        """The wall clock."""
        return self._clock.now().wall

    async def run(self) -> None:
        """Move what ended from memory to disk, every ten seconds, until `closing`; `keep` when all has ended."""
        loop = asyncio.get_running_loop()
        keep_at, forget_at = loop.time() + _KEEP_SECONDS, 0.0
        while not await self._closes_within(_LOOK_SECONDS):
            if loop.time() < keep_at and self.recent.kinds <= _MANY:
                continue
            keep_at = loop.time() + _KEEP_SECONDS
            try:
                await self.keep()
                if loop.time() >= forget_at:
                    await in_thread(self._minutes.forget, self.now)
                    forget_at = loop.time() + _FORGET_SECONDS
            except StoreUnavailable as fault:
                log.warning("what the page counts is stored later", fault=str(fault))

    async def _closes_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.closing.wait(), seconds)
        return self.closing.is_set()

    async def keep(self) -> None:
        """Move it now. Raises `StoreUnavailable`; then it is tried again by the next."""
        async with self._moving:
            self._leaving += self.recent.take_ended()
            if self._leaving:
                await in_thread(self._minutes.add, self._leaving)
                self._leaving = []

    async def overview(self, account_id: int) -> Record:
        """See `Board.overview`."""

        async def read() -> Record:
            async with self._moving:
                return await in_thread(
                    self.board.overview,
                    account_id,
                    self._ended(),
                    calls=LIVE_ON_OVERVIEW,
                    campaigns=CAMPAIGNS_ON_OVERVIEW,
                )

        return await self.once(("overview", account_id), read)

    async def under_review(self, account_id: int) -> int:
        """See `Board.under_review`."""
        return await self.once(
            ("review", account_id), lambda: in_thread(self.board.under_review, account_id), beats=SELDOM
        )

    async def day(self, account_id: int) -> list[tuple[int, str, int]]:
        """The outcomes of the last 24 hours by quarter."""
        since = self.now // MINUTE_MS // DAY_STEP_MINUTES * DAY_STEP_MINUTES + DAY_STEP_MINUTES - _DAY_MINUTES

        async def read() -> list[tuple[int, str, int]]:
            async with self._moving:
                return await in_thread(
                    self.board.outcomes, account_id, self._ended(), since=since, step=DAY_STEP_MINUTES
                )

        return await self.once(("day", account_id), read, beats=SELDOM)

    async def live(self, account_id: int) -> Record:
        """The attempts under way, the newest hundred by name."""
        return await self.once(("live", account_id), lambda: in_thread(self.board.live, account_id, calls=LIVE_AT_MOST))

    async def once(self, key: tuple[object, ...], read: Callable[[], Awaitable[T]], *, beats: int = 1) -> T:
        """What `read` gives, or gave under this key in this beat already. `beats`: or in so many beats."""
        beat = self.beat() // beats
        known = self._readings.get(key)
        if known is None or known.beat != beat or known.failed:
            self._readings.pop(key, None)
            known = self._readings[key] = _Reading(beat, asyncio.ensure_future(read()))
            # The oldest go: nobody has asked for them lately.
            while len(self._readings) > _MOST_READINGS:
                del self._readings[next(iter(self._readings))]
        # Whoever goes away leaves the reading to the others.
        found: T = await asyncio.shield(known.task)
        return found

    @staticmethod
    def beat() -> int:
        """The number of the period that goes on."""
        return int(asyncio.get_running_loop().time() / PERIOD_SECONDS)

    @staticmethod
    async def next_beat() -> None:
        """Wait until it is over."""
        await asyncio.sleep(PERIOD_SECONDS - asyncio.get_running_loop().time() % PERIOD_SECONDS)

    def _ended(self) -> list[Ended]:
        return self._leaving + self.recent.ended()
