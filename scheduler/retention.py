"""Takes finished campaigns out of the database, in short turns, so that a server beside it does not notice.

What is removed: the campaign, its calls with their attempts, its counts. Contacts, playbooks and do-not-call lists stay.
The file keeps its size: what was freed is filled by later campaigns.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dialer.core.model import WallMs
from scheduler.checkpoint import checkpoint
from scheduler.connection import connect, disk_errors, sqlite3
from scheduler.migrations import require_current
from scheduler.write_turn import WriteTurn

# A transaction begins no further slice after this, and then three times as long belongs to others: SQLite's write lock is
# not fair, and the server's processes cannot tell this one to stay away.
_TURN_S: Final = 0.002
_REST: Final = 3.0
_SLICE: Final = 200
_CAMPAIGNS_AT_ONCE: Final = 1000
_PAGES_WORTH_A_CHECKPOINT: Final = 4000


@dataclass(slots=True)
class Pruned:
    """What was removed. A campaign counts once the last of it is gone."""

    campaigns: int = 0
    calls: int = 0


@dataclass(slots=True)
class _Leaving:
    """A campaign on its way out: its calls before `next_call` are gone."""

    id: int
    next_call: int
    end: int


def prune(path: str | Path, *, ended_before: WallMs, rest: Callable[[float], None] = time.sleep) -> Pruned:
    """Remove every campaign that was completed or cancelled before that time, single calls of POST /call included.

    Left for a later run are campaigns with a leg still up, with contacts still being stored or with events still to be
    told, and the newest campaign of all, whose number must not be used again. Safe beside a running server and cut off at
    any moment: the next run goes on. Raises `DatabaseNotReady`, `DatabaseTooNew` and `StoreUnavailable`.
    """
    connection = connect(path, checkpoints=False)
    try:
        require_current(connection, path)
        # Every row that refers to a removed one is removed with it; with the check on, each call would search the whole
        # timer table, whose key does not begin with the call.
        connection.execute("PRAGMA foreign_keys = OFF")
        turn, done = WriteTurn(connection), Pruned()
        while leaving := _next_portion(connection, ended_before):
            while leaving:
                with turn.transaction(durable=False):
                    began = time.monotonic()
                    _remove_slice(connection, leaving, done)
                    while leaving and time.monotonic() - began < _TURN_S:
                        _remove_slice(connection, leaving, done)
                checkpoint(connection, enough_pages=_PAGES_WORTH_A_CHECKPOINT)
                rest((time.monotonic() - began) * _REST)
        checkpoint(connection)
        return done
    finally:
        connection.close()


def _next_portion(connection: sqlite3.Connection, ended_before: WallMs) -> list[_Leaving]:
    with disk_errors():
        rows = connection.execute(_ENDED, (ended_before, _CAMPAIGNS_AT_ONCE)).fetchall()
    return [_Leaving(*row) for row in reversed(rows)]


def _remove_slice(connection: sqlite3.Connection, leaving: list[_Leaving], done: Pruned) -> None:
    """The next calls of the last campaign in the list; and the campaign itself when they were the last."""
    campaign = leaving[-1]
    stop = min(campaign.next_call + _SLICE, campaign.end)
    slice_ = (campaign.next_call, stop)
    connection.execute(_DELETE_TIMERS, slice_)
    for table in ("step", "agent_leg", "ended_attempt"):
        connection.execute(f"DELETE FROM {table} WHERE call_id >= ? AND call_id < ?", slice_)  # noqa: S608 - our own names
    done.calls += connection.execute("DELETE FROM call WHERE id >= ? AND id < ?", slice_).rowcount
    campaign.next_call = stop
    if stop == campaign.end:
        connection.execute("DELETE FROM outcome WHERE campaign_id = ?", (campaign.id,))
        connection.execute("DELETE FROM campaign WHERE id = ?", (campaign.id,))
        leaving.pop()
        done.campaigns += 1


_ENDED: Final = """
SELECT id, first_call, first_call + size FROM campaign_now
WHERE status IN ('completed', 'cancelled') AND ended_at < ? AND live = 0
  AND id < (SELECT max(id) FROM campaign)
  AND id NOT IN (SELECT campaign_id FROM intake)
  AND id NOT IN (SELECT campaign_id FROM spread)
  AND id NOT IN (SELECT campaign_id FROM event)
ORDER BY id LIMIT ?"""
# Timers of a cancelled campaign stay in the table until they are met.
_DELETE_TIMERS: Final = """
DELETE FROM timer WHERE (due_at, call_id) IN
    (SELECT next_at, id FROM call WHERE id >= ? AND id < ? AND next_at IS NOT NULL)"""
