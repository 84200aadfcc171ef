"""Moves committed pages from the WAL into the database file, beside the dispatcher and never inside one of its commits.

A commit that runs SQLite's automatic checkpoint pays for two more fsyncs and up to a thousand page writes: the calls
of that tick would leave late. Here a thread of its own, with a connection of its own, does PASSIVE checkpoints, which
never make a writer or a reader wait. The WAL file is not truncated: overwriting a warm one commits 1.9 times as fast. Only
after a person was erased it is, as it still holds what was written before.
"""

import logging
import threading
import time
from pathlib import Path

from dialer.ports import StoreUnavailable
from scheduler.connection import connect, disk_errors, sqlite3

_log = logging.getLogger(__name__)

_PAGES_WORTH_A_CHECKPOINT = 1000
# A writer that never pauses can keep PASSIVE from catching up, and then the WAL only grows. At 64 MB one RESTART makes
# the next writer wait for the few pages that are left. It is given up at once where somebody reads an older moment (a
# backup, a person's own query): it would wait for that reader with the write lock in its hands, and so would every call.
_PAGES_TOO_MANY = 16_384
_LOOK_EVERY_S = 0.5
# A program that erases a whole list shall not have the WAL cut off after each person.
_LEAST_BETWEEN_WIPES_S = 10.0


class Checkpointer:
    """Keeps the WAL of the database at `path` short while it runs. `start` once, `stop` once."""

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._stopping = threading.Event()
        self._unwiped = threading.Event()
        self._wiped_at = -_LEAST_BETWEEN_WIPES_S
        self._thread = threading.Thread(target=self._run, name="checkpointer", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def wipe(self) -> None:
        """Have the WAL emptied within seconds, or as soon as nobody reads an older moment. Returns at once, from any thread."""
        self._unwiped.set()

    def stop(self) -> None:
        """End, and wait for a checkpoint that is under way. Does nothing when it was never started."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        try:
            while not self._stopping.wait(_LOOK_EVERY_S):
                try:
                    if connection is None:
                        connection = connect(self._path, checkpoints=False, busy_timeout_s=1.0)
                    self._wipe_if_due(connection)
                    checkpoint(connection)
                except StoreUnavailable as error:
                    # The store meets the same disk and reports it; here the next round tries again.
                    _log.warning("checkpoint put off: %s", error)
        finally:
            if connection is not None:
                connection.close()

    def _wipe_if_due(self, connection: sqlite3.Connection) -> None:
        if not self._unwiped.is_set() or time.monotonic() - self._wiped_at < _LEAST_BETWEEN_WIPES_S:
            return
        # Taken back first: what is erased while this one runs is for the next.
        self._unwiped.clear()
        done = False
        try:
            done = wipe(connection)
        finally:
            if done:
                self._wiped_at = time.monotonic()
            else:
                self._unwiped.set()


def checkpoint(connection: sqlite3.Connection, *, enough_pages: int = _PAGES_WORTH_A_CHECKPOINT) -> int:
    """Moves the WAL's pages into the file if `enough_pages` wait there; how many wait afterwards.

    Raises `StoreUnavailable`.
    """
    pages, waiting = _pages(connection, "NOOP")
    if waiting >= enough_pages or pages >= _PAGES_TOO_MANY:
        pages, waiting = _pages(connection, "PASSIVE")
        # The file's length counts, not what waits: with two writers one of them always adds a page before the WAL is empty.
        if pages >= _PAGES_TOO_MANY:
            connection.execute("PRAGMA busy_timeout = 0")
            _, waiting = _pages(connection, "RESTART")
    return waiting


def wipe(connection: sqlite3.Connection) -> bool:
    """Moves all of the WAL's pages into the file and cuts the WAL off, unless somebody writes or reads an older moment just
    now; whether it did.

    Raises `StoreUnavailable`.
    """
    # Most of it beside the writer; the second one, for which the writer waits, finds few pages left.
    _pages(connection, "PASSIVE")
    connection.execute("PRAGMA busy_timeout = 0")
    with disk_errors():
        (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def _pages(connection: sqlite3.Connection, mode: str) -> tuple[int, int]:
    """How many pages the WAL holds, and how many of them are not in the database file yet."""
    with disk_errors():
        _busy, pages, done = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    return int(pages), max(0, int(pages) - int(done))
