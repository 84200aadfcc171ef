"""What attempts came to by the minute, kept on disk for two days, so that a restart does not empty anybody's plot."""

import json
from collections.abc import Sequence
from typing import Final

from dialer.core.model import WallMs
from dialer.recent import MINUTE_MS, Ended
from scheduler.database import Database

KEPT_MINUTES: Final = 2 * 24 * 60


class Minutes:
    """The table `minute`. Every method raises `StoreUnavailable` when the disk refuses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, ended: Sequence[Ended]) -> None:
        """Count these attempts too. What belongs to a campaign that was removed meanwhile is left out."""
        with self._database.write() as connection:
            connection.execute(_ADD, {"ended": as_json(ended)})

    def forget(self, now: WallMs) -> None:
        """Remove what is older than two days."""
        before = now // MINUTE_MS - KEPT_MINUTES
        with self._database.write() as connection:
            connection.execute(_FORGET, (before,))


def as_json(ended: Sequence[Ended]) -> str:
    """The argument `:ended` of `ENDED`."""
    return json.dumps(
        [
            (one.campaign, one.minute, one.disposition, one.sip_status, one.attempts, one.last_at, one.call, one.number)
            for one in ended
        ]
    )


# What is only in memory so far, as rows of the table.
ENDED: Final = """
SELECT account_id, one ->> 1 AS minute, one ->> 2 AS disposition, one ->> 3 AS sip_status, one ->> 4 AS attempts,
       one ->> 5 AS last_at, one ->> 6 AS call_id, one ->> 7 AS number
FROM (SELECT value AS one FROM json_each(:ended)) JOIN campaign ON campaign.id = one ->> 0"""
# max() makes the bare columns beside it those of its row (sqlite.org/lang_select.html, 2.5).
_ADD: Final = f"""
INSERT INTO minute (account_id, minute, disposition, sip_status, attempts, last_at, call_id, number)
SELECT account_id, minute, disposition, sip_status, sum(attempts), max(last_at), call_id, number FROM ({ENDED})
WHERE true GROUP BY 1, 2, 3, 4
ON CONFLICT DO UPDATE SET attempts = attempts + excluded.attempts, last_at = excluded.last_at,
    call_id = excluded.call_id, number = excluded.number"""  # noqa: S608 - both parts are ours
# By account, so that the key finds the rows.
_FORGET: Final = """
DELETE FROM minute WHERE (account_id, minute, disposition, sip_status) IN (
    SELECT account_id, minute, disposition, sip_status FROM account JOIN minute ON account_id = account.id AND minute < ?)"""
