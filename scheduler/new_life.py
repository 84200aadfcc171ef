"""What a database begins with after it was restored: it dials nobody by itself whom the life that was lost may have dialed.

That life may have gone on from the backup's moment to the restore's. In that time it may have made every attempt that was due
by then and not begun in the backup: also one that was overdue, from the backlog of a slow trunk. How far a backlog came nobody
can tell from here: numbers that are suppressed, expired or outside their hours are passed over at no pace at all. And whatever
it did with a call after that attempt, no call has another one before it was released.

    due by then, first attempts      a stretch of the campaign, computed as ever, one row
    due by then, recalls             those calls, out of the timers
    open in the backup               `interrupted`; a recall that follows, whenever it is due
    calls of POST /call              all that are not finished: they have no campaign that could be paused
    due later                        cannot have been made: they wait for their time, and for their campaign to be resumed
"""

import json
import secrets
from collections.abc import Container, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dialer.core.dispatch import Dispatch, Limits
from dialer.core.model import CallId, CampaignId, CampaignStatus, WallMs
from dialer.ports import Clock, StoredCampaign
from scheduler.connection import connect, sqlite3, transaction
from scheduler.ids import KEY_BYTES
from scheduler.review import put
from scheduler.store import SqliteStore

INTERRUPTED: Final = "it was under way when the backup was taken"


@dataclass(frozen=True, slots=True)
class Begun:
    """How many campaigns are paused, and how many calls are under review."""

    paused: int
    under_review: int


def begin_new_life(path: Path, *, until: WallMs, min_recall_gap_ms: int, clock: Clock) -> Begun:
    """Make a migrated copy of a backup fit to be served, where the life that was lost may have gone on `until` then.

    Nobody else may have the file open. Raises `StoreUnavailable`.
    """
    with closing(connect(path)) as connection:
        with transaction(connection):
            connection.execute(_LIFE, (clock.now().wall, secrets.token_bytes(KEY_BYTES)))
            connection.execute("DELETE FROM meta WHERE key = 'backup'")
        singles = {CampaignId(number) for (number,) in connection.execute(_SINGLES)}
        with closing(SqliteStore(path)) as store:
            interrupted = _settle(store, singles, min_recall_gap_ms, clock)
            active = [stored for stored in store.active_campaigns() if stored.status is not CampaignStatus.CANCELLED]
        with transaction(connection):
            review(connection, active, until, singles, interrupted)
        return Begun(*connection.execute(_BEGUN).fetchone())


def _settle(store: SqliteStore, singles: set[CampaignId], min_recall_gap_ms: int, clock: Clock) -> list[CallId]:
    """End the attempts that the backup has open, and pause every campaign; the calls of those attempts."""
    now = clock.now()
    dispatch = Dispatch((), Limits(0, min_recall_gap_ms), now)
    active, opened = store.active_campaigns(), store.open_attempts()
    for stored in active:
        dispatch.add(stored.campaign, now, status=stored.status, finished=stored.finished, live=stored.live)
    for attempt in opened:
        dispatch.recover(attempt, store.call(attempt.call), now, INTERRUPTED)
    for leg in store.open_agent_legs():
        dispatch.recover_agent(leg, now, INTERRUPTED)
    for stored in active:
        if stored.campaign.id not in singles:
            dispatch.pause(stored.campaign.id, now)
    store.apply(dispatch.take_changes())
    return [attempt.call for attempt in opened]


def review(
    connection: sqlite3.Connection,
    active: Iterable[StoredCampaign],
    until: WallMs,
    singles: Container[CampaignId] = (),
    interrupted: Sequence[CallId] = (),
) -> None:
    """Put what is due at `until` or before under review, all that wait of `singles`, and the calls `interrupted`.

    `active` are the campaigns that are neither completed nor cancelled. No store may have the database open.
    """
    for stored in active:
        due = stored.campaign.size if stored.campaign.id in singles else stored.campaign.due_by(until)
        _review_first_attempts(connection, stored, due)
    connection.execute(_REVIEW_TIMERS, {"until": until, "interrupted": json.dumps(interrupted)})
    connection.execute(_DROP_TIMERS)


def _review_first_attempts(connection: sqlite3.Connection, stored: StoredCampaign, due: int) -> None:
    """Put the first `due` calls of the campaign under review, as far as their first attempt was not begun."""
    first = stored.campaign.first_call
    start, end = first + stored.cursor, first + due
    if start >= end:
        return
    for (finished,) in connection.execute(_FINISHED, (start, end)).fetchall():
        if start < finished:
            put(connection, start, finished - 1)
        start = finished + 1
    if start < end:
        put(connection, start, end - 1)
    connection.execute("UPDATE campaign SET settled_cursor = ? WHERE id = ?", (due, stored.campaign.id))


_LIFE: Final = """
INSERT INTO life (began_at, key, first_call, first_contact, first_event)
SELECT ?, ?, (SELECT value FROM meta WHERE key = 'next_call'),
       (SELECT coalesce(max(id), 0) + 1 FROM contact),
       coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event'), 0) + 1"""
_SINGLES: Final = "SELECT id FROM campaign WHERE single = 1 AND status IN ('scheduled', 'running', 'paused')"
_FINISHED: Final = "SELECT id FROM call WHERE id >= ? AND id < ? AND finished_at IS NOT NULL ORDER BY id"
# Those of cancelled campaigns are not due any more, and go when somebody meets them.
_REVIEW_TIMERS: Final = """
INSERT INTO review (first_call, last_call)
SELECT call_id, call_id FROM timer JOIN campaign ON campaign.id =
    (SELECT id FROM campaign WHERE first_call <= call_id ORDER BY first_call DESC LIMIT 1)
WHERE status <> 'cancelled' AND (due_at <= :until OR single OR call_id IN (SELECT value FROM json_each(:interrupted)))"""
_DROP_TIMERS: Final = "DELETE FROM timer WHERE call_id IN (SELECT first_call FROM review WHERE first_call = last_call)"
_BEGUN: Final = """
SELECT (SELECT count(*) FROM campaign WHERE status = 'paused'),
       (SELECT coalesce(sum(last_call - first_call + 1), 0) FROM review)"""
