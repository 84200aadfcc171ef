"""A disk that fails, or a power switch at a chosen write: a small library between the server and its database files.

The server is not told: the library comes in by LD_PRELOAD, so no line of the product knows of it.
"""

import mmap
import shutil
import struct
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

import pytest

SOURCE: Final = Path(__file__).with_suffix(".c")
WRITES, SYNCS = 1, 2
_FIELDS: Final = (
    *("writes", "syncs", "kill_write", "kill_sync", "error", "failing", "skip", "faults", "torn", "failed"),
    *("commits", "kill_commit", "within", "hanging"),
)


@cache
def library(folder: Path) -> Path:
    """The library, compiled; skips the test where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    built = folder / "faulty_disk.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-Wall", "-o", built, SOURCE, "-ldl"], check=True)
    return built


class FaultyDisk:
    """The control file of one server. `watched` is the database; `environment` is what the server is to be started with."""

    def __init__(self, folder: Path, watched: Path) -> None:
        file = folder / "faulty_disk.control"
        file.write_bytes(bytes(8 * len(_FIELDS)))
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), 0)
        self.environment = {
            "LD_PRELOAD": str(library(folder.parent)),
            "FAULTY_DISK": str(file),
            "FAULTY_DISK_FILE": str(watched),
        }

    def _get(self, field: str) -> int:
        (value,) = struct.unpack_from("=q", self._map, 8 * _FIELDS.index(field))
        return int(value)

    def _set(self, field: str, value: int) -> None:
        struct.pack_into("=q", self._map, 8 * _FIELDS.index(field), value)

    @property
    def writes(self) -> int:
        """Writes to the database's files so far, by all processes."""
        return self._get("writes")

    @property
    def syncs(self) -> int:
        """fsync and fdatasync of them so far."""
        return self._get("syncs")

    @property
    def commits(self) -> int:
        """Commits that began so far."""
        return self._get("commits")

    @property
    def failed(self) -> int:
        """Operations that were made to fail."""
        return self._get("failed")

    def kill_before_commit(self, number: int) -> None:
        """The process group dies before anything of this commit is written, counted from now; 0: it does not."""
        self._set("kill_commit", self.commits + number if number else 0)

    def kill_before_write(self, number: int) -> None:
        """The process group dies before this write, counted from now; 0: it does not."""
        self._set("kill_write", self.writes + number if number else 0)

    def kill_before_sync(self, number: int) -> None:
        """The process group dies with this commit written and not synced, counted from now; 0: it does not."""
        self._set("kill_sync", self.syncs + number if number else 0)

    def fail(self, error: int, operations: int, *, after: int = 0, faults: int = 0, torn: bool = False) -> None:
        """From now on these operations fail with that errno, once so many more have worked.

        `faults`: so many of them, then all works again (0: until it is healed). `torn`: half of the first write still gets
        onto the disk.
        """
        self._set("skip", after)
        self._set("faults", faults)
        self._set("torn", int(torn))
        self._set("failing", operations)
        self._set("error", error)

    def hang(self, operations: int) -> None:
        """From now on these operations do not come back."""
        self._set("hanging", operations)

    def heal(self) -> None:
        """Everything works again."""
        self._set("error", 0)
        self._set("hanging", 0)
