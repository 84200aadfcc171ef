"""Events, written in the transaction of the changes they tell of: rows of `event`, numbered for each call from 1.

Nothing is written while nobody is to be told (no row in `sink`). What an event says about a call that was never told of
is preceded by its `call.scheduled`, so a sequence begins at 1 with it, whenever somebody began to listen. Nobody tells a
hundred thousand calls one by one in an acceptance or a cancellation: a row of `spread` stands for them, which
`scheduler.spread` works off.
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from dialer.core.changes import (
    AttemptAnswered,
    AttemptDialed,
    AttemptEnded,
    AttemptRetried,
    AttemptRinging,
    CallFinished,
    CampaignMoved,
    Change,
    RecallScheduled,
    TransferMoved,
)
from dialer.core.model import CallId, CampaignId, CampaignStatus, WallMs
from scheduler.connection import sqlite3

_STAGES: Final[Mapping[type, str]] = {
    AttemptDialed: "call.dialing",
    AttemptRinging: "call.ringing",
    AttemptAnswered: "call.answered",
}


@dataclass(frozen=True, slots=True)
class _Told:
    """What is known of a call while an attempt of it goes on. `sequence` None: it stands in the call's row."""

    number: int
    trunk: str
    caller_id: str
    sip_call_id: str
    sequence: int | None = None

    def detail(self) -> dict[str, Any]:
        return {
            "attempt": self.number,
            "trunk": self.trunk,
            "caller_id": self.caller_id,
            "sip_call_id": self.sip_call_id,
        }


@dataclass(frozen=True, slots=True)
class _Entry:
    campaign: CampaignId
    call: CallId | None
    type: str
    at: WallMs
    detail: dict[str, Any]


