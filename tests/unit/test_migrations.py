from pathlib import Path

import pytest
from sqlite_utils import Database as SqliteUtils

from dialer.core.model import CallId, OpenAttempt, WallMs
from scheduler import migrations
from scheduler.connection import connect, sqlite3, transaction
from scheduler.database import Database
from scheduler.ids import PublicIds
from scheduler.migrations import VERSION, DatabaseNotReady, DatabaseTooNew, check, migrate
from scheduler.store import SqliteStore
from tests.support.fake_store import PLAYBOOK
from tests.support.sqlite_world import SqliteWorld

SINCE_VERSION_1 = [
    "m002_events",
    "m003_steps",
    "m004_hours",
    "m005_limits",
    "m006_attempts",
    "m007_review",
    "m008_agent_legs",
    "m009_minutes",
    "m010_delays",
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dialer.db"


def test_a_new_database_is_made_and_is_sound(path: Path) -> None:
    assert migrate(path) == ["m001_schema", *SINCE_VERSION_1]
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
    assert migrate(old) == SINCE_VERSION_1
    migrate(new)
    assert schema(old) == schema(new)
    connection = connect(old)
    assert connection.execute("SELECT phone, events FROM call").fetchall() == [("+34600000001", 0)]
    connection.close()


def test_attempts_and_counts_of_version_5_are_what_they_were(tmp_path: Path) -> None:
    """Call 1 is finished, 2 rings on its first attempt, 3 is retried on its second; 4 was never called."""
    path = tmp_path / "old.db"
    connection = connect(path, create=True)
    with transaction(connection):
        migrations._migrations.apply(SqliteUtils(connection, execute_plugins=False), stop_before="m006_attempts")
        connection.execute("PRAGMA user_version = 5")
        connection.execute("INSERT INTO account (id, uuid, name, created_at) VALUES (1, 'a', 'a', 0)")
        connection.execute(
            "INSERT INTO playbook (id, uuid, account_id, body, created_at, updated_at) VALUES (1, 'p', 1, ?, 0, 0)",
            (PLAYBOOK.model_dump_json(),),
        )
        connection.execute(
            "INSERT INTO campaign (id, uuid, account_id, playbook_id, playbook, status, scheduled, launch_at, stagger_ms,"
            " recall, first_call, size, total_contacts, duplicate_contacts, cursor, live, finished, attempts,"
            " last_first_attempt_at, created_at, events, last_event, expires_at, zones, token_id)"
            " VALUES (1, 'c', 1, 1, ?, 'running', 1, 100, 10, '[1]', 1, 4, 4, 0, 3, 2, 1, 4, 120, 5, 6, 7, 8, '[]', 9)",
            (PLAYBOOK.model_dump_json(),),
        )
        connection.execute("INSERT INTO outcome VALUES (1, 'busy', 1)")
        connection.executemany(
            "INSERT INTO call (id, phone, contact, attempts, first_dialed_at, disposition, finished_at)"
            " VALUES (?, ?, '{}', ?, ?, ?, ?)",
            [
                (1, "+34600000001", 1, 100, "busy", 200),
                (2, "+34600000002", 1, 110, None, None),
                (3, "+34600000003", 2, 120, "busy", None),
                (4, "+34600000004", 0, None, None, None),
            ],
        )
        connection.executemany(
            "INSERT INTO attempt (call_id, number, due_at, fire_at, dialed_at, ringing_at, ended_at, invites, trunk,"
            " caller_id, sip_call_id, disposition, reason, sip_status, ended_by, dialog, withdrawn)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'pbx', '', ?, ?, ?, ?, ?, ?, ?)",
            [
                (1, 1, 100, 100, 101, None, 150, 1, "1-1", "busy", "Busy Here", 486, "far", "over", 0),
                (2, 1, 110, 110, 111, 115, None, 1, "2-1", None, None, None, None, "rings", 1),
                (3, 1, 120, 120, 121, None, 130, 1, "3-1", "busy", "Busy Here", 486, "far", "over", 0),
                (3, 2, 190, 195, 191, None, None, 2, "3-2.2", None, "technical retry", None, None, None, 0),
            ],
        )
        connection.executemany(
            "INSERT INTO step VALUES (?, 1, 1, '{}', NULL)",
            [(1,)],
        )
        connection.execute("PRAGMA defer_foreign_keys = ON")
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("INSERT INTO step VALUES (99, 1, 1, '{}', NULL)")  # of a campaign that was pruned
    before = connection.execute("SELECT * FROM campaign").fetchone()
    connection.close()
    assert migrate(path) == SINCE_VERSION_1[4:]
    assert check(path) == []

    store = SqliteStore(path)
    (stored,) = store.active_campaigns()
    assert (stored.status, stored.cursor, stored.finished, stored.live) == ("running", 3, 1, 2)
    assert stored.last_first_attempt_at == 120
    assert store.open_attempts() == [
        OpenAttempt(CallId(2), 1, WallMs(110), WallMs(110), WallMs(111), None, "pbx", "rings", withdrawn=True),
        OpenAttempt(CallId(3), 2, WallMs(190), WallMs(195), WallMs(191), None, "pbx"),
    ]
    assert [store.call(CallId(call)).attempts for call in (1, 2, 3, 4)] == [1, 0, 1, 0]
    store.close()
    connection = connect(path)
    after = connection.execute(
        "SELECT id, uuid, account_id, playbook_id, playbook, single, status, scheduled, launch_at, stagger_ms, recall,"
        " first_call, size, total_contacts, duplicate_contacts, cursor, live, finished, attempts, last_first_attempt_at,"
        " clock_shift_ms, created_at, ended_at, events, last_event, expires_at, zones, token_id FROM campaign_now"
    ).fetchone()
    assert after == before
    attempts = connection.execute("SELECT call_id, number, ended_at, invites, sip_call_id FROM attempt ORDER BY 1, 2")
    assert attempts.fetchall() == [
        (1, 1, 150, 1, "1-1"),
        (2, 1, None, 1, "2-1"),
        (3, 1, 130, 1, "3-1"),
        (3, 2, None, 2, "3-2.2"),
    ]
    assert connection.execute("SELECT call_id FROM step").fetchall() == [(1,)]
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
        "SELECT name FROM pragma_table_list WHERE type = 'table' AND strict = 0 AND name NOT LIKE '%sqlite%'"
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
    world.connection.execute("UPDATE campaign SET finished = 1 WHERE id = ?", (campaign.id,))
    world.connection.execute("INSERT INTO timer VALUES (1, 999)")
    found = check(path)
    assert any("foreign key: timer" in line for line in found)
    assert any("calls finished by its count 1, by themselves 0" in line for line in found)
    world.close()
