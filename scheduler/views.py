"""What was accepted and how far it is, as the API shows it: read-only, and only of the account that asks."""

import json
from collections.abc import Sequence
from typing import Any, Final

from dialer.core.model import CampaignStatus, WallMs
from dialer.core.timetable import show_time
from dialer.ports import Clock
from scheduler.closed_hours import due_in_hours
from scheduler.connection import sqlite3
from scheduler.database import Database
from scheduler.estimate import end_of
from scheduler.review import COUNT_OF_CAMPAIGN, IS_UNDER_REVIEW

Record = dict[str, Any]
_Row = sqlite3.Row


class Views:
    """Ids are UUIDs in canonical form; None as an answer means that the account has no such thing.

    A page is its items and where the next one begins (None: there is none), which is `after` of the next request.
    Every method raises `StoreUnavailable` when the disk refuses.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def campaigns(
        self, account_id: int, *, status: str | None, limit: int, after: int | None
    ) -> tuple[list[Record], int | None]:
        """The account's campaigns, newest first, single calls left out."""
        with self._database.read() as connection:
            rows = _rows(connection, _CAMPAIGNS, (account_id, after, after, status, status, limit + 1))
            page = rows[:limit]
            records = [self._campaign(connection, row) for row in page]
        return records, page[-1]["id"] if len(rows) > limit else None

    def campaign(self, account_id: int, uuid: str) -> Record | None:
        """One campaign with its counts. A single call's campaign is not shown.

        `next_attempt_at` is when its next attempt is due; null while it is paused and when it is over.
        `estimated_end_at` is explained at `scheduler.estimate`.
        """
        with self._database.read() as connection:
            rows = _rows(connection, _CAMPAIGN, (uuid, account_id))
            return self._campaign(connection, rows[0]) if rows else None

    def calls(
        self,
        account_id: int,
        campaign_uuid: str,
        *,
        state: str | None,
        disposition: str | None,
        limit: int,
        after: int | None,
    ) -> tuple[list[Record], int | None] | None:
        """The campaign's calls in the order of its contacts."""
        with self._database.read() as connection:
            found = _rows(connection, _CAMPAIGN, (campaign_uuid, account_id))
            if not found:
                return None
            campaign = found[0]
            first = campaign["first_call"]
            start = first if after is None else max(first, after + 1)
            asked = {"from": start, "to": first + campaign["size"], "limit": limit + 1}
            asked |= {"state": state, "disposition": disposition, "cancelled": _is_cancelled(campaign)}
            rows = _rows(connection, CALLS_LIVE if state == "live" else CALLS, asked)
            page = rows[:limit]
            records = [self._call(connection, campaign, row) for row in page]
        return records, page[-1]["id"] if len(rows) > limit else None

    def live_calls(self, account_id: int, *, limit: int, after: int | None) -> tuple[list[Record], int | None]:
        """The account's calls that are under way, newest first, single ones too."""
        campaigns: dict[int, _Row] = {}
        records = []
        with self._database.read() as connection:
            rows = _rows(connection, _LIVE, {"account": account_id, "after": after, "limit": limit + 1})
            for row in rows[:limit]:
                owner = row["owner"]
                if owner not in campaigns:
                    [campaigns[owner]] = _rows(connection, _CAMPAIGN_OF_CALL, (row["id"], account_id, row["id"]))
                records.append(self._call(connection, campaigns[owner], row))
        return records, rows[limit - 1]["id"] if len(rows) > limit else None

    def under_review(
        self, account_id: int, campaign_uuid: str | None, *, limit: int, after: int | None
    ) -> tuple[list[Record], int | None] | None:
        """The calls under review of the campaign (None: of the account), in the order of their acceptance."""
        records: list[Record] = []
        last: int | None = None
        with self._database.read() as connection:
            if campaign_uuid is not None and not _rows(connection, _CAMPAIGN, (campaign_uuid, account_id)):
                return None
            start = 0 if after is None else after + 1
            asked = {"account": account_id, "campaign": campaign_uuid, "from": start}
            for first, stop in connection.execute(_STRETCHES, asked).fetchall():
                campaign = _rows(connection, _CAMPAIGN_OF_CALL, (first, account_id, first))[0]
                wanted = {"from": first, "to": stop, "limit": limit + 1 - len(records)}
                wanted |= {"state": None, "disposition": None, "cancelled": False}
                for row in _rows(connection, CALLS, wanted):
                    if len(records) == limit:
                        return records, last
                    records.append(self._call(connection, campaign, row))
                    last = row["id"]
        return records, None

    def call(self, account_id: int, uuid: str) -> Record | None:
        """One call with its attempts, oldest first, and its transcript: the steps that they took.

        A call whose contact was erased has neither phone nor fields.
        """
        call = self._database.ids.parse_call(uuid)
        if call is None:
            return None
        with self._database.read() as connection:
            found = _rows(connection, _CAMPAIGN_OF_CALL, (call, account_id, call))
            if not found:
                return None
            asked = {"from": call, "to": call + 1, "limit": 1, "state": None, "disposition": None}
            rows = _rows(connection, CALLS, {**asked, "cancelled": _is_cancelled(found[0])})
            if not rows:
                return None
            lines = connection.execute(
                "SELECT number, line FROM step WHERE call_id = ? ORDER BY number, position", (call,)
            )
            transcript = [_line(number, line) for number, line in lines]
            return {**self._call(connection, found[0], rows[0]), "transcript": transcript}

    def _campaign(self, connection: sqlite3.Connection, row: _Row) -> Record:
        live, finished, size = row["live"], row["finished"], row["size"]
        outcomes = connection.execute(_OUTCOMES, (row["id"],)).fetchall()
        now, next_attempt = self._clock.now().wall, None
        if row["status"] in {CampaignStatus.SCHEDULED, CampaignStatus.RUNNING}:
            next_attempt = _next_attempt(connection, row)
            if next_attempt is not None:
                next_attempt = due_in_hours(row, next_attempt, now)
        return {
            "id": row["uuid"],
            "playbook_id": row["playbook_uuid"],
            "playbook": row["playbook_name"],
            "status": row["status"],
            "scheduled": bool(row["scheduled"]),
            "launch_at": show_time(row["launch_at"]),
            "expires_at": _time(row["expires_at"]),
            "recall": _minutes(row["recall"]),
            "created_at": show_time(row["created_at"]),
            "ended_at": _time(row["ended_at"]),
            "total_contacts": row["total_contacts"],
            "duplicate_contacts": row["duplicate_contacts"],
            "calls": {"scheduled": size - live - finished, "live": live, "finished": finished},
            "dispositions": dict(outcomes),
            "under_review": row["under_review"],
            "attempts": row["attempts"],
            "next_attempt_at": _time(next_attempt),
            "estimated_end_at": _time(end_of(row, now, next_attempt)),
        }

    def _call(self, connection: sqlite3.Connection, campaign: _Row, row: _Row) -> Record:
        next_attempt = None
        if row["state"] == "scheduled":
            launch_at = campaign["launch_at"] + campaign["clock_shift_ms"]
            slot = launch_at + (row["id"] - campaign["first_call"]) * campaign["stagger_ms"]
            due_at = WallMs(slot if row["next_at"] is None else row["next_at"])
            next_attempt = due_in_hours(campaign, due_at, self._clock.now().wall)
        return {
            "id": self._database.ids.call_uuid(row["id"]),
            "campaign_id": None if campaign["single"] else campaign["uuid"],
            "playbook_id": campaign["playbook_uuid"],
            "contact": json.loads(row["contact"]),
            "phone": row["phone"] or None,
            "state": row["state"],
            "disposition": row["disposition"],
            "under_review": bool(row["under_review"]),
            "recall": _minutes(campaign["recall"]),
            "next_attempt_at": _time(next_attempt),
            "created_at": show_time(campaign["created_at"]),
            "result": _result(connection, row["id"]),
            "attempts": _attempts(connection, row["id"]),
        }


