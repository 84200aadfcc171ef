"""Claims: recording attempts before their INVITEs, against the least that any design must do: an UPDATE and a commit.

Both run on a campaign of the same size in a file of the same schema, with the same fsync, in turns, so that a busy disk
hurts them alike. The floor moves one integer of one row for each call; a claim writes the attempt's row, and finds out that
the attempt may follow.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dialer.core.changes import AttemptArmed
from dialer.core.model import CallId, Campaign, WallMs
from scheduler.checkpoint import Checkpointer
from scheduler.connection import connect, sqlite3
from scheduler.store import SqliteStore
from tests.support.sqlite_world import SqliteWorld

_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Claims:
    """Calls a second of both, and the median ratio of neighbouring turns."""

    batch: int
    floor: float
    ours: float
    ratio: float


def measure(batches: Mapping[int, int], campaign_size: int) -> list[Claims]:
    """For each size of a batch, claim so many calls in such batches, and update as many rows in the same batches.

    All calls are of one campaign in each file. At a million its rows leave a WAL behind that all commits write over, as in
    service: a commit that makes the file longer takes up to twice as long.
    """
    with tempfile.TemporaryDirectory(prefix="dialer-bench-") as name:
        world, bare = SqliteWorld(Path(name) / "ours.db"), SqliteWorld(Path(name) / "floor.db")
        changes = _changes(world.add_campaign(size=campaign_size))
        calls = iter(range(bare.add_campaign(size=campaign_size).first_call, campaign_size))
        floor = connect(bare.path)
        checkpointer = Checkpointer(world.path)
        checkpointer.start()
        found = []
        for batch, size in batches.items():
            ours_s, floor_s = [], []
            turn = size // _ROUNDS // batch * batch
            for _ in range(_ROUNDS):
                floor_s.append(_floor(floor, list(islice(calls, turn)), batch))
                ours_s.append(_ours(world.store, list(islice(changes, turn)), batch))
            ratio = statistics.median(f / o for f, o in zip(floor_s, ours_s, strict=True))
            found.append(Claims(batch, turn / statistics.median(floor_s), turn / statistics.median(ours_s), ratio))
        checkpointer.stop()
        floor.close()
        world.close()
        bare.close()
    return found


def _changes(campaign: Campaign) -> Iterator[AttemptArmed]:
    due = WallMs(time.time_ns() // 1_000_000)
    for i in range(campaign.size):
        call = CallId(campaign.first_call + i)
        yield AttemptArmed(call, campaign.id, 1, due, due, "pbx", "+34910000000", f"{call}-1")


def _ours(store: SqliteStore, changes: list[AttemptArmed], batch: int) -> float:
    began = time.perf_counter()
    for i in range(0, len(changes), batch):
        store.apply(changes[i : i + batch])
    return time.perf_counter() - began


def _floor(connection: sqlite3.Connection, calls: list[int], batch: int) -> float:
    began = time.perf_counter()
    for i in range(0, len(calls), batch):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("UPDATE call SET attempts = 1 WHERE id = ?", [(call,) for call in calls[i : i + batch]])
        connection.execute("COMMIT")
    return time.perf_counter() - began
