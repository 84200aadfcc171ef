"""One transaction's changes as SQL: rows of the same kind go to SQLite together, campaigns are counted as they go.

Statements of one kind are executed by one `executemany`. Kinds are written in the order of a call's life (armed,
dialed, .. finished), which is the order given for calls that go through it once; where a batch says something about a
call that comes earlier in that order than what it said before, all that was gathered is written first. So order is
kept for each call, which is all that rows of different calls need of it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from dialer.core.changes import (
    AttemptAnswered,
    AttemptArmed,
    AttemptDialed,
    AttemptEnded,
    AttemptRetried,
    AttemptRinging,
    AttemptWithdrawn,
    CallFinished,
    CallSnoozed,
    CampaignMoved,
    Change,
    ContactWritten,
    RecallScheduled,
    StepTaken,
)
from dialer.core.model import CallId, CampaignId, CampaignStatus
from scheduler.connection import sqlite3
from scheduler.outbox import Recording
from scheduler.progress import Progress

_LIFE: Final = (
    AttemptArmed,
    AttemptRetried,
    AttemptDialed,
    AttemptRinging,
    AttemptAnswered,
    StepTaken,
    ContactWritten,
    AttemptWithdrawn,
    AttemptEnded,
    RecallScheduled,
    CallSnoozed,
    CallFinished,
)
_STEP: Final[dict[type, int]] = {kind: step for step, kind in enumerate(_LIFE)}
_TIMED: Final = frozenset({RecallScheduled, CallSnoozed})


class Batch:
    """Use inside one transaction: `add` each change, then `finish`. `recording` is told all of them, where there is one.

    Raises ValueError for a change that cannot follow.
    """

    def __init__(self, connection: sqlite3.Connection, recording: Recording | None = None) -> None:
        self._connection = connection
        self._recording = recording
        self._gathered: list[list[Any]] = [[] for _ in _LIFE]
        self._reached: dict[CallId, int] = {}
        self._unsettled: set[CallId] = set()
        self._timed: set[CallId] = set()
        self.campaigns: dict[CampaignId, Progress] = {}

    def add(self, change: Change) -> None:
        """Count the change now, and write it now or with others of its kind."""
        if isinstance(change, CampaignMoved):
            progress = self._progress(change.campaign)
            before = progress.status
            progress.take(change)
            if self._recording is not None and progress.status is not before:
                self._recording.moved(change, before)
            return
        if self._recording is not None:
            self._recording.add(change)
        if not isinstance(change, AttemptRetried | AttemptWithdrawn | StepTaken | ContactWritten):
            self._progress(change.campaign).take(change)
        call, kind = change.call, type(change)
        if kind is AttemptEnded:
            self._unsettled.add(call)
        elif self._unsettled:
            self._unsettled.discard(call)
        if kind in _TIMED:
            self._timed.add(call)
        step = _STEP[kind]
        if step < self._reached.get(call, 0):
            self._write()
        self._reached[call] = step
        self._gathered[step].append(change)

    def finish(self) -> None:
        """Write what is left, and the campaigns' counts.

        Raises ValueError when an attempt ended and nothing says what becomes of its call: after a crash nobody would
        know.
        """
        if self._unsettled:
            raise ValueError(f"call {min(self._unsettled)}: its attempt ended without a recall, snooze or final state")
        self._write()
        for progress in self.campaigns.values():
            if progress.claims:
                progress.settle(self._unfinished_of(progress.first_call))
            self._write_progress(progress)
        if self._recording is not None:
            self._recording.write()

    def _progress(self, campaign: CampaignId) -> Progress:
        progress = self.campaigns.get(campaign)
        if progress is None:
            row = self._connection.execute(_READ_PROGRESS, (campaign,)).fetchone()
            if row is None:
                raise ValueError(f"there is no campaign {campaign}")
            status, *counts = row
            progress = Progress(campaign, CampaignStatus(status), *counts)
            self.campaigns[campaign] = progress
        return progress

    def _write(self) -> None:
        for kind, changes in zip(_LIFE, self._gathered, strict=True):
            if changes:
                _WRITE[kind](self, changes)
                changes.clear()
        self._reached.clear()

    def _unfinished_of(self, first: CallId) -> Callable[[int, int], int]:
        def unfinished(start: int, stop: int) -> int:
            row = self._connection.execute(_UNFINISHED, (first + start, first + stop)).fetchone()
            return int(row[0])

        return unfinished

    def _write_progress(self, p: Progress) -> None:
        counts = (p.cursor, p.live, p.finished, p.attempts, p.last_first_attempt_at, p.id)
        self._connection.execute(_COUNTS, counts)
        if p.moved:
            # Apart from the counts: naming `status` in an UPDATE makes SQLite rewrite the index of active campaigns.
            self._connection.execute(_STATUS, (p.status, p.ended_at, p.id))
        outcomes = [(p.id, disposition, n) for disposition, n in p.outcomes.items() if n]
        if outcomes:
            self._connection.executemany(_OUTCOME, outcomes)

    def _each(self, sql: str, rows: Sequence[tuple[Any, ...]], refusal: str) -> None:
        """Execute once for each row, every one of which must change exactly one row of the database."""
        changed = self._connection.executemany(sql, rows).rowcount
        if changed != len(rows):
            raise ValueError(f"{refusal} ({len(rows) - changed} of {len(rows)} changes of this kind)")

    def _drop_timers(self, calls: Iterable[CallId]) -> None:
        rows = [(call, call) for call in calls]
        if rows:
            self._connection.executemany(_DROP_TIMER, rows)

    def _armed(self, changes: list[AttemptArmed]) -> None:
        # Most first attempts never had a timer; one that was snoozed before has its campaign's cursor behind it.
        timed = self._timed
        self._drop_timers(
            c.call for c in changes if c.number > 1 or c.call in timed or self.campaigns[c.campaign].claimed(c.call)
        )
        out_of_turn = "an attempt was armed out of turn, or for a call that is finished or unknown"
        # The calls of a campaign fall due one after the other: neighbours begin by one statement.
        runs = _runs(sorted(c.call for c in changes if c.number == 1))
        begun = sum(self._connection.execute(_BEGIN_RUN, run).rowcount for run in runs)
        later = [(c.number, c.call, c.number) for c in changes if c.number > 1]
        if begun + len(later) != len(changes):
            raise ValueError(out_of_turn)
        if later:
            self._each(_BEGIN_LATER, later, out_of_turn)
        self._connection.executemany(
            "INSERT INTO attempt (call_id, number, due_at, fire_at, trunk, caller_id, sip_call_id)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(c.call, c.number, c.due_at, c.fire_at, c.trunk, c.caller_id, c.sip_call_id) for c in changes],
        )

    def _retried(self, changes: list[AttemptRetried]) -> None:
        self._each(
            # A clock that was set back since must not make the schedule look early (CHECK fire_at >= due_at).
            "UPDATE attempt SET invites = invites + 1, fire_at = max(due_at, ?), trunk = ?, caller_id = ?,"
            " sip_call_id = ?, reason = ?, dialog = NULL WHERE call_id = ? AND number = ? AND ended_at IS NULL",
            [(c.fire_at, c.trunk, c.caller_id, c.sip_call_id, c.reason, c.call, c.number) for c in changes],
            "a technical retry without an open attempt",
        )

    def _dialed(self, changes: list[AttemptDialed]) -> None:
        self._stamp("dialed_at", changes)
        # The first INVITE that ever left, were it that of a later attempt: recalls count from it.
        first = [(c.at, c.call) for c in changes]
        self._connection.executemany(
            "UPDATE call SET first_dialed_at = ? WHERE id = ? AND first_dialed_at IS NULL", first
        )

    def _ringing(self, changes: list[AttemptRinging]) -> None:
        self._stamp("ringing_at", changes)

    def _answered(self, changes: list[AttemptAnswered]) -> None:
        self._stamp("answered_at", changes)

    def _stamp(self, column: str, changes: Sequence[AttemptDialed | AttemptRinging | AttemptAnswered]) -> None:
        self._each(
            f"UPDATE attempt SET {column} = coalesce({column}, ?), dialog = ?"  # noqa: S608 - column is ours
            " WHERE call_id = ? AND number = ? AND ended_at IS NULL",
            [(c.at, c.dialog, c.call, c.number) for c in changes],
            f"{column} without an open attempt",
        )

    def _withdrawn(self, changes: list[AttemptWithdrawn]) -> None:
        self._each(
            "UPDATE attempt SET withdrawn = 1 WHERE call_id = ? AND number = ? AND ended_at IS NULL",
            [(c.call, c.number) for c in changes],
            "a withdrawal without an open attempt",
        )

    def _step_taken(self, changes: list[StepTaken]) -> None:
        self._each(
            "INSERT INTO step (call_id, number, position, line, result) SELECT call_id, number, ?, ?, ? FROM attempt"
            " WHERE call_id = ? AND number = ? AND ended_at IS NULL",
            [(c.position, c.line, c.result, c.call, c.number) for c in changes],
            "a step without an open attempt",
        )

    def _contact_written(self, changes: list[ContactWritten]) -> None:
        # A contact that was erased meanwhile stays erased.
        self._connection.executemany(
            "UPDATE contact SET fields = json_patch(fields, json_object('custom_fields', json(?))), updated_at = ?"
            " WHERE account_id = (SELECT account_id FROM campaign WHERE id = ?) AND phone = ?",
            [(c.custom_fields, c.at, c.campaign, c.phone) for c in changes],
        )

    def _ended(self, changes: list[AttemptEnded]) -> None:
        self._each(
            "UPDATE attempt SET ended_at = ?, disposition = ?, reason = ?, sip_status = ?, q850_cause = ?,"
            " ended_by = ?, rtp = ? WHERE call_id = ? AND number = ? AND ended_at IS NULL",
            [
                (c.at, c.disposition, c.reason, c.sip_status, c.q850, c.ended_by, c.rtp, c.call, c.number)
                for c in changes
            ],
            "an end without an open attempt",
        )
        self._connection.executemany(
            "UPDATE call SET disposition = ?, reason = ? WHERE id = ?",
            [(c.disposition, c.reason, c.call) for c in changes],
        )

    def _recalled(self, changes: list[RecallScheduled]) -> None:
        self._drop_timers(c.call for c in changes)
        self._each(
            "UPDATE call SET next_at = ? WHERE id = ? AND finished_at IS NULL",
            [(c.due_at, c.call) for c in changes],
            "a recall of a call that is finished or unknown",
        )
        self._connection.executemany(_PUT_TIMER, [(c.due_at, c.call) for c in changes])

    def _snoozed(self, changes: list[CallSnoozed]) -> None:
        self._drop_timers(c.call for c in changes)
        self._each(
            "UPDATE call SET next_at = ?, reason = ? WHERE id = ? AND finished_at IS NULL",
            [(c.due_at, c.reason, c.call) for c in changes],
            "a snooze of a call that is finished or unknown",
        )
        self._connection.executemany(_PUT_TIMER, [(c.due_at, c.call) for c in changes])

    def _finished(self, changes: list[CallFinished]) -> None:
        self._drop_timers(c.call for c in changes)
        self._each(
            "UPDATE call SET disposition = ?, reason = ?, finished_at = ?, next_at = NULL"
            " WHERE id = ? AND finished_at IS NULL",
            [(c.disposition, c.reason, c.at, c.call) for c in changes],
            "a final state for a call that has one or is unknown",
        )


def _runs(calls: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as (first, last) of each stretch without a gap. A number that is there twice begins a new one."""
    first = last = None
    for call in calls:
        if first is None or last is None:
            first = call
        elif call != last + 1:
            yield first, last
            first = call
        last = call
    if first is not None and last is not None:
        yield first, last


