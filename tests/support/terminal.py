"""A command on a terminal, as a person sits before one."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()=>][0-9A-B]?")


class Terminal:
    """A command on a terminal of so many columns and lines. `seen` is what it has written, without its escape sequences."""

    def __init__(self, columns: int, lines: int, *words: str | Path, environment: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS", "LINES"}}
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *words],  # shells want it to be theirs
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**kept, "TERM": "xterm", **environment},
        )
        self._theirs = theirs
        self.seen = ""

    @property
    def modes(self) -> list[object]:
        """How it treats keys and echoes them."""
        return termios.tcgetattr(self._theirs)

    def until(self, text: str, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < deadline, f"{text!r} was not shown: {self.seen[-2000:]}"
            if select.select([self._ours], [], [], 0.2)[0]:
                with contextlib.suppress(OSError):  # its end
                    self.seen += _ESCAPES.sub("", os.read(self._ours, 65_536).decode(errors="replace"))

    def press(self, key: str) -> None:
        os.write(self._ours, key.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        os.close(self._theirs)
        os.close(self._ours)


@contextlib.contextmanager
def on_a_terminal(columns: int, lines: int, *words: str | Path, **environment: str) -> Iterator[Terminal]:
    terminal = Terminal(columns, lines, *words, environment=environment)
    try:
        yield terminal
    finally:
        terminal.close()