class Outbox:
    """The recording side of one store. Between transactions it remembers the attempts under way, nothing else."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._told: dict[CallId, _Told] = {}

    def recording(self) -> "Recording | None":
        """For one transaction, inside it; None while nobody is to be told."""
        if not is_wanted(self._connection):
            # What happens from now on is not followed, so what is remembered would be wrong later.
            self._told.clear()
            return None
        return Recording(self._connection, self._told)

    def committed(self, recording: "Recording") -> bool:
        """The transaction of `recording` is on disk. Whether it told anything."""
        self._told.update(recording.told)
        for call in recording.over:
            self._told.pop(call, None)
        return recording.wrote


class Recording:
    """What one transaction tells. Add its changes in their order, then `write`."""

    def __init__(self, connection: sqlite3.Connection, known: Mapping[CallId, _Told]) -> None:
        self._connection = connection
        self._known = known
        self._entries: list[_Entry] = []
        self.told: dict[CallId, _Told] = {}
        self.over: set[CallId] = set()
        self.wrote = False

    def add(self, changes: Iterable[Change]) -> None:
        """Take note of changes, none of which is written yet, while all before them are."""
        for change in changes:
            self._add(change)

    def _add(self, change: Change) -> None:
        match change:
            case AttemptRetried():
                before = self._of(change.call, change.number)
                sequence = None if before is None else before.sequence
                self.told[change.call] = _Told(
                    change.number, change.trunk, change.caller_id, change.sip_call_id, sequence
                )
            case AttemptDialed() | AttemptRinging() | AttemptAnswered():
                detail = self._attempt(change.call, change.number).detail()
                self._entries.append(_Entry(change.campaign, change.call, _STAGES[type(change)], change.at, detail))
            case TransferMoved():
                detail = self._attempt(change.call, change.number).detail()
                detail["transfer"] = json.loads(change.detail)
                self._entries.append(_Entry(change.campaign, change.call, f"call.{change.stage}", change.at, detail))
            case AttemptEnded():
                detail = self._attempt(change.call, change.number).detail()
                detail |= {
                    "disposition": change.disposition.value,
                    "reason": change.reason,
                    "sip_status": change.sip_status,
                    "q850_cause": change.q850,
                    "ended_by": change.ended_by,
                }
                self._entries.append(_Entry(change.campaign, change.call, "call.ended", change.at, detail))
                self.over.add(change.call)
            case RecallScheduled():
                self._scheduled(change)
            case CallFinished():
                detail = {"disposition": change.disposition.value, "reason": change.reason}
                self._entries.append(_Entry(change.campaign, change.call, "call.finished", change.at, detail))
                self.over.add(change.call)
            case _:
                pass

    def _scheduled(self, change: RecallScheduled) -> None:
        # It is decided when the attempt before it ends, which the same batch tells just before.
        at = self._entries[-1].at if self._entries and self._entries[-1].call == change.call else wall_ms()
        detail = {"attempt": change.number, "next_attempt_at": change.due_at}
        self._entries.append(_Entry(change.campaign, change.call, "call.recall_scheduled", WallMs(at), detail))

    def moved(self, change: CampaignMoved, before: CampaignStatus) -> None:
        """Take note of a campaign's new status."""
        status = change.status
        self.wrote = True
        if status is CampaignStatus.CANCELLED:
            self._connection.execute(
                "INSERT INTO spread (campaign_id, type, at, next_call)"
                " SELECT id, 'call.finished', ?, first_call FROM campaign WHERE id = ?",
                (change.at, change.campaign),
            )
        if before is CampaignStatus.PAUSED and status in {CampaignStatus.RUNNING, CampaignStatus.SCHEDULED}:
            word = "resumed"
        elif status is CampaignStatus.RUNNING:
            word = "started"
        else:
            word = status.value
        self._entries.append(_Entry(change.campaign, None, f"campaign.{word}", change.at, {"status": status.value}))

    def write(self) -> None:
        """Write the events. To be called when all rows of the transaction are written."""
        if not self._entries:
            return
        now = wall_ms()
        sequences = self._sequences(now)
        rows: list[tuple[object, ...]] = []
        for entry in self._entries:
            if entry.call is None:
                self._insert(rows)
                _tell_of_campaign(self._connection, entry.campaign, entry.type, entry.at, now, entry.detail)
                continue
            if entry.type == "call.ended":
                entry.detail.update(self._result(entry.call, entry.detail["attempt"]))
            sequences[entry.call] += 1
            detail = json.dumps(entry.detail, ensure_ascii=False, separators=(",", ":"))
            rows.append((entry.campaign, entry.call, sequences[entry.call], entry.type, entry.at, now, detail))
        self._insert(rows)
        self._connection.executemany(_COUNT, [(sequence, call) for call, sequence in sequences.items()])
        for call, sequence in sequences.items():
            known = self.told.get(call) or self._known.get(call)
            if known is not None:
                self.told[call] = replace(known, sequence=sequence)
        self.wrote = True

    def _result(self, call: CallId, number: int) -> dict[str, Any]:
        """What the attempt gathered, wrote and recorded; nothing where that is nothing."""
        row = self._connection.execute(_RESULT, (call, number)).fetchone()
        return {} if row is None else {"result": json.loads(row[0])}

    def _sequences(self, now: WallMs) -> dict[CallId, int]:
        """The sequences so far of all calls that are told of; those at 0 are told as scheduled first."""
        found: dict[CallId, int] = {}
        for entry in self._entries:
            if entry.call is None or entry.call in found:
                continue
            known = self.told.get(entry.call) or self._known.get(entry.call)
            sequence = None if known is None else known.sequence
            if sequence is None:
                (sequence,) = self._connection.execute("SELECT events FROM call WHERE id = ?", (entry.call,)).fetchone()
                if sequence == 0:
                    self._connection.execute(_SCHEDULED, {"call": entry.call, "now": now, "campaign": entry.campaign})
                    sequence = 1
            found[entry.call] = sequence
        return found

    def _insert(self, rows: list[tuple[object, ...]]) -> None:
        self._connection.executemany(_INSERT, rows)
        rows.clear()

    def _of(self, call: CallId, number: int) -> _Told | None:
        told = self.told.get(call) or self._known.get(call)
        return told if told is not None and told.number == number else None

    def _attempt(self, call: CallId, number: int) -> _Told:
        """The attempt as it was at this point of the changes; from its row where it began before anybody listened."""
        told = self._of(call, number)
        if told is None:
            row = self._connection.execute(_ATTEMPT, (call, number)).fetchone()
            if row is None:
                raise ValueError(f"call {call} has no attempt {number}")
            told = _Told(number, *row)
            self.told[call] = told
        return told


