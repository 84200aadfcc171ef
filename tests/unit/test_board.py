"""What the operator's page reads: counts that close, the newest first, and nothing of another account."""

from typing import Any

import pytest

from dialer.core.changes import (
    AttemptAnswered,
    AttemptArmed,
    AttemptDialed,
    AttemptEnded,
    AttemptRinging,
    CallFinished,
    CampaignMoved,
    RecallScheduled,
)
from dialer.core.model import CallId, Campaign, CampaignStatus, Disposition, WallMs
from dialer.recent import MINUTE_MS, Ended
from scheduler import board_sql
from scheduler.board import Board
from scheduler.database import Database
from scheduler.minutes import KEPT_MINUTES, Minutes
from tests.support.clock import EPOCH, FakeClock
from tests.support.sqlite_world import SqliteWorld, nth

T0 = int(EPOCH)
MINUTE = T0 // MINUTE_MS


@pytest.fixture
def board(database: Database) -> Board:
    return Board(database, FakeClock())


def begin(world: SqliteWorld, c: Campaign, position: int, *, at: int = T0, number: int = 1, stages: str = "") -> None:
    """An attempt, dialed, and as far as `stages` says: r rings, a is answered."""
    call = nth(c, position)
    changes: list[Any] = [
        AttemptArmed(call, c.id, number, WallMs(at), WallMs(at), "pbx", "", f"{call}-{number}"),
        AttemptDialed(call, c.id, number, WallMs(at + 1), ""),
    ]
    if "r" in stages:
        changes.append(AttemptRinging(call, c.id, number, WallMs(at + 2), ""))
    if "a" in stages:
        changes.append(AttemptAnswered(call, c.id, number, WallMs(at + 3), ""))
    world.store.apply(changes)


def end(world: SqliteWorld, c: Campaign, position: int, disposition: Disposition, *, recall: int | None = None) -> None:
    call = nth(c, position)
    over = AttemptEnded(call, c.id, 1, WallMs(T0 + 9000), disposition, "486 Busy Here", 486, 17, "far")
    after: Any = CallFinished(call, c.id, WallMs(T0 + 9000), disposition, "486 Busy Here", True)
    if recall is not None:
        after = RecallScheduled(call, c.id, 2, WallMs(recall))
    world.store.apply([over, after])


def overview(board: Board, account: int = 1, ended: list[Ended] | None = None, **most: int) -> dict[str, Any]:
    return board.overview(account, ended or [], **{"calls": 10, "campaigns": 10, **most})


def test_live_calls_are_counted_by_how_far_they_are_and_the_newest_are_shown(world: SqliteWorld, board: Board) -> None:
    c, others = world.add_campaign(size=5), world.add_campaign(account=2)
    begin(world, c, 0, at=T0, stages="ra")
    begin(world, c, 1, at=T0 + 10, stages="r")
    begin(world, c, 2, at=T0 + 20)
    begin(world, c, 3, at=T0 + 30)
    begin(world, others, 0, at=T0 + 40)
    live = overview(board, calls=3)["live"]
    assert (live["waiting"], live["ringing"], live["talking"]) == (2, 1, 1)
    assert [call["name"] for call in live["calls"]] == [f"No {nth(c, i)}" for i in (3, 2, 1)]
    rings = live["calls"][2]
    assert (rings["dialed_at"], rings["ringing_at"], rings["answered_at"]) == (T0 + 11, T0 + 12, None)
    assert (rings["campaign"], rings["attempts"], rings["trunk"]) == ("Renewal", 1, "pbx")
    assert board.live(1, calls=10)["calls"] == overview(board)["live"]["calls"]
    assert overview(board, 2)["live"]["waiting"] == 1
    assert overview(board, 3)["live"] == {"waiting": 0, "ringing": 0, "talking": 0, "calls": []}


def test_a_single_call_is_live_without_a_campaign(world: SqliteWorld, board: Board) -> None:
    begin(world, world.add_campaign(single=True), 0)
    seen = overview(board)
    assert [(call["campaign"], call["campaign_id"]) for call in seen["live"]["calls"]] == [("Renewal", None)]
    assert (seen["campaigns"], seen["counts"], seen["over"]) == ([], {}, [])


