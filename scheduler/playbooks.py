"""The playbooks of each account.

A campaign keeps a copy of its own, so that changing one changes no calls under way.
"""

import json
import uuid
from typing import Any, Final

from dialer.core.model import WallMs
from dialer.core.playbook import Playbook
from dialer.core.timetable import show_time
from dialer.ports import Clock
from scheduler.database import Database

Record = dict[str, Any]


class Playbooks:
    """Records hold `id` (the UUID), the playbook's keys, `created_at` and `updated_at`.

    Every method raises `StoreUnavailable` when the disk refuses, and acts as if nothing of other accounts existed.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def create(self, account_id: int, playbook: Playbook) -> Record:
        """Store it and return its record."""
        now = self._clock.now().wall
        made_uuid = str(uuid.uuid4())
        body = playbook.model_dump_json()
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO playbook (uuid, account_id, body, created_at, updated_at) VALUES (?, ?, ?, ?, ?)",
                (made_uuid, account_id, body, now, now),
            )
        return _record((made_uuid, body, now, now))

    def list(self, account_id: int, *, limit: int, after: int | None) -> tuple[list[Record], int | None]:
        """The account's playbooks, newest first, deleted ones left out, and where the next page begins (None: there
        is none).

        `after` is that of the page before.
        """
        with self._database.read() as connection:
            rows = connection.execute(_LIST, (account_id, after, after, limit + 1)).fetchall()
        page = rows[:limit]
        return [_record(row[1:]) for row in page], page[-1][0] if len(rows) > limit else None

    def get(self, account_id: int, uuid: str) -> Record | None:
        """One playbook; None also for a deleted one."""
        with self._database.read() as connection:
            row = connection.execute(_GET, (uuid.lower(), account_id)).fetchone()
        return None if row is None else _record(row)

    def update(self, account_id: int, uuid: str, playbook: Playbook) -> Record | None:
        """Put `playbook` in its place; None when there is none.

        Campaigns that were posted before keep what they had.
        """
        with self._database.write() as connection:
            row = connection.execute(
                _UPDATE, (playbook.model_dump_json(), self._clock.now().wall, uuid.lower(), account_id)
            ).fetchone()
        return None if row is None else _record(row)

    def delete(self, account_id: int, uuid: str) -> bool:
        """Whether there was one to delete. Campaigns that were posted with it go on."""
        with self._database.write() as connection:
            changed = connection.execute(
                "UPDATE playbook SET deleted_at = ? WHERE uuid = ? AND account_id = ? AND deleted_at IS NULL",
                (self._clock.now().wall, uuid.lower(), account_id),
            )
            return changed.rowcount == 1


def _record(row: tuple[str, str, WallMs, WallMs]) -> Record:
    made_uuid, body, created_at, updated_at = row
    return {
        "id": made_uuid,
        **json.loads(body),
        "created_at": show_time(created_at),
        "updated_at": show_time(updated_at),
    }


_LIST: Final = """
SELECT id, uuid, body, created_at, updated_at FROM playbook
WHERE account_id = ? AND deleted_at IS NULL AND (? IS NULL OR id < ?) ORDER BY id DESC LIMIT ?"""
_GET: Final = """
SELECT uuid, body, created_at, updated_at FROM playbook WHERE uuid = ? AND account_id = ? AND deleted_at IS NULL"""
_UPDATE: Final = """
UPDATE playbook SET body = ?, updated_at = ? WHERE uuid = ? AND account_id = ? AND deleted_at IS NULL
RETURNING uuid, body, created_at, updated_at"""
