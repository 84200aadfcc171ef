"""What is recorded of changes, in which order, under which numbers; and what those who take it may rely on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dialer.core.changes import (
    AttemptAnswered,
    AttemptRetried,
    AttemptRinging,
    Change,
    TransferMoved,
    TransferStage,
)
from dialer.core.model import Campaign, CampaignStatus, Disposition, Mono, Now, WallMs
from dialer.ports import RecordedEvent, StoreUnavailable
from scheduler.database import Database
from scheduler.event_log import EventLog
from scheduler.migrations import check
from tests.support.sqlite_world import SqliteWorld
from tests.support.store_world import T0, arm, call_of, dial, end, finish, move, recall, taken, whole_life

DAY = 24 * 3_600_000


@dataclass
class Clock:
    wall: int
    boot: str = "boot"

    def now(self) -> Now:
        return Now(WallMs(self.wall), Mono(0))

    def now_and_offset_ms(self) -> tuple[Now, float]:
        return self.now(), 0.0


@dataclass
class World:
    sqlite: SqliteWorld
    database: Database
    clock: Clock
    log: EventLog

    def apply(self, *changes: Change) -> None:
        self.sqlite.store.apply(changes)

    def events(self, after: int = 0) -> list[RecordedEvent]:
        return self.log.after(after, 100_000)

    def told(self, after: int = 0) -> list[tuple[int | None, int, str]]:
        """(call's position in the order of ids, sequence, type) of all events."""
        rows = self.sqlite.connection.execute(
            "SELECT call_id, sequence, type FROM event WHERE id > ? ORDER BY id", (after,)
        )
        return rows.fetchall()

    def spread(self) -> None:
        while self.log.spread():
            pass

    def remove(self, *, stream_ms: int = 0, longest_ms: int = DAY, most: int = 1_000_000) -> int:
        total = 0
        while (removed := self.log.remove(stream_ms=stream_ms, longest_ms=longest_ms, most=most))[0]:
            total += removed[0]
        return total


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    sqlite = SqliteWorld(tmp_path / "dialer.db")
    database = Database(sqlite.path)
    clock = Clock(T0)
    yield World(sqlite, database, clock, EventLog(database, clock))
    database.close()
    sqlite.close()
    assert check(sqlite.path) == []


def types(events: Sequence[RecordedEvent]) -> list[str]:
    return [event.payload["type"] for event in events]


def test_nothing_is_recorded_while_nobody_is_to_be_told(world: World) -> None:
    c = world.sqlite.add_campaign()
    world.apply(*whole_life(c))
    world.apply(move(c, CampaignStatus.COMPLETED))
    assert world.told() == []
    assert world.sqlite.connection.execute("SELECT events FROM call").fetchall() == [(0,)]


def test_a_calls_events_count_from_1_without_gaps_and_begin_with_scheduled(world: World) -> None:
    world.log.open("mqtt")
    c = world.sqlite.add_campaign(created_at=T0 - 5)
    call = call_of(c)
    world.apply(arm(c))
    assert world.told() == []
    world.apply(dial(c))
    world.apply(AttemptRinging(call, c.id, 1, WallMs(T0 + 1), ""), AttemptAnswered(call, c.id, 1, WallMs(T0 + 2), ""))
    world.apply(end(c), recall(c))
    world.apply(arm(c, number=2, at=T0 + 60_000))
    world.apply(dial(c, number=2), end(c, number=2, disposition=Disposition.ANSWERED), finish(c))
    found = world.events()
    words = ["scheduled", "dialing", "ringing", "answered", "ended", "recall_scheduled", "dialing", "ended", "finished"]
    assert types(found) == [f"call.{word}" for word in words]
    assert [event.payload["sequence"] for event in found] == list(range(1, 10))
    assert len({event.payload["event_id"] for event in found}) == 9
    scheduled, recalled = found[0].payload, found[5].payload
    assert (scheduled["attempt"], scheduled["next_attempt_at"]) == (1, "1970-01-01T00:00:00.000Z")
    assert scheduled["at"] == "2025-03-01T09:59:59.995Z"
    assert (recalled["attempt"], recalled["next_attempt_at"]) == (2, "2025-03-01T10:01:00.000Z")
    assert recalled["at"] == found[4].payload["at"]
    assert found[4].payload | {} == {
        **{key: found[4].payload[key] for key in ("event_id", "account_id", "campaign_id", "call_id", "phone")},
        "sequence": 5,
        "type": "call.ended",
        "at": "2025-03-01T10:00:05.000Z",
        "attempt": 1,
        "trunk": "pbx",
        "caller_id": "",
        "sip_call_id": f"{call}-1@dialer",
        "disposition": "busy",
        "reason": "Busy Here",
        "sip_status": 486,
        "q850_cause": 17,
        "ended_by": "far",
    }


def test_the_end_of_an_attempt_tells_what_its_own_steps_came_to(world: World) -> None:
    world.log.open("mqtt")
    c = world.sqlite.add_campaign()
    world.apply(arm(c), dial(c))
    world.apply(taken(c, 1))
    world.apply(end(c), recall(c))
    world.apply(arm(c, number=2, at=T0 + 60_000))
    world.apply(dial(c, number=2), end(c, number=2), finish(c))
    first, second = (event.payload for event in world.events() if event.payload["type"] == "call.ended")
    assert first["result"] == {"gathered": {"pin": "1"}}
    assert "result" not in second


def test_who_begins_to_listen_in_the_middle_is_told_from_1(world: World) -> None:
    c = world.sqlite.add_campaign()
    world.apply(arm(c))
    world.apply(dial(c))
    world.log.open("mqtt")
    world.apply(end(c), finish(c))
    assert [(s, t) for _, s, t in world.told()] == [(1, "call.scheduled"), (2, "call.ended"), (3, "call.finished")]
    assert world.events()[1].payload["trunk"] == "pbx"


def test_numbers_go_on_where_they_were_after_a_restart(world: World) -> None:
    world.log.open("mqtt")
    c = world.sqlite.add_campaign()
    world.apply(arm(c), dial(c))
    world.sqlite.reopen()
    world.apply(end(c, disposition=Disposition.INTERRUPTED), finish(c))
    assert [s for _, s, _ in world.told()] == [1, 2, 3, 4]


def test_each_invite_of_technical_retries_is_told_with_its_own_trunk(world: World) -> None:
    world.log.open("mqtt")
    c = world.sqlite.add_campaign()
    retried = AttemptRetried(call_of(c), 1, WallMs(T0 + 5), "spare", "+34910000000", "second", "technical retry")
    world.apply(arm(c))
    # One commit may hold the news of the first INVITE and the next one's record.
    world.apply(dial(c), retried, dial(c, at=T0 + 6))
    world.apply(end(c), finish(c))
    dialing = [event.payload for event in world.events() if event.payload["type"] == "call.dialing"]
    assert [(e["trunk"], e["sip_call_id"]) for e in dialing] == [
        ("pbx", f"{call_of(c)}-1@dialer"),
        ("spare", "second"),
    ]
    assert world.events()[-2].payload["trunk"] == "spare"


def test_a_transaction_that_fails_tells_nothing_and_the_same_again_tells_it_once(world: World) -> None:
    world.log.open("mqtt")
    c = world.sqlite.add_campaign()
    world.apply(arm(c))
    world.sqlite.store._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreUnavailable):
        world.apply(dial(c), end(c), finish(c))
    world.sqlite.store._connection.execute("PRAGMA query_only = OFF")
    assert world.told() == []
    with pytest.raises(ValueError, match="final state"):
        world.apply(dial(c), end(c), finish(c), finish(c))
    assert world.told() == []
    world.apply(dial(c), end(c), finish(c))
    assert [s for _, s, _ in world.told()] == [1, 2, 3, 4]


