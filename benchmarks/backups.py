"""What a backup costs the calls beside it: lateness while one is taken after the other, of a database with a million calls."""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from benchmarks.far_end import FarEnd
from benchmarks.lateness import due_times, numbers, post, server
from benchmarks.pending import Kind, seed
from tests.support.dialer_process import eventually
from tests.support.sqlite_world import SqliteWorld

_BEFORE_LAUNCH_S: Final = 3.0
_A_SECOND: Final = 50
_SIDE_BY_SIDE: Final = 2


@dataclass(frozen=True, slots=True)
class Beside:
    """Of one run: how late the calls were, how long each backup took, and how large they are."""

    late_ms: list[float]
    took_s: list[float]
    size_mb: float


def measure(seconds: int, waiting: int, *, taking: bool) -> Beside:
    """Place 100 calls a second for so long over a database with so many waiting ones."""
    with tempfile.TemporaryDirectory(prefix="dialer-bench-") as name, FarEnd(Path(name)) as far_end:
        folder = Path(name)
        with server(folder, far_end.port, stagger_seconds=1 / _A_SECOND) as (dialer, client):
            dialer.stop()
            world = SqliteWorld(folder / "dialer.db")
            seed(world, Kind.RECALL, waiting)
            world.close()
            dialer.start()
            playbook = client.playbook(ring_timeout_seconds=5)
            size, launch = _A_SECOND * seconds, datetime.now(UTC) + timedelta(seconds=_BEFORE_LAUNCH_S)
            campaigns = [
                post(
                    client, playbook, numbers(i * size, size), launch + timedelta(seconds=i / _A_SECOND / _SIDE_BY_SIDE)
                )
                for i in range(_SIDE_BY_SIDE)
            ]
            eventually(lambda: datetime.now(UTC) > launch, 60, "the launch")
            took, copied = _take(folder, seconds) if taking else (_wait(seconds), 0.0)
            for campaign in campaigns:
                client.finished(campaign, 60)
            client.close()
        due = {call_id: at for one in campaigns for call_id, at in due_times(folder / "dialer.db", one).items()}
        received = far_end.received()
    return Beside([received[call_id] - at for call_id, at in due.items() if call_id in received], took, copied)


def _wait(seconds: int) -> list[float]:
    time.sleep(seconds)
    return []


def _take(folder: Path, seconds: int) -> tuple[list[float], float]:
    """One backup after the other, each in a process as the server starts it; how long they took, and megabytes of the last."""
    took, until, file = [], time.monotonic() + seconds, folder / "backup.db"
    while time.monotonic() < until:
        file.unlink(missing_ok=True)
        began = time.monotonic()
        command = [sys.executable, "-m", "scheduler.backup_process", str(folder / "dialer.db"), str(file)]
        subprocess.run(command, check=True, env=os.environ)
        took.append(time.monotonic() - began)
    return took, file.stat().st_size / 1e6
