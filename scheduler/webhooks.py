"""The addresses that accounts have for their events, and how delivery to each of them goes."""

import base64
import json
import secrets
import uuid
from collections.abc import Sequence
from typing import Any, Final

from dialer.core.model import AccountId, WallMs
from dialer.core.timetable import show_time
from dialer.ports import Clock, WebhookTarget
from scheduler.connection import sqlite3
from scheduler.database import Database

MOST_PER_ACCOUNT: Final = 10
# Standard Webhooks asks for 24 to 64 random bytes.
_SECRET_BYTES: Final = 32

Record = dict[str, Any]


class Webhooks:
    """Keeps `api.backend.Webhooks`. Every method raises `StoreUnavailable` when the disk refuses.

    A webhook is a sink of the outbox named `webhook:<number>` for as long as it is delivered to.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def create(self, account_id: int, url: str, types: Sequence[str]) -> Record | None:
        """Register the address: its record with `secret`, which nobody is shown again; None: the account has too many.

        `types` are the events that it wants; none: all.
        """
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
        with self._database.write() as connection:
            (count,) = connection.execute("SELECT count(*) FROM webhook WHERE account_id = ?", (account_id,)).fetchone()
            if count >= MOST_PER_ACCOUNT:
                return None
            row = connection.execute(
                "INSERT INTO webhook (uuid, account_id, url, secret, types, created_at) VALUES (?, ?, ?, ?, ?, ?) RETURNING *",
                (str(uuid.uuid4()), account_id, url, secret, json.dumps(list(types)), self._clock.now().wall),
            )
            columns = [name for name, *_ in row.description]
            made = dict(zip(columns, row.fetchone(), strict=True))
            connection.execute(_BEGIN, (_sink(made["id"]),))
        return {**_record(made), "secret": secret}

    def get(self, account_id: int, webhook: str) -> Record | None:
        """One webhook; None when the account has no such one."""
        rows = self._rows("account_id = ? AND uuid = ?", account_id, webhook)
        return _record(rows[0]) if rows else None

    def delete(self, account_id: int, webhook: str) -> bool:
        """Deliver no more to it. Whether there was one."""
        with self._database.write() as connection:
            row = connection.execute(
                "DELETE FROM webhook WHERE account_id = ? AND uuid = ? RETURNING id", (account_id, webhook)
            ).fetchone()
            if row is not None:
                connection.execute("DELETE FROM sink WHERE name = ?", (_sink(row[0]),))
        return row is not None

    # For those who deliver

    def targets(self) -> list[WebhookTarget]:
        """Where to deliver now, of all accounts."""
        return [
            WebhookTarget(
                number=row["id"],
                sink=_sink(row["id"]),
                account_id=AccountId(row["account_id"]),
                url=row["url"],
                secret=row["secret"],
                types=frozenset(json.loads(row["types"])),
                failures=row["failures"],
                retry_at=None if row["retry_at"] is None else WallMs(row["retry_at"]),
            )
            for row in self._rows("gone_at IS NULL")
        ]

    def delivered(self, number: int, events: int) -> None:
        """So many more events were taken: it works."""
        with self._database.write() as connection:
            connection.execute(_DELIVERED, (events, self._clock.now().wall, number))

    def failed(self, number: int, error: str, retry_at: WallMs) -> None:
        """A delivery failed; it is tried again at `retry_at`."""
        with self._database.write() as connection:
            connection.execute(_FAILED, (error, self._clock.now().wall, retry_at, number))

    def died(self, number: int, events: int) -> None:
        """So many events were given up."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE webhook SET dead = dead + ?, dead_at = ? WHERE id = ?",
                (events, self._clock.now().wall, number),
            )

    def gone(self, number: int, error: str) -> None:
        """The address wants no more: nothing is delivered or kept for it from now on."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE webhook SET gone_at = ?, last_error = ?, retry_at = NULL WHERE id = ?",
                (self._clock.now().wall, error, number),
            )
            connection.execute("DELETE FROM sink WHERE name = ?", (_sink(number),))

    def _rows(self, where: str, *values: object) -> list[Any]:
        with self._database.read() as connection:
            cursor = connection.cursor()
            cursor.row_factory = sqlite3.Row
            return cursor.execute(f"SELECT * FROM webhook WHERE {where} ORDER BY id", values).fetchall()  # noqa: S608

    def list(self, account_id: int) -> list[Record]:
        """The account's webhooks, oldest first, without their secrets."""
        return [_record(row) for row in self._rows("account_id = ?", account_id)]


def _sink(number: int) -> str:
    return f"webhook:{number}"


def _record(row: Any) -> Record:  # noqa: ANN401 - a row of SQLite, or the same as a dict
    status = "gone" if row["gone_at"] is not None else "failing" if row["failing_since"] is not None else "active"
    return {
        "id": row["uuid"],
        "url": row["url"],
        "events": json.loads(row["types"]),
        "created_at": show_time(row["created_at"]),
        "status": status,
        "delivered_events": row["delivered"],
        "last_delivered_at": _time(row["delivered_at"]),
        "failing_since": _time(row["failing_since"]),
        "failures": row["failures"],
        "last_error": row["last_error"],
        "next_try_at": _time(row["retry_at"]),
        "dead_events": row["dead"],
        "last_dead_at": _time(row["dead_at"]),
    }


def _time(at: WallMs | None) -> str | None:
    return None if at is None else show_time(at)


_BEGIN: Final = """
INSERT INTO sink (name, position)
SELECT ?, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event'), 0)"""
_DELIVERED: Final = """
UPDATE webhook SET delivered = delivered + ?, delivered_at = ?, failing_since = NULL, failures = 0, retry_at = NULL
WHERE id = ?"""
_FAILED: Final = """
UPDATE webhook SET failures = failures + 1, last_error = ?, failing_since = coalesce(failing_since, ?), retry_at = ?
WHERE id = ?"""
