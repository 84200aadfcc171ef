"""A whole copy of the database at one moment, taken beside a server that goes on dialing, and fit to be restored.

VACUUM INTO reads one snapshot of the WAL, so that it neither waits for writers nor makes them wait, and leaves out what was
deleted: people who were erased are in no later backup. What would make calls late is the disk: whatever waits to be written
to it makes the next commit's fsync wait, too. A copy of 180 MB, written as fast as it can be read, made half of the calls
beside it 10 to 125 ms late; synced after each 4 MB, some commits still took 200 ms. So it is synced in portions that the disk
takes in about 5 ms, with rests in between, and commits take no longer than without.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dialer.ports import Clock, StoreUnavailable
from scheduler.clock import SystemClock, boot_id
from scheduler.connection import connect, disk_errors, sqlite3
from scheduler.migrations import examine, require_some_version

PART: Final = ".part"
# How often SQLite asks whether to go on, in steps of its virtual machine: about every 0.1 ms.
_STEPS: Final = 5_000
_SMALLEST_STRIDE, _LARGEST_STRIDE = 128 << 10, 4 << 20
_SYNC_SECONDS: Final = 0.005
_REST_SECONDS: Final = 0.02


class NoBackup(Exception):
    """Why there is no backup, in one line. What stood under its name is still there."""


@dataclass(frozen=True, slots=True)
class Backup:
    """One that was taken, checked and is on disk."""

    file: Path
    size_bytes: int
    seconds: float


def back_up(
    database: Path,
    file: Path,
    *,
    replace: bool = False,
    clock: Clock | None = None,
    rest: Callable[[float], None] = time.sleep,
) -> Backup:
    """Copy the database into `file`, which appears under its name when it was found whole and is on disk (fsync).

    Only its owner may read it: it holds people's data, and secrets. Any migrated version can be backed up. `replace`: what is
    there under that name goes in that moment. Raises `NoBackup`; `DatabaseNotReady` and `DatabaseTooNew` for a database that
    is not this program's.
    """
    began = time.monotonic()
    _require_place(database, file, replace=replace)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=PART, dir=file.parent)
    except OSError as fault:
        raise NoBackup(f"{file.parent}: {fault.strerror}") from fault
    part = Path(name)
    try:
        stamp = _stamp(clock or SystemClock())
        _copy(database, part, descriptor, rest)
        _finish(part, stamp)
        os.fsync(descriptor)
        size = os.fstat(descriptor).st_size
        _publish(part, file, replace=replace)
    except (StoreUnavailable, sqlite3.Error) as fault:
        raise NoBackup(f"{file}: {fault}") from fault
    except OSError as fault:
        raise NoBackup(f"{file}: {fault.strerror}") from fault
    finally:
        os.close(descriptor)
        part.unlink(missing_ok=True)
    return Backup(file, size, time.monotonic() - began)


def _require_place(database: Path, file: Path, *, replace: bool) -> None:
    if not database.exists():
        raise NoBackup(f"{database}: no such file")
    if file.exists() and file.samefile(database):
        raise NoBackup(f"{file} is the database itself")
    if file.is_dir():
        raise NoBackup(f"{file} is a folder: name the file that the backup is to become")
    if os.path.lexists(file) and not replace:
        raise NoBackup(f"{file} is there already; --force puts the backup in its place")


def _copy(database: Path, part: Path, descriptor: int, rest: Callable[[float], None]) -> None:
    synced, stride = 0, _SMALLEST_STRIDE

    def pace() -> None:
        nonlocal synced, stride
        size = os.fstat(descriptor).st_size
        if size - synced < stride:
            return
        began = time.monotonic()
        os.fdatasync(descriptor)
        took = time.monotonic() - began
        synced = size
        fitting = stride * min(2.0, max(0.5, _SYNC_SECONDS / max(took, 1e-6)))
        stride = int(min(_LARGEST_STRIDE, max(_SMALLEST_STRIDE, fitting)))
        rest(took + _REST_SECONDS)

    with closing(connect(database, checkpoints=False)) as source, disk_errors():
        require_some_version(source, database)
        source.set_progress_handler(pace, _STEPS)
        source.execute("VACUUM INTO ?", (str(part),))


def _finish(part: Path, stamp: str) -> None:
    """Note in the copy when it was taken, and read all of it."""
    with closing(sqlite3.connect(part, isolation_level=None)) as copy, disk_errors():
        # There is no other journal than one in memory: half a backup is none.
        copy.execute("PRAGMA journal_mode = MEMORY")
        copy.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('backup', ?)", (stamp,))
        faults = examine(copy)
    if faults:
        raise NoBackup(f"the copy is damaged, as the database may be (`dialer db check`): {faults[0]}")


def _publish(part: Path, file: Path, *, replace: bool) -> None:
    if replace:
        part.rename(file)
    else:
        try:
            os.link(part, file)
        except FileExistsError:
            raise NoBackup(f"{file} was made by somebody else meanwhile") from None
        except OSError:
            # A file system without hard links, as of a network share: what was made this very moment would be lost.
            part.rename(file)
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """See to it that the names in a folder are on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _stamp(clock: Clock) -> str:
    """The moment before the copy began, on a clock that nobody sets too: see `scheduler.restore`."""
    now, offset = clock.now_and_offset_ms()
    return json.dumps({"at": now.wall, "offset_ms": offset, "boot": boot_id()})
