"""Claims: recording attempts before their INVITEs, against the least that any design must do: an UPDATE and a commit.

Both run on a campaign of the same size in a file of the same schema, with the same fsync, in turns, so that a busy disk
hurts them alike. The floor moves one integer of one row for each call; a claim writes the attempt's row, moves the call
and the campaign's counts, and checks that the attempt may follow.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dialer.core.changes import AttemptArmed
from dialer.core.model import CallId, Campaign, WallMs
from scheduler.checkpoint import Checkpointer
from scheduler.connection import connect, sqlite3
from tests.support.sqlite_world import SqliteWorld

_ROUNDS = 20
# Large enough that both files have a WAL to write over, as in service: a commit that makes the file longer takes twice as long.
_CAMPAIGN = 300_000


@dataclass(frozen=True, slots=True)
class Claims:
    """Calls a second of both, and the median ratio of neighbouring turns."""

    batch: int
    floor: float
    ours: float
    ratio: float


def measure(batch: int, calls: int) -> Claims:
    """Claim that many calls in batches, and update as many rows in the same batches."""
    with tempfile.TemporaryDirectory(prefix="dialer-bench-") as name:
        world, bare = SqliteWorld(Path(name) / "ours.db"), SqliteWorld(Path(name) / "floor.db")
        campaign = world.add_campaign(size=_CAMPAIGN)
        bare.add_campaign(size=_CAMPAIGN)
        floor = connect(bare.path)
        checkpointer = Checkpointer(world.path)
        checkpointer.start()
        ours_s, floor_s = [], []
        turn = calls // _ROUNDS // batch * batch
        changes = _changes(campaign)
        first = campaign.first_call
        for start in range(first, first + turn * _ROUNDS, turn):
            floor_s.append(_floor(floor, start, turn, batch))
            claims = [next(changes) for _ in range(turn)]
            began = time.perf_counter()
            for i in range(0, turn, batch):
                world.store.apply(claims[i : i + batch])
            ours_s.append(time.perf_counter() - began)
        checkpointer.stop()
        floor.close()
        world.close()
        bare.close()
    ratio = statistics.median(f / o for f, o in zip(floor_s, ours_s, strict=True))
    return Claims(batch, turn / statistics.median(floor_s), turn / statistics.median(ours_s), ratio)


def _changes(campaign: Campaign) -> Iterator[AttemptArmed]:
    due = WallMs(time.time_ns() // 1_000_000)
    for i in range(campaign.size):
        call = CallId(campaign.first_call + i)
        yield AttemptArmed(call, campaign.id, 1, due, due, "pbx", "+34910000000", f"{call}-1")


def _floor(connection: sqlite3.Connection, start: int, calls: int, batch: int) -> float:
    began = time.perf_counter()
    for first in range(start, start + calls, batch):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "UPDATE call SET attempts = 1 WHERE id = ?", [(call,) for call in range(first, first + batch)]
        )
        connection.execute("COMMIT")
    return time.perf_counter() - began
