"""What the operator's page shows, read in a thread once a second while somebody looks: from indexes, whatever has piled up.

Each statement answers with one row of JSON. A thread that fetches many rows takes the interpreter lock from the loop that
places calls at each of them; SQLite makes the JSON without it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dialer.core.model import CampaignStatus
from dialer.ports import Clock
from dialer.recent import MINUTE_MS, Ended
from scheduler import board_sql as sql
from scheduler.connection import sqlite3
from scheduler.database import Database
from scheduler.estimate import end_of
from scheduler.minutes import as_json

Record = dict[str, Any]


class Board:
    """Only what belongs to the account is shown. Times are Unix milliseconds; None as an answer: the account has no such thing.

    A campaign: its columns as they are stored, `playbook` (its name), `ring_seconds`, `dispositions`, how many of its calls
    are `under_review`, and `estimated_end_at`. A call: `id` (public), `phone` ("" where the person was erased), `name`,
    `state`, `disposition`, whether it is `under_review`, `attempts` (begun), `next_at`, and of its newest attempt the times,
    `trunk`, `reason` and `sip_status`. Every method raises `StoreUnavailable`.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def overview(self, account_id: int, ended: Sequence[Ended], *, calls: int, campaigns: int) -> Record:
        """What goes on, and the last hour.

        `live`: how many attempts are `waiting`, `ringing` and `talking`, and the newest `calls` of them. `counts`: by status,
        how many campaigns go on, and how many of their calls are left to finish; `campaigns`: the first of them (running, then
        paused, then scheduled); `over`: the newest that have ended. `outcomes` of the hour by minute; its `failures` by SIP
        status, most frequent first. `ended` is what is not in the table of minutes yet, of all accounts.
        """
        hour = self._clock.now().wall // MINUTE_MS - 59
        with self._database.read() as connection:
            asked = {"account": account_id, "calls": calls, "campaigns": campaigns}
            live = self._one(connection, sql.LIVE, asked)
            going_on = self._one(connection, sql.GOING_ON, asked)
            minutes = self._one(
                connection, sql.HOUR, {"account": account_id, "since": hour, "step": 1, "ended": as_json(ended)}
            )
        return {
            "live": {**live, "calls": self._calls(live["calls"])},
            "counts": going_on["counts"],
            "campaigns": self._campaigns(going_on["campaigns"]),
            "over": self._campaigns(going_on["over"]),
            "outcomes": minutes["outcomes"],
            "failures": [
                {**one, "call": None if one["call"] is None else self._database.ids.call_uuid(one["call"])}
                for one in minutes["failures"]
            ],
        }

    def under_review(self, account_id: int) -> int:
        """How many of its calls wait for a person to decide about them (`scheduler.review`)."""
        with self._database.read() as connection:
            found: int = self._one(connection, sql.UNDER_REVIEW, {"account": account_id})
        return found

    def outcomes(self, account_id: int, ended: Sequence[Ended], *, since: int, step: int) -> list[tuple[int, str, int]]:
        """(minute, disposition, attempts) of the minutes from `since` on, in steps of `step` minutes."""
        asked = {"account": account_id, "since": since, "step": step, "ended": as_json(ended)}
        with self._database.read() as connection:
            return [tuple(one) for one in self._one(connection, sql.OUTCOMES, asked)]

    def live(self, account_id: int, *, calls: int) -> Record:
        """The part `live` of the overview."""
        with self._database.read() as connection:
            live = self._one(connection, sql.LIVE, {"account": account_id, "calls": calls})
        return {**live, "calls": self._calls(live["calls"])}

    def campaigns(
        self, account_id: int, *, status: str | None, limit: int, after: int | None
    ) -> tuple[list[Record], int | None]:
        """The account's campaigns, newest first; and the position of the next page (None: there is none)."""
        with self._database.read() as connection:
            asked = {"account": account_id, "status": status, "after": after, "limit": limit + 1}
            found = self._campaigns(self._one(connection, sql.CAMPAIGNS, asked))
        return found[:limit], found[limit - 1]["id"] if len(found) > limit else None

    def campaign(self, account_id: int, uuid: str) -> Record | None:
        """One campaign."""
        with self._database.read() as connection:
            found = self._one(connection, sql.CAMPAIGN, {"account": account_id, "uuid": uuid})
        return self._campaigns([found])[0] if found is not None else None

    def calls(
        self,
        account_id: int,
        uuid: str,
        *,
        state: str | None,
        disposition: str | None,
        limit: int,
        after: int | None,
    ) -> tuple[list[Record], int | None] | None:
        """The calls of a campaign in the order of its contacts; and the position of the next page (None: there is none)."""
        with self._database.read() as connection:
            campaign = self._one(connection, sql.CAMPAIGN, {"account": account_id, "uuid": uuid})
            if campaign is None:
                return None
            first = campaign["first_call"]
            asked = {
                "from": first if after is None else max(first, after + 1),
                "to": first + campaign["size"],
                "limit": limit + 1,
                "state": state,
                "disposition": disposition,
                "cancelled": campaign["status"] == CampaignStatus.CANCELLED,
            }
            slots = {"slot": campaign["launch_at"] + campaign["clock_shift_ms"] - first * campaign["stagger_ms"]}
            slots["stagger"] = campaign["stagger_ms"]
            found = self._one(connection, sql.CALLS_LIVE if state == "live" else sql.CALLS, asked | slots)
        page = found[:limit]
        position = page[-1]["id"] if len(found) > limit else None
        return self._calls(page), position

    def calls_to(self, account_id: int, phone: str, *, limit: int) -> list[Record]:
        """The account's calls to a number, newest first, with `campaign` and `campaign_id` (None for a single call).

        Reads all its calls (about 0.2 s for a million).
        """
        with self._database.read() as connection:
            found = self._one(connection, sql.CALLS_TO, {"account": account_id, "phone": phone, "limit": limit})
        return self._calls(found)

    def _campaigns(self, found: Sequence[Mapping[str, Any]]) -> list[Record]:
        now = self._clock.now().wall
        return [{**campaign, "estimated_end_at": end_of(campaign, now)} for campaign in found]

    def _calls(self, found: Sequence[Mapping[str, Any]]) -> list[Record]:
        return [{**call, "id": self._database.ids.call_uuid(call["id"])} for call in found]

    @staticmethod
    def _one(connection: sqlite3.Connection, statement: str, asked: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        row = connection.execute(statement, asked).fetchone()
        return None if row is None else json.loads(row[0])
