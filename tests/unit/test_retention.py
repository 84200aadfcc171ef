"""Pruning: what ended long ago goes, whole; what anybody still needs stays."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dialer.core.changes import (
    AgentArmed,
    AgentEnded,
    AttemptArmed,
    AttemptEnded,
    CallFinished,
    CampaignMoved,
    Change,
    RecallScheduled,
    StepTaken,
)
from dialer.core.model import CallId, Campaign, CampaignStatus, Disposition, WallMs
from scheduler import retention
from scheduler.migrations import DatabaseNotReady, check
from scheduler.retention import Pruned, prune
from tests.support.sqlite_world import SqliteWorld

T0 = 1_740_823_200_000
LATER = WallMs(T0 + 1)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SqliteWorld]:
    world = SqliteWorld(tmp_path / "dialer.db")
    yield world
    assert check(world.path) == []
    world.close()


def rest(_seconds: float) -> None:
    pass


def armed(c: Campaign, position: int) -> AttemptArmed:
    call = CallId(c.first_call + position)
    return AttemptArmed(call, c.id, 1, WallMs(T0), WallMs(T0), "pbx", "", f"{call}@x")


def ended(c: Campaign, position: int) -> list[Change]:
    call = CallId(c.first_call + position)
    step = StepTaken(call, c.id, 1, WallMs(T0), 1, '{"do":"hangup"}')
    sip_call_id, until = f"{call}@x-agent-1", WallMs(T0 + 1)
    agent = AgentArmed(call, c.id, 1, 1, WallMs(T0), until, "+34910000009", "pbx", "", sip_call_id)
    gone = AgentEnded(call, c.id, 1, 1, WallMs(T0), Disposition.ANSWERED, "", 200, None, "far")
    begun = [armed(c, position), agent, gone, step]
    return [*begun, AttemptEnded(call, c.id, 1, WallMs(T0), Disposition.BUSY, "", 486, None, "far")]


def complete(world: SqliteWorld, c: Campaign, *, at: int = T0) -> None:
    for i in range(c.size):
        finish = CallFinished(CallId(c.first_call + i), c.id, WallMs(at), Disposition.BUSY, "", attempted=True)
        world.store.apply([*ended(c, i), finish])
    world.store.apply([CampaignMoved(c.id, WallMs(at), CampaignStatus.COMPLETED)])


def rows(world: SqliteWorld) -> dict[str, int]:
    tables = ("campaign", "call", "attempt", "agent_leg", "step", "timer", "outcome")
    return {t: world.connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in tables}


def test_a_finished_campaign_goes_with_all_that_is_its_own(world: SqliteWorld) -> None:
    complete(world, world.add_campaign(size=450))
    kept = world.add_campaign(size=2)
    complete(world, kept)
    assert prune(world.path, ended_before=LATER, rest=rest) == Pruned(campaigns=1, calls=450)
    assert rows(world) == {"campaign": 1, "call": 2, "attempt": 2, "agent_leg": 2, "step": 2, "timer": 0, "outcome": 1}
    assert prune(world.path, ended_before=LATER, rest=rest) == Pruned()


def test_the_newest_campaign_stays_so_that_its_number_is_not_used_again(world: SqliteWorld) -> None:
    newest = world.add_campaign()
    complete(world, newest)
    assert prune(world.path, ended_before=LATER, rest=rest) == Pruned()
    assert world.add_campaign().id > newest.id


def test_what_ended_at_the_limit_or_goes_on_stays(world: SqliteWorld) -> None:
    complete(world, world.add_campaign(size=2))
    running = world.add_campaign(size=2)
    world.store.apply([armed(running, 0)])
    world.add_campaign(size=2, status="loading")
    world.add_campaign(size=2, status="paused")
    before = rows(world)
    assert prune(world.path, ended_before=WallMs(T0), rest=rest) == Pruned()
    assert rows(world) == before
    assert prune(world.path, ended_before=LATER, rest=rest) == Pruned(campaigns=1, calls=2)


def test_a_cancelled_campaign_goes_with_the_timers_that_nobody_met_but_not_while_a_leg_is_up(
    world: SqliteWorld,
) -> None:
    gone = world.add_campaign(size=3)
    recall = RecallScheduled(CallId(gone.first_call), gone.id, 2, WallMs(T0 + 3_600_000))
    world.store.apply([*ended(gone, 0), recall, armed(gone, 1)])
    world.store.apply([CampaignMoved(gone.id, WallMs(T0), CampaignStatus.CANCELLED)])
    other = world.add_campaign(size=1)
    world.store.apply([*ended(other, 0), RecallScheduled(other.first_call, other.id, 2, WallMs(T0 + 7_200_000))])
    assert prune(world.path, ended_before=LATER, rest=rest) == Pruned()
    world.store.apply([*ended(gone, 1)[1:], _finished(gone, 1)])
    assert prune(world.path, ended_before=LATER, rest=rest) == Pruned(campaigns=1, calls=3)
    assert rows(world) == {"campaign": 1, "call": 1, "attempt": 1, "agent_leg": 1, "step": 1, "timer": 1, "outcome": 0}
    world.reopen()
    assert [call for _, call in world.store.due_timers(WallMs(T0 + 7_200_000))] == [other.first_call]


def _finished(c: Campaign, position: int) -> CallFinished:
    call = CallId(c.first_call + position)
    return CallFinished(call, c.id, WallMs(T0), Disposition.CANCELLED, "", attempted=True)


@pytest.mark.parametrize(
    "kept",
    [
        "INSERT INTO intake (campaign_id, known_contact) VALUES (1, 0)",
        "INSERT INTO spread (campaign_id, type, at, next_call) VALUES (1, 'call.scheduled', 0, 1)",
        "INSERT INTO event (campaign_id, sequence, type, at, recorded_at, detail) VALUES (1, 1, 'x', 0, 0, '{}')",
    ],
)
def test_a_campaign_that_somebody_is_not_done_with_stays(world: SqliteWorld, kept: str) -> None:
    complete(world, world.add_campaign())
    world.add_campaign()
    world.connection.execute(kept)
    assert prune(world.path, ended_before=LATER, rest=rest) == Pruned()


def test_many_single_calls_share_a_turn_and_long_ones_take_several(
    world: SqliteWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(20):
        complete(world, world.add_campaign(single=True))
    world.add_campaign()
    rests: list[float] = []
    monkeypatch.setattr(retention, "_TURN_S", 60.0)
    assert prune(world.path, ended_before=LATER, rest=rests.append).campaigns == 20
    assert len(rests) == 1
    complete(world, world.add_campaign(size=450))
    world.add_campaign()
    rests.clear()
    monkeypatch.setattr(retention, "_TURN_S", 1e-9)
    assert prune(world.path, ended_before=LATER, rest=rests.append).calls == 450
    assert len(rests) == 3


def test_a_run_that_is_cut_off_is_finished_by_the_next(world: SqliteWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    complete(world, world.add_campaign(size=450))
    world.add_campaign()
    monkeypatch.setattr(retention, "_TURN_S", 1e-9)

    def cut_off(_seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(world.path, ended_before=LATER, rest=cut_off)
    assert rows(world)["call"] == 251
    assert prune(world.path, ended_before=LATER, rest=rest) == Pruned(campaigns=1, calls=250)


def test_the_store_commits_between_the_turns(world: SqliteWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    complete(world, world.add_campaign(size=450))
    going_on = world.add_campaign(size=10)
    monkeypatch.setattr(retention, "_TURN_S", 1e-9)
    positions = iter(range(10))
    prune(world.path, ended_before=LATER, rest=lambda _: world.store.apply([armed(going_on, next(positions))]))
    assert world.counts(going_on.id).live == 3


def test_a_database_without_a_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    with pytest.raises(DatabaseNotReady):
        prune(tmp_path / "empty.db", ended_before=LATER)
