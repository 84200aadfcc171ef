"""The outbox as those see it who take from it: read it, say how far they are, throw away what all have had."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dialer.core.model import AccountId, CampaignStatus, WallMs
from dialer.core.timetable import show_time
from dialer.ports import Clock, RecordedEvent
from scheduler.clock import pause
from scheduler.connection import sqlite3
from scheduler.database import Database
from scheduler.progress import ENDED
from scheduler.spread import spread_some
from scheduler.write_turn import Flag

STREAM: Final = "stream"
_REMOVED_AT_ONCE: Final = 500
_NEVER: Final = 1 << 62
_LOOK_AGAIN_S: Final = 0.0005


class EventLog:
    """Keeps `api.backend.EventLog`. Every method raises `StoreUnavailable` when the disk refuses.

    Positions are event rows, 0 before the first. `lock_wanted` is the store's flag: writes stay out of its way.
    """

    def __init__(self, database: Database, clock: Clock, *, lock_wanted: Flag | None = None) -> None:
        self._database = database
        self._clock = clock
        self._lock_wanted = lock_wanted

    def open(self, sink: str) -> int:
        """Where the sink goes on. A new one begins at the end: from now on events are recorded for it."""
        with self._database.write() as connection:
            row = connection.execute(_OPEN, (sink, _end(connection))).fetchone()
        return int(row[0])

    def close(self, sink: str) -> None:
        """Nobody is behind this name any more: what it was not given is not kept for it."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM sink WHERE name = ?", (sink,))

    def positions(self) -> dict[str, int]:
        """All sinks, and how far each is."""
        with self._database.read() as connection:
            return dict(connection.execute("SELECT name, position FROM sink").fetchall())

    def end(self) -> int:
        """The position of the newest event that was ever recorded."""
        with self._database.read() as connection:
            return _end(connection)

    def removed(self) -> int:
        """Events at or below this position may be gone."""
        with self._database.read() as connection:
            return _removed(connection)

    def after(self, position: int, limit: int) -> list[RecordedEvent]:
        """The events after `position`, in order."""
        with self._database.read() as connection:
            rows = connection.execute(_AFTER, (position, limit)).fetchall()
        return [self._event(row) for row in rows]

    def states(self, after: int, limit: int) -> list[RecordedEvent]:
        """The newest event of each campaign that goes on, by position: the state in which it is."""
        with self._database.read() as connection:
            rows = connection.execute(_STATES, (after, limit)).fetchall()
        return [self._event(row) for row in rows]

    def position_of(self, event_id: str) -> int | None:
        """The position of an event by its public id; None for an id that this database did not give."""
        return self._database.ids.parse_event(event_id)

    def keep(self, positions: Mapping[str, int]) -> None:
        """Store how far the sinks are; one that was closed meanwhile stays closed."""
        self._let_pass()
        with self._database.write() as connection:
            connection.executemany(
                "UPDATE sink SET position = max(position, ?) WHERE name = ?",
                [(position, sink) for sink, position in positions.items()],
            )

    def stream_listened(self, *, listening: bool, keep_ms: int) -> bool:
        """Keep the stream's events while somebody listens, and `keep_ms` beyond; whether they are kept now."""
        now = self._clock.now().wall
        self._let_pass()
        with self._database.write() as connection:
            if listening:
                connection.execute("UPDATE sink SET seen_at = ? WHERE name = ?", (now, STREAM))
            else:
                connection.execute(
                    "DELETE FROM sink WHERE name = ? AND coalesce(seen_at, 0) < ?", (STREAM, now - keep_ms)
                )
            return connection.execute("SELECT 1 FROM sink WHERE name = ?", (STREAM,)).fetchone() is not None

    def remove(self, *, stream_ms: int, longest_ms: int, most: int) -> tuple[int, int]:
        """Throw away a portion of what nobody needs: (events removed, how many of them some sink had not been given).

        What all sinks were given goes, for the stream when it is older than `stream_ms`. What is older than `longest_ms`
        or beyond the newest `most` goes in any case. To be repeated while rows are removed.
        """
        now = self._clock.now().wall
        with self._database.read() as connection:
            given, end, removed = _given_to_all(connection), _end(connection), _removed(connection)
            streaming = connection.execute("SELECT 1 FROM sink WHERE name = ?", (STREAM,)).fetchone() is not None
            asked = {
                "from": removed,
                "to": min(removed + _REMOVED_AT_ONCE, end),
                "given": given,
                "fresh": now - stream_ms if streaming else _NEVER,
                "old": now - longest_ms,
                "most": end - most,
            }
            (needed,) = connection.execute(_FIRST_NEEDED, asked).fetchone()
        last = asked["to"] if needed is None else needed - 1
        if last <= removed:
            return 0, 0
        self._let_pass()
        with self._database.write() as connection:
            connection.execute(_REMOVE, (last,))
            connection.execute("UPDATE meta SET value = ? WHERE key = 'events_removed'", (last,))
        return last - removed, max(0, last - max(given, removed))

    def spread(self) -> int:
        """Tell some more calls of what happened to their whole campaign; 0 when nothing is left to tell."""
        with self._database.read() as connection:
            if connection.execute("SELECT 1 FROM spread LIMIT 1").fetchone() is None:
                return 0
        self._let_pass()
        with self._database.write() as connection:
            return spread_some(connection, self._clock.now().wall)

    def _let_pass(self) -> None:
        # The store waits for the lock on the loop's thread, where calls are placed.
        while self._lock_wanted is not None and self._lock_wanted.value:
            pause(_LOOK_AGAIN_S)

    def _event(self, row: Sequence[Any]) -> RecordedEvent:
        position, kind, sequence, at, recorded_at, text, call, campaign, single, status, account_id, account, phone = (
            row
        )
        detail = json.loads(text)
        for key in ("next_attempt_at", "launch_at"):
            if key in detail:
                detail[key] = show_time(detail[key])
        campaign_id = None if single else campaign
        payload: dict[str, Any] = {
            "event_id": self._database.ids.event_uuid(position),
            "sequence": sequence,
            "type": kind,
            "at": show_time(at),
            "account_id": account,
            "campaign_id": campaign_id,
        }
        if call is not None:
            # Joined, not stored: a person who is erased is erased from events that were not sent yet.
            payload |= {"call_id": self._database.ids.call_uuid(call), "phone": phone or None}
        payload |= detail
        return RecordedEvent(
            position=position,
            account_id=AccountId(account_id),
            account=account,
            campaign=campaign_id,
            call=payload.get("call_id"),
            active=CampaignStatus(status) not in ENDED,
            recorded_at=WallMs(recorded_at),
            payload=payload,
        )


