from dataclasses import replace
from typing import Any

import pytest

from dialer.core.changes import (
    AgentArmed,
    AgentEnded,
    AgentMoved,
    AttemptArmed,
    AttemptDialed,
    AttemptEnded,
    CallFinished,
    CallSnoozed,
    CampaignMoved,
    Change,
    LegStage,
    RecallScheduled,
)
from dialer.core.model import Campaign, CampaignStatus, Disposition, WallMs
from scheduler.database import Database
from scheduler.estimate import Pace, estimated_end
from scheduler.views import Views, _durations
from tests.support.clock import EPOCH, FakeClock
from tests.support.sqlite_world import SqliteWorld, nth

T0 = int(EPOCH)


@pytest.fixture
def views(database: Database) -> Views:
    return Views(database, FakeClock())


def uuid_of(world: SqliteWorld, campaign: Campaign) -> str:
    (uuid,) = world.connection.execute("SELECT uuid FROM campaign WHERE id = ?", (campaign.id,)).fetchone()
    return str(uuid)


def armed(c: Campaign, position: int, number: int = 1, at: int = T0) -> AttemptArmed:
    return AttemptArmed(nth(c, position), c.id, number, WallMs(at), WallMs(at), "pbx", "+34900", f"{position}@x")


def ended(c: Campaign, position: int, disposition: Disposition, number: int = 1) -> AttemptEnded:
    return AttemptEnded(nth(c, position), c.id, number, WallMs(T0 + 9_000), disposition, "Busy Here", 486, 17, "far")


def recall(c: Campaign, position: int, at: int) -> RecallScheduled:
    return RecallScheduled(nth(c, position), c.id, 2, WallMs(at))


def finished(c: Campaign, position: int, disposition: Disposition) -> CallFinished:
    return CallFinished(nth(c, position), c.id, WallMs(T0 + 9_000), disposition, "", True)


def moved(c: Campaign, status: CampaignStatus) -> CampaignMoved:
    return CampaignMoved(c.id, WallMs(T0 + 10_000), status)


def mixed(world: SqliteWorld) -> Campaign:
    """Six calls: answered, busy and waiting for its recall, live, snoozed, and two that were not attempted yet."""
    c = world.add_campaign(size=6, launch_at=T0, stagger_ms=500, recall_ms=(1_800_000, 5_430_000), scheduled=True)
    changes: list[Change] = [
        moved(c, CampaignStatus.RUNNING),
        armed(c, 0),
        AttemptDialed(nth(c, 0), c.id, 1, WallMs(T0 + 2), ""),
        ended(c, 0, Disposition.ANSWERED),
        finished(c, 0, Disposition.ANSWERED),
        armed(c, 1, at=T0 + 500),
        ended(c, 1, Disposition.BUSY),
        recall(c, 1, T0 + 1_800_500),
        armed(c, 2, at=T0 + 1_000),
        CallSnoozed(nth(c, 3), c.id, 1, WallMs(T0 + 60_000), "the number is in another call"),
    ]
    world.store.apply(changes)
    return c


def test_a_campaign_is_shown_with_counts_that_close(world: SqliteWorld, views: Views) -> None:
    c = mixed(world)
    uuid = uuid_of(world, c)
    shown = views.campaign(1, uuid)
    assert shown is not None
    playbook_id = shown.pop("playbook_id")
    assert len(playbook_id) == 32
    # The two that are left come at their slots, the last one 2.5 s after the launch; then 90.5 min and 30 s of ringing.
    assert shown == {
        "id": uuid,
        "playbook": "Renewal",
        "status": "running",
        "scheduled": True,
        "launch_at": "2025-03-01T10:00:00.000Z",
        "expires_at": None,
        "recall": [30, 90.5],
        "created_at": "1970-01-01T00:00:00.000Z",
        "ended_at": None,
        "total_contacts": 6,
        "duplicate_contacts": 0,
        "calls": {"scheduled": 4, "live": 1, "finished": 1},
        "dispositions": {"answered": 1},
        "under_review": 0,
        "attempts": 3,
        "next_attempt_at": "2025-03-01T10:00:02.000Z",
        "estimated_end_at": "2025-03-01T11:31:02.500Z",
    }


