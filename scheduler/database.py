"""The database as everything but the engine's store uses it: short reads and writes from several threads at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scheduler.connection import connect, disk_errors, sqlite3, transaction
from scheduler.ids import PublicIds
from scheduler.migrations import require_current


class Database:
    """Connections to one migrated file, as many as are in use at once, and its public ids.

    Raises `DatabaseNotReady` or `DatabaseTooNew` unless the schema is this program's, `StoreUnavailable` when the
    file cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        connection = self._open()
        try:
            require_current(connection, path)
            self.ids = PublicIds.of(connection)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)

    def close(self) -> None:
        """Close every connection that is not in use."""
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection whose statements all see the same moment. Raises `StoreUnavailable`."""
        with self._connection() as connection, disk_errors():
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A connection in a write transaction, on disk when the block ends, undone when it raises.

        Raises `StoreUnavailable`. Keep it short: the dispatcher's next commit waits for it.
        """
        with self._connection() as connection, transaction(connection):
            yield connection

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        # list.pop and list.append are atomic, which is all that the threads need of each other here.
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._open()
        try:
            yield connection
        finally:
            self._idle.append(connection)

    def _open(self) -> sqlite3.Connection:
        return connect(self._path, checkpoints=False, any_thread=True)