def _end(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'event'").fetchone()
    return 0 if row is None else int(row[0])


def _removed(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT value FROM meta WHERE key = 'events_removed'").fetchone()[0])


def _given_to_all(connection: sqlite3.Connection) -> int:
    """What no sink still waits for; without any sink, everything. The stream takes nothing: it keeps for a time."""
    (least,) = connection.execute("SELECT min(position) FROM sink WHERE name <> ?", (STREAM,)).fetchone()
    return _end(connection) if least is None else int(least)


_OPEN: Final = """
INSERT INTO sink (name, position) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET position = position RETURNING position"""
_EVENT: Final = """
SELECT event.id, type, sequence, event.at, recorded_at, detail, call_id, campaign.uuid, single, campaign.status,
       account.id, account.uuid, call.phone
FROM event JOIN campaign ON campaign.id = campaign_id JOIN account ON account.id = campaign.account_id
LEFT JOIN call ON call.id = call_id """
_AFTER: Final = _EVENT + "WHERE event.id > ? ORDER BY event.id LIMIT ?"
_STATES: Final = """
SELECT event.id, type, sequence, event.at, recorded_at, detail, call_id, campaign.uuid, single, campaign.status,
       account.id, account.uuid, NULL
FROM campaign JOIN event ON event.id = last_event JOIN account ON account.id = campaign.account_id
WHERE campaign.status IN ('loading', 'scheduled', 'running', 'paused') AND last_event > ? ORDER BY last_event LIMIT ?"""
# One row to fetch: a thread that fetches many fights the loop's for the interpreter lock at each.
_FIRST_NEEDED: Final = """
SELECT min(id) FROM event WHERE id > :from AND id <= :to AND recorded_at >= :old AND id > :most
AND (id > :given OR recorded_at >= :fresh)"""
# The state of a campaign that goes on stays, for a broker that lost what it retained.
_REMOVE: Final = """
DELETE FROM event WHERE id <= ? AND NOT (call_id IS NULL AND id IS (
    SELECT last_event FROM campaign WHERE campaign.id = campaign_id
    AND status IN ('loading', 'scheduled', 'running', 'paused')))"""
