"""One transaction's changes as SQL: rows of the same kind go to SQLite together, campaigns are counted as they go.

An attempt begins as one row of `open_attempt` and nothing else: its commit is what an INVITE waits for. Its end moves it to
`ended_attempt` and settles the call's and the campaign's counts. In between both are counted together (`campaign_now`).

Changes of one kind are written by one `executemany`. Kinds are written in the order of a call's life (dialed, .. finished),
which is the order given for calls that go through it once; where a batch says something about a call that comes earlier in
that order than what it said before, all that was gathered is written first. So order is kept for each call, which is all
that rows of different calls need of it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from dialer.core.changes import (
    AgentArmed,
    AgentEnded,
    AgentMoved,
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
    LegStage,
    RecallScheduled,
    StepTaken,
    TransferMoved,
)
from dialer.core.model import CallId, CampaignId, CampaignStatus
from scheduler.connection import sqlite3
from scheduler.outbox import Outbox, Recording
from scheduler.progress import Progress
from scheduler.review import any_under_review, leave, leave_all, under_review

_LIFE: Final = (
    AttemptRetried,
    AttemptDialed,
    AttemptRinging,
    AttemptAnswered,
    AgentArmed,
    AgentMoved,
    AgentEnded,
    StepTaken,
    ContactWritten,
    AttemptWithdrawn,
    AttemptEnded,
    RecallScheduled,
    CallSnoozed,
    CallFinished,
)
_STEP: Final[dict[type, int]] = {kind: step for step, kind in enumerate(_LIFE)}


class Batch:
    """Use inside one transaction, with its cursor: `write` all changes, once.

    `known` are campaigns as the transactions before left them. It changes them, so that a caller whose transaction fails
    must forget them all. Afterwards `campaigns` holds those whose counts or status the changes concern, `timed` the changes
    that concern timers, in the order of each call, and `recording` what is told of them (None: nothing, or nobody listens).
    """

    def __init__(self, cursor: sqlite3.Cursor, outbox: Outbox, known: Mapping[CampaignId, Progress]) -> None:
        self._cursor = cursor
        self._known = known
        self._outbox = outbox
        self._looked = False
        self._reviewing: bool | None = None
        self._gathered: dict[int, list[Any]] = {}
        self._reached: dict[CallId, int] = {}
        self._unsettled: set[CallId] = set()
        self.campaigns: dict[CampaignId, Progress] = {}
        self.timed: list[AttemptArmed | RecallScheduled | CallSnoozed | CallFinished | CampaignMoved] = []
        self.recording: Recording | None = None

    def write(self, changes: Sequence[Change]) -> None:
        """Write the changes, then what they did to the campaigns.

        Raises ValueError for a change that cannot follow what is stored, and when an attempt ended and nothing says what
        becomes of its call: after a crash nobody would know.
        """
        for kind, run in groupby(changes, type):
            alike: list[Any] = list(run)
            if kind is AttemptArmed:
                self._write_gathered()
                # Nothing is told of it until its INVITE has left: who listens is not even looked for.
                self._armed(alike)
            elif kind is CampaignMoved:
                self._write_gathered()
                self._look_who_listens()
                self._moved(alike)
            else:
                self._look_who_listens()
                if self.recording is not None:
                    self.recording.add(alike)
                if kind is not TransferMoved:  # it is told, and that is all
                    self._gather(_STEP[kind], alike)
        self._write_gathered()
        if self._unsettled:
            raise ValueError(f"call {min(self._unsettled)}: its attempt ended without a recall, snooze or final state")
        for progress in self.campaigns.values():
            progress.settle(self._unfinished)
            if progress.changed or progress.moved:
                self._write_progress(progress)
        if self.recording is not None:
            self.recording.write()

    def _look_who_listens(self) -> None:
        if not self._looked:
            self._looked = True
            self.recording = self._outbox.recording()

    def _gather(self, step: int, changes: list[Any]) -> None:
        for change in changes:
            if step < self._reached.get(change.call, 0):
                self._write_gathered()
            self._reached[change.call] = step
            self._gathered.setdefault(step, []).append(change)

    def _write_gathered(self) -> None:
        for step in sorted(self._gathered):
            _WRITE[_LIFE[step]](self, self._gathered[step])
        self._gathered.clear()
        self._reached.clear()

    def _progress(self, campaign: CampaignId) -> Progress:
        progress = self.campaigns.get(campaign)
        if progress is None:
            progress = self._known.get(campaign) or self._read(campaign)
            self.campaigns[campaign] = progress
        return progress

    def _read(self, campaign: CampaignId) -> Progress:
        row = self._cursor.execute(_READ_PROGRESS, (campaign,)).fetchone()
        if row is None:
            raise ValueError(f"there is no campaign {campaign}")
        status, *counts = row
        return Progress(campaign, CampaignStatus(status), *counts)

    def _unfinished(self, start: int, stop: int) -> int:
        row = self._cursor.execute(_UNFINISHED, (start, stop)).fetchone()
        return int(row[0])

    def _write_progress(self, p: Progress) -> None:
        if p.changed:
            self._cursor.execute(_COUNTS, (p.cursor, p.finished, p.attempts, p.first_at, p.id))
            self._cursor.executemany(_OUTCOME, [(p.id, disposition, n) for disposition, n in p.outcomes.items() if n])
        if p.moved:
            # Apart from the counts: naming `status` in an UPDATE makes SQLite rewrite the index of active campaigns.
            self._cursor.execute(_STATUS, (p.status, p.ended_at, p.id))
        p.written()

    def _each(self, sql: str, rows: Sequence[tuple[Any, ...]], refusal: str) -> None:
        """Execute once for each row, every one of which must change exactly one row of the database."""
        changed = self._cursor.executemany(sql, rows).rowcount
        if changed != len(rows):
            raise ValueError(f"{refusal} ({len(rows) - changed} of {len(rows)} changes of this kind)")

    def _drop_timers(self, calls: Iterable[CallId]) -> None:
        self._cursor.executemany(_DROP_TIMER, [(call, call) for call in calls])

    def _moved(self, changes: list[CampaignMoved]) -> None:
        for change in changes:
            progress = self._progress(change.campaign)
            before = progress.status
            live = 0
            if change.status is CampaignStatus.CANCELLED:
                first, size = progress.first_call, progress.size
                (live,) = self._cursor.execute(_LIVE, (first, first + size - 1)).fetchone()
            progress.move(change, live)
            if change.status is CampaignStatus.CANCELLED and self._some_are_under_review():
                leave_all(self._cursor, progress.first_call, progress.size)
            if progress.status is not before:
                self.timed.append(change)
                if self.recording is not None:
                    self.recording.moved(change, before)

    def _some_are_under_review(self) -> bool:
        if self._reviewing is None:
            self._reviewing = any_under_review(self._cursor)
        return self._reviewing

    def _armed(self, changes: list[AttemptArmed]) -> None:
        out_of_turn = "an attempt was armed out of turn, or for a call that is finished or unknown"
        fresh: list[CallId] = []
        again: list[AttemptArmed] = []
        for campaign, run in groupby(changes, attrgetter("campaign")):
            first_time, put_off_before = self._progress(campaign).arm(run)
            fresh += first_time
            again += put_off_before
        # The calls of a campaign fall due one after the other: neighbours are looked at by one statement.
        fresh.sort()
        for stretch in _runs(fresh):
            (found,) = self._cursor.execute(_FRESH, stretch).fetchone()
            if found != stretch[1] - stretch[0] + 1:
                raise ValueError(out_of_turn)
        if again:
            # One that is under review has the cursor behind it: those that begin for the first time need no look.
            if self._some_are_under_review() and any(under_review(self._cursor, c.call, c.call, 1) for c in again):
                raise ValueError("an attempt of a call that is under review")
            self._drop_timers(change.call for change in again)
            self._each(_BEGIN_AGAIN, [(change.call, change.number) for change in again], out_of_turn)
            self.timed += again
        self._cursor.executemany(_ARM, map(_ARMED_ROW, changes))

    def _retried(self, changes: list[AttemptRetried]) -> None:
        self._each(
            # A clock that was set back since must not make the schedule look early.
            "UPDATE open_attempt SET invites = invites + 1, retry_at = max(due_at, ?), trunk = ?, caller_id = ?,"
            " sip_call_id = ?, reason = ?, dialog = NULL WHERE call_id = ? AND number = ?",
            [(c.fire_at, c.trunk, c.caller_id, c.sip_call_id, c.reason, c.call, c.number) for c in changes],
            "a technical retry without an open attempt",
        )

    def _dialed(self, changes: list[AttemptDialed]) -> None:
        self._stamp("dialed_at", changes)
        # The first INVITE that ever left, were it that of a later attempt: recalls count from it.
        first = [(c.at, c.call) for c in changes]
        self._cursor.executemany("UPDATE call SET first_dialed_at = ? WHERE id = ? AND first_dialed_at IS NULL", first)

    def _ringing(self, changes: list[AttemptRinging]) -> None:
        self._stamp("ringing_at", changes)

    def _answered(self, changes: list[AttemptAnswered]) -> None:
        self._stamp("answered_at", changes)

    def _stamp(self, column: str, changes: Sequence[AttemptDialed | AttemptRinging | AttemptAnswered]) -> None:
        self._each(
            f"UPDATE open_attempt SET {column} = coalesce({column}, ?), dialog = ?"  # noqa: S608 - column is ours
            " WHERE call_id = ? AND number = ?",
            [(c.at, c.dialog, c.call, c.number) for c in changes],
            f"{column} without an open attempt",
        )

    def _withdrawn(self, changes: list[AttemptWithdrawn]) -> None:
        self._each(
            "UPDATE open_attempt SET withdrawn = 1 WHERE call_id = ? AND number = ?",
            [(c.call, c.number) for c in changes],
            "a withdrawal without an open attempt",
        )

    def _step_taken(self, changes: list[StepTaken]) -> None:
        self._each(
            "INSERT INTO step (call_id, number, position, line, result)"
            " SELECT call_id, number, ?, ?, ? FROM open_attempt WHERE call_id = ? AND number = ?",
            [(c.position, c.line, c.result, c.call, c.number) for c in changes],
            "a step without an open attempt",
        )

    def _agent_armed(self, changes: list[AgentArmed]) -> None:
        self._each(
            "INSERT INTO agent_leg (call_id, number, position, fire_at, until, agent, trunk, caller_id, sip_call_id)"
            " SELECT call_id, number, ?, ?, ?, ?, ?, ?, ? FROM open_attempt WHERE call_id = ? AND number = ?",
            [
                (c.position, c.fire_at, c.until, c.agent, c.trunk, c.caller_id, c.sip_call_id, c.call, c.number)
                for c in changes
            ],
            "a leg to an agent without an open attempt",
        )

    def _agent_moved(self, changes: list[AgentMoved]) -> None:
        for stage in LegStage:
            rows = [(c.at, c.dialog, c.call, c.number, c.position) for c in changes if c.stage is stage]
            self._each(
                f"UPDATE agent_leg SET {stage}_at = coalesce({stage}_at, ?), dialog = ?"  # noqa: S608 - stages are ours
                " WHERE call_id = ? AND number = ? AND position = ? AND ended_at IS NULL",
                rows,
                f"{stage}_at without an open leg to an agent of the attempt",
            )

    def _agent_ended(self, changes: list[AgentEnded]) -> None:
        self._each(
            "UPDATE agent_leg SET ended_at = ?, disposition = ?, reason = ?, sip_status = ?, q850_cause = ?,"
            " ended_by = ? WHERE call_id = ? AND number = ? AND position = ? AND ended_at IS NULL",
            [
                (c.at, c.disposition, c.reason, c.sip_status, c.q850, c.ended_by, c.call, c.number, c.position)
                for c in changes
            ],
            "an end of a leg to an agent that the attempt does not have open",
        )

    def _contact_written(self, changes: list[ContactWritten]) -> None:
        # A contact that was erased meanwhile stays erased.
        self._cursor.executemany(
            "UPDATE contact SET fields = json_patch(fields, json_object('custom_fields', json(?))), updated_at = ?"
            " WHERE account_id = (SELECT account_id FROM campaign WHERE id = ?) AND phone = ?",
            [(c.custom_fields, c.at, c.campaign, c.phone) for c in changes],
        )

    def _ended(self, changes: list[AttemptEnded]) -> None:
        for c in changes:
            # Before its row goes: until then it may be all that tells how far the campaign has come.
            self._progress(c.campaign).end(c)
            self._unsettled.add(c.call)
        self._each(
            _KEEP_ENDED,
            [
                (c.at, c.disposition, c.reason, c.sip_status, c.q850, c.ended_by, c.rtp, c.call, c.number)
                for c in changes
            ],
            "an end without an open attempt",
        )
        self._cursor.executemany("DELETE FROM open_attempt WHERE call_id = ?", [(c.call,) for c in changes])
        self._cursor.executemany(
            "UPDATE call SET attempts = ?, disposition = ?, reason = ? WHERE id = ?",
            [(c.number, c.disposition, c.reason, c.call) for c in changes],
        )

    def _recalled(self, changes: list[RecallScheduled]) -> None:
        self._put_off(changes)
        self._each(
            _RECALL,
            [(c.due_at, c.call) for c in changes],
            "a recall of a call that is finished, live or unknown",
        )

    def _snoozed(self, changes: list[CallSnoozed]) -> None:
        self._put_off(changes)
        if self._some_are_under_review():
            leave(self._cursor, (change.call for change in changes))
        self._each(
            _SNOOZE,
            [(c.due_at, c.reason, c.call) for c in changes],
            "a snooze of a call that is finished, live or unknown",
        )

    def _put_off(self, changes: Sequence[RecallScheduled | CallSnoozed]) -> None:
        for change in changes:
            self._progress(change.campaign).wait(change)
            self._unsettled.discard(change.call)
        self.timed += changes
        self._drop_timers(change.call for change in changes)
        self._cursor.executemany(_PUT_TIMER, [(change.due_at, change.call) for change in changes])

    def _finished(self, changes: list[CallFinished]) -> None:
        for change in changes:
            self._progress(change.campaign).finish(change, was_live=change.call in self._unsettled)
            self._unsettled.discard(change.call)
        self.timed += changes
        self._drop_timers(change.call for change in changes)
        if self._some_are_under_review():
            leave(self._cursor, (change.call for change in changes))
        self._each(
            _FINISH,
            [(c.disposition, c.reason, c.at, c.call) for c in changes],
            "a final state for a call that has one, is live or is unknown",
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


_READ_PROGRESS: Final = """
SELECT status, first_call, size, cursor, finished, settled_attempts, last_first_attempt_at, ended_at
FROM campaign_now WHERE id = ? AND status <> 'loading'
"""
_LIVE: Final = "SELECT count(*) FROM open_attempt WHERE call_id BETWEEN ? AND ?"
_UNFINISHED: Final = "SELECT count(*) FROM call WHERE id >= ? AND id < ? AND finished_at IS NULL"
_COUNTS: Final = """
UPDATE campaign SET settled_cursor = ?, finished = ?, settled_attempts = ?, settled_first_at = ? WHERE id = ?
"""
_STATUS: Final = "UPDATE campaign SET status = ?, ended_at = ? WHERE id = ?"
_OUTCOME: Final = """
INSERT INTO outcome (campaign_id, disposition, calls) VALUES (?, ?, ?)
ON CONFLICT (campaign_id, disposition) DO UPDATE SET calls = calls + excluded.calls
"""
_FRESH: Final = "SELECT count(*) FROM call WHERE id BETWEEN ? AND ? AND attempts = 0 AND finished_at IS NULL"
_BEGIN_AGAIN: Final = "UPDATE call SET next_at = NULL WHERE id = ? AND attempts = ? - 1 AND finished_at IS NULL"
_ARM: Final = """
INSERT INTO open_attempt (call_id, number, due_at, fire_at, trunk, caller_id, sip_call_id, delay_reason)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_ARMED_ROW: Final = attrgetter(
    "call", "number", "due_at", "fire_at", "trunk", "caller_id", "sip_call_id", "delay_reason"
)
_KEEP_ENDED: Final = """
INSERT INTO ended_attempt (call_id, number, due_at, fire_at, dialed_at, ringing_at, answered_at, invites, trunk, caller_id,
                           sip_call_id, delay_reason, ended_at, disposition, reason, sip_status, q850_cause, ended_by, rtp)
SELECT call_id, number, due_at, fire_at, dialed_at, ringing_at, answered_at, invites, trunk, caller_id, sip_call_id,
       delay_reason, ?, ?, ?, ?, ?, ?, ?
FROM open_attempt WHERE call_id = ? AND number = ?
"""
_RECALL: Final = """
UPDATE call SET next_at = ?
WHERE id = ? AND finished_at IS NULL AND NOT EXISTS (SELECT 1 FROM open_attempt WHERE call_id = call.id)
"""
_SNOOZE: Final = """
UPDATE call SET next_at = ?, reason = ?
WHERE id = ? AND finished_at IS NULL AND NOT EXISTS (SELECT 1 FROM open_attempt WHERE call_id = call.id)
"""
_FINISH: Final = """
UPDATE call SET disposition = ?, reason = ?, finished_at = ?, next_at = NULL
WHERE id = ? AND finished_at IS NULL AND NOT EXISTS (SELECT 1 FROM open_attempt WHERE call_id = call.id)
"""
# The timer's key begins with the due time, which the call's row knows.
_DROP_TIMER: Final = "DELETE FROM timer WHERE call_id = ? AND due_at = (SELECT next_at FROM call WHERE id = ?)"
_PUT_TIMER: Final = "INSERT INTO timer (due_at, call_id) VALUES (?, ?)"

_WRITE: Final[dict[type, Callable[[Batch, Any], None]]] = {
    AttemptRetried: Batch._retried,
    AttemptDialed: Batch._dialed,
    AttemptRinging: Batch._ringing,
    AttemptAnswered: Batch._answered,
    AttemptWithdrawn: Batch._withdrawn,
    AgentArmed: Batch._agent_armed,
    AgentMoved: Batch._agent_moved,
    AgentEnded: Batch._agent_ended,
    StepTaken: Batch._step_taken,
    ContactWritten: Batch._contact_written,
    AttemptEnded: Batch._ended,
    RecallScheduled: Batch._recalled,
    CallSnoozed: Batch._snoozed,
    CallFinished: Batch._finished,
}
