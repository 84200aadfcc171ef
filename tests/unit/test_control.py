"""What people decide about calls under review: whose calls they are, how many at a time, and what is left alone."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from dialer.control import REVIEW_REST_SECONDS, REVIEWED_AT_ONCE, EngineControl
from dialer.core.dispatch import Limits
from dialer.core.model import CallId, Campaign
from dialer.engine import Engine
from scheduler.database import Database
from scheduler.handles import Handles
from tests.support.clock import EPOCH, FakeClock, run_in_fake_time
from tests.support.fake_calls import FakeCallControl
from tests.support.sqlite_world import SqliteWorld

MINE, THEIRS = 1, 2
LATER = EPOCH + 3_600_000


def campaign(world: SqliteWorld, size: int, account: int = MINE) -> Campaign:
    """One whose calls are all due, an hour from now, in one moment."""
    return world.add_campaign(size=size, launch_at=LATER, scheduled=True, account=account)


def under_review(world: SqliteWorld, c: Campaign) -> list[int]:
    """The positions of the campaign's calls under review."""
    held = world.store.under_review(c.first_call, CallId(c.first_call + c.size - 1), c.size)
    return [one.id - c.first_call for one in held]


def decide(world: SqliteWorld, story: Callable[[EngineControl], Coroutine[None, None, None]]) -> FakeClock:
    """Put all calls under review and let people decide about them; the clock afterwards."""
    world.hold(LATER)
    clock = FakeClock()

    async def main() -> None:
        engine = Engine(
            clock=clock, store=world.store, control=FakeCallControl(places=1), trunks=[], limits=Limits(1, 0)
        )
        database = Database(world.path)
        engine.start()
        await story(EngineControl(engine, Handles(database)))
        engine.stop()
        database.close()

    run_in_fake_time(clock, main())
    return clock


def uuid_of(world: SqliteWorld, c: Campaign, position: int) -> str:
    return world.store.call(CallId(c.first_call + position)).uuid


def test_a_campaign_is_decided_about_as_a_whole_and_others_are_not(world: SqliteWorld) -> None:
    c, other = campaign(world, 3), campaign(world, 2)

    async def story(control: EngineControl) -> None:
        assert await control.release(MINE, c.uuid, []) == 3
        assert await control.release(MINE, c.uuid, []) == 0
        assert await control.cancel_under_review(MINE, other.uuid, []) == 2

    decide(world, story)
    assert world.counts(c.id).scheduled == 3
    assert world.counts(other.id).outcomes == {"cancelled": 2}


def test_all_is_all_of_the_account(world: SqliteWorld) -> None:
    c, single = campaign(world, 2), world.add_campaign(launch_at=LATER, single=True)
    theirs = campaign(world, 2, account=THEIRS)

    async def story(control: EngineControl) -> None:
        assert await control.release(MINE, None, []) == 3

    decide(world, story)
    assert [under_review(world, one) for one in (c, single, theirs)] == [[], [], [0, 1]]


def test_calls_are_decided_about_one_by_one_and_what_is_not_under_review_is_passed_over(world: SqliteWorld) -> None:
    c = campaign(world, 4)

    async def story(control: EngineControl) -> None:
        assert await control.release(MINE, None, [uuid_of(world, c, 1)]) == 1
        assert await control.cancel_under_review(MINE, None, [uuid_of(world, c, i) for i in (3, 1)]) == 1

    decide(world, story)
    assert under_review(world, c) == [0, 2]
    assert world.counts(c.id).outcomes == {"cancelled": 1}


def test_where_one_of_them_is_unknown_nothing_is_decided(world: SqliteWorld) -> None:
    c, theirs = campaign(world, 2), campaign(world, 2, account=THEIRS)

    async def story(control: EngineControl) -> None:
        known = uuid_of(world, c, 0)
        for unknown in (uuid_of(world, theirs, 0), "nonsense"):
            assert await control.release(MINE, None, [known, unknown]) is None
        assert await control.release(MINE, theirs.uuid, []) is None

    decide(world, story)
    assert (under_review(world, c), under_review(world, theirs)) == ([0, 1], [0, 1])


def test_a_long_list_is_decided_in_portions_between_which_others_have_their_turn(world: SqliteWorld) -> None:
    c = campaign(world, 2 * REVIEWED_AT_ONCE + 1)
    singles = [world.add_campaign(launch_at=LATER, single=True) for _ in range(REVIEWED_AT_ONCE)]
    left: set[int] = set()

    async def watch() -> None:
        while True:
            left.add(len(under_review(world, c)))
            await asyncio.sleep(REVIEW_REST_SECONDS / 2)

    async def story(control: EngineControl) -> None:
        watching = asyncio.create_task(watch())
        assert await control.release(MINE, None, []) == c.size + len(singles)
        watching.cancel()

    clock = decide(world, story)
    assert {REVIEWED_AT_ONCE + 1, 1} <= left
    # After each portion, be they of one campaign or of many.
    assert (clock.mono - 5_000.0) / REVIEW_REST_SECONDS == pytest.approx(3, abs=0.01)