def test_the_store_says_when_something_was_told(world: World) -> None:
    rung: list[int] = []
    world.sqlite.store._on_events = lambda: rung.append(1)
    c = world.sqlite.add_campaign()
    world.apply(arm(c))
    world.log.open("mqtt")
    world.apply(dial(c))
    assert rung == [1]


def test_a_campaign_is_told_of_by_its_moves_with_its_counts(world: World) -> None:
    world.log.open("mqtt")
    c = world.sqlite.add_campaign(size=2, status="scheduled")
    world.apply(move(c, CampaignStatus.RUNNING), arm(c, 0), arm(c, 1))
    for status in (CampaignStatus.PAUSED, CampaignStatus.PAUSED, CampaignStatus.RUNNING):
        world.apply(move(c, status))
    for position in (0, 1):
        world.apply(dial(c, position), end(c, position), finish(c, position))
    world.apply(move(c, CampaignStatus.COMPLETED))
    moves = [event for event in world.events() if event.call is None]
    assert types(moves) == [f"campaign.{word}" for word in ("started", "paused", "resumed", "completed")]
    assert [event.payload["sequence"] for event in moves] == [1, 2, 3, 4]
    assert [event.payload["status"] for event in moves] == ["running", "paused", "running", "completed"]
    assert moves[1].payload["calls"] == {"scheduled": 0, "live": 2, "finished": 0}
    assert moves[3].payload["calls"] == {"scheduled": 0, "live": 0, "finished": 2}
    assert moves[3].payload["dispositions"] == {"busy": 2}
    assert not moves[3].active