def test_campaigns_that_go_on_come_by_status_and_the_newest_that_are_over_behind(
    world: SqliteWorld, board: Board
) -> None:
    made = [world.add_campaign(size=3, launch_at=T0 + i * 1000) for i in range(6)]
    world.add_campaign(status="loading")
    for c, status in zip(made[2:], ("running", "paused", "cancelled", "running"), strict=True):
        world.store.apply([CampaignMoved(c.id, WallMs(T0), CampaignStatus(status))])
    begin(world, made[2], 0)
    end(world, made[2], 0, Disposition.ANSWERED)
    seen = overview(board)
    assert [one["id"] for one in seen["campaigns"]] == [made[i].id for i in (5, 2, 3, 0, 1)]
    assert [one["id"] for one in seen["over"]] == [made[4].id]
    assert seen["counts"] == {
        "running": {"campaigns": 2, "left": 5},
        "paused": {"campaigns": 1, "left": 3},
        "scheduled": {"campaigns": 2, "left": 6},
    }
    assert [one["id"] for one in overview(board, campaigns=1)["campaigns"]] == [made[5].id]
    shown = board.campaign(1, seen["campaigns"][1]["uuid"])
    assert shown == seen["campaigns"][1]
    assert shown is not None
    assert (shown["size"], shown["finished"], shown["attempts"], shown["dispositions"]) == (3, 1, 1, {"answered": 1})
    assert shown["estimated_end_at"] > T0
    assert board.campaign(2, shown["uuid"]) is None


def test_attempts_under_way_count_in_a_campaign(world: SqliteWorld, board: Board) -> None:
    c = world.add_campaign(size=3)
    begin(world, c, 0)
    [seen] = overview(board)["campaigns"]
    assert (seen["live"], seen["cursor"], seen["attempts"], seen["last_first_attempt_at"]) == (1, 1, 1, T0)


def test_all_campaigns_come_newest_first_in_pages_and_by_status(world: SqliteWorld, board: Board) -> None:
    made = [world.add_campaign() for _ in range(3)]
    world.add_campaign(account=2)
    world.store.apply([CampaignMoved(made[1].id, WallMs(T0), CampaignStatus.CANCELLED)])
    first, after = board.campaigns(1, status=None, limit=2, after=None)
    rest, end_ = board.campaigns(1, status=None, limit=2, after=after)
    assert [one["id"] for one in first + rest] == [c.id for c in reversed(made)]
    assert end_ is None
    assert [one["id"] for one in board.campaigns(1, status="cancelled", limit=2, after=None)[0]] == [made[1].id]


def test_calls_of_a_campaign_show_their_newest_attempt(world: SqliteWorld, board: Board) -> None:
    c = world.add_campaign(size=4, launch_at=T0, stagger_ms=500)
    uuid = overview(board)["campaigns"][0]["uuid"]
    begin(world, c, 0, stages="ra")
    end(world, c, 0, Disposition.ANSWERED)
    begin(world, c, 1)
    end(world, c, 1, Disposition.BUSY, recall=T0 + 60_000)
    begin(world, c, 2)
    found = board.calls(1, uuid, state=None, disposition=None, limit=10, after=None)
    assert found is not None
    assert [(one["state"], one["disposition"], one["attempts"], one["next_at"]) for one in found[0]] == [
        ("finished", "answered", 1, None),
        ("scheduled", "busy", 1, T0 + 60_000),
        ("live", None, 1, None),
        ("scheduled", None, 0, T0 + 1500),
    ]
    assert [(one["reason"], one["sip_status"], one["ended_at"]) for one in found[0][1:3]] == [
        ("486 Busy Here", 486, T0 + 9000),
        (None, None, None),
    ]
    begin(world, c, 1, at=T0 + 60_000, number=2, stages="r")
    again = board.calls(1, uuid, state="live", disposition=None, limit=10, after=None)
    assert again is not None
    # The attempt under way is shown, and nothing of the one before it.
    assert [(one["attempts"], one["ringing_at"], one["ended_at"], one["sip_status"]) for one in again[0]] == [
        (2, T0 + 60_002, None, None),
        (1, None, None, None),
    ]
    assert [one["reason"] for one in again[0]] == [None, None]
    assert board.calls(2, uuid, state=None, disposition=None, limit=10, after=None) is None