def is_wanted(connection: sqlite3.Connection) -> bool:
    """Whether anybody is to be told of anything."""
    return connection.execute("SELECT 1 FROM sink LIMIT 1").fetchone() is not None


def tell_acceptance(connection: sqlite3.Connection, campaign: CampaignId, now: int) -> None:
    """Tell of a campaign that becomes active in this transaction; its calls follow by `scheduler.spread`."""
    if not is_wanted(connection):
        return
    single, status = connection.execute("SELECT single, status FROM campaign WHERE id = ?", (campaign,)).fetchone()
    if not single:
        words = ["scheduled", "started"] if status == CampaignStatus.RUNNING else ["scheduled"]
        for word in words:
            told = CampaignStatus.RUNNING if word == "started" else CampaignStatus.SCHEDULED
            _tell_of_campaign(
                connection, campaign, f"campaign.{word}", WallMs(now), WallMs(now), {"status": told.value}
            )
    connection.execute(
        "INSERT INTO spread (campaign_id, type, at, next_call)"
        " SELECT id, 'call.scheduled', ?, first_call FROM campaign WHERE id = ?",
        (now, campaign),
    )


def _tell_of_campaign(
    connection: sqlite3.Connection,
    campaign: CampaignId,
    kind: str,
    at: WallMs,
    now: WallMs,
    detail: Mapping[str, Any],
) -> None:
    """One event of a campaign, with its counts as they are now. A single call's campaign is nobody's concern."""
    row = connection.execute(_CAMPAIGN, (campaign,)).fetchone()
    if row is None:
        return
    sequence, launch_at, size, live, finished, total = row
    outcomes = connection.execute(
        "SELECT disposition, calls FROM outcome WHERE campaign_id = ? AND calls > 0 ORDER BY disposition", (campaign,)
    )
    text = json.dumps(
        {
            **detail,
            "launch_at": launch_at,
            "total_contacts": total,
            "calls": {"scheduled": size - live - finished, "live": live, "finished": finished},
            "dispositions": dict(outcomes.fetchall()),
        },
        separators=(",", ":"),
    )
    written = connection.execute(_INSERT, (campaign, None, sequence + 1, kind, at, now, text))
    connection.execute(
        "UPDATE campaign SET events = ?, last_event = ? WHERE id = ?", (sequence + 1, written.lastrowid, campaign)
    )


def wall_ms() -> WallMs:
    """Unix time in milliseconds."""
    return WallMs(time.time_ns() // 1_000_000)


_INSERT: Final = """
INSERT INTO event (campaign_id, call_id, sequence, type, at, recorded_at, detail) VALUES (?, ?, ?, ?, ?, ?, ?)"""
_RESULT: Final = """
SELECT result FROM step WHERE call_id = ? AND number = ? AND result IS NOT NULL ORDER BY position DESC LIMIT 1"""
_COUNT: Final = "UPDATE call SET events = ? WHERE id = ?"
_ATTEMPT: Final = "SELECT trunk, caller_id, sip_call_id FROM attempt WHERE call_id = ? AND number = ?"
_CAMPAIGN: Final = """
SELECT events, launch_at, size, live, finished, total_contacts FROM campaign_now WHERE id = ? AND single = 0"""
# A first attempt's due time is computed, as everywhere.
_SCHEDULED: Final = """
INSERT INTO event (campaign_id, call_id, sequence, type, at, recorded_at, detail)
SELECT id, :call, 1, 'call.scheduled', created_at, :now,
       json_object('attempt', 1, 'next_attempt_at', launch_at + clock_shift_ms + (:call - first_call) * stagger_ms)
FROM campaign WHERE id = :campaign"""
