"""The durable schedule on SQLite: `dialer.ports.Store`."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from dialer.core.changes import AttemptArmed, CallFinished, CallSnoozed, CampaignMoved, Change, RecallScheduled
from dialer.core.model import (
    AccountId,
    CallId,
    CallRecord,
    Campaign,
    CampaignId,
    CampaignStatus,
    HeldCall,
    OpenAgentLeg,
    OpenAttempt,
    WallMs,
)
from dialer.core.playbook import Playbook
from dialer.ports import StoredCampaign
from scheduler.batch import Batch
from scheduler.connection import connect, disk_errors, sqlite3
from scheduler.ids import PublicIds
from scheduler.migrations import require_current
from scheduler.outbox import Outbox
from scheduler.progress import Progress
from scheduler.review import IS_UNDER_REVIEW, under_review
from scheduler.timers import Timers
from scheduler.write_turn import Flag, WriteTurn

_STALE_AT_ONCE: Final = 2000


class SqliteStore:
    """Keeps `dialer.ports.Store`; use it from one thread. The engine's process has one, and it alone moves campaigns
    on.

    `lock_wanted` is 1 while the store waits for the write lock or holds it: SQLite's lock is not fair, so a process
    that writes much and in chunks must look at it between two chunks. `on_events` is called after each commit that told
    something to those who want events. No checkpoint runs in its commits: run a
    `scheduler.checkpoint.Checkpointer` beside it. Raises `DatabaseNotReady` or `DatabaseTooNew` unless the file was
    migrated, `StoreUnavailable` when it cannot be opened.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        lock_wanted: Flag | None = None,
        busy_timeout_s: float = 2.0,
        on_events: Callable[[], None] = lambda: None,
    ) -> None:
        self._connection = connect(path, checkpoints=False, busy_timeout_s=busy_timeout_s)
        try:
            require_current(self._connection, path)
            self._ids = PublicIds.of(self._connection)
        except BaseException:
            self._connection.close()
            raise
        self._known: dict[CampaignId, Progress] = {}
        self._timers = Timers(self._connection)
        self._outbox = Outbox(self._connection)
        self._on_events = on_events
        self._turn = WriteTurn(self._connection, own=lock_wanted, patience_s=busy_timeout_s)

    def close(self) -> None:
        """Close the file; the store cannot be used afterwards."""
        self._connection.close()

    def apply(self, changes: Sequence[Change]) -> None:
        """Store the changes in one transaction, on disk (fsync) before it returns.

        An empty sequence proves that the disk takes a write. Raises `StoreUnavailable` when it does not, ValueError
        for a change that cannot follow what is stored (an attempt armed twice, an end without an attempt, a campaign
        completed too soon). Either way nothing is stored.
        """
        stale = self._timers.stale[:_STALE_AT_ONCE]
        # Where this fails, nothing is known any more but what is on disk.
        known, self._known = self._known, {}
        with self._turn.transaction(durable=True) as cursor:
            batch = Batch(cursor, self._outbox, known)
            try:
                batch.write(changes)
            except sqlite3.IntegrityError as error:
                raise ValueError(f"the changes contradict what is stored: {error}") from error
            if stale:
                cursor.executemany("DELETE FROM timer WHERE due_at = ? AND call_id = ?", stale)
            if not changes:
                cursor.execute(_PROVE)
        self._known = known
        del self._timers.stale[: len(stale)]
        self._follow(batch)
        if batch.recording is not None and self._outbox.committed(batch.recording):
            self._on_events()

    def call(self, call: CallId) -> CallRecord:
        """The call, as it stands on disk. Raises KeyError for a call that does not exist.

        One whose contact was erased has no phone ("") and is suppressed, so that it still reaches a final state.
        """
        row = self._one(_CALL, call)
        if row is None:
            raise KeyError(call)
        phone, contact, attempts, first_dialed_at, listed, over, reviewed, put_off = row
        return CallRecord(
            id=call,
            uuid=self._ids.call_uuid(call),
            phone=phone,
            contact=json.loads(contact),
            attempts=attempts,
            first_dialed_at=first_dialed_at,
            suppressed=phone == "" or bool(listed),
            finished=bool(over),
            under_review=bool(reviewed),
            put_off=None if over else put_off,
        )

    def under_review(self, first: CallId, last: CallId, limit: int) -> list[HeldCall]:
        """Those of the calls `first` to `last` that are under review, by id, `limit` at most."""
        with disk_errors():
            return under_review(self._connection, first, last, limit)

    def active_campaigns(self) -> list[StoredCampaign]:
        """Every campaign that is neither completed nor cancelled, or still has an open attempt; by id."""
        with disk_errors():
            return [_stored(row) for row in self._connection.execute(_CAMPAIGN + _ACTIVE)]

    def campaign(self, campaign: CampaignId) -> StoredCampaign:
        """One campaign. Raises KeyError when there is none, or it is still loading."""
        row = self._one(_CAMPAIGN + " WHERE id = ? AND status <> 'loading'", campaign)
        if row is None:
            raise KeyError(campaign)
        return _stored(row)

    def campaign_of(self, call: CallId) -> StoredCampaign:
        """The campaign that a call belongs to, whatever its status. Raises KeyError when there is none."""
        row = self._one(_CAMPAIGN + " WHERE first_call <= ? ORDER BY first_call DESC LIMIT 1", call)
        stored = None if row is None else _stored(row)
        if stored is None or call >= stored.campaign.first_call + stored.campaign.size:
            raise KeyError(call)
        return stored

    def open_attempts(self) -> list[OpenAttempt]:
        """Attempts without an end, by call."""
        with disk_errors():
            rows = self._connection.execute(_OPEN).fetchall()
        return [replace(OpenAttempt(*opened), withdrawn=bool(withdrawn)) for withdrawn, *opened in rows]

    def open_agent_legs(self) -> list[OpenAgentLeg]:
        """Legs to agents without an end, by call."""
        with disk_errors():
            return [OpenAgentLeg(*row) for row in self._connection.execute(_OPEN_AGENTS)]

    def due_timers(self, until: WallMs) -> Iterator[tuple[WallMs, CallId]]:
        """Take the timers with due <= `until`, earliest first. Each is given once in a process's life.

        The rows stay on disk until a change about their call replaces them. Timers of cancelled campaigns are left
        out.
        """
        return self._timers.due(until)

    def clock_stepped(self, step_ms: int, before: WallMs | None) -> None:
        """Move timers, attempts under way, recall anchors, the slots of launched campaigns and the note, in one transaction.

        Takes about 2 s for a million timers; the clock is not set often. Raises `StoreUnavailable`.
        """
        with self._turn.transaction(durable=True) as cursor:
            for sql in _CLOCK_STEP:
                cursor.execute(sql, {"step": step_ms, "before": before})
        self._known.clear()
        self._timers.shift(step_ms)

    def noted_offset_ms(self, boot: str) -> float | None:
        """See `dialer.ports.Store`."""
        with disk_errors():
            row = self._connection.execute(_NOTED, (boot,)).fetchone()
        return None if row is None else float(row[0])

    def note_offset(self, boot: str, offset_ms: float) -> None:
        """See `dialer.ports.Store`."""
        with self._turn.transaction(durable=True) as cursor:
            cursor.execute(_NOTE, (boot, offset_ms))

    def next_timer(self) -> WallMs | None:
        """When to ask for due timers again; None when no timer is stored."""
        return self._timers.next_due()

    def _follow(self, batch: Batch) -> None:
        """Bring what is in memory to what was just committed: the campaigns, and the timers' near level."""
        for campaign, progress in batch.campaigns.items():
            if progress.over:
                self._known.pop(campaign, None)
            else:
                self._known[campaign] = progress
        for change in batch.timed:
            match change:
                case RecallScheduled() | CallSnoozed():
                    self._timers.put(change.due_at, change.call)
                case AttemptArmed() | CallFinished():
                    self._timers.drop(change.call)
                case CampaignMoved(status=CampaignStatus.CANCELLED):
                    progress = batch.campaigns[change.campaign]
                    self._timers.drop_range(progress.first_call, progress.size)
                case _:
                    pass

    def _one(self, sql: str, key: int) -> tuple[Any, ...] | None:
        with disk_errors():
            row: tuple[Any, ...] | None = self._connection.execute(sql, (key,)).fetchone()
        return row


