"""Write transactions that let the dispatcher pass, for processes that write much beside it.

SQLite's write lock is not fair: who waits for it sleeps and looks again, and a process that writes chunk after chunk would
take it 700 ms long from one that needs it now. So those in a hurry raise a flag, and the others stay away while it is up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Protocol, Self

from scheduler.clock import pause
from scheduler.connection import disk_errors, refusal_of, sqlite3

_LOOK_AGAIN_S = 0.0002
_SQLITE_BUSY = 5


class Flag(Protocol):
    """An integer that other processes see (`multiprocessing.RawValue`): 1 while somebody waits for the lock or holds it."""

    value: int


class Orphaned(Exception):
    """The process that this one works for is gone: nobody waits for the answer."""


class WriteTurn:
    """The write lock of `connection`, taken only while none of the flags in `ahead` is up; `own` is raised meanwhile.

    With `only_for_parent` it raises `Orphaned` instead of beginning when the process that started this one has ended.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        ahead: Sequence[Flag] = (),
        own: Flag | None = None,
        patience_s: float = 5.0,
        only_for_parent: bool = False,
    ) -> None:
        self._connection = connection
        # One for all: making a cursor costs as much as a small statement.
        self._cursor = connection.cursor()
        self._ahead = ahead
        self._own = own
        self._patience_s = patience_s
        self._parent = os.getppid() if only_for_parent else None
        self._wanted = True
        self._durable: bool | None = None
        with disk_errors():
            # A wait inside SQLite sleeps up to 100 ms at a time: ours looks again much sooner.
            connection.execute("PRAGMA busy_timeout = 0")

    def transaction(self, *, durable: bool) -> Self:
        """One transaction, nothing stored when the block raises: `with` gives the cursor for the block's statements.

        `durable`: on disk, with all before it, when it ends. Without it a power failure may take the transaction back, but
        kill -9 may not: the WAL is written, not synced (its next fsync covers it). Raises `StoreUnavailable` as
        `scheduler.connection.disk_errors` does.
        """
        self._wanted = durable
        return self

    # Not `contextmanager`: at a commit for each call, its generator alone would cost a hundredth of the rate.

    def __enter__(self) -> sqlite3.Cursor:
        try:
            self._begin()
        except BaseException as error:
            self._give_up(error)
            raise
        return self._cursor

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None:
            self._give_up(error)
            return
        try:
            self._cursor.execute("COMMIT")
        except BaseException as refused:
            self._give_up(refused)
            raise
        if self._own is not None:
            self._own.value = 0

    def _begin(self) -> None:
        if self._wanted is not self._durable:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if self._wanted else 'NORMAL'}")
            self._durable = self._wanted
        if self._own is not None:
            self._own.value = 1
        deadline = time.monotonic() + self._patience_s
        while True:
            if self._parent is not None and os.getppid() != self._parent:
                raise Orphaned
            if not self._ahead or not any(flag.value for flag in self._ahead):
                try:
                    self._cursor.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != _SQLITE_BUSY or time.monotonic() > deadline:
                        raise
                else:
                    return
            pause(_LOOK_AGAIN_S)

    def _give_up(self, error: BaseException) -> None:
        """Undo what was begun, and let others pass. Raises `StoreUnavailable` in the place of what the disk said."""
        try:
            # SQLite rolls some failed transactions back by itself (full disk, I/O error) and leaves others open.
            if self._connection.in_transaction:
                with disk_errors():
                    self._cursor.execute("ROLLBACK")
            if (refusal := refusal_of(error)) is not None:
                raise refusal from error
        finally:
            if self._own is not None:
                self._own.value = 0
