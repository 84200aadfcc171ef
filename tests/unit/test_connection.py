from pathlib import Path

import pytest

from dialer.ports import StoreUnavailable
from scheduler import connection as opening
from scheduler.checkpoint import Checkpointer, checkpoint, wipe
from scheduler.connection import connect, disk_errors, sqlite3, transaction
from tests.support.wait import until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "a file?with#odd name.db"
    connect(made, create=True).close()
    return made


def pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_a_commit_is_on_disk_before_it_returns(path: Path) -> None:
    connection = connect(path)
    assert pragma(connection, "journal_mode") == "wal"
    assert pragma(connection, "synchronous") == 2
    assert pragma(connection, "foreign_keys") == 1
    connection.close()


@pytest.mark.parametrize("version", [(3, 40, 1), (3, 51, 2)])
def test_a_sqlite_with_the_wal_reset_bug_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int]
) -> None:
    monkeypatch.setattr(opening.sqlite3, "sqlite_version_info", version)
    with pytest.raises(RuntimeError, match=r"3\.51\.3"):
        connect(path)


def test_a_file_that_is_not_there_is_not_made_by_accident(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        connect(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("not a database, but long enough to be looked at as one" * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        connect(other)


def test_a_transaction_stores_all_or_nothing(path: Path) -> None:
    connection = connect(path)
    connection.execute("CREATE TABLE t (a INTEGER CHECK (a > 0)) STRICT")
    with pytest.raises(sqlite3.IntegrityError), transaction(connection):
        connection.executemany("INSERT INTO t VALUES (?)", [(1,), (-1,)])
    assert not connection.in_transaction
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
    connection.close()


def test_a_lock_that_another_keeps_is_unavailable_after_the_wait(path: Path) -> None:
    first, second = connect(path), connect(path, busy_timeout_s=0.01)
    with transaction(first), pytest.raises(StoreUnavailable, match="locked"), transaction(second):
        pytest.fail("two writers at once")
    first.close()
    second.close()


def test_a_full_disk_is_unavailable_and_leaves_the_connection_usable(path: Path) -> None:
    connection = connect(path)
    connection.execute("CREATE TABLE t (a BLOB) STRICT")
    connection.execute(f"PRAGMA max_page_count = {pragma(connection, 'page_count')}")
    with pytest.raises(StoreUnavailable, match="disk is full"), transaction(connection):
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    connection.execute("PRAGMA max_page_count = 1000000")
    with transaction(connection):
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    connection.close()


def test_a_connection_for_queries_refuses_writes(path: Path) -> None:
    connection = connect(path, query_only=True)
    with pytest.raises(StoreUnavailable, match="read-only"), disk_errors():
        connection.execute("CREATE TABLE t (a)")
    connection.close()


def test_misuse_is_no_fault_of_the_disk(path: Path) -> None:
    connection = connect(path)
    with pytest.raises(sqlite3.OperationalError, match="no such table"), disk_errors():
        connection.execute("SELECT * FROM strangers")
    connection.close()
    with pytest.raises(sqlite3.ProgrammingError), disk_errors():
        connection.execute("SELECT 1")


def fill(path: Path, pages: int) -> sqlite3.Connection:
    connection = connect(path, checkpoints=False)
    connection.execute("CREATE TABLE t (a BLOB) STRICT")
    with transaction(connection):
        connection.executemany("INSERT INTO t VALUES (zeroblob(?))", [(4000,)] * pages)
    return connection


def test_no_commit_of_the_dispatcher_runs_a_checkpoint(path: Path) -> None:
    connection = fill(path, 1100)
    _, pages, done = connection.execute("PRAGMA wal_checkpoint(NOOP)").fetchone()
    assert pages > 1100
    assert done == 0
    connection.close()


def test_a_checkpoint_is_put_off_until_it_is_worth_it_and_then_moves_all(path: Path) -> None:
    connection = fill(path, 20)
    waiting = checkpoint(connection, enough_pages=1000)
    assert waiting > 20
    assert checkpoint(connection, enough_pages=waiting) == 0
    connection.close()


def test_the_checkpointer_works_beside_the_writer_and_does_not_truncate_the_wal(path: Path) -> None:
    connection = fill(path, 1100)
    size = path.with_name(path.name + "-wal").stat().st_size
    checkpointer = Checkpointer(path)
    checkpointer.start()
    try:
        until(lambda: checkpoint(connection, enough_pages=1 << 30) == 0, seconds=10)
    finally:
        checkpointer.stop()
    assert path.with_name(path.name + "-wal").stat().st_size == size
    connection.close()


def test_a_wal_that_has_grown_too_long_waits_for_no_reader_of_an_older_moment(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.checkpoint._PAGES_TOO_MANY", 50)
    writer, checkpointing = fill(path, 60), connect(path, checkpoints=False, busy_timeout_s=1000)
    reader = connect(path, query_only=True)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM t").fetchone() == (60,)
    with transaction(writer):
        writer.execute("INSERT INTO t VALUES (NULL)")
    # If it waited, it would for a quarter of an hour, and the writer with it.
    assert checkpoint(checkpointing) > 0
    reader.execute("ROLLBACK")
    assert checkpoint(checkpointing) == 0
    for connection in (writer, checkpointing, reader):
        connection.close()


def test_a_wal_is_wiped_beside_a_writer_but_never_waits_for_a_reader_of_an_older_moment(path: Path) -> None:
    writer, wiping = fill(path, 60), connect(path, checkpoints=False, busy_timeout_s=1000)
    wal = path.with_name(path.name + "-wal")
    reader = connect(path, query_only=True)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM t").fetchone() == (60,)
    with transaction(writer):
        writer.execute("INSERT INTO t VALUES (NULL)")
    assert not wipe(wiping)
    assert wal.stat().st_size > 0
    reader.execute("ROLLBACK")
    assert wipe(wiping)
    assert wal.stat().st_size == 0
    for connection in (writer, wiping, reader):
        connection.close()


def test_what_is_deleted_is_overwritten(path: Path) -> None:
    connection = connect(path)
    assert pragma(connection, "secure_delete") == 1
    connection.close()