@lru_cache(maxsize=64)
def _read_playbook(body: str) -> Playbook:
    # Every POST /call is a campaign: those with the same playbook share it.
    return Playbook.model_validate_json(body)


def _stored(row: Sequence[Any]) -> StoredCampaign:
    return StoredCampaign(
        campaign=Campaign(
            id=CampaignId(row[0]),
            account=AccountId(row[1]),
            launch_at=WallMs(row[2]),
            stagger_ms=row[3],
            first_call=CallId(row[4]),
            size=row[5],
            recall_ms=tuple(round(minutes * 60_000) for minutes in json.loads(row[6])),
            scheduled=bool(row[7]),
            playbook=_read_playbook(row[8]),
            expires_at=row[14],
            zones=tuple(tuple(zones) for zones in json.loads(row[15])),
            token=row[16],
            uuid=row[17],
        ),
        status=CampaignStatus(row[9]),
        cursor=row[10],
        finished=row[11],
        live=row[12],
        last_first_attempt_at=row[13],
    )


# A value that changes: SQLite writes nothing for a row that stays as it is.
_PROVE: Final = """
INSERT INTO meta (key, value) VALUES ('proofs', 1) ON CONFLICT (key) DO UPDATE SET value = value + 1"""
_CAMPAIGN: Final = """
SELECT id, account_id, launch_at + clock_shift_ms, stagger_ms, first_call, size, recall, scheduled, playbook,
       status, cursor, finished, live, last_first_attempt_at, expires_at, zones, token_id,
       CASE WHEN single THEN NULL ELSE uuid END
FROM campaign_now"""
# The first condition is word for word that of the index campaign_active: SQLite uses a partial index only then.
_ACTIVE: Final = """
WHERE id IN (
    SELECT id FROM campaign WHERE status IN ('loading', 'scheduled', 'running', 'paused') AND status <> 'loading'
    UNION
    SELECT (SELECT id FROM campaign WHERE first_call <= call_id ORDER BY first_call DESC LIMIT 1) FROM open_attempt)
ORDER BY id"""
# A pending call of a cancelled campaign is finished although its row was not touched. After an attempt the call's reason is
# the attempt's; a snooze writes its own over it.
_CALL: Final = f"""
SELECT call.phone, call.contact, call.attempts, call.first_dialed_at,
       EXISTS (SELECT 1 FROM do_not_call AS listed
               WHERE listed.phone = call.phone AND listed.account_id IN (0, campaign.account_id)),
       call.finished_at IS NOT NULL OR (campaign.status = 'cancelled'
                                        AND NOT EXISTS (SELECT 1 FROM open_attempt WHERE call_id = call.id)),
       {IS_UNDER_REVIEW},
       CASE WHEN call.next_at IS NOT NULL AND call.reason IS NOT
           (SELECT reason FROM ended_attempt WHERE call_id = call.id ORDER BY number DESC LIMIT 1) THEN call.reason END
FROM call JOIN campaign ON campaign.id =
    (SELECT id FROM campaign WHERE first_call <= call.id ORDER BY first_call DESC LIMIT 1)
WHERE call.id = ? AND campaign.status <> 'loading'"""  # noqa: S608 - both parts are ours
_OPEN: Final = """
SELECT withdrawn, call_id, number, due_at, coalesce(retry_at, fire_at), dialed_at, answered_at, trunk, coalesce(dialog, '')
FROM open_attempt ORDER BY call_id"""
_OPEN_AGENTS: Final = """
SELECT call_id, (SELECT id FROM campaign WHERE first_call <= call_id ORDER BY first_call DESC LIMIT 1),
       number, position, trunk, until, coalesce(dialog, '')
FROM agent_leg INDEXED BY agent_leg_open WHERE ended_at IS NULL ORDER BY call_id, number, position"""
# The first term is the index campaign_active again. Anchors are moved only where another attempt may count from them. All
# that is known of an attempt under way is told by the clock as it is now, as its end will be. A recall that is under review
# is a stretch of its own.
_NOTED: Final = "SELECT value ->> 'offset_ms' FROM meta WHERE key = 'clock' AND value ->> 'boot' = ?"
_NOTE: Final = "INSERT OR REPLACE INTO meta (key, value) VALUES ('clock', json_object('boot', ?, 'offset_ms', ?))"
_CLOCK_STEP: Final = (
    """
    UPDATE campaign SET clock_shift_ms = clock_shift_ms + :step
    WHERE status IN ('loading', 'scheduled', 'running', 'paused')
      AND CASE WHEN :before IS NOT NULL THEN launch_at + clock_shift_ms <= :before
               ELSE scheduled = 0 OR status = 'running' OR settled_cursor > 0
                    OR EXISTS (SELECT 1 FROM open_attempt WHERE call_id BETWEEN first_call AND first_call + size - 1) END""",
    """
    UPDATE campaign SET settled_first_at = settled_first_at + :step
    WHERE status IN ('loading', 'scheduled', 'running', 'paused') AND settled_first_at IS NOT NULL""",
    """
    UPDATE call SET first_dialed_at = first_dialed_at + :step
    WHERE id IN (SELECT call_id FROM timer UNION ALL SELECT call_id FROM open_attempt
                 UNION ALL SELECT first_call FROM review WHERE first_call = last_call)""",
    """
    UPDATE open_attempt SET due_at = due_at + :step, fire_at = fire_at + :step, retry_at = retry_at + :step,
        dialed_at = dialed_at + :step, ringing_at = ringing_at + :step, answered_at = answered_at + :step""",
    """
    UPDATE call SET next_at = next_at + :step
    WHERE id IN (SELECT call_id FROM timer UNION ALL SELECT first_call FROM review WHERE first_call = last_call)""",
    "UPDATE timer SET due_at = due_at + :step",
    "UPDATE agent_leg SET until = until + :step WHERE ended_at IS NULL",
    "UPDATE meta SET value = json_set(value, '$.offset_ms', value ->> 'offset_ms' + :step) WHERE key = 'clock'",
)
