"""Numbers that are never dialed: each account's own, and those that no account may dial (account 0)."""

from collections.abc import Sequence
from typing import Any, Final

from dialer.core.timetable import show_time
from dialer.ports import Clock
from scheduler.database import Database

EVERY_ACCOUNT: Final = 0

Record = dict[str, Any]


class DoNotCall:
    """The lists. Phones are normalized. Every method raises `StoreUnavailable` when the disk refuses.

    The store looks at them each time it reads a call, which it does before each INVITE, technical retries too.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def list(
        self, account_id: int, *, phone: str | None, limit: int, after: str | None
    ) -> tuple[list[Record], str | None]:
        """What is on the account's list, by number: records of `phone` and `added_at`; and where the next page begins."""
        with self._database.read() as connection:
            if phone is None:
                rows = connection.execute(_LIST, (account_id, after or "", limit + 1)).fetchall()
            else:
                rows = connection.execute(_ENTRY, (account_id, phone)).fetchall()
        page = rows[:limit]
        records = [{"phone": number, "added_at": show_time(added_at)} for number, added_at in page]
        return records, page[-1][0] if len(rows) > limit else None

    def add(self, account_id: int, phones: Sequence[str]) -> int:
        """How many of them were not on the list before."""
        now = self._clock.now().wall
        with self._database.write() as connection:
            added = connection.executemany(
                "INSERT INTO do_not_call (account_id, phone, added_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                [(account_id, phone, now) for phone in sorted(set(phones))],
            )
            return int(added.rowcount)

    def remove(self, account_id: int, phone: str) -> bool:
        """Whether it was on the list."""
        with self._database.write() as connection:
            changed = connection.execute(
                "DELETE FROM do_not_call WHERE account_id = ? AND phone = ?", (account_id, phone)
            )
            return changed.rowcount == 1

    def is_listed(self, account_id: int, phone: str) -> bool:
        """Whether the account may not dial the number: by its own list or by the one for every account."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT 1 FROM do_not_call WHERE phone = ? AND account_id IN (?, ?)", (phone, account_id, EVERY_ACCOUNT)
            ).fetchone()
        return row is not None


_LIST: Final = """
SELECT phone, added_at FROM do_not_call WHERE account_id = ? AND phone > ? ORDER BY phone LIMIT ?"""
_ENTRY: Final = "SELECT phone, added_at FROM do_not_call WHERE account_id = ? AND phone = ?"
