"""What the store on SQLite does beyond the contract: disks that refuse, locks, and what its statements read."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dialer.core.changes import AttemptArmed, AttemptEnded, CampaignMoved, Change, RecallScheduled
from dialer.core.model import CallId, Campaign, CampaignStatus, Disposition, WallMs
from dialer.ports import StoreUnavailable
from scheduler import batch, review, store, timers, views
from scheduler.connection import connect, transaction
from scheduler.migrations import check
from scheduler.store import SqliteStore
from tests.support.sqlite_world import SqliteWorld

T0 = 1_740_823_200_000


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SqliteWorld]:
    world = SqliteWorld(tmp_path / "dialer.db")
    yield world
    assert check(world.path) == []
    world.close()


def armed(c: Campaign, position: int = 0) -> AttemptArmed:
    call = CallId(c.first_call + position)
    return AttemptArmed(call, c.id, 1, WallMs(T0), WallMs(T0), "pbx", "", f"{call}@x")


def waiting(c: Campaign, position: int, due: int) -> list[Change]:
    call = CallId(c.first_call + position)
    return [
        armed(c, position),
        AttemptEnded(call, c.id, 1, WallMs(T0), Disposition.BUSY, "", 486, None, "far"),
        RecallScheduled(call, c.id, 2, WallMs(due)),
    ]


@dataclass
class Flag:
    history: list[int]

    def __setattr__(self, name: str, value: object) -> None:
        if name == "value":
            assert isinstance(value, int)
            self.history.append(value)
        object.__setattr__(self, name, value)

    value: int = 0


def test_campaigns_with_the_same_playbook_share_it(world: SqliteWorld) -> None:
    a, b = (world.store.campaign(world.add_campaign().id).campaign for _ in range(2))
    assert a.playbook is b.playbook


def test_a_full_disk_stores_nothing_and_the_same_batch_succeeds_later(world: SqliteWorld) -> None:
    c = world.add_campaign(size=300)
    changes: list[Change] = [armed(c, i) for i in range(300)]
    inner = world.store._connection
    (pages,) = inner.execute("PRAGMA page_count").fetchone()
    inner.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailable, match="disk is full"):
        world.store.apply(changes)
    assert world.counts(c.id).attempts == 0
    assert world.store.open_attempts() == []
    inner.execute("PRAGMA max_page_count = 1000000")
    world.store.apply(changes)
    assert world.counts(c.id).live == 300


def test_an_empty_batch_finds_out_whether_the_disk_takes_a_write(world: SqliteWorld) -> None:
    with closing(connect(world.path)) as other:
        for _ in range(3):
            (before,) = other.execute("PRAGMA data_version").fetchone()
            world.store.apply([])
            assert other.execute("PRAGMA data_version").fetchone() != (before,), "nothing was written"
    world.store._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreUnavailable, match="read-only"):
        world.store.apply([])


def test_a_timer_is_not_known_before_it_is_stored(world: SqliteWorld) -> None:
    c = world.add_campaign()
    assert list(world.store.due_timers(WallMs(T0))) == []
    world.store._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreUnavailable):
        world.store.apply(waiting(c, 0, T0 + 1))
    assert world.store.next_timer() is None


def test_the_flag_is_up_while_the_store_waits_for_the_lock_or_holds_it(world: SqliteWorld) -> None:
    c = world.add_campaign(size=2)
    flag = Flag([])
    other = SqliteStore(world.path, lock_wanted=flag, busy_timeout_s=0.01)
    other.apply([armed(c)])
    assert flag.history[-2:] == [1, 0]
    with transaction(world.connection), pytest.raises(StoreUnavailable, match="locked"):
        other.apply([armed(c, 1)])
    assert flag.value == 0
    with pytest.raises(ValueError, match="contradict"):
        other.apply([armed(c)])
    assert flag.value == 0
    other.close()


def test_timers_of_a_cancelled_campaign_leave_the_disk_with_a_later_commit(world: SqliteWorld) -> None:
    gone, kept = world.add_campaign(size=3), world.add_campaign(size=1)
    for i in range(3):
        world.store.apply(waiting(gone, i, T0 + 1_000 + i))
    world.store.apply([CampaignMoved(gone.id, WallMs(T0), CampaignStatus.CANCELLED)])
    assert world.connection.execute("SELECT count(*) FROM timer").fetchone() == (3,)
    assert list(world.store.due_timers(WallMs(T0))) == []
    world.store.apply([armed(kept)])
    assert world.connection.execute("SELECT count(*) FROM timer").fetchone() == (0,)


def test_a_call_knows_its_campaign(world: SqliteWorld) -> None:
    a, b = world.add_campaign(size=2), world.add_campaign(size=2)
    assert world.store.campaign_of(CallId(a.first_call + 1)).campaign == a
    assert world.store.campaign_of(b.first_call).campaign == b
    for call in (0, b.first_call + 2):
        with pytest.raises(KeyError):
            world.store.campaign_of(CallId(call))


def test_nothing_of_a_loading_campaign_is_seen(world: SqliteWorld) -> None:
    c = world.add_campaign(status="loading")
    assert world.store.active_campaigns() == []
    with pytest.raises(KeyError):
        world.store.campaign(c.id)
    with pytest.raises(KeyError):
        world.store.call(c.first_call)
    with pytest.raises(ValueError, match="no campaign"):
        world.store.apply([armed(c)])


@pytest.mark.parametrize(
    ("sql", "asked"),
    [
        (timers._READ, (0, 0, 1, 10)),
        (timers._NEXT, (0, 0)),
        (store._CALL, (1,)),
        (store._OPEN, ()),
        (store._CAMPAIGN + store._ACTIVE, ()),
        (batch._READ_PROGRESS, (1,)),
        (batch._FRESH, (1, 2)),
        (batch._UNFINISHED, (1, 2)),
        (batch._DROP_TIMER, (1, 1)),
        (views.CALLS_LIVE, {"from": 1, "to": 2, "disposition": None, "limit": 1}),
        (views._CAMPAIGN_OF_CALL, (1, 1, 1)),
        (review._STRETCHES, {"first": 1, "last": 2, "limit": 1}),
        (review._HELD, {"start": 1, "stop": 2, "limit": 1}),
    ],
)
def test_no_statement_of_the_hot_paths_reads_a_whole_table(world: SqliteWorld, sql: str, asked: Any) -> None:
    plan = [row[3] for row in world.connection.execute("EXPLAIN QUERY PLAN " + sql, asked)]
    whole = [
        step
        for step in plan
        if step.startswith("SCAN") and "open_attempt" not in step and "campaign_active" not in step
    ]
    assert whole == []


@pytest.mark.parametrize("sql", [review._STRETCHES, review._HELD])
def test_the_first_calls_of_a_long_stretch_under_review_are_read_without_sorting_all_of_it(
    world: SqliteWorld, sql: str
) -> None:
    asked = {"first": 1, "last": 2, "start": 1, "stop": 2, "limit": 1}
    plan = [row[3] for row in world.connection.execute("EXPLAIN QUERY PLAN " + sql, asked)]
    assert not [step for step in plan if "TEMP B-TREE" in step]
