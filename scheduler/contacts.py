"""The people whom each account knows, by phone: found, corrected, and erased for good."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dialer.core.contact import Fields, fields_text, merge
from dialer.core.model import WallMs
from dialer.core.timetable import show_time
from dialer.ports import Clock
from scheduler.connection import sqlite3
from scheduler.database import Database

Record = dict[str, Any]


class Contacts:
    """Records hold `id` (the public id), `phone`, the fields that are known, `created_at` and `updated_at`.

    Phones are normalized. Every method raises `StoreUnavailable` when the disk refuses, and acts as if nothing of
    other accounts existed.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        recordings: Path | None = None,
        *,
        on_erased: Callable[[], None] = lambda: None,
    ) -> None:
        """`recordings` is the folder of the files that go with a person's data; None: there are none.

        `on_erased` is told, in any thread, that the WAL still holds somebody who was erased.
        """
        self._database = database
        self._clock = clock
        self._recordings = recordings
        self._on_erased = on_erased

    def list(
        self, account_id: int, *, phone: str | None, limit: int, after: int | None
    ) -> tuple[list[Record], int | None]:
        """The account's contacts, newest first, or the one of `phone`; and where the next page begins (None: there is none)."""
        with self._database.read() as connection:
            if phone is None:
                rows = connection.execute(_LIST, (account_id, after, after, limit + 1)).fetchall()
            else:
                rows = connection.execute(_BY_PHONE, (account_id, phone)).fetchall()
        page = rows[:limit]
        return [self._record(row) for row in page], page[-1][0] if len(rows) > limit else None

    def get(self, account_id: int, uuid: str) -> Record | None:
        """One contact; None when there is none."""
        contact = self._database.ids.parse_contact(uuid)
        if contact is None:
            return None
        with self._database.read() as connection:
            row = connection.execute(_GET, (contact, account_id)).fetchone()
        return None if row is None else self._record(row)

    def update(self, account_id: int, uuid: str, fields: Mapping[str, Any]) -> Record | None:
        """Change the given fields; None takes a field away, and `custom_fields` merge in the same way, key by key."""
        contact = self._database.ids.parse_contact(uuid)
        if contact is None:
            return None
        with self._database.write() as connection:
            row = connection.execute(_GET, (contact, account_id)).fetchone()
            if row is None:
                return None
            changed = changed_fields(json.loads(row[2]), fields)
            row = connection.execute(_UPDATE, (fields_text(changed), self._clock.now().wall, contact)).fetchone()
        return self._record(row)

    def erase(self, account_id: int, uuid: str) -> bool:
        """Erase the person's data, in past calls too. Whether there was such a contact.

        The calls keep their outcomes and times, without phone, fields, SIP dialog and what was said; those that were still to
        come are finished as `suppressed` when they fall due. A do-not-call entry stays: it is there to be kept. Reads all
        calls of the account (about 0.2 s for a million) before it writes.
        """
        contact = self._database.ids.parse_contact(uuid)
        if contact is None:
            return False
        with self._database.read() as connection:
            row = connection.execute(_GET, (contact, account_id)).fetchone()
            if row is None:
                return False
            phone = row[1]
            (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM campaign").fetchone()
            calls = calls_to(connection, account_id, phone)
        with self._database.write() as connection:
            # What was posted since the long read, which did not hold the write lock.
            calls += calls_to(connection, account_id, phone, newest)
            made = erase_person(connection, account_id, phone, calls)
        self._on_erased()
        if self._recordings is not None:
            for name in made:
                (self._recordings / f"{name}.wav").unlink(missing_ok=True)
        return True

    def _record(self, row: tuple[int, str, str, WallMs, WallMs]) -> Record:
        contact, phone, fields, created_at, updated_at = row
        return {
            "id": self._database.ids.contact_uuid(contact),
            "phone": phone,
            **json.loads(fields),
            "created_at": show_time(created_at),
            "updated_at": show_time(updated_at),
        }


def changed_fields(known: Fields, change: Mapping[str, Any]) -> Fields:
    """`known` after a change in which None takes a field, or a custom field, away.

    >>> changed_fields({"city": "Vigo", "custom_fields": {"a": 1}}, {"city": None, "custom_fields": {"a": None, "b":
    2}}) {'custom_fields': {'b': 2}}
    """
    given = {name: value for name, value in change.items() if value is not None}
    kept = {name: value for name, value in merge(known, given).items() if name not in change or name in given}
    if "custom_fields" in given:
        kept["custom_fields"] = {name: value for name, value in kept["custom_fields"].items() if value is not None}
    return kept


def calls_to(connection: sqlite3.Connection, account: int, phone: str, after_campaign: int = 0) -> list[tuple[int]]:
    """The account's calls to that number, as rows of their ids. Reads all calls of its campaigns after that one."""
    return connection.execute(_CALLS_TO, (account, after_campaign, phone)).fetchall()


def erase_person(connection: sqlite3.Connection, account: int, phone: str, calls: Sequence[tuple[int]]) -> list[str]:
    """Erase whom the account knows by that number, and those calls' data, in a write transaction.

    Returns the names of their recordings, which are still there.
    """
    connection.executemany("UPDATE call SET phone = '', contact = '{}' WHERE id = ?", calls)
    connection.executemany("UPDATE open_attempt SET dialog = NULL WHERE call_id = ?", calls)
    connection.executemany("UPDATE agent_leg SET dialog = NULL, agent = '', caller_id = '' WHERE call_id = ?", calls)
    recordings = _recordings_of(connection, calls)
    connection.executemany("DELETE FROM step WHERE call_id = ?", calls)
    connection.executemany("UPDATE intake_change SET fields = '{}' WHERE call_id = ?", calls)
    connection.execute("DELETE FROM contact WHERE account_id = ? AND phone = ?", (account, phone))
    return recordings


def _recordings_of(connection: sqlite3.Connection, calls: Sequence[tuple[int]]) -> list[str]:
    """The names of all recordings of these calls."""
    found: list[str] = []
    for call in calls:
        lines = connection.execute(
            "SELECT line ->> 'name' FROM step WHERE call_id = ? AND line ->> 'do' = 'record'", call
        )
        found += [name for (name,) in lines if name is not None]
    return found


_LIST: Final = """
SELECT id, phone, fields, created_at, updated_at FROM contact
WHERE account_id = ? AND (? IS NULL OR id < ?) ORDER BY id DESC LIMIT ?"""
_BY_PHONE: Final = "SELECT id, phone, fields, created_at, updated_at FROM contact WHERE account_id = ? AND phone = ?"
_GET: Final = "SELECT id, phone, fields, created_at, updated_at FROM contact WHERE id = ? AND account_id = ?"
_UPDATE: Final = """
UPDATE contact SET fields = ?, updated_at = ? WHERE id = ? RETURNING id, phone, fields, created_at, updated_at"""
_CALLS_TO: Final = """
SELECT call.id FROM campaign JOIN call ON call.id >= first_call AND call.id < first_call + size
WHERE account_id = ? AND campaign.id > ? AND phone = ?"""
