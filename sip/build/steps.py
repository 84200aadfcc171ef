"""Runs the external commands of one build, each with a log file of its own, and says which phase it is in."""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_TAIL_LINES = 15

# Set by a make that runs us, or by a user for other builds: they would reach pjproject's own make and configure.
_FOREIGN = {
    *("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MAKEFILES"),
    *("CC", "CXX", "CFLAGS", "CPPFLAGS", "CXXFLAGS", "LDFLAGS", "LIBS", "CPATH", "LIBRARY_PATH", "DESTDIR"),
}


class CannotBuildError(Exception):
    """This machine lacks something that the build needs; the message says what, and what to do."""


class StepFailedError(Exception):
    """A command of the build failed; the message has the end of its log and the log's path.

    `last_line` is the last thing that it said, `log` where all of it is.
    """

    def __init__(self, message: str, last_line: str, log: Path) -> None:
        super().__init__(message)
        self.last_line = last_line
        self.log = log


class Steps:
    """The commands of one build."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._began = time.monotonic()
        self._numbers = itertools.count(1)

    @property
    def elapsed_seconds(self) -> float:
        """Since this object was made."""
        return time.monotonic() - self._began

    def phase(self, text: str) -> None:
        """Say on standard error what goes on now."""
        sys.stderr.write(f"  [{self.elapsed_seconds:4.0f} s] {text}\n")
        sys.stderr.flush()

    def run(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        may_fail: bool = False,
    ) -> str:
        """Run one command to its end and return what it wrote, both streams together.

        `env` adds to the environment. Raises StepFailedError when it cannot start, or ends with anything but 0 and must
        not (`may_fail`). May be called from two threads at once.
        """
        words = [str(word) for word in command]
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{next(self._numbers):02}-{name}.log"
        with log.open("w", encoding="utf-8") as out:
            out.write(f"$ {' '.join(words)}\n")
            out.flush()
            try:
                # The words are our own: the only outside text among them is paths, and no shell reads them.
                status = subprocess.run(  # noqa: S603
                    words,
                    cwd=cwd,
                    env=_environment(env or {}),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    check=False,
                ).returncode
            except OSError as error:
                out.write(f"{error}\n")
                status = None
        text = log.read_text(encoding="utf-8", errors="replace")
        if status is None or (status != 0 and not may_fail):
            lines = text.splitlines()
            tail = "\n".join(f"    {line}" for line in lines[-_TAIL_LINES:])
            ending = "could not start" if status is None else f"ended with {status}"
            raise StepFailedError(f"step '{name}' {ending}:\n{tail}\n  Its whole log: {log}", lines[-1], log)
        return text.split("\n", 1)[1]


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    return {**kept, "LC_ALL": "C", **extra}
