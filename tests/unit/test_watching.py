"""The page as a part of the service: what its settings come to, and what is kept when it ends."""

import asyncio
from pathlib import Path

from api.page.doors import PageRules
from config.sections import PageSettings
from dialer.core.changes import AttemptEnded
from dialer.core.model import CallId, Disposition, WallMs
from dialer.watching import Watching
from scheduler.database import Database
from tests.support.clock import EPOCH, FakeClock
from tests.support.sqlite_world import SqliteWorld


def test_settings_are_rules_of_the_page_and_are_followed(tmp_path: Path) -> None:
    async def story() -> None:
        world = SqliteWorld(tmp_path / "dialer.db")
        database = Database(world.path)
        watching = Watching(PageSettings(), database, FakeClock())
        rules = watching.page.rules
        assert rules == PageRules("admin", 12 * 3600, behind_proxy=False) == PageRules()
        watching.follow(PageSettings(show_numbers="never", session_hours=0.5, behind_proxy=True))
        assert rules == PageRules("never", 1800, behind_proxy=True)
        database.close()
        world.close()

    asyncio.run(story())


def test_what_was_counted_is_on_disk_when_it_has_stopped(tmp_path: Path) -> None:
    async def story() -> None:
        world = SqliteWorld(tmp_path / "dialer.db")
        campaign = world.add_campaign()
        database = Database(world.path)
        watching = Watching(PageSettings(), database, FakeClock())
        watching.start()
        call = CallId(campaign.first_call)
        ended = AttemptEnded(call, campaign.id, 1, WallMs(EPOCH), Disposition.BUSY, "", 486, None, "far")
        watching.recent.stored([ended])
        watching.hang_up()
        await watching.stop()
        rows = world.connection.execute("SELECT account_id, disposition, sip_status, attempts FROM minute").fetchall()
        assert rows == [(1, "busy", 486, 1)]
        database.close()
        world.close()

    asyncio.run(story())