def _rows(connection: sqlite3.Connection, sql: str, asked: Sequence[object] | dict[str, object]) -> list[_Row]:
    cursor = connection.cursor()
    cursor.row_factory = sqlite3.Row
    return cursor.execute(sql, asked).fetchall()


def _next_attempt(connection: sqlite3.Connection, row: _Row) -> WallMs | None:
    """The earliest of the first attempt that is next in line and of the campaign's timers, which are read in due order."""
    times: list[int] = []
    first = row["first_call"]
    # The cursor stays before calls that were finished without an attempt (suppressed, expired) until one behind them begins.
    next_first = connection.execute(_FIRST_LEFT, (first + row["cursor"], first + row["size"])).fetchone()
    if next_first is not None:
        times.append(row["launch_at"] + row["clock_shift_ms"] + (next_first[0] - first) * row["stagger_ms"])
    if row["cursor"] > 0:
        timer = connection.execute(_FIRST_TIMER, (first, first + row["size"])).fetchone()
        if timer is not None:
            times.append(timer[0])
    return WallMs(min(times)) if times else None


def _attempts(connection: sqlite3.Connection, call: int) -> list[Record]:
    """The call's attempts with their legs to agents, oldest first."""
    legs: dict[int, list[Record]] = {}
    for row in _rows(connection, _AGENT_LEGS, (call,)):
        times = {name: _time(row[name]) for name in ("dialed_at", "ringing_at", "answered_at", "ended_at")}
        legs.setdefault(row["number"], []).append({**{name: row[name] for name in _AGENT_LEG_SHOWN}, **times})
    return [_attempt(row, legs.get(row["number"], [])) for row in _rows(connection, _ATTEMPTS, (call,))]


