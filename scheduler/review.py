"""Calls under review: those that a life of the database which was lost may have dialed. Nobody dials them by itself.

They have neither a timer nor the cursor before them, so dispatch never comes upon them; a row of `review` stands for a stretch
of calls next to each other, so that a hundred thousand first attempts are one row, and due when their slots say so. Whatever
is decided about a call ends its review: a person releases it (it gets a timer) or cancels it (it is finished).
"""

from collections.abc import Iterable
from typing import Final

from dialer.core.model import CallId, HeldCall, WallMs
from scheduler.connection import sqlite3

# What statements are executed by.
Sql = sqlite3.Connection | sqlite3.Cursor


def any_under_review(sql: Sql) -> bool:
    """Whether a call of any campaign is."""
    return sql.execute("SELECT 1 FROM review LIMIT 1").fetchone() is not None


def under_review(sql: Sql, first: CallId, last: CallId, limit: int) -> list[HeldCall]:
    """Those of the calls `first` to `last` that are, by id, `limit` at most."""
    held: list[HeldCall] = []
    stretches = sql.execute(_STRETCHES, {"first": first, "last": last, "limit": limit}).fetchall()
    # One by one: joined to their calls in one statement, all of these would be sorted for the first few.
    for start, stop in stretches:
        asked = {"start": max(start, first), "stop": min(stop, last), "limit": limit - len(held)}
        held += [HeldCall(CallId(call), number, WallMs(at)) for call, number, at in sql.execute(_HELD, asked)]
        if len(held) == limit:
            break
    return held


def put(sql: Sql, first: int, last: int) -> None:
    """Put the calls `first` to `last` of one campaign under review, none of which is."""
    sql.execute("INSERT INTO review (first_call, last_call) VALUES (?, ?)", (first, last))


def leave(sql: Sql, calls: Iterable[CallId]) -> None:
    """End the review of each of these calls that is under one."""
    for call in calls:
        row = sql.execute(_STRETCH_OF, (call, call)).fetchone()
        if row is None:
            continue
        first, last = row
        if first == last:
            sql.execute("DELETE FROM review WHERE first_call = ?", (first,))
        elif call == first:
            sql.execute("UPDATE review SET first_call = first_call + 1 WHERE first_call = ?", (first,))
        else:
            sql.execute("UPDATE review SET last_call = ? WHERE first_call = ?", (call - 1, first))
            if call < last:
                put(sql, call + 1, last)


def leave_all(sql: Sql, first: CallId, size: int) -> None:
    """End the review of all calls of the campaign that has these."""
    sql.execute("DELETE FROM review WHERE first_call >= ? AND first_call < ?", (first, first + size))


# Whether the call of the row at hand is under review.
IS_UNDER_REVIEW: Final = """
coalesce((SELECT last_call FROM review WHERE first_call <= call.id ORDER BY first_call DESC LIMIT 1) >= call.id, 0)"""
# How many calls of the campaign of the row at hand are.
COUNT_OF_CAMPAIGN: Final = """
(SELECT coalesce(sum(last_call - review.first_call + 1), 0) FROM review
 WHERE review.first_call >= campaign.first_call AND review.first_call < campaign.first_call + size)"""
_STRETCH_OF: Final = """
SELECT * FROM (SELECT first_call, last_call FROM review WHERE first_call <= ? ORDER BY first_call DESC LIMIT 1)
WHERE last_call >= ?"""
_STRETCHES: Final = """
SELECT first_call, last_call FROM review WHERE last_call >= :first AND first_call BETWEEN
    coalesce((SELECT max(first_call) FROM review WHERE first_call <= :first), :first) AND :last
ORDER BY first_call LIMIT :limit"""
_HELD: Final = """
SELECT call.id, attempts + 1, coalesce(next_at, launch_at + clock_shift_ms + (call.id - first_call) * stagger_ms)
FROM call JOIN campaign ON campaign.id = (SELECT id FROM campaign WHERE first_call <= :start ORDER BY first_call DESC LIMIT 1)
WHERE call.id BETWEEN :start AND :stop ORDER BY call.id LIMIT :limit"""
