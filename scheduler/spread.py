"""Tells calls of what happened to all of a campaign's calls at once: a portion at a time, so that nobody waits for it.

A row of `spread` stands for events that are still to be written. Each portion is one short transaction that writes events
and moves the row on, so a crash in between repeats and loses nothing. A call that had an event meanwhile is passed over:
it was told as scheduled before it.
"""

from typing import Final

from scheduler.connection import sqlite3

CALLS_AT_ONCE: Final = 200


def spread_some(connection: sqlite3.Connection, now: int) -> int:
    """Work off a portion of every campaign's row, in the caller's transaction; how many calls were looked at.

    0: nothing is left to tell.
    """
    looked_at = 0
    rows = connection.execute(_ROWS).fetchall()
    for number, campaign, kind, at, start, stop in rows:
        end = min(start + max(1, CALLS_AT_ONCE // len(rows)), stop)
        asked = {"campaign": campaign, "from": start, "to": end, "at": at, "now": now}
        connection.execute(_TELL_SCHEDULED, asked)
        connection.execute(_COUNT_SCHEDULED, asked)
        if kind == "call.finished":
            connection.execute(_TELL_CANCELLED, asked)
            connection.execute(_COUNT_CANCELLED, asked)
        if end < stop:
            connection.execute("UPDATE spread SET next_call = ? WHERE id = ?", (end, number))
        else:
            connection.execute("DELETE FROM spread WHERE id = ?", (number,))
        looked_at += end - start
    return looked_at


_ROWS: Final = """
SELECT spread.id, campaign_id, type, at, next_call, first_call + size
FROM spread JOIN campaign ON campaign.id = campaign_id ORDER BY spread.id LIMIT 20"""
_TELL_SCHEDULED: Final = """
INSERT INTO event (campaign_id, call_id, sequence, type, at, recorded_at, detail)
SELECT campaign.id, call.id, 1, 'call.scheduled', created_at, :now,
       json_object('attempt', 1, 'next_attempt_at', launch_at + clock_shift_ms + (call.id - first_call) * stagger_ms)
FROM campaign JOIN call ON call.id >= :from AND call.id < :to AND call.events = 0
WHERE campaign.id = :campaign ORDER BY call.id"""
_COUNT_SCHEDULED: Final = "UPDATE call SET events = 1 WHERE id >= :from AND id < :to AND events = 0"
# Those that are finished or live were told their end by the change that brought it, or will be.
_TELL_CANCELLED: Final = """
INSERT INTO event (campaign_id, call_id, sequence, type, at, recorded_at, detail)
SELECT :campaign, id, events + 1, 'call.finished', :at, :now,
       json_object('disposition', 'cancelled', 'reason', 'cancelled')
FROM call WHERE id >= :from AND id < :to AND finished_at IS NULL
AND NOT EXISTS (SELECT 1 FROM open_attempt WHERE call_id = call.id) ORDER BY id"""
_COUNT_CANCELLED: Final = """
UPDATE call SET events = events + 1 WHERE id >= :from AND id < :to AND finished_at IS NULL
AND NOT EXISTS (SELECT 1 FROM open_attempt WHERE call_id = call.id)"""
