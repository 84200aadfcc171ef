"""The installed `dialer` command as a process, with a configuration of its own in a folder of the test's."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

from scheduler.server_lock import reloads_told

T = TypeVar("T")
DIALER = Path(sys.executable).with_name("dialer")
# The program in the words behind it, as systemd starts it under MemoryDenyWriteExecute= where the kernel has this (6.3):
# PR_SET_MDWE, inherited by all that it starts (prctl(2)).
HARDENED = [
    sys.executable,
    "-ISc",
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(65, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])",
]


def eventually(look: Callable[[], T | None], seconds: float, what: str) -> T:
    """The first true value that `look` gives, within so many seconds; fails with `what` was waited for."""
    deadline = time.monotonic() + seconds
    pause = 0.01
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what} (last seen: {found!r})")
        time.sleep(pause)
        pause = min(0.1, pause * 1.5)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    lines: list[str] = []
    for name, table in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


class Dialer:
    """A configuration, the commands run with it, and the server while it runs."""

    def __init__(self, folder: Path, trunks: Mapping[str, Mapping[str, Any]], **sections: Mapping[str, Any]) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.media = folder / "media"
        self.media.mkdir(exist_ok=True)
        tables: dict[str, Mapping[str, Any]] = {
            "database": {"path": str(folder / "dialer.db")},
            "api": {"host": "127.0.0.1", "port": self.port, **sections.pop("api", {})},
            "pacing": {"stagger_seconds": 0.02, "min_recall_gap_seconds": 0.2, **sections.pop("pacing", {})},
            "sip": {"bind_host": "127.0.0.1", **sections.pop("sip", {})},
            "media": {"directory": str(self.media)},
            **sections,
            **{f"trunks.{name}": trunk for name, trunk in trunks.items()},
        }
        self.config = folder / "dialer.toml"
        self._tables = tables
        self.config.write_text(toml(tables))
        self.log = folder / "server.log"
        # What the server finds in its environment besides ours.
        self.environment: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, trunks: Mapping[str, Mapping[str, Any]] | None = None, **sections: Mapping[str, Any]) -> None:
        """Change the configuration: these trunks instead of those (None: the same ones), these keys besides those."""
        if trunks is not None:
            self._tables = {name: table for name, table in self._tables.items() if not name.startswith("trunks.")}
            self._tables |= {f"trunks.{name}": trunk for name, trunk in trunks.items()}
        for name, keys in sections.items():
            self._tables[name] = {**self._tables.get(name, {}), **keys}
        self.config.write_text(toml(self._tables))

    def drop(self, section: str) -> None:
        """Leave a section out of the configuration."""
        del self._tables[section]
        self.config.write_text(toml(self._tables))

    def run(self, *words: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        done = subprocess.run(
            [DIALER, "--config", self.config, *words],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "NO_COLOR": "1", **env},
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"dialer {' '.join(words)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def start(self) -> Self:
        """Start the server, in a process group of its own, and wait until it is ready."""
        self.launch()
        eventually(self._ready, 30, "the server answers /readyz with 200")
        return self

    def launch(self) -> None:
        """Start the server, and do not wait."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*HARDENED, DIALER, "--config", self.config, "serve"],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "NO_COLOR": "1", **self.environment},
            )

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the server ended with {self._process.returncode}:\n{self.log.read_text()}")
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def terminate(self) -> None:
        """SIGTERM to the server, as systemd does."""
        self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """A signal to the server's main process."""
        assert self._process is not None
        self._process.send_signal(number)

    def reload(self) -> None:
        """Have it follow its configuration as systemd does, without the second that a command takes to start."""
        database = self.folder / "dialer.db"
        before = reloads_told(database)
        assert before is not None
        self.signal(signal.SIGHUP)

        def ended() -> bool:
            told = reloads_told(database)
            return told is not None and told.ended > before.begun

        eventually(ended, 20, "the reload has ended")

    def wait(self, seconds: float) -> int:
        """The exit status, once it has ended."""
        assert self._process is not None
        code = self._process.wait(seconds)
        self._process = None
        return code

    def stop(self) -> None:
        """End the server if it runs; a test's clean-up. Two signals: no drain."""
        if self._process is None:
            return
        self.terminate()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
                return
        self._process = None

    def kill(self) -> None:
        """kill -9 to the server and all its workers."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        self._process = None

    @property
    def is_down(self) -> bool:
        """Whether no server was started, or its end was seen."""
        return self._process is None

    def ended(self) -> bool:
        """Whether the server is no more."""
        assert self._process is not None
        return self._process.poll() is not None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def workers(self) -> list[int]:
        """The process ids of its SIP workers that run."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            except OSError:  # it has just ended
                continue
            if int(parent) == self.pid and b"sip.worker" in words:
                found.append(int(process.name))
        return sorted(found)

    def account(self, name: str = "Test") -> "Client":
        """A new account with a token, as a client of the API."""
        self.run("account", "create", name)
        token = self.run("token", "create", "--account", name).stdout.strip()
        return Client(self, name, token)


class Client:
    """One account's program."""

    def __init__(self, dialer: Dialer, name: str, token: str) -> None:
        self.dialer = dialer
        self.name = name
        self.token = token
        self.http = httpx.Client(base_url=dialer.url, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    def close(self) -> None:
        self.http.close()

    def playbook(self, **keys: Any) -> str:
        """Create a playbook by the command line; its id."""
        body = {
            "name": "Test",
            "trunks": ["pbx"],
            "ring_timeout_seconds": 2,
            "max_call_seconds": 20,
            "steps": [{"do": "wait", "seconds": 0.2}, {"do": "hangup"}],
            **keys,
        }
        file = self.dialer.folder / "playbook.json"
        file.write_text(json.dumps(body))
        return self.dialer.run("playbook", "create", "--account", self.name, str(file)).stdout.strip()

    def post(self, playbook: str, numbers: Sequence[str], **keys: Any) -> str:
        """Post a campaign; its id."""
        contacts = [{"phone": number} for number in numbers]
        answer = self.http.post("/campaign", json={"playbook_id": playbook, "contacts": contacts, **keys})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["campaign_id"])

    def campaign(self, campaign: str) -> dict[str, Any]:
        answer = self.http.get(f"/campaign/{campaign}")
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        assert sum(body["calls"].values()) + body["duplicate_contacts"] == body["total_contacts"], body
        assert sum(body["dispositions"].values()) == body["calls"]["finished"], body
        return body

    def finished(self, campaign: str, seconds: float = 30) -> dict[str, Any]:
        """The campaign, once it is completed."""

        def look() -> dict[str, Any] | None:
            seen = self.campaign(campaign)
            return seen if seen["status"] == "completed" else None

        return eventually(look, seconds, f"campaign {campaign} is completed ({self.campaign(campaign)})")

    def calls(self, campaign: str) -> dict[str, dict[str, Any]]:
        """All calls of the campaign with their attempts, by phone."""
        found: dict[str, dict[str, Any]] = {}
        cursor = None
        while True:
            query = {"limit": "200", **({"cursor": cursor} if cursor else {})}
            page = self.http.get(f"/campaign/{campaign}/calls", params=query).json()
            found |= {call["phone"]: call for call in page["items"]}
            cursor = page["next_cursor"]
            if cursor is None:
                return found