def test_the_next_attempt_is_the_first_timer_when_all_first_attempts_are_made(world: SqliteWorld, views: Views) -> None:
    other = world.add_campaign(size=1)
    c = world.add_campaign(size=2, launch_at=T0)
    world.store.apply(
        [
            *[armed(other, 0), ended(other, 0, Disposition.BUSY), recall(other, 0, T0 + 1)],
            *[armed(c, i) for i in (0, 1)],
            *[ended(c, i, Disposition.BUSY) for i in (0, 1)],
            *[recall(c, 0, T0 + 90_000), recall(c, 1, T0 + 60_000)],
        ]
    )
    shown = views.campaign(1, uuid_of(world, c))
    assert shown is not None
    assert shown["next_attempt_at"] == "2025-03-01T10:01:00.000Z"


def test_what_waits_for_the_calling_hours_is_due_when_they_begin(
    world: SqliteWorld, views: Views, database: Database
) -> None:
    c = world.add_campaign(size=2, launch_at=T0 - 60_000, stagger_ms=1_000, recall_ms=(600_000,))
    hours = '{"zone": "Europe/Madrid", "saturday": ["14:00-20:00"]}'
    world.connection.execute(
        "UPDATE campaign SET zones = ?, playbook = json_set(playbook, '$.calling_hours', json(?)) WHERE id = ?",
        ('[["Europe/Madrid"]]', hours, c.id),
    )
    shown, found = views.campaign(1, uuid_of(world, c)), views.call(1, database.ids.call_uuid(c.first_call))
    assert shown is not None
    assert found is not None
    assert shown["next_attempt_at"] == found["next_attempt_at"] == "2025-03-01T13:00:00.000Z"
    # The second comes a second later; then the recall and 30 s of ringing.
    assert shown["estimated_end_at"] == "2025-03-01T13:10:31.000Z"


def test_calls_that_were_finished_without_an_attempt_are_no_next_attempt(world: SqliteWorld, views: Views) -> None:
    c = world.add_campaign(size=4, launch_at=T0, stagger_ms=1_000, recall_ms=(60_000,))
    suppressed = [finished(c, i, Disposition.SUPPRESSED) for i in (1, 2)]
    world.store.apply([armed(c, 0), ended(c, 0, Disposition.BUSY), recall(c, 0, T0 + 60_000), *suppressed])
    shown = views.campaign(1, uuid_of(world, c))
    assert shown is not None
    assert shown["next_attempt_at"] == "2025-03-01T10:00:03.000Z"
    world.store.apply([finished(c, 3, Disposition.EXPIRED)])
    shown = views.campaign(1, uuid_of(world, c))
    assert shown is not None
    assert shown["next_attempt_at"] == "2025-03-01T10:01:00.000Z"


def test_a_last_recall_in_closed_hours_ends_after_the_next_opening(world: SqliteWorld, views: Views) -> None:
    c = world.add_campaign(size=2, launch_at=T0, stagger_ms=1_000, recall_ms=(4 * 3_600_000,))
    hours = '{"zone": "Europe/Madrid", "saturday": ["11:00-14:00"], "sunday": ["12:00-14:00"]}'
    world.connection.execute(
        "UPDATE campaign SET zones = ?, playbook = json_set(playbook, '$.calling_hours', json(?)) WHERE id = ?",
        ('[["Europe/Madrid"]]', hours, c.id),
    )
    shown = views.campaign(1, uuid_of(world, c))
    assert shown is not None
    assert shown["next_attempt_at"] == "2025-03-01T10:00:00.000Z"
    assert shown["estimated_end_at"] == "2025-03-02T11:00:30.000Z"


def test_no_campaign_ends_before_its_next_attempt(world: SqliteWorld, views: Views) -> None:
    c = world.add_campaign(size=1, launch_at=T0)
    world.store.apply(
        [CallSnoozed(nth(c, 0), c.id, 1, WallMs(T0 + 3_600_000), "outside calling hours in Europe/London")]
    )
    shown = views.campaign(1, uuid_of(world, c))
    assert shown is not None
    assert (shown["next_attempt_at"], shown["estimated_end_at"]) == (
        "2025-03-01T11:00:00.000Z",
        "2025-03-01T11:00:30.000Z",
    )