def _attempt(row: _Row, agent_legs: list[Record]) -> Record:
    return {
        "number": row["number"],
        "due_at": show_time(row["due_at"]),
        "dialed_at": _time(row["dialed_at"]),
        "ringing_at": _time(row["ringing_at"]),
        "answered_at": _time(row["answered_at"]),
        "ended_at": _time(row["ended_at"]),
        "trunk": row["trunk"],
        "caller_id": row["caller_id"],
        "disposition": row["disposition"],
        "reason": row["reason"],
        "sip_status": row["sip_status"],
        "q850_cause": row["q850_cause"],
        "sip_call_id": row["sip_call_id"],
        "ended_by": row["ended_by"],
        **_durations(row),
        "delay_reason": row["delay_reason"],
        "rtp": None if row["rtp"] is None else json.loads(row["rtp"]),
        "agent_legs": agent_legs,
    }


def _durations(row: _Row) -> Record:
    """Post-dial delay to the first 18x or, without one, to the answer; ring and talk time. None: it did not come to that.

    A wall clock that was set meanwhile makes none of them negative.
    """
    dialed, ringing, answered, ended = (row[f"{name}_at"] for name in ("dialed", "ringing", "answered", "ended"))
    heard = ringing if ringing is not None else answered
    rang_until = answered if answered is not None else ended

    def between(start: WallMs | None, end: WallMs | None) -> int | None:
        return None if start is None or end is None else max(0, end - start)

    ring, talk = between(ringing, rang_until), between(answered, ended)
    return {
        "pdd_ms": between(dialed, heard),
        "ring_seconds": None if ring is None else ring / 1000,
        "talk_seconds": None if talk is None else talk / 1000,
    }


def _result(connection: sqlite3.Connection, call: int) -> Record | None:
    """What the call came to beyond its disposition; None: nothing was gathered, written or recorded."""
    row = connection.execute(_RESULT, (call,)).fetchone()
    return None if row is None else json.loads(row[0])


def _line(number: int, line: str) -> Record:
    """A step that an attempt took, as the API shows it."""
    shown = json.loads(line)
    return {"attempt": number, **shown, "at": show_time(shown["at"]), "ended_at": show_time(shown["ended_at"])}


def _is_cancelled(campaign: _Row) -> bool:
    return bool(campaign["status"] == CampaignStatus.CANCELLED)


def _time(at: WallMs | None) -> str | None:
    return None if at is None else show_time(at)


def _minutes(recall: str) -> list[int | float]:
    """As they were given: 30, not 30.0."""
    return [int(minutes) if minutes == int(minutes) else minutes for minutes in json.loads(recall)]


_SHOWN: Final = """campaign.*, playbook.uuid AS playbook_uuid, campaign.playbook ->> 'name' AS playbook_name,
       campaign.playbook ->> 'ring_timeout_seconds' AS ring_seconds, campaign.playbook ->> 'calling_hours' AS calling_hours"""
