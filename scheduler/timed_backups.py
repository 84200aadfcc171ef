"""Backups on a timer: each in a process of its own, under the time of its beginning, and only the newest are kept."""

import asyncio
import contextlib
import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from dialer.core.model import WallMs
from dialer.ports import Clock
from dialer.tally import Backups
from scheduler.backup import PART

_log = logging.getLogger(__name__)

_NAME: Final = "dialer-%Y%m%dT%H%M%SZ.db"
_HOME: Final = str(Path(__file__).resolve().parent.parent)
# A disk that was full may have room again long before the next backup is due.
_RETRY_SECONDS: Final = 600.0


class TimedBackups:
    """Backs `database` up into `directory` each `interval_seconds`, counted over restarts, and keeps the `keep` newest.

    The folder is made where it is missing. What others put there under other names is left alone.
    """

    def __init__(self, database: Path, directory: Path, *, interval_seconds: float, keep: int, clock: Clock) -> None:
        self._database = database
        self._directory = directory
        self._interval = interval_seconds
        self._keep = keep
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self.state = Backups()

    def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.create_task(self._run(), name="backups")

    async def stop(self) -> None:
        """End, and give up a backup that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        newest = await asyncio.to_thread(newest_backup, self._directory)
        wait = 0.0
        if newest is not None:
            self.state.succeeded_at = newest
            # Both ends count: a file from the future, of a clock that was wrong, puts nothing off for longer than usual.
            wait = min(self._interval, max(0.0, self._interval - (self._clock.now().wall - newest) / 1000))
        while True:
            await asyncio.sleep(wait)
            began = self._clock.now()
            fault = await self._back_up(began.wall)
            if fault is None:
                _log.info("backed up into %s", self._directory)
                self.state.succeeded_at = began.wall
                self.state.seconds = self._clock.now().mono - began.mono
                wait = max(0.0, self._interval - self.state.seconds)
            else:
                _log.error("there is no backup: %s", fault)
                self.state.failed_at = began.wall
                self.state.failures += 1
                wait = min(self._interval, _RETRY_SECONDS)

    async def _back_up(self, at: WallMs) -> str | None:
        """Take one; None, or why there is none."""
        try:
            await asyncio.to_thread(self._make_room)
            file = self._directory / datetime.fromtimestamp(at / 1000, UTC).strftime(_NAME)
            fault = await _in_a_process(self._database, file)
            if fault is None:
                self.state.size_bytes = await asyncio.to_thread(self._settle, file)
        except OSError as error:
            return f"{self._directory}: {error.strerror or error}"
        return fault

    def _make_room(self) -> None:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        # What a process that was killed had begun.
        for part in self._directory.glob(f".dialer-*{PART}*"):
            part.unlink(missing_ok=True)

    def _settle(self, file: Path) -> int:
        """Remove what is older than the newest few, now that there is one more; the size of that."""
        for _, old in _backups(self._directory)[: -self._keep]:
            old.unlink(missing_ok=True)
        return file.stat().st_size


def newest_backup(directory: Path) -> WallMs | None:
    """When the newest backup in the folder was begun; None: there is none, or no such folder."""
    found = _backups(directory)
    return found[-1][0] if found else None


def _backups(directory: Path) -> list[tuple[WallMs, Path]]:
    """With when each was begun, oldest first."""
    found = []
    for file in directory.glob("dialer-*.db"):
        # A name that is none of ours, or no time, is somebody else's file.
        with contextlib.suppress(ValueError):
            begun = datetime.strptime(file.name, _NAME).replace(tzinfo=UTC)
            if file.name == begun.strftime(_NAME) and file.is_file():
                found.append((WallMs(round(begun.timestamp() * 1000)), file))
    return sorted(found)


async def _in_a_process(database: Path, file: Path) -> str | None:
    """Run `scheduler.backup_process`; what it said on standard error where it failed. It is killed when this is cancelled."""
    path = os.pathsep.join(filter(None, [_HOME, os.environ.get("PYTHONPATH", "")]))
    # `-P` keeps a folder of our name in the working directory from being taken for ours.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "scheduler.backup_process", str(database), str(file)),
        env={**os.environ, "PYTHONPATH": path},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, told = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode == 0:
        return None
    lines = told.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"its process ended with {process.returncode}"