def test_a_paused_campaign_has_no_next_attempt_and_no_end(world: SqliteWorld, views: Views) -> None:
    c = mixed(world)
    world.store.apply([moved(c, CampaignStatus.PAUSED)])
    shown = views.campaign(1, uuid_of(world, c))
    assert shown is not None
    assert (shown["status"], shown["next_attempt_at"], shown["estimated_end_at"]) == ("paused", None, None)


def test_campaigns_are_listed_newest_first_without_single_and_loading_ones(world: SqliteWorld, views: Views) -> None:
    made = [world.add_campaign() for _ in range(4)]
    world.add_campaign(single=True)
    world.add_campaign(status="loading")
    world.add_campaign(account=2)
    world.store.apply([moved(made[1], CampaignStatus.CANCELLED)])
    uuids = [uuid_of(world, c) for c in reversed(made)]
    first, after = views.campaigns(1, status=None, limit=3, after=None)
    rest, end = views.campaigns(1, status=None, limit=3, after=after)
    assert [item["id"] for item in first + rest] == uuids
    assert end is None
    cancelled, _ = views.campaigns(1, status="cancelled", limit=3, after=None)
    assert [item["id"] for item in cancelled] == [uuids[2]]
    assert cancelled[0]["ended_at"] == "2025-03-01T10:00:10.000Z"


def listed(views: Views, uuid: str, **asked: Any) -> list[dict[str, Any]]:
    page = views.calls(1, uuid, **{"state": None, "disposition": None, "limit": 100, "after": None, **asked})
    assert page is not None
    assert page[1] is None
    return page[0]


def test_every_call_says_what_it_waits_for(world: SqliteWorld, views: Views) -> None:
    calls = listed(views, uuid_of(world, mixed(world)))
    assert [(c["state"], c["disposition"], c["next_attempt_at"]) for c in calls] == [
        ("finished", "answered", None),
        ("scheduled", "busy", "2025-03-01T10:30:00.500Z"),
        ("live", None, None),
        ("scheduled", None, "2025-03-01T10:01:00.000Z"),
        ("scheduled", None, "2025-03-01T10:00:02.000Z"),
        ("scheduled", None, "2025-03-01T10:00:02.500Z"),
    ]


@pytest.mark.parametrize(
    ("state", "disposition", "positions"),
    [
        ("scheduled", None, [1, 3, 4, 5]),
        ("live", None, [2]),
        ("finished", None, [0]),
        (None, "busy", [1]),
        ("scheduled", "busy", [1]),
        ("live", "busy", []),
        ("finished", "cancelled", []),
    ],
)
def test_calls_are_filtered(
    world: SqliteWorld,
    views: Views,
    database: Database,
    state: str | None,
    disposition: str | None,
    positions: list[int],
) -> None:
    c = mixed(world)
    world.add_campaign(size=3)
    calls = listed(views, uuid_of(world, c), state=state, disposition=disposition)
    assert [call["id"] for call in calls] == [database.ids.call_uuid(nth(c, i)) for i in positions]


@pytest.mark.parametrize("state", [None, "scheduled", "live", "finished"])
def test_pages_of_calls_join_without_gap_or_repetition(world: SqliteWorld, views: Views, state: str | None) -> None:
    uuid = uuid_of(world, mixed(world))
    whole = listed(views, uuid, state=state)
    pages, after = [], None
    while True:
        page = views.calls(1, uuid, state=state, disposition=None, limit=1, after=after)
        assert page is not None
        pages += page[0]
        after = page[1]
        if after is None:
            break
    assert pages == whole