_FROM: Final = "FROM campaign_now AS campaign JOIN playbook ON playbook.id = campaign.playbook_id"
_CAMPAIGNS: Final = f"""
SELECT {_SHOWN}, {COUNT_OF_CAMPAIGN} AS under_review {_FROM}
WHERE campaign.account_id = ? AND single = 0 AND status <> 'loading'
AND (? IS NULL OR campaign.id < ?) AND (? IS NULL OR status = ?) ORDER BY campaign.id DESC LIMIT ?"""
_CAMPAIGN: Final = f"""
SELECT {_SHOWN}, {COUNT_OF_CAMPAIGN} AS under_review {_FROM}
WHERE campaign.uuid = ? AND campaign.account_id = ? AND single = 0 AND status <> 'loading'"""
_CAMPAIGN_OF_CALL: Final = f"""
SELECT {_SHOWN} {_FROM}
WHERE campaign.id = (SELECT id FROM campaign WHERE first_call <= ? ORDER BY first_call DESC LIMIT 1)
AND campaign.account_id = ? AND status <> 'loading' AND ? < first_call + size"""  # noqa: S608 - both parts are ours
# One look for the first of them; those before it may be as many as a whole list's.
_STRETCHES: Final = """
SELECT max(review.first_call, :from), last_call + 1
FROM review JOIN campaign ON campaign.id =
    (SELECT id FROM campaign WHERE first_call <= review.first_call ORDER BY first_call DESC LIMIT 1)
WHERE review.first_call >= coalesce((SELECT max(first_call) FROM review WHERE first_call <= :from), 0)
AND last_call >= :from AND account_id = :account AND (:campaign IS NULL OR campaign.uuid = :campaign)
ORDER BY review.first_call"""
_OUTCOMES: Final = "SELECT disposition, calls FROM outcome WHERE campaign_id = ? ORDER BY disposition"
_FIRST_LEFT: Final = "SELECT id FROM call WHERE id >= ? AND id < ? AND finished_at IS NULL ORDER BY id LIMIT 1"
_FIRST_TIMER: Final = "SELECT due_at FROM timer WHERE call_id >= ? AND call_id < ? ORDER BY due_at LIMIT 1"
_RESULT: Final = """
SELECT result FROM step WHERE call_id = ? AND result IS NOT NULL ORDER BY number DESC, position DESC LIMIT 1"""
_AGENT_LEGS: Final = "SELECT * FROM agent_leg WHERE call_id = ? ORDER BY number, position"
_AGENT_LEG_SHOWN: Final = (
    *("agent", "trunk", "caller_id", "sip_call_id", "disposition", "reason", "sip_status", "q850_cause", "ended_by"),
)
_ATTEMPTS: Final = "SELECT * FROM attempt WHERE call_id = ? ORDER BY number"

# A pending call of a cancelled campaign is finished as `cancelled` although its row was not touched when it was
# cancelled.
CALLS: Final = f"""
SELECT * FROM (
    SELECT id, phone, contact, next_at, state, under_review,
           CASE WHEN state = 'finished' AND finished_at IS NULL THEN 'cancelled' ELSE disposition END
           AS disposition
    FROM (
        SELECT *, CASE WHEN finished_at IS NOT NULL THEN 'finished'
                       WHEN EXISTS (SELECT 1 FROM open_attempt WHERE call_id = call.id) THEN 'live'
                       WHEN :cancelled THEN 'finished'
                       ELSE 'scheduled' END AS state,
               {IS_UNDER_REVIEW} AS under_review
        FROM call WHERE id >= :from AND id < :to))
WHERE (:state IS NULL OR state = :state) AND (:disposition IS NULL OR disposition = :disposition)
ORDER BY id LIMIT :limit"""  # noqa: S608 - both parts are ours
_LIVE: Final = """
SELECT call.id, phone, contact, next_at, 'live' AS state, call.disposition, 0 AS under_review, owner
FROM (SELECT call_id, (SELECT id FROM campaign WHERE first_call <= call_id ORDER BY first_call DESC LIMIT 1) AS owner
      FROM open_attempt WHERE :after IS NULL OR call_id < :after)
JOIN campaign ON campaign.id = owner JOIN call ON call.id = call_id
WHERE campaign.account_id = :account ORDER BY call_id DESC LIMIT :limit"""
# Live calls are few: they come from their open attempts, whatever the campaign's size.
CALLS_LIVE: Final = """
SELECT id, phone, contact, next_at, 'live' AS state, call.disposition, 0 AS under_review
FROM open_attempt JOIN call ON call.id = call_id
WHERE call_id >= :from AND call_id < :to
AND (:disposition IS NULL OR call.disposition = :disposition)
ORDER BY call_id LIMIT :limit"""
