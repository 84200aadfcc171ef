"""A backup in the place of the database: checked, brought up to date and made safe to dial from before anybody sees it.

All of it happens in a copy beside the database, which takes its name in one step at the end. What had the name before stays,
under another.
"""

import glob
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from dialer.core.model import WallMs
from dialer.core.timetable import show_time
from dialer.ports import Clock, StoreUnavailable
from scheduler.backup import sync_folder
from scheduler.clock import boot_id
from scheduler.connection import connect, disk_errors, sqlite3
from scheduler.migrations import examine, migrate, require_some_version
from scheduler.new_life import begin_new_life
from scheduler.replaced import Carried, carry_over, last_attempt
from scheduler.server_lock import ServerLock

# So far may the clocks of two machines be apart, or that of one over its restart.
CLOCKS_APART_MS: Final = 60_000
_SIDE_FILES: Final = ("-wal", "-shm", "-journal")
_COPY: Final = ".restoring"


class NotRestored(Exception):
    """Why the backup was not restored, in one line. The database is as it was."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done. `taken_at` None: the file does not tell. `kept` is where the replaced database is; None: there was none.

    `carried` None: there was no database, or none that could be read.
    """

    taken_at: WallMs | None
    migrations: tuple[str, ...]
    paused: int
    under_review: int
    kept: Path | None
    carried: Carried | None


def restore(database: Path, file: Path, *, min_recall_gap_ms: int, clock: Clock) -> Restored:
    """Put the backup in `file` in the place of `database`, whose server must not run.

    Every campaign is paused, and every call that may have been dialed since the backup is under review: see
    `scheduler.new_life`. On disk when it returns. Raises `NotRestored`, `ServedAlready`, `DatabaseNotReady`, `DatabaseTooNew`
    and `StoreUnavailable`; then nothing has changed.
    """
    database = database.resolve()
    if not database.parent.is_dir():
        raise NotRestored(f"database.path: there is no folder {database.parent}")
    if not file.is_file():
        raise NotRestored(f"{file}: no such file")
    if database.exists() and file.samefile(database):
        raise NotRestored(f"{file} is the database itself")
    lock = ServerLock(database)
    try:
        with _copy_of(file, database) as copy:
            return _put_in_place(copy, file, database, min_recall_gap_ms, clock)
    except OSError as fault:
        raise NotRestored(f"{fault.filename or database}: {fault.strerror}") from fault
    finally:
        lock.release()


@contextmanager
def _copy_of(file: Path, database: Path) -> Iterator[Path]:
    """The backup, copied to where the database is, and gone at the end of the block unless it has got another name."""
    # What a restore that was killed had begun: people's data, which nobody would look for.
    for left in database.parent.glob(glob.escape(f".{database.name}.") + f"*{_COPY}*"):
        left.unlink()
    descriptor, name = tempfile.mkstemp(prefix=f".{database.name}.", suffix=_COPY, dir=database.parent)
    os.close(descriptor)
    copy = Path(name)
    try:
        shutil.copyfile(file, copy)
        wal = file.with_name(f"{file.name}-wal")
        if wal.exists():  # a plain copy of a database's files, whatever made it
            shutil.copyfile(wal, f"{copy}-wal")
        yield copy
    finally:
        for path in (copy, *_beside(copy)):
            path.unlink(missing_ok=True)


def _put_in_place(copy: Path, file: Path, database: Path, min_recall_gap_ms: int, clock: Clock) -> Restored:
    stamp = _examined(copy, file)
    taken_at, until = _window(stamp, file, clock)
    # A clock that was ahead for a while had attempts made that are not due yet.
    until = max(until, last_attempt(database))
    migrated = migrate(copy)
    begun = begin_new_life(copy, until=until, min_recall_gap_ms=min_recall_gap_ms, clock=clock)
    carried = carry_over(database, copy)
    _close(copy)
    _give_to_owner(copy, database)
    kept = _keep_aside(database, clock, readable=carried is not None)
    copy.rename(database)
    sync_folder(database.parent)
    return Restored(taken_at, tuple(migrated), begun.paused, begun.under_review, kept, carried)


def _examined(copy: Path, file: Path) -> dict[str, Any]:
    """When and where the backup was taken, as it tells; {} where it does not. Raises for one that is not whole."""
    try:
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection, disk_errors():
            require_some_version(connection, file)
            faults = examine(connection)
            row = connection.execute("SELECT value FROM meta WHERE key = 'backup'").fetchone()
    except (StoreUnavailable, sqlite3.Error) as fault:
        raise NotRestored(f"{file}: {fault}") from fault
    if faults:
        raise NotRestored(f"{file}: {faults[0]}")
    stamp: dict[str, Any] = {} if row is None else json.loads(row[0])
    return stamp


def _window(stamp: dict[str, Any], file: Path, clock: Clock) -> tuple[WallMs | None, WallMs]:
    """When the backup was taken, and until when the life that was lost may have dialed."""
    (read, offset), taken_at = clock.now_and_offset_ms(), stamp.get("at")
    now = read.wall
    if stamp.get("boot") == boot_id():
        # The clock was set back meanwhile: what was due by the time that it had shown before may have been dialed.
        return taken_at, WallMs(now + max(0, round(stamp["offset_ms"] - offset)))
    if taken_at is not None and now < taken_at - CLOCKS_APART_MS:
        raise NotRestored(
            f"{file} was taken at {show_time(taken_at)}, and this machine's clock shows an earlier time: set it"
        )
    return taken_at, WallMs(now + CLOCKS_APART_MS)


def _close(copy: Path) -> None:
    """Make the copy one file, on disk: with a WAL beside it it could not take a name in one step."""
    with closing(connect(copy)) as connection, disk_errors():
        connection.execute("PRAGMA journal_mode = DELETE")
    descriptor = os.open(copy, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _give_to_owner(copy: Path, database: Path) -> None:
    """Whoever could open the replaced database can open this one; where there was none, the folder's owner alone."""
    like = database if database.exists() else database.parent
    if os.geteuid() == 0:
        owner = like.stat()
        os.chown(copy, owner.st_uid, owner.st_gid)
    copy.chmod(stat.S_IMODE(like.stat().st_mode) if like is database else 0o600)


def _keep_aside(database: Path, clock: Clock, *, readable: bool) -> Path | None:
    """Give the replaced database a second name; the first is the next one's to take.

    What is in its WAL goes into the file before. Where it cannot be read, nothing is touched, and the WAL is kept beside it.
    """
    if not database.exists():
        return None
    if readable:
        with suppress(StoreUnavailable), closing(connect(database, busy_timeout_s=0.5)) as connection, disk_errors():
            (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise NotRestored(f"{database} is in use by another program")
    at = datetime.fromtimestamp(clock.now().wall / 1000, UTC)
    kept = database.with_name(f"{database.name}.replaced-{at:%Y%m%dT%H%M%SZ}")
    os.link(database, kept)
    wal = database.with_name(f"{database.name}-wal")
    if wal.exists():
        os.link(wal, f"{kept}-wal")
    sync_folder(database.parent)
    # A WAL of another database would be taken for the new one's.
    for side in _beside(database):
        side.unlink(missing_ok=True)
    return kept


def _beside(database: Path) -> list[Path]:
    return [database.with_name(f"{database.name}{suffix}") for suffix in _SIDE_FILES]
