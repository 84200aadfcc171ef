"""What the demo plays on: a greeting, the called party in a thread, the server as a process of its own."""

import asyncio
import json
import math
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import wave
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Self, TypeVar

from dialer.terminal import Refused
from sip.lab import Behaviour, Entry, Lab

T = TypeVar("T")

_START_SECONDS = 30.0
_STOP_SECONDS = 20.0
_NEWS_LINES = 8
_RATE = 8000
# Three rising notes: C5, E5, G5.
_NOTES_HZ = (523.25, 659.25, 783.99)


def write_greeting(path: Path) -> None:
    """A second of three notes, as a mono 16-bit WAV at the telephone's rate."""
    samples = _RATE // len(_NOTES_HZ)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE)
        for hertz in _NOTES_HZ:
            for i in range(samples):
                # Fades out, so that the notes do not click.
                level = 9000 * (1 - i / samples) * math.sin(2 * math.pi * hertz * i / _RATE)
                file.writeframesraw(struct.pack("<h", round(level)))


class LabThread:
    """The called party in a thread of this process, from `with` to the end of the block."""

    def __init__(self, behaviours: Sequence[Behaviour], pace: float) -> None:
        self._behaviours = behaviours
        self._pace = pace
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="lab", daemon=True)
        self._lock = threading.Lock()
        self._news: deque[str] = deque(maxlen=_NEWS_LINES)
        self._invites: Counter[str] = Counter()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._up.wait(_START_SECONDS) or not self.port:
            raise Refused("the called party does not start")
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(_STOP_SECONDS)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        try:
            async with Lab(pace=self._pace, behaviours=self._behaviours, on_entry=self._seen) as lab:
                self.port = lab.port
                self._up.set()
                await self._over.wait()
        finally:
            self._up.set()

    def _seen(self, entry: Entry) -> None:
        words = {
            "invite": "INVITE",
            "answered": "answered",
            "cancel": "CANCEL",
            "bye_received": "BYE",
            "bye_sent": "hangs up",
        }
        with self._lock:
            if entry.event == "invite":
                self._invites[entry.number] += 1
            if entry.event in words:
                self._news.append(f"{entry.number}  {words[entry.event]}")
            elif entry.event == "ended" and entry.reason == "refused":
                self._news.append(f"{entry.number}  {entry.status}")

    def news(self) -> list[str]:
        """What was seen last, oldest first."""
        with self._lock:
            return list(self._news)

    def invites(self) -> dict[str, int]:
        """How many INVITEs each number got, retransmissions left out."""
        with self._lock:
            return dict(self._invites)


class Server:
    """`dialer serve` as a child process, on scratch files and a port of the system's choice, and commands beside it."""

    def __init__(self, folder: Path, media: Path, lab_port: int) -> None:
        self._folder = folder
        self._config = folder / "dialer.toml"
        self._config.write_text(_configuration(folder, media, lab_port))
        self._log_file = folder / "server.log"
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        self._log = self._log_file.open("wb")
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [*_DIALER, "--config", str(self._config), "serve"],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=_environment(),
            cwd=self._folder,
            start_new_session=True,  # Ctrl-C is for the demo, which then stops the server in its own order
        )
        try:
            self.url = self._wait_for_url(self._process)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            # Twice: no drain. What is live now is a campaign that nobody wants any more.
            for _turn in range(2):
                self._process.send_signal(signal.SIGTERM)
                try:
                    self._process.wait(_STOP_SECONDS / 2)
                    break
                except subprocess.TimeoutExpired:
                    continue
            else:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        if self._log is not None:
            self._log.close()

    def command(self, *words: str) -> str:
        """Run `dialer WORDS` to its end and return what it printed. Raises `Refused` with its reason."""
        done = subprocess.run(  # noqa: S603 - our own program
            [*_DIALER, "--config", str(self._config), *words],
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
            cwd=self._folder,
        )
        if done.returncode:
            raise Refused(f"dialer {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def while_it_lives(self, look: Callable[[], T]) -> T:
        """What `look` gives. Raises `Refused` with the server's last words where the server has ended."""
        if self._process is None or self._process.poll() is not None:
            raise Refused(f"the server has ended: {self._last_words()}")
        return look()

    def _wait_for_url(self, process: subprocess.Popen[bytes]) -> str:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            for line in self._log_file.read_text(errors="replace").splitlines():
                if '"serving"' in line:
                    return str(json.loads(line)["url"])
            if process.poll() is not None:
                raise Refused(f"the server does not start: {self._last_words()}")
            time.sleep(0.05)
        raise Refused(f"the server does not start within {_START_SECONDS:g} s: {self._last_words()}")

    def _last_words(self) -> str:
        lines = self._log_file.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


_DIALER = [sys.executable, "-P", "-m", "dialer"]


def _environment() -> dict[str, str]:
    """Ours, without settings that would reach into the scratch server, and with this copy of the program first."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("DIALER_")}
    home = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH", "")]))
    return {**kept, "PYTHONPATH": path, "NO_COLOR": "1"}


def _configuration(folder: Path, media: Path, lab_port: int) -> str:
    # JSON strings are TOML strings.
    return f"""
[database]
path = {json.dumps(str(folder / "dialer.db"))}
[api]
port = 0
[pacing]
max_concurrent_calls = 20
stagger_seconds = 0.1
min_recall_gap_seconds = 1
drain_seconds = 0
[sip]
bind_host = "127.0.0.1"
[trunks.lab]
uri = "sip:127.0.0.1:{lab_port}"
caller_id = "+34910000000"
max_concurrent_calls = 20
calls_per_second = 10
[media]
directory = {json.dumps(str(media))}
[log]
format = "json"
"""
