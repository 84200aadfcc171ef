"""Recalls and snoozes in the order of their due times: the timer table, with a wheel as its near level.

One mark in the table's key order divides the two: what lies at or below it is in the wheel, what lies above it is
only in the table. Timers below the mark go into the wheel as they are stored, so a due timer costs no query. The mark
runs ahead of the time that is asked for, in portions: a backlog of a million overdue timers passes through memory a
portion at a time.
"""

from collections.abc import Iterator
from typing import Final

from dialer.core.model import CallId, WallMs
from scheduler.connection import disk_errors, sqlite3
from scheduler.wheel import Wheel

_PORTION: Final = 1024
_AHEAD_MS: Final = 64_000
_AFTER_ALL_CALLS: Final = (1 << 63) - 1


class Timers:
    """The timers of one database in one process.

    What it gives, it gives once; the table's rows are the store's to remove.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._near: Wheel[CallId] = Wheel()
        self._mark: tuple[int, int] = (-1, 0)
        self._beyond: WallMs | None = None
        self._beyond_known = False
        self.stale: list[tuple[WallMs, CallId]] = []
        """Rows whose campaign was cancelled: nobody will be given them, and the next transaction should delete them."""

    def put(self, due: WallMs, call: CallId) -> None:
        """The call's timer was stored with this due time, in place of any that it had."""
        self._near.cancel(call)
        if (due, call) <= self._mark:
            self._near.schedule(due, call)
        else:
            self._beyond_known = False

    def drop(self, call: CallId) -> None:
        """The call's timer, if it had one, was deleted."""
        self._near.cancel(call)
        if self._beyond is not None:  # it may have been that one
            self._beyond_known = False

    def drop_range(self, first: CallId, size: int) -> None:
        """The campaign of these calls was cancelled."""
        gone = [(WallMs(due), call) for due, call in self._near if first <= call < first + size]
        for _, call in gone:
            self._near.cancel(call)
        self.stale += gone

    def shift(self, step_ms: int) -> None:
        """Every stored timer was moved by `step_ms`; what was given already stays given."""
        near, self._near = list(self._near), Wheel()
        for due, call in near:
            self._near.schedule(due + step_ms, call)
        if self._mark[0] >= 0:
            self._mark = (self._mark[0] + step_ms, self._mark[1])
        self._beyond_known = False
        self.stale = [(WallMs(due + step_ms), call) for due, call in self.stale]

    def due(self, until: WallMs) -> Iterator[tuple[WallMs, CallId]]:
        """Take out the timers with due <= `until`, earliest first; what is not asked for stays.

        Raises `StoreUnavailable`.
        """
        while True:
            for due, call in self._near.poll(until):
                yield WallMs(due), call
            if self._mark[0] > until or not self._read(until):
                break
        if self._mark[0] < until + _AHEAD_MS // 2:
            self._read(WallMs(until + _AHEAD_MS))

    def next_due(self) -> WallMs | None:
        """The earliest due time; None when there is no timer. Raises `StoreUnavailable`.

        The loop asks at every turn, so what the table says is remembered while nothing happens above the mark.
        """
        near = self._near.next_deadline()
        if near is not None:
            return WallMs(near)
        if not self._beyond_known:
            with disk_errors():
                row = self._connection.execute(_NEXT, self._mark).fetchone()
            self._beyond, self._beyond_known = None if row is None else WallMs(row[0]), True
        return self._beyond

    def _read(self, until: WallMs) -> bool:
        """Move the mark up to the end of `until` by at most a portion; False when nothing lay on the way."""
        with disk_errors():
            rows = self._connection.execute(_READ, (*self._mark, until, _PORTION)).fetchall()
        for due, call, cancelled in rows:
            if cancelled:
                self.stale.append((due, call))
            else:
                self._near.schedule(due, call)
        if len(rows) == _PORTION:
            self._mark = (rows[-1][0], rows[-1][1])
        else:
            self._mark = max(self._mark, (until, _AFTER_ALL_CALLS))
        self._beyond_known = False
        return bool(rows)


# A cancelled campaign's timers stay in the table until they are met here: cancelling must not take longer for many
# calls.
_READ: Final = """
SELECT due_at, call_id, (SELECT status = 'cancelled' FROM campaign
                         WHERE first_call <= timer.call_id ORDER BY first_call DESC LIMIT 1)
FROM timer WHERE (due_at, call_id) > (?, ?) AND due_at <= ? ORDER BY due_at, call_id LIMIT ?
"""
_NEXT: Final = "SELECT due_at FROM timer WHERE (due_at, call_id) > (?, ?) ORDER BY due_at, call_id LIMIT 1"
