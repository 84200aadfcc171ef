"""Outlets of events on a real database without a server: a feed, and changes as the engine stores them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from api.backend import Verdict
from api.feed import Feed, Keeping
from dialer.core.changes import Change
from dialer.core.model import Campaign
from scheduler.clock import SystemClock
from scheduler.database import Database
from scheduler.event_log import EventLog
from tests.support.sqlite_world import SqliteWorld
from tests.support.store_world import whole_life

KEEPING = Keeping(stream_ms=60_000, longest_ms=3_600_000, most=100_000)


@dataclass
class Orders:
    """Keeps `api.backend.Control`, and remembers."""

    given: list[tuple[str, int, str]] = field(default_factory=list)
    verdict: Verdict = Verdict.DONE

    async def pause(self, account_id: int, uuid: str) -> Verdict:
        return self._note("pause", account_id, uuid)

    async def resume(self, account_id: int, uuid: str) -> Verdict:
        return self._note("resume", account_id, uuid)

    async def cancel(self, account_id: int, uuid: str) -> Verdict:
        return self._note("cancel", account_id, uuid)

    async def cancel_call(self, account_id: int, uuid: str) -> Verdict:
        return self._note("cancel_call", account_id, uuid)

    def _note(self, order: str, account: int, uuid: str) -> Verdict:
        self.given.append((order, account, uuid))
        return self.verdict


class EventWorld:
    def __init__(self, path: Path, keeping: Keeping = KEEPING) -> None:
        self.sqlite = SqliteWorld(path)
        self.database = Database(path)
        self.clock = SystemClock()
        self.log = EventLog(self.database, self.clock)
        self.feed = Feed(self.log, keeping)
        self.sqlite.store._on_events = self.feed.ring

    def apply(self, changes: Sequence[Change]) -> None:
        self.sqlite.store.apply(changes)

    def lives(self, campaign: Campaign, positions: range) -> None:
        """Each of these calls goes through its life: call.scheduled, dialing, ended, finished."""
        for position in positions:
            self.apply(whole_life(campaign, position))

    def close(self) -> None:
        self.database.close()
        self.sqlite.close()


@asynccontextmanager
async def event_world(path: Path, keeping: Keeping = KEEPING) -> AsyncIterator[EventWorld]:
    """With its feed running."""
    world = EventWorld(path, keeping)
    await world.feed.open()
    running = asyncio.create_task(world.feed.run())
    try:
        yield world
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        world.close()


async def until(true: object, seconds: float = 15.0) -> None:
    """Return when the callable is true; fail after so long."""
    assert callable(true)
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - any state may be waited for
            await asyncio.sleep(0.01)
