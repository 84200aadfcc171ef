"""What the log says of a call: one line an attempt, all of its way with the level debug."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from dialer.call_log import CallLog
from dialer.core.changes import (
    AttemptAnswered,
    AttemptArmed,
    AttemptDialed,
    AttemptEnded,
    AttemptRetried,
    AttemptRinging,
    CallFinished,
    CallSnoozed,
    CampaignMoved,
    Change,
    RecallScheduled,
    StepTaken,
)
from dialer.core.model import CallId, CampaignId, CampaignStatus, Disposition, WallMs
from dialer.ports import StoreUnavailable

A, B = CallId(7), CallId(8)
C, SINGLE, UNREADABLE = CampaignId(1), CampaignId(2), CampaignId(3)
ARMED = AttemptArmed(A, C, 1, WallMs(1000), WallMs(1000), "pbx", "", "x-1", "+34600000001")
BUSY = AttemptEnded(A, C, 1, WallMs(4000), Disposition.BUSY, "Busy Here", 486, 17, "far")
ON_THE_WAY: list[Change] = [
    ARMED,
    AttemptRetried(A, 1, WallMs(1500), "other", "", "x-1.2", "technical retry"),
    AttemptDialed(A, C, 1, WallMs(1600), "{}"),
    AttemptRinging(A, C, 1, WallMs(2000), "{}"),
    AttemptAnswered(A, C, 1, WallMs(2500), "{}"),
    StepTaken(A, C, 1, WallMs(3000), 1, '{"digits": "4711"}'),
]


@pytest.fixture
def capture() -> Iterator[LogCapture]:
    capture = LogCapture()
    yield capture
    structlog.reset_defaults()
    logging.getLogger("dialer").setLevel(logging.NOTSET)


def told(capture: LogCapture, level: int, *changes: Change, accepted: CampaignId | None = None) -> list[dict[str, Any]]:
    structlog.configure(processors=[capture])
    logging.getLogger("dialer").setLevel(level)

    def campaign(number: CampaignId) -> str | None:
        if number == UNREADABLE:
            raise StoreUnavailable("I/O error")
        return {C: "the-campaign"}.get(number)

    calls = CallLog(lambda call: f"call-{call}", campaign)
    if accepted is not None:
        calls.accepted(accepted)
    calls.stored(changes)
    return [dict(entry) for entry in capture.entries]


def test_an_attempt_is_one_line_that_says_what_follows(capture: LogCapture) -> None:
    recall = RecallScheduled(A, C, 2, WallMs(1_800_000))
    assert told(capture, logging.INFO, *ON_THE_WAY, BUSY, recall) == [
        {
            "event": "attempt ended",
            "log_level": "info",
            "call": "call-7",
            "campaign": "the-campaign",
            "attempt": 1,
            "phone": "+34600000001",
            "trunk": "other",
            "disposition": "busy",
            "reason": "Busy Here",
            "ended_by": "far",
            "sip_status": 486,
            "q850_cause": 17,
            "talk_seconds": 1.5,
            "state": "scheduled",
            "next_attempt_at": "1970-01-01T00:30:00.000Z",
        }
    ]


def test_the_last_attempt_says_that_the_call_is_finished_and_why_where_it_is_not_the_attempts_own_reason(
    capture: LogCapture,
) -> None:
    finished = CallFinished(A, C, WallMs(4000), Disposition.BUSY, "Busy Here", attempted=True)
    expired = CallFinished(A, C, WallMs(4000), Disposition.EXPIRED, "too late for a recall", attempted=True)
    first, second = told(capture, logging.INFO, BUSY, finished, BUSY, expired)
    assert (first["state"], "call_reason" in first, "phone" in first) == ("finished", False, False)
    assert (second["state"], second["call_reason"]) == ("finished", "too late for a recall")


def test_a_call_that_was_never_tried_is_told_of_too(capture: LogCapture) -> None:
    (line,) = told(
        capture,
        logging.INFO,
        CallFinished(
            B, SINGLE, WallMs(1), Disposition.SUPPRESSED, "the number is on a do-not-call list", attempted=False
        ),
    )
    assert (line["event"], line["call"], line["disposition"]) == ("call finished", "call-8", "suppressed")
    assert "campaign" not in line


def test_with_debug_the_whole_way_can_be_followed_but_not_what_was_said(capture: LogCapture) -> None:
    snoozed = CallSnoozed(B, C, 1, WallMs(5000), "the number is in another call")
    entries = told(capture, logging.DEBUG, *ON_THE_WAY, BUSY, RecallScheduled(A, C, 2, WallMs(9000)), snoozed)
    assert [(entry["event"], entry["call"]) for entry in entries] == [
        ("technical retry", "call-7"),
        ("dialing", "call-7"),
        ("ringing", "call-7"),
        ("answered", "call-7"),
        ("attempt ended", "call-7"),
        ("put off", "call-8"),
    ]
    assert entries[1]["trunk"] == "other"
    assert "4711" not in str(entries)


def test_campaigns_are_told_of_single_calls_are_not_ones(capture: LogCapture) -> None:
    moves = [CampaignMoved(one, WallMs(1), CampaignStatus.RUNNING) for one in (C, SINGLE)]
    assert told(capture, logging.INFO, *moves, accepted=C) == [
        {"event": event, "log_level": "info", "campaign": "the-campaign"}
        for event in ("campaign accepted", "campaign is running")
    ]


def test_a_disk_that_refuses_costs_lines_and_no_more(capture: LogCapture) -> None:
    unreadable = CampaignMoved(UNREADABLE, WallMs(1), CampaignStatus.RUNNING)
    readable = CampaignMoved(C, WallMs(1), CampaignStatus.COMPLETED)
    assert [entry["event"] for entry in told(capture, logging.INFO, unreadable, readable)] == ["campaign is completed"]


def test_with_a_higher_level_nothing_is_even_looked_up(capture: LogCapture) -> None:
    assert told(capture, logging.WARNING, *ON_THE_WAY, BUSY) == []