def test_a_single_calls_campaign_is_nobodys_concern(world: World) -> None:
    world.log.open("mqtt")
    c = world.sqlite.add_campaign(single=True)
    world.apply(*whole_life(c))
    world.apply(move(c, CampaignStatus.COMPLETED))
    assert all(event.campaign is None and event.payload["campaign_id"] is None for event in world.events())
    assert {event.call is None for event in world.events()} == {False}


def test_cancelling_tells_each_pending_call_its_end_once(world: World) -> None:
    world.log.open("mqtt")
    c = world.sqlite.add_campaign(size=700)
    # One is finished, one is live, one waits for its recall; 697 were never told of.
    for position in range(3):
        world.apply(arm(c, position), dial(c, position))
    world.apply(end(c, 0), finish(c, 0))
    world.apply(end(c, 2), recall(c, 2))
    world.apply(move(c, CampaignStatus.CANCELLED))
    world.log.spread()
    world.apply(end(c, 1, disposition=Disposition.ANSWERED), finish(c, 1, Disposition.ANSWERED))
    world.spread()
    assert world.log.spread() == 0
    by_call: dict[Any, list[tuple[int, str]]] = {}
    for call, sequence, kind in world.told():
        by_call.setdefault(call, []).append((sequence, kind))
    del by_call[None]
    assert len(by_call) == 700
    for told in by_call.values():
        assert [sequence for sequence, _ in told] == list(range(1, len(told) + 1))
        assert [kind for _, kind in told].count("call.finished") == 1
    assert by_call[call_of(c, 2)][-1] == (5, "call.finished")
    assert by_call[call_of(c, 699)] == [(1, "call.scheduled"), (2, "call.finished")]


def accept(world: World, campaign: Campaign) -> None:
    """As a loader process does when a campaign becomes active."""
    from scheduler.connection import transaction
    from scheduler.outbox import tell_acceptance

    with transaction(world.sqlite.connection):
        tell_acceptance(world.sqlite.connection, campaign.id, T0)


def test_calls_of_large_campaigns_are_told_bit_by_bit_and_never_after_their_dialing(world: World) -> None:
    world.log.open("mqtt")
    large = world.sqlite.add_campaign(size=2_000, stagger_ms=10, launch_at=T0)
    small = world.sqlite.add_campaign(size=3, launch_at=T0 + 50)
    accept(world, large)
    accept(world, small)
    # Those that are dialed before their turn are told as scheduled just before.
    for position in range(150):
        world.apply(arm(large, position), dial(large, position))
    world.log.spread()
    told_small = {call for call, _, _ in world.told() if call is not None and call >= small.first_call}
    assert len(told_small) == 3, "a small campaign does not wait for a large one"
    world.apply(finish(large, 1_999, Disposition.CANCELLED, attempted=False))
    world.spread()
    first: dict[int, tuple[int, str]] = {}
    for call, sequence, kind in world.told():
        if call is not None:
            first.setdefault(call, (sequence, kind))
    assert len(first) == 2_003
    assert set(first.values()) == {(1, "call.scheduled")}
    assert [kind for call, _, kind in world.told() if call is None] == ["campaign.scheduled"] * 2
    last = next(e for e in reversed(world.events()) if e.payload["type"] == "call.scheduled" and e.call)
    assert last.payload["next_attempt_at"].startswith("2025-03-01T10:00:")


def test_a_sink_that_is_new_begins_at_the_end_and_one_that_comes_back_where_it_was(world: World) -> None:
    world.log.open("mqtt")
    c = world.sqlite.add_campaign(size=2)
    world.apply(arm(c), dial(c))
    end_ = world.log.end()
    assert world.log.open("webhook:1") == end_ == 2
    world.log.keep({"mqtt": 1, "nobody": 1})
    assert world.log.open("mqtt") == 1
    world.log.keep({"mqtt": 0})
    assert world.log.positions() == {"mqtt": 1, "webhook:1": 2}
    world.log.close("mqtt")
    assert world.log.positions() == {"webhook:1": 2}