def test_calls_under_way_are_listed_newest_first_whatever_their_campaign(world: SqliteWorld, views: Views) -> None:
    first, second, others = mixed(world), world.add_campaign(size=3), world.add_campaign(size=1, account=2)
    world.store.apply([armed(second, 0), armed(second, 1), armed(others, 0)])
    seen, after = [], None
    while True:
        page, after = views.live_calls(1, limit=2, after=after)
        seen += page
        if after is None:
            break
    assert [call["id"] for call in seen] == [
        *(call["id"] for call in reversed(listed(views, uuid_of(world, second), state="live"))),
        *(call["id"] for call in listed(views, uuid_of(world, first), state="live")),
    ]
    assert [call["campaign_id"] for call in seen] == [uuid_of(world, one) for one in (second, second, first)]
    assert {call["state"] for call in seen} == {"live"}
    assert len(views.live_calls(2, limit=10, after=None)[0]) == 1


def test_pending_calls_of_a_cancelled_campaign_are_finished(world: SqliteWorld, views: Views) -> None:
    c = mixed(world)
    world.store.apply([moved(c, CampaignStatus.CANCELLED)])
    uuid = uuid_of(world, c)
    shown = views.campaign(1, uuid)
    assert shown is not None
    assert shown["calls"] == {"scheduled": 0, "live": 1, "finished": 5}
    assert shown["dispositions"] == {"answered": 1, "cancelled": 4}
    assert (shown["next_attempt_at"], shown["estimated_end_at"]) == (None, None)
    calls = listed(views, uuid)
    assert [(call["state"], call["disposition"]) for call in calls] == [
        ("finished", "answered"),
        ("finished", "cancelled"),
        ("live", None),
        ("finished", "cancelled"),
        ("finished", "cancelled"),
        ("finished", "cancelled"),
    ]
    assert {call["next_attempt_at"] for call in calls} == {None}
    assert listed(views, uuid, state="scheduled") == []
    assert len(listed(views, uuid, disposition="cancelled")) == 4
    assert [call["state"] for call in listed(views, uuid, state="live")] == ["live"]


def test_a_call_is_shown_with_its_attempts(world: SqliteWorld, views: Views, database: Database) -> None:
    c = mixed(world)
    uuid = database.ids.call_uuid(nth(c, 0))
    shown = views.call(1, uuid)
    assert shown is not None
    assert shown == {
        "id": uuid,
        "campaign_id": uuid_of(world, c),
        "playbook_id": shown["playbook_id"],
        "contact": {"first_name": f"No {nth(c, 0)}"},
        "phone": f"+3491{nth(c, 0):07}",
        "state": "finished",
        "disposition": "answered",
        "under_review": False,
        "recall": [30, 90.5],
        "next_attempt_at": None,
        "created_at": "1970-01-01T00:00:00.000Z",
        "result": None,
        "transcript": [],
        "attempts": [
            {
                "number": 1,
                "due_at": "2025-03-01T10:00:00.000Z",
                "dialed_at": "2025-03-01T10:00:00.002Z",
                "ringing_at": None,
                "answered_at": None,
                "ended_at": "2025-03-01T10:00:09.000Z",
                "trunk": "pbx",
                "caller_id": "+34900",
                "disposition": "answered",
                "reason": "Busy Here",
                "sip_status": 486,
                "q850_cause": 17,
                "sip_call_id": "0@x",
                "ended_by": "far",
                "pdd_ms": None,
                "ring_seconds": None,
                "talk_seconds": None,
                "delay_reason": None,
                "rtp": None,
                "agent_legs": [],
            }
        ],
    }


def test_an_attempt_says_what_had_put_it_off_under_way_and_when_it_is_over(
    world: SqliteWorld, views: Views, database: Database
) -> None:
    c = world.add_campaign(size=1, launch_at=T0)
    world.store.apply([replace(armed(c, 0), delay_reason="outside calling hours in Europe/Madrid")])

    def shown() -> Any:
        call = views.call(1, database.ids.call_uuid(nth(c, 0)))
        assert call is not None
        return call["attempts"][0]["delay_reason"]

    assert shown() == "outside calling hours in Europe/Madrid"
    world.store.apply([ended(c, 0, Disposition.ANSWERED), finished(c, 0, Disposition.ANSWERED)])
    assert shown() == "outside calling hours in Europe/Madrid"


