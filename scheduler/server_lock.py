"""One server for one database: who serves it holds a lock on a file beside it, and tells there what came of its reloads.

Two servers on one database would both dial all of it. The lock is flock(2)'s: it belongs to the open file, is given back by
the kernel whatever ends the process, and is not passed on to workers and loaders, whose descriptors are closed when they are
started (PEP 446). The file stays: a lock on a file that was removed and made again would be two locks.

In the file: the process id in a line of its own, for people too, and a line of JSON, `Reloads`.
"""

import fcntl
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

# Who only asks whether the lock is taken holds it for some microseconds.
_PATIENCE_SECONDS: Final = 0.5
_LOOK_AGAIN_SECONDS: Final = 0.05


class ServedAlready(Exception):
    """Another process serves the database. `pid` is its process, None where the file does not tell."""

    def __init__(self, database: Path, pid: int | None) -> None:
        who = "another server" if pid is None else f"another server (pid {pid})"
        super().__init__(f"{who} serves {database} already: two would call everybody twice")
        self.pid = pid


@dataclass(frozen=True, slots=True)
class Reloads:
    """How many reloads of its configuration a server has begun and ended, and what came of the last one that ended.

    `changed` are the keys that act now, `needs_restart` those that were changed and act after a restart. With `faults`
    everything stayed as it was.
    """

    begun: int = 0
    ended: int = 0
    changed: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def lock_file(database: Path) -> Path:
    """The file whose lock the server of the database holds; the same for every path that leads to the database."""
    database = database.resolve()
    return database.with_name(f"{database.name}.lock")


class ServerLock:
    """The lock, from here to `release` or the end of the process. The file names the process, for people.

    Raises `ServedAlready`, and OSError where the file cannot be made.
    """

    def __init__(self, database: Path) -> None:
        self._file = os.open(lock_file(database), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._take(database)
            _give_to_owner_of(database, self._file)
            self.tell(Reloads())
        except BaseException:
            os.close(self._file)
            raise

    def _take(self, database: Path) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ServedAlready(database, _pid_in(self._file)) from None
                time.sleep(_LOOK_AGAIN_SECONDS)
            else:
                return

    def tell(self, reloads: Reloads) -> None:
        """Write down how it stands. Raises OSError."""
        text = f"{os.getpid()}\n{json.dumps(asdict(reloads))}\n".encode()
        # Never empty in between, and what is left of a longer text behind the two lines is passed over.
        os.pwrite(self._file, text, 0)
        os.ftruncate(self._file, len(text))

    def release(self) -> None:
        """Let the next server have the database."""
        os.ftruncate(self._file, 0)
        os.close(self._file)


def serving_pid(database: Path) -> int | None:
    """The process that serves the database now; None: none does. 0 where the file does not tell.

    Raises PermissionError where this user may not look.
    """
    try:
        file = os.open(lock_file(database), os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid_in(file) or 0
    finally:
        os.close(file)
    return None


def reloads_told(database: Path) -> Reloads | None:
    """What the server of the database tells of its reloads; None while it is writing, or where there is none."""
    try:
        told = json.loads(lock_file(database).read_text("utf-8").split("\n")[1])
        words = {key: tuple(told[key]) for key in ("changed", "needs_restart", "faults")}
        return Reloads(told["begun"], told["ended"], **words)
    except (FileNotFoundError, IndexError, ValueError, TypeError, KeyError):
        return None


def _pid_in(file: int) -> int | None:
    with suppress(ValueError):
        return int(os.pread(file, 20, 0).split(b"\n")[0])
    return None


def _give_to_owner_of(database: Path, file: int) -> None:
    """As SQLite does with its own files: a server that root tried by hand must not shut out the service's user."""
    if os.geteuid() == 0 and database.exists():
        owner = database.stat()
        os.fchown(file, owner.st_uid, owner.st_gid)
