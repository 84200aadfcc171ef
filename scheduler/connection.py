"""How every part opens the database, begins a transaction, and names what SQLite refuses.

pysqlite3 brings its own SQLite, because the one that Debian 12 links has the WAL-reset bug: from 3.7.0 to 3.51.2 two
connections that write and checkpoint at the same moment can leave a corrupt file (sqlite.org/wal.html).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dialer.ports import StoreUnavailable

if TYPE_CHECKING:
    # pysqlite3 has the interface of the standard library's module and no type hints.
    import sqlite3
else:
    import pysqlite3 as sqlite3

__all__ = ["OLDEST_SQLITE", "connect", "disk_errors", "refusal_of", "sqlite3", "transaction"]

OLDEST_SQLITE = (3, 51, 3)

# Primary result codes (sqlite.org/rescode.html) that say "not now" of the disk, not "never" of the statement.
_REFUSALS = {
    5: "the database stayed locked",
    6: "the database stayed locked",
    7: "SQLite is out of memory",
    8: "the database is read-only",
    10: "the disk failed",
    11: "the database file is damaged",
    13: "the disk is full",
    14: "the database file cannot be opened",
    15: "the database's lock protocol failed",
    26: "the file is not a database",
}


def connect(
    path: str | Path,
    *,
    create: bool = False,
    query_only: bool = False,
    checkpoints: bool = True,
    any_thread: bool = False,
    busy_timeout_s: float = 5.0,
) -> sqlite3.Connection:
    """A connection on which a COMMIT returns when the data is on disk (WAL, synchronous=FULL).

    What is deleted or replaced is overwritten in the file. Statements outside `transaction` commit on their own. `create`: a
    missing file is made. `query_only`: writes are refused. `checkpoints` False: no commit of this connection ever pays for a
    checkpoint; then `scheduler.checkpoint.Checkpointer` must run. `any_thread`: the caller sees to it that one thread at a
    time uses it. Raises `StoreUnavailable` when the file cannot be opened or has no WAL, RuntimeError on a SQLite with the
    WAL-reset bug.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        wanted = ".".join(map(str, OLDEST_SQLITE))
        raise RuntimeError(f"SQLite {sqlite3.sqlite_version} can corrupt a WAL database; {wanted} or later is needed")
    with disk_errors():
        connection = sqlite3.connect(
            f"{Path(path).absolute().as_uri()}?mode={'rwc' if create else 'rw'}",
            uri=True,
            isolation_level=None,
            timeout=busy_timeout_s,
            cached_statements=256,
            check_same_thread=not any_thread,
        )
        try:
            _use_wal(connection, path)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            # What is deleted is overwritten, in each page that is written: else an erased person stays readable in the file.
            connection.execute("PRAGMA secure_delete = ON")
            if not checkpoints:
                connection.execute("PRAGMA wal_autocheckpoint = 0")
            if query_only:
                connection.execute("PRAGMA query_only = ON")
        except BaseException:
            connection.close()
            raise
    return connection


def _use_wal(connection: sqlite3.Connection, path: str | Path) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreUnavailable(f"{path}: neither a file nor a file system for WAL (journal mode is {mode})")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One write transaction: on disk when the block ends, nothing stored when it raises.

    Takes the write lock at once (BEGIN IMMEDIATE), so that what is read inside cannot have changed by the time it is
    written. Raises `StoreUnavailable` as `disk_errors` does.
    """
    with disk_errors():
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            # SQLite rolls some failed transactions back by itself (full disk, I/O error) and leaves others open.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turns what SQLite says about disk, lock and file into `StoreUnavailable`; a statement's errors pass."""
    try:
        yield
    except sqlite3.Error as error:
        refusal = refusal_of(error)
        if refusal is None:
            raise
        raise refusal from error


def refusal_of(error: BaseException) -> StoreUnavailable | None:
    """What an exception says about disk, lock and file; None: it says something else."""
    # The code is absent on errors that pysqlite3 raises itself (a closed connection, a wrong thread): those are our misuse.
    code: int | None = getattr(error, "sqlite_errorcode", None) if isinstance(error, sqlite3.Error) else None
    word = None if code is None else _REFUSALS.get(code & 0xFF)
    return None if word is None else StoreUnavailable(f"{word} ({error})")
