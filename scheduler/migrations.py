"""Brings a database file to this version's schema, and examines one.

sqlite-utils keeps the record of what was applied; `PRAGMA user_version` holds the number of migrations, so that older
programs and other tools can tell what they look at.
"""

import secrets
from importlib.resources import files
from pathlib import Path

from sqlite_utils import Database, Migrations

from scheduler.connection import connect, disk_errors, sqlite3, transaction
from scheduler.ids import KEY_BYTES

_migrations = Migrations("dialer")


@_migrations()
def m001_schema(db: Database) -> None:
    """The tables of version 1, with a fresh key for public ids."""
    db.executescript(files("scheduler").joinpath("schema.sql").read_text(encoding="utf-8"))
    db.execute(
        "INSERT INTO meta (key, value) VALUES ('id_key', ?), ('next_call', 1)",
        [secrets.token_bytes(KEY_BYTES)],
    )


@_migrations()
def m002_events(db: Database) -> None:
    """The outbox of events, and who is told."""
    db.executescript(files("scheduler").joinpath("events.sql").read_text(encoding="utf-8"))


@_migrations()
def m003_steps(db: Database) -> None:
    """What was said and gathered on calls."""
    db.executescript(files("scheduler").joinpath("steps.sql").read_text(encoding="utf-8"))


@_migrations()
def m004_hours(db: Database) -> None:
    """When campaigns expire, and where their people are (JSON: arrays of zones), for calling hours."""
    db.execute("ALTER TABLE campaign ADD COLUMN expires_at INTEGER")
    db.execute("ALTER TABLE campaign ADD COLUMN zones TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(zones))")


@_migrations()
def m005_limits(db: Database) -> None:
    """What tokens may do, which token a campaign came by, and the calls accepted by day (of UTC, from 1970), for limits."""
    db.execute(
        "ALTER TABLE token ADD COLUMN scope TEXT NOT NULL DEFAULT 'admin' CHECK (scope IN ('read', 'submit', 'admin'))"
    )
    db.execute("ALTER TABLE campaign ADD COLUMN token_id INTEGER")
    db.execute(
        "CREATE TABLE accepted (account_id INTEGER NOT NULL, token_id INTEGER NOT NULL, day INTEGER NOT NULL,"
        " calls INTEGER NOT NULL, PRIMARY KEY (account_id, token_id, day)) STRICT, WITHOUT ROWID"
    )


@_migrations()
def m006_attempts(db: Database) -> None:
    """Attempts under way in a table of their own, and campaigns whose counts are of those that are over.

    Copies all attempts: about a second for each million.
    """
    db.executescript(files("scheduler").joinpath("attempts.sql").read_text(encoding="utf-8"))


@_migrations()
def m007_review(db: Database) -> None:
    """What restoring a backup leaves to people, and a key for the public ids of each life that the database begins."""
    db.executescript(files("scheduler").joinpath("review.sql").read_text(encoding="utf-8"))


@_migrations()
def m008_agent_legs(db: Database) -> None:
    """To whom calls were handed over."""
    db.executescript(files("scheduler").joinpath("agent_legs.sql").read_text(encoding="utf-8"))


@_migrations()
def m009_minutes(db: Database) -> None:
    """What attempts came to, by the minute; an index of the campaigns that go on, by account. For people who watch."""
    db.executescript(files("scheduler").joinpath("minutes.sql").read_text(encoding="utf-8"))


@_migrations()
def m010_delays(db: Database) -> None:
    """What had put attempts off."""
    db.executescript(files("scheduler").joinpath("delays.sql").read_text(encoding="utf-8"))


VERSION = 10


class DatabaseTooNew(Exception):
    """The file was written by a later version of this program, whose rules this one does not know."""


class DatabaseNotReady(Exception):
    """The file has no schema, or an older one: `dialer db migrate` brings it up."""


def migrate(path: str | Path) -> list[str]:
    """Creates the database, or brings it to `VERSION`; the names of the migrations that were applied, in order.

    All of them or none are on disk afterwards. Raises `DatabaseTooNew` and `StoreUnavailable`.
    """
    connection = connect(path, create=True)
    try:
        _refuse_newer(connection, path)
        # A table that is made anew is dropped under the feet of those that refer to it.
        connection.execute("PRAGMA foreign_keys = OFF")
        with transaction(connection):
            # sqlite-utils nests by savepoints inside our transaction: two programs that migrate at once take turns.
            db = Database(connection, recursive_triggers=False, execute_plugins=False)
            applied = [migration.name for migration in _migrations.pending(db)]
            if applied:
                _migrations.apply(db)
                connection.execute(f"PRAGMA user_version = {VERSION}")
        return applied
    finally:
        connection.close()


def require_current(connection: sqlite3.Connection, path: str | Path) -> None:
    """Raises `DatabaseNotReady` or `DatabaseTooNew` unless the schema is exactly `VERSION`."""
    found = _refuse_newer(connection, path)
    if found < VERSION:
        raise DatabaseNotReady(f"{path}: schema version {found}, this program needs {VERSION}: run `dialer db migrate`")


def require_some_version(connection: sqlite3.Connection, path: str | Path) -> int:
    """The schema's version, this program's or an older one. Raises `DatabaseNotReady` or `DatabaseTooNew` for any other."""
    found = _refuse_newer(connection, path)
    if not found:
        raise DatabaseNotReady(f"{path}: is no database of a dialer, or an empty one")
    return found


def check(path: str | Path) -> list[str]:
    """What is wrong with the file, one line each; empty when nothing is. Reads all of it: about a second for each GB.

    Raises `StoreUnavailable` when it cannot even be opened.
    """
    if not Path(path).exists():
        return [f"{path}: no such file"]
    connection = connect(path, query_only=True)
    try:
        try:
            require_current(connection, path)
        except (DatabaseNotReady, DatabaseTooNew) as fault:
            return [str(fault)]
        return examine(connection)
    finally:
        connection.close()


def examine(connection: sqlite3.Connection) -> list[str]:
    """As `check`, for an open database of any version (counts are examined in this program's only).

    Raises `StoreUnavailable` where it cannot be read at all.
    """
    with disk_errors():
        faults = [f"integrity: {line}" for (line,) in connection.execute("PRAGMA integrity_check") if line != "ok"]
        faults += [
            f"foreign key: {table} row {row} points to no {parent}"
            for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check")
        ]
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == VERSION:
            faults += [
                f"campaign {uuid}: calls finished by its count {finished}, by themselves {found}, by dispositions {told};"
                f" attempts open {live}; calls in all {size}"
                for uuid, finished, found, told, live, size in connection.execute(_COUNTS)
            ]
    return faults


# The pending calls of a cancelled campaign were finished without their rows being touched.
_COUNTS = """
SELECT uuid, finished, found, told, live, size FROM (
    SELECT uuid, status, finished, live, size,
           (SELECT count(*) FROM call WHERE id BETWEEN first_call AND first_call + size - 1 AND finished_at IS NOT NULL)
           AS found,
           (SELECT coalesce(sum(calls), 0) FROM outcome WHERE campaign_id = campaign_now.id) AS told
    FROM campaign_now WHERE status <> 'loading')
WHERE told <> finished OR live + finished > size
   OR CASE status WHEN 'cancelled' THEN live + finished <> size OR found > finished ELSE found <> finished END
"""


def _refuse_newer(connection: sqlite3.Connection, path: str | Path) -> int:
    with disk_errors():
        (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > VERSION:
        raise DatabaseTooNew(f"{path}: schema version {found} is newer than this program's {VERSION}: upgrade it")
    return int(found)