def test_an_attempt_is_shown_with_its_legs_to_agents(world: SqliteWorld, views: Views, database: Database) -> None:
    c = world.add_campaign(size=1, launch_at=T0)
    call = nth(c, 0)
    world.store.apply(
        [
            armed(c, 0),
            AgentArmed(
                call, c.id, 1, 1, WallMs(T0), WallMs(T0 + 9_000), "+34910000009", "pbx", "+34900", "0@x-agent-1"
            ),
            AgentMoved(call, c.id, 1, 1, LegStage.DIALED, WallMs(T0 + 5), "dialog"),
            AgentEnded(call, c.id, 1, 1, WallMs(T0 + 700), Disposition.BUSY, "486 Busy Here", 486, 17, "far"),
        ]
    )
    shown = views.call(1, database.ids.call_uuid(call))
    assert shown is not None
    assert shown["attempts"][0]["agent_legs"] == [
        {
            "agent": "+34910000009",
            "trunk": "pbx",
            "caller_id": "+34900",
            "sip_call_id": "0@x-agent-1",
            "dialed_at": "2025-03-01T10:00:00.005Z",
            "ringing_at": None,
            "answered_at": None,
            "ended_at": "2025-03-01T10:00:00.700Z",
            "disposition": "busy",
            "reason": "486 Busy Here",
            "sip_status": 486,
            "q850_cause": 17,
            "ended_by": "far",
        }
    ]


@pytest.mark.parametrize(
    ("ringing_at", "answered_at", "shown"),
    [
        (1500, 4000, {"pdd_ms": 500, "ring_seconds": 2.5, "talk_seconds": 5.0}),
        (1500, None, {"pdd_ms": 500, "ring_seconds": 7.5, "talk_seconds": None}),
        (None, 4000, {"pdd_ms": 3000, "ring_seconds": None, "talk_seconds": 5.0}),
        (None, None, {"pdd_ms": None, "ring_seconds": None, "talk_seconds": None}),
        (500, 400, {"pdd_ms": 0, "ring_seconds": 0.0, "talk_seconds": 8.6}),
    ],
)
def test_durations_of_an_attempt(ringing_at: int | None, answered_at: int | None, shown: dict[str, float]) -> None:
    row = {"dialed_at": 1000, "ringing_at": ringing_at, "answered_at": answered_at, "ended_at": 9000}
    assert _durations(row) == shown  # type: ignore[arg-type]


def test_a_call_under_way_keeps_the_disposition_of_the_attempt_before(
    world: SqliteWorld, views: Views, database: Database
) -> None:
    c = mixed(world)
    world.store.apply([armed(c, 1, 2, T0 + 1_800_500)])
    shown = views.call(1, database.ids.call_uuid(nth(c, 1)))
    assert shown is not None
    assert (shown["state"], shown["disposition"]) == ("live", "busy")
    assert [(a["number"], a["disposition"]) for a in shown["attempts"]] == [(1, "busy"), (2, None)]


def test_a_single_call_has_no_campaign(world: SqliteWorld, views: Views, database: Database) -> None:
    c = world.add_campaign(single=True, launch_at=T0)
    shown = views.call(1, database.ids.call_uuid(nth(c, 0)))
    assert shown is not None
    assert (shown["campaign_id"], shown["state"], shown["next_attempt_at"]) == (
        None,
        "scheduled",
        "2025-03-01T10:00:00.000Z",
    )
    assert views.campaign(1, uuid_of(world, c)) is None
    assert views.calls(1, uuid_of(world, c), state=None, disposition=None, limit=1, after=None) is None


def test_nothing_of_another_account_is_seen(world: SqliteWorld, views: Views, database: Database) -> None:
    c = mixed(world)
    uuid, call = uuid_of(world, c), database.ids.call_uuid(nth(c, 0))
    assert views.campaign(2, uuid) is None
    assert views.call(2, call) is None
    assert views.calls(2, uuid, state=None, disposition=None, limit=10, after=None) is None
    assert views.campaigns(2, status=None, limit=10, after=None) == ([], None)