def test_calls_of_a_campaign_come_in_pages(world: SqliteWorld, board: Board) -> None:
    world.add_campaign(size=5)
    uuid = overview(board)["campaigns"][0]["uuid"]
    seen, after = [], None
    while True:
        page = board.calls(1, uuid, state=None, disposition=None, limit=2, after=after)
        assert page is not None
        seen += [call["name"] for call in page[0]]
        after = page[1]
        if after is None:
            break
    assert seen == [f"No {i}" for i in range(1, 6)]


def test_all_calls_to_a_number_are_found_newest_first_and_only_the_accounts_own(
    world: SqliteWorld, board: Board
) -> None:
    old = world.add_campaign(size=2, phones=["+34600000001", "+34600000002"])
    cancelled = world.add_campaign(size=1, phones=["+34600000001"])
    single = world.add_campaign(size=1, phones=["+34600000001"], single=True, launch_at=T0)
    world.add_campaign(size=1, phones=["+34600000001"], account=2)
    world.add_campaign(size=1, phones=["+34600000001"], status="loading")
    begin(world, old, 0)
    end(world, old, 0, Disposition.BUSY, recall=T0 + 60_000)
    begin(world, old, 0, at=T0 + 60_000, number=2)
    world.store.apply([CampaignMoved(cancelled.id, WallMs(T0), CampaignStatus.CANCELLED)])
    found = board.calls_to(1, "+34600000001", limit=10)
    assert [(one["state"], one["disposition"], one["attempts"], one["next_at"]) for one in found] == [
        ("scheduled", None, 0, T0),
        ("finished", "cancelled", 0, None),
        ("live", "busy", 2, None),
    ]
    assert [one["campaign_id"] is None for one in found] == [True, False, False]
    assert len(board.calls_to(1, "+34600000001", limit=2)) == 2
    assert board.calls_to(1, "+34600000009", limit=2) == []
    assert single.id


def test_calls_under_review_are_counted_and_marked(world: SqliteWorld, board: Board) -> None:
    phone = "+34600000001"
    c = world.add_campaign(size=3, launch_at=T0, stagger_ms=60_000, phones=[phone, "+34600000002", "+34600000003"])
    world.add_campaign(size=1, launch_at=T0, single=True, phones=[phone])
    world.add_campaign(size=1, launch_at=T0, account=2)
    later = world.add_campaign(size=1, launch_at=T0 + 3_600_000)
    assert board.under_review(1) == 0
    world.hold(T0 + 60_000)
    assert (board.under_review(1), board.under_review(2), board.under_review(3)) == (3, 1, 0)
    shown = {one["id"]: (one["under_review"], one["estimated_end_at"] is None) for one in overview(board)["campaigns"]}
    assert shown == {c.id: (2, True), later.id: (0, False)}
    uuid = next(one["uuid"] for one in overview(board)["campaigns"] if one["id"] == c.id)
    found = board.calls(1, uuid, state=None, disposition=None, limit=10, after=None)
    assert found is not None
    assert [one["under_review"] for one in found[0]] == [1, 1, 0]
    assert [one["under_review"] for one in board.calls_to(1, phone, limit=10)] == [1, 1]


def kind(c: Campaign, minute: int, disposition: Disposition, status: int, attempts: int, position: int = 0) -> Ended:
    at = WallMs(minute * MINUTE_MS + 5)
    return Ended(c.id, minute, disposition, status, attempts, at, nth(c, position), 1)


