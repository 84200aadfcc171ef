"""The real worker pool inside a test, and the events that it gives."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

from dialer.core.events import LegEnded, LegEvent, LegLost, LegRefused
from dialer.core.model import LegId
from dialer.ports import CallControl, DialOrder
from sip.facts import BuildFacts
from sip.pool import WorkerPool
from sip.trunk import TrunkProfile

WAIT_SECONDS = 15.0
_numbers = itertools.count(1)
_facts: list[BuildFacts] = []  # asked once: it takes a child process
Kind = TypeVar("Kind", bound=LegEvent)


class Events:
    """What a CallControl says, kept in order."""

    def __init__(self, control: CallControl) -> None:
        self.all: list[LegEvent] = []
        self._news = asyncio.Event()
        control.listen(self._take)

    def _take(self, event: LegEvent) -> None:
        self.all.append(event)
        self._news.set()

    def of(self, leg: LegId) -> list[LegEvent]:
        return [event for event in self.all if event.leg == leg]

    def kinds(self, leg: LegId) -> list[str]:
        return [type(event).__name__ for event in self.of(leg)]

    async def until(self, true: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
        async with asyncio.timeout(seconds):
            while not true():
                self._news.clear()
                await self._news.wait()

    async def wait(self, kind: type[Kind], leg: LegId, seconds: float = WAIT_SECONDS) -> Kind:
        """The leg's first event of that kind, which may have come already."""
        found: list[Kind] = []

        def here() -> bool:
            found[:] = [event for event in self.of(leg) if isinstance(event, kind)]
            return bool(found)

        try:
            await self.until(here, seconds)
        except TimeoutError:
            raise AssertionError(f"no {kind.__name__} for leg {leg}: {self.of(leg)}") from None
        return found[0]

    async def over(self, leg: LegId, seconds: float = WAIT_SECONDS) -> LegEnded | LegRefused | LegLost:
        """The leg's last event."""
        await self.until(lambda: any(isinstance(e, LegEnded | LegRefused | LegLost) for e in self.of(leg)), seconds)
        last = self.of(leg)[-1]
        assert isinstance(last, LegEnded | LegRefused | LegLost)
        return last


def order(
    number: str = "+34600000001",
    *,
    trunk: str = "far",
    caller_id: str = "",
    uri: str = "",
    beside: LegId | None = None,
) -> DialOrder:
    return DialOrder(trunk, number, caller_id, f"call-{next(_numbers)}@tests", uri, beside)


def trunk_to(port: int, name: str = "far", **profile: Any) -> TrunkProfile:
    transport = profile.pop("transport", "udp")
    return TrunkProfile(name, f"sip:127.0.0.1:{port};transport={transport}", **profile)


@contextlib.asynccontextmanager
async def pool_to(
    *trunks: TrunkProfile, media: Path = Path("/nonexistent"), **options: Any
) -> AsyncIterator[tuple[WorkerPool, Events]]:
    """A running pool; at the end it is stopped at once, so a test that leaves a leg with a dead peer takes long."""
    known = {"facts": _facts[0]} if _facts else {}
    settings = {"max_concurrent_calls": 4, "bind_host": "127.0.0.1", "media_directory": media, **known, **options}
    pool = WorkerPool(trunks, **settings)
    events = Events(pool)
    await pool.start()
    if pool.facts and not _facts:
        _facts.append(pool.facts)
    try:
        yield pool, events
    finally:
        await pool.stop(0)


async def pool_until(pool: WorkerPool, true: Callable[[], bool], seconds: float = 15) -> None:
    """Wait for a state of the pool."""
    changed = asyncio.Event()
    pool.on_state(changed.set)
    async with asyncio.timeout(seconds):
        while not true():
            changed.clear()
            await changed.wait()
