"""What a million calls that wait cost: the time from a start to ready, memory, and the price of a claim."""

import os
import statistics
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import httpx

from benchmarks.far_end import FarEnd
from benchmarks.lateness import resident_mb
from dialer.core.changes import AttemptArmed
from dialer.core.model import CallId, Campaign, WallMs
from scheduler.connection import sqlite3, transaction
from scheduler.store import SqliteStore
from tests.support.dialer_process import DIALER, Dialer
from tests.support.sqlite_world import SqliteWorld

_DAY_MS = 24 * 3_600_000
_SETTLED_S = 1.5
_CLAIMS = 200


class Kind(StrEnum):
    """How calls wait."""

    FIRST = "first attempts for tomorrow"
    RECALL = "recalls for tomorrow"
    OVERDUE = "recalls overdue since yesterday"


@dataclass(frozen=True, slots=True)
class Start:
    """One start: seconds from the process's start to 200 at /readyz, and what its main process holds a little later."""

    ready_s: float
    resident_mb: float


def seed(world: SqliteWorld, kind: Kind, pending: int) -> Campaign:
    """A campaign of so many calls that wait in that way, all of it in the database file and on disk."""
    now = time.time_ns() // 1_000_000
    first = kind is Kind.FIRST
    launch_at = now + _DAY_MS if first else now - 2 * _DAY_MS
    campaign = world.add_campaign(
        size=1, launch_at=launch_at, stagger_ms=1, recall_ms=(60_000,), scheduled=True, status="scheduled"
    )
    connection, begin = world.connection, campaign.first_call
    end = begin + pending
    with transaction(connection):
        connection.execute(_CALLS, (begin + 1, end))
        connection.execute(
            "UPDATE campaign SET size = ?, total_contacts = ? WHERE id = ?", (pending, pending, campaign.id)
        )
        connection.execute("UPDATE meta SET value = ? WHERE key = 'next_call'", (end,))
        if not first:
            due = now + _DAY_MS if kind is Kind.RECALL else now - _DAY_MS
            _have_them_wait(connection, campaign, pending, due)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.sync()
    return campaign


def _have_them_wait(connection: sqlite3.Connection, campaign: Campaign, pending: int, due: int) -> None:
    begin, end = campaign.first_call, campaign.first_call + pending
    connection.execute(_DIALED_ONCE, {"due": due, "begin": begin, "end": end})
    connection.execute(_ATTEMPTS, {"due": due, "begin": begin, "end": end})
    connection.execute("INSERT INTO timer SELECT next_at, id FROM call WHERE id >= ? AND id < ?", (begin, end))
    connection.execute(
        "UPDATE campaign SET status = 'running', settled_cursor = size, settled_attempts = size WHERE id = ?",
        (campaign.id,),
    )


def start(kind: Kind, pending: int) -> Start:
    """Start the server over so many pending calls."""
    with tempfile.TemporaryDirectory(prefix="dialer-bench-") as name, FarEnd(Path(name)) as far_end:
        folder = Path(name)
        trunk = {"uri": f"sip:127.0.0.1:{far_end.port}", "max_concurrent_calls": 100, "calls_per_second": 20}
        dialer = Dialer(folder, {"pbx": trunk})
        dialer.run("db", "migrate")
        world = SqliteWorld(folder / "dialer.db")
        seed(world, kind, pending)
        world.close()
        return _start(dialer)


def _start(dialer: Dialer) -> Start:
    with dialer.log.open("ab") as log:
        began = time.perf_counter()
        process = subprocess.Popen([DIALER, "--config", dialer.config, "serve"], stdout=log, stderr=log)
        try:
            while not _is_ready(dialer.url):
                assert process.poll() is None, dialer.log.read_text()
                time.sleep(0.005)
            ready = time.perf_counter() - began
            time.sleep(_SETTLED_S)
            return Start(ready, resident_mb(process.pid))
        finally:
            process.terminate()
            process.wait(60)


def _is_ready(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    return False


def claim_ms(pending: int) -> float:
    """The median time of taking one due call: selecting it, reading its record, committing its attempt."""
    with tempfile.TemporaryDirectory(prefix="dialer-bench-") as name:
        world = SqliteWorld(Path(name) / "dialer.db")
        campaign = seed(world, Kind.OVERDUE, pending)
        world.close()
        store = SqliteStore(world.path)
        took = []
        for _ in range(min(_CLAIMS, pending)):
            began = time.perf_counter()
            due_at, call = next(iter(store.due_timers(WallMs(time.time_ns() // 1_000_000))))
            number = store.call(call).attempts + 1
            store.apply([_armed(call, campaign, number, due_at)])
            took.append((time.perf_counter() - began) * 1000)
        store.close()
    return statistics.median(took)


def _armed(call: CallId, campaign: Campaign, number: int, due_at: WallMs) -> AttemptArmed:
    return AttemptArmed(call, campaign.id, number, due_at, due_at, "pbx", "", f"{call}@bench")


_CALLS = """
WITH RECURSIVE number (id) AS (SELECT ? UNION ALL SELECT id + 1 FROM number WHERE id + 1 < ?)
INSERT INTO call (id, phone, contact) SELECT id, printf('+34%09d', id), '{"first_name":"Name"}' FROM number"""
_DIALED_ONCE = """
UPDATE call SET attempts = 1, first_dialed_at = :due - 60000, next_at = :due, disposition = 'busy', reason = 'Busy Here'
WHERE id >= :begin AND id < :end"""
_ATTEMPTS = """
INSERT INTO ended_attempt (call_id, number, due_at, fire_at, dialed_at, ended_at, invites, trunk, caller_id, sip_call_id,
                           disposition, reason, ended_by)
SELECT id, 1, :due - 60000, :due - 60000, :due - 60000, :due - 59900, 1, 'pbx', '', printf('%d@bench', id),
       'busy', 'Busy Here', 'far'
FROM call WHERE id >= :begin AND id < :end"""