def test_what_all_were_given_is_removed_and_ids_are_never_used_again(world: World) -> None:
    world.log.open("mqtt")
    world.log.open("webhook:1")
    c = world.sqlite.add_campaign(size=3)
    world.apply(arm(c), dial(c), end(c), finish(c))
    world.log.keep({"mqtt": 4, "webhook:1": 3})
    assert world.remove() == 3
    assert world.log.removed() == 3
    world.log.keep({"webhook:1": 4})
    assert world.remove() == 1
    world.apply(arm(c, 1), dial(c, 1))
    assert [event.position for event in world.events()] == [5, 6]


def test_the_stream_keeps_events_for_a_time_and_then_is_forgotten(world: World) -> None:
    world.log.open("stream")
    assert world.log.stream_listened(listening=True, keep_ms=1000)
    c = world.sqlite.add_campaign(size=2)
    world.apply(arm(c), dial(c))
    (recorded,) = world.sqlite.connection.execute("SELECT max(recorded_at) FROM event").fetchone()
    world.clock.wall = recorded + 900
    assert world.remove(stream_ms=1000) == 0
    world.clock.wall = recorded + 1001
    assert world.remove(stream_ms=1000) == 2
    world.clock.wall = T0 + 1000
    assert world.log.stream_listened(listening=False, keep_ms=1000)
    world.clock.wall = T0 + 1001
    assert not world.log.stream_listened(listening=False, keep_ms=1000)
    world.apply(arm(c, 1), dial(c, 1))
    assert world.events() == []


def test_what_nobody_took_in_time_or_is_too_much_is_given_up_and_counted(world: World) -> None:
    world.log.open("mqtt")
    c = world.sqlite.add_campaign(size=10)
    for position in range(5):
        world.apply(arm(c, position), dial(c, position))
    (recorded,) = world.sqlite.connection.execute("SELECT max(recorded_at) FROM event").fetchone()
    world.clock.wall = recorded
    assert world.log.remove(stream_ms=0, longest_ms=DAY, most=7) == (3, 3)
    world.clock.wall = recorded + DAY + 1
    assert world.log.remove(stream_ms=0, longest_ms=DAY, most=7) == (7, 7)


def test_the_state_of_a_campaign_that_goes_on_outlives_the_removal(world: World) -> None:
    world.log.open("mqtt")
    a = world.sqlite.add_campaign(status="scheduled", launch_at=T0)
    b = world.sqlite.add_campaign(status="scheduled", launch_at=T0)
    accept(world, a)
    accept(world, b)
    world.spread()
    world.apply(arm(b), move(b, CampaignStatus.RUNNING))
    world.log.keep({"mqtt": world.log.end()})
    world.remove()
    assert types(world.log.states(0, 10)) == ["campaign.scheduled", "campaign.started"]
    world.apply(dial(b), end(b), finish(b), move(b, CampaignStatus.COMPLETED))
    world.log.keep({"mqtt": world.log.end()})
    world.remove()
    assert [event.campaign for event in world.log.states(0, 10)] == [event.campaign for event in world.events()]
    assert types(world.events()) == ["campaign.scheduled"]


def test_an_erased_person_is_not_told_of_by_number(world: World) -> None:
    world.log.open("mqtt")
    c = world.sqlite.add_campaign()
    world.apply(arm(c), dial(c))
    world.sqlite.connection.execute("UPDATE call SET phone = '', contact = '{}'")
    assert [event.payload["phone"] for event in world.events()] == [None, None]


def test_an_event_is_found_again_by_its_id(world: World) -> None:
    world.log.open("mqtt")
    c = world.sqlite.add_campaign()
    world.apply(arm(c), dial(c))
    for event in world.events():
        assert world.log.position_of(event.payload["event_id"]) == event.position
        assert world.log.position_of(str(event.call)) is None
    assert world.log.position_of("x") is None


def test_a_transfer_is_told_as_it_goes_with_whom_it_is_to(world: World) -> None:
    c = world.sqlite.add_campaign(size=1)
    world.log.open("mqtt")
    detail = '{"agent":"+34910000009","mode":"bridge"}'
    told = [TransferMoved(call_of(c), c.id, 1, WallMs(T0 + n), stage, detail) for n, stage in enumerate(TransferStage)]
    world.apply(arm(c), dial(c), *told)
    events = [event.payload for event in world.events() if "transfer" in event.payload["type"]]
    assert [event["type"] for event in events] == ["call.transferring", "call.transferred", "call.transfer_failed"]
    assert events[0]["transfer"] == {"agent": "+34910000009", "mode": "bridge"}
    assert (events[0]["attempt"], events[0]["trunk"]) == (1, "pbx")