def test_ends_on_disk_and_in_memory_are_one_sum(world: SqliteWorld, database: Database, board: Board) -> None:
    c, second, others = world.add_campaign(size=2), world.add_campaign(), world.add_campaign(account=2)
    minutes = Minutes(database)
    minutes.add([kind(c, MINUTE, Disposition.BUSY, 486, 2), kind(c, MINUTE - 1, Disposition.ANSWERED, 200, 3)])
    minutes.add([kind(second, MINUTE, Disposition.BUSY, 486, 4), kind(others, MINUTE, Disposition.BUSY, 486, 50)])
    fresh = [kind(c, MINUTE, Disposition.BUSY, 486, 1), kind(others, MINUTE, Disposition.ANSWERED, 200, 9)]
    seen = overview(board, ended=fresh)["outcomes"]
    assert sorted(seen) == [[MINUTE - 1, "answered", 3], [MINUTE, "busy", 7]]
    assert board.outcomes(1, fresh, since=MINUTE - 1, step=15) == [
        (MINUTE // 15 * 15 - 15, "answered", 3),
        (MINUTE // 15 * 15, "busy", 7),
    ]
    assert overview(board, 2)["outcomes"] == [[MINUTE, "busy", 50]]


def test_failures_are_by_sip_status_and_lead_to_the_newest(
    world: SqliteWorld, database: Database, board: Board
) -> None:
    c = world.add_campaign(size=3)
    for position in (0, 1):
        begin(world, c, position)
        end(world, c, position, Disposition.BUSY)
    Minutes(database).add(
        [
            kind(c, MINUTE - 70, Disposition.TRUNK_FAILURE, 503, 99),
            kind(c, MINUTE - 5, Disposition.BUSY, 486, 3, position=0),
            kind(c, MINUTE, Disposition.BUSY, 486, 2, position=1),
            kind(c, MINUTE, Disposition.NO_ANSWER, 0, 9, position=2),
            kind(c, MINUTE, Disposition.ANSWERED, 200, 70),
            kind(c, MINUTE, Disposition.CANCELLED, 487, 70),
        ]
    )
    failures = overview(board)["failures"]
    assert [(one["sip_status"], one["disposition"], one["attempts"]) for one in failures] == [
        (0, "no_answer", 9),
        (486, "busy", 5),
    ]
    # The attempt of the first was removed, or never was.
    assert (failures[0]["call"], failures[0]["trunk"]) == (None, None)
    assert failures[1]["call"] == database.ids.call_uuid(nth(c, 1))
    assert (failures[1]["trunk"], failures[1]["reason"]) == ("pbx", "486 Busy Here")


def test_minutes_of_a_campaign_that_was_removed_are_left_out(world: SqliteWorld, database: Database) -> None:
    c = world.add_campaign()
    gone = Ended(type(c.id)(999), MINUTE, Disposition.BUSY, 486, 1, WallMs(T0), CallId(1), 1)
    Minutes(database).add([gone, kind(c, MINUTE, Disposition.BUSY, 486, 1)])
    assert world.connection.execute("SELECT count(*) FROM minute").fetchone() == (1,)


def test_old_minutes_are_forgotten(world: SqliteWorld, database: Database) -> None:
    c = world.add_campaign()
    minutes = Minutes(database)
    minutes.add([kind(c, MINUTE - age, Disposition.BUSY, 486, 1) for age in (0, KEPT_MINUTES, KEPT_MINUTES + 1)])
    minutes.forget(WallMs(T0))
    rows = world.connection.execute("SELECT minute FROM minute ORDER BY minute").fetchall()
    assert rows == [(MINUTE - KEPT_MINUTES,), (MINUTE,)]


@pytest.mark.parametrize("name", ["LIVE", "GOING_ON", "CAMPAIGN", "HOUR", "OUTCOMES", "CALLS", "CALLS_LIVE"])
def test_what_is_read_each_second_reads_no_table_whole(world: SqliteWorld, name: str) -> None:
    asked = dict.fromkeys(
        ("account", "calls", "campaigns", "since", "step", "status", "after", "limit", "uuid", "slot", "stagger"), 1
    )
    asked |= {"from": 1, "to": 2, "state": None, "disposition": None, "cancelled": False, "ended": "[]"}
    plan = [row[3] for row in world.connection.execute(f"EXPLAIN QUERY PLAN {getattr(board_sql, name)}", asked)]
    # Attempts under way are few: their table is what is scanned, and what was chosen before.
    large = {"call", "ended_attempt", "ended", "campaign", "minute", "outcome", "timer", "contact"}
    assert not large & {line.split()[1] for line in plan if line.startswith("SCAN")}, plan
