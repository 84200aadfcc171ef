"""Other settings for the outlets of events that run."""

import multiprocessing
from pathlib import Path

from api.feed import Keeping
from config.settings import Settings
from dialer.outlets import Outlets
from tests.support.event_world import event_world
from tests.support.labs import async_test


@async_test
async def test_events_are_kept_as_long_as_is_said_now(tmp_path: Path) -> None:
    async with event_world(tmp_path / "d.db") as world:
        lock_wanted = multiprocessing.get_context("spawn").RawValue("b", 0)
        outlets = Outlets(Settings(), world.database, world.clock, lock_wanted)
        await outlets.follow(Settings(events={"stream_minutes": 5, "outbox_hours": 2, "max_events": 2000}))
        assert outlets.feed.keeping == Keeping(stream_ms=300_000, longest_ms=7_200_000, most=2000)