_BEGIN_RUN: Final = """
UPDATE call SET attempts = 1, next_at = NULL WHERE id BETWEEN ? AND ? AND attempts = 0 AND finished_at IS NULL"""
_BEGIN_LATER: Final = """
UPDATE call SET attempts = ?, next_at = NULL WHERE id = ? AND attempts = ? - 1 AND finished_at IS NULL"""
_READ_PROGRESS: Final = """
SELECT status, first_call, size, cursor, live, finished, attempts, last_first_attempt_at, ended_at
FROM campaign WHERE id = ? AND status <> 'loading'
"""
_UNFINISHED: Final = "SELECT count(*) FROM call WHERE id >= ? AND id < ? AND finished_at IS NULL"
_COUNTS: Final = """
UPDATE campaign SET cursor = ?, live = ?, finished = ?, attempts = ?, last_first_attempt_at = ? WHERE id = ?
"""
_STATUS: Final = "UPDATE campaign SET status = ?, ended_at = ? WHERE id = ?"
_OUTCOME: Final = """
INSERT INTO outcome (campaign_id, disposition, calls) VALUES (?, ?, ?)
ON CONFLICT (campaign_id, disposition) DO UPDATE SET calls = calls + excluded.calls
"""
# The timer's key begins with the due time, which the call's row knows.
_DROP_TIMER: Final = "DELETE FROM timer WHERE call_id = ? AND due_at = (SELECT next_at FROM call WHERE id = ?)"
_PUT_TIMER: Final = "INSERT INTO timer (due_at, call_id) VALUES (?, ?)"

_WRITE: Final[dict[type, Callable[[Batch, Any], None]]] = {
    AttemptArmed: Batch._armed,
    AttemptRetried: Batch._retried,
    AttemptDialed: Batch._dialed,
    AttemptRinging: Batch._ringing,
    AttemptAnswered: Batch._answered,
    AttemptWithdrawn: Batch._withdrawn,
    StepTaken: Batch._step_taken,
    ContactWritten: Batch._contact_written,
    AttemptEnded: Batch._ended,
    RecallScheduled: Batch._recalled,
    CallSnoozed: Batch._snoozed,
    CallFinished: Batch._finished,
}
