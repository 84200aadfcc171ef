from pathlib import Path

import pytest
from sqlite_utils import Database as SqliteUtils

from scheduler import migrations
from scheduler.connection import connect, sqlite3, transaction
from scheduler.database import Database
from scheduler.ids import PublicIds
from scheduler.migrations import VERSION, DatabaseNotReady, DatabaseTooNew, check, migrate
from scheduler.store import SqliteStore
from tests.support.sqlite_world import SqliteWorld


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dialer.db"


def test_a_new_database_is_made_and_is_sound(path: Path) -> None:
    assert migrate(path) == ["m001_schema", "m002_events", "m003_steps", "m004_hours", "m005_limits"]
    assert check(path) == []


def test_migrating_again_changes_nothing(path: Path) -> None:
    migrate(path)
    connection = connect(path)
    before = PublicIds.of(connection).call_uuid(1)
    assert migrate(path) == []
    assert PublicIds.of(connection).call_uuid(1) == before
    connection.close()


def schema(path: Path) -> list[tuple[object, ...]]:
    connection = connect(path)
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name").fetchall()
    connection.close()
    return rows


def test_a_database_of_version_1_becomes_what_a_new_one_is_and_keeps_its_rows(tmp_path: Path) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    connection = connect(old, create=True)
    with transaction(connection):
        migrations._migrations.apply(SqliteUtils(connection, execute_plugins=False), stop_before="m002_events")
        connection.execute("PRAGMA user_version = 1")
        connection.execute("INSERT INTO call (id, phone, contact) VALUES (1, '+34600000001', '{}')")
    connection.close()
    with pytest.raises(DatabaseNotReady, match="schema version 1"):
        SqliteStore(old)
    assert migrate(old) == ["m002_events", "m003_steps", "m004_hours", "m005_limits"]
    migrate(new)
    assert schema(old) == schema(new)
    connection = connect(old)
    assert connection.execute("SELECT phone, events FROM call").fetchall() == [("+34600000001", 0)]
    connection.close()


def test_every_database_has_a_key_of_its_own(tmp_path: Path) -> None:
    uuids = set()
    for name in ("a.db", "b.db"):
        migrate(tmp_path / name)
        connection = connect(tmp_path / name)
        uuids.add(PublicIds.of(connection).call_uuid(1))
        connection.close()
    assert len(uuids) == 2


def test_every_table_is_strict(path: Path) -> None:
    migrate(path)
    connection = connect(path)
    loose = connection.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND strict = 0 AND name NOT LIKE '%sqlite%'"
    ).fetchall()
    assert loose == []
    connection.close()


def test_the_database_of_a_later_version_is_refused_and_left_alone(path: Path) -> None:
    migrate(path)
    connection = connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    for use in (migrate, SqliteStore, Database):
        with pytest.raises(DatabaseTooNew, match="upgrade"):
            use(path)
    assert check(path) == [f"{path}: schema version {VERSION + 1} is newer than this program's {VERSION}: upgrade it"]
    assert connection.execute("PRAGMA user_version").fetchone() == (VERSION + 1,)
    connection.close()


def test_a_database_that_was_never_migrated_is_refused_with_the_way_out(path: Path) -> None:
    connect(path, create=True).close()
    for use in (SqliteStore, Database):
        with pytest.raises(DatabaseNotReady, match="dialer db migrate"):
            use(path)
    assert len(check(path)) == 1


def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    connection = connect(path, create=True)
    connection.execute("CREATE TABLE call (stranger TEXT)")
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        migrate(path)
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    assert tables == [("call",)]
    connection.close()


def test_a_missing_file_is_a_finding(path: Path) -> None:
    assert check(path) == [f"{path}: no such file"]
    assert not path.exists()


def test_rows_that_contradict_each_other_are_findings(path: Path) -> None:
    world = SqliteWorld(path)
    campaign = world.add_campaign(size=3)
    world.connection.execute("PRAGMA foreign_keys = OFF")
    world.connection.execute("UPDATE campaign SET live = 1 WHERE id = ?", (campaign.id,))
    world.connection.execute("INSERT INTO timer VALUES (1, 999)")
    found = check(path)
    assert any("foreign key: timer" in line for line in found)
    assert any("1 calls are counted live, 0 attempts are open" in line for line in found)
    world.close()