def test_what_is_still_loading_or_never_was_is_not_there(world: SqliteWorld, views: Views, database: Database) -> None:
    c = world.add_campaign(status="loading")
    assert views.campaign(1, uuid_of(world, c)) is None
    assert views.call(1, database.ids.call_uuid(nth(c, 0))) is None
    assert views.call(1, database.ids.call_uuid(99)) is None
    assert views.call(1, "11111111-1111-4111-8111-111111111111") is None


@pytest.mark.parametrize(
    ("size", "cursor", "last", "recall_s", "now_s", "end_s"),
    [
        pytest.param(1000, 101, 200, 1800, 200, 200 + 3626, id="the worked example"),
        pytest.param(11, 0, None, 0, 0, 10 * 0.2 + 30, id="not begun: the stagger alone"),
        pytest.param(11, 0, None, 0, -600, 10 * 0.2 + 30, id="scheduled for later: counted from the launch"),
        pytest.param(11, 0, None, 0, 600, 600 + 10 * 0.2 + 30, id="late: counted from now"),
        pytest.param(10, 10, 100, 1800, 110, 100 + 1800 + 30, id="only recalls are left"),
        pytest.param(10, 10, 100, 1800, 9000, 9000 + 30, id="recalls that are overdue ring now"),
        pytest.param(100, 50, 5, 0, 5, 10 + 49 * 0.2 + 30, id="never faster than the stagger"),
    ],
)
def test_the_end_is_estimated_by_the_rule(
    size: int, cursor: int, last: int | None, recall_s: int, now_s: int, end_s: float
) -> None:
    last_first = None if last is None else WallMs(T0 + last * 1000)
    pace = Pace(WallMs(T0), 200, size, cursor, last_first, recall_s * 1000, 30_000)
    assert estimated_end(pace, WallMs(T0 + now_s * 1000)) == T0 + round(end_s * 1000)


def test_calls_under_review_are_counted_marked_and_listed_by_account_and_campaign(
    world: SqliteWorld, views: Views
) -> None:
    c = mixed(world)
    single = world.add_campaign(launch_at=T0, single=True)
    world.add_campaign(size=2, launch_at=T0, account=2)
    later = world.add_campaign(size=2, launch_at=T0 + 9_000_000)
    world.hold(T0 + 2_000)
    world.store.apply([finished(c, 4, Disposition.CANCELLED)])
    uuid = uuid_of(world, c)
    shown = views.campaign(1, uuid)
    assert shown is not None
    # The fifth was due at 2.0 s and is cancelled; the recall, the snoozed one and the sixth are due later.
    assert (shown["under_review"], shown["calls"]["scheduled"]) == (0, 3)
    world.hold(T0 + 60_000)
    shown = views.campaign(1, uuid)
    assert shown is not None
    assert shown["under_review"] == 2
    assert (shown["status"], shown["estimated_end_at"]) == ("running", None)

    page = views.under_review(1, None, limit=2, after=None)
    assert page is not None
    items, after = page
    assert [(item["phone"], item["under_review"]) for item in items] == [
        (f"+3491{nth(c, 3):07}", True),
        (f"+3491{nth(c, 5):07}", True),
    ]
    assert items[0]["next_attempt_at"] == "2025-03-01T10:01:00.000Z"
    assert after == nth(c, 5)
    page = views.under_review(1, None, limit=2, after=after)
    assert page is not None
    items, after = page
    assert ([item["campaign_id"] for item in items], after) == ([None], None)
    assert items[0]["phone"] == f"+3491{single.first_call:07}"
    of_one = views.under_review(1, uuid, limit=10, after=nth(c, 3))
    assert of_one is not None
    assert len(of_one[0]) == 1
    assert views.under_review(1, uuid_of(world, later), limit=10, after=None) == ([], None)
    assert views.under_review(2, uuid, limit=10, after=None) is None
    listed = views.calls(1, uuid, state="scheduled", disposition=None, limit=10, after=None)
    assert listed is not None
    assert [item["under_review"] for item in listed[0]] == [False, True, True]
