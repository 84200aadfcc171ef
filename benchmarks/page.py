"""What the operator's page costs the engine: the same load with no page open and with five, in turns.

A hundred campaigns of one account keep a thousand calls talking: fifty begin and fifty end each second. CPU is user and system
time of the main process, where the loop is; late is the kernel's receive time at the called side less the call's due time.
"""

import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from benchmarks.capacity import cpu_seconds
from benchmarks.far_end import FarEnd, Manner
from benchmarks.lateness import due_times, numbers, post
from tests.support.dialer_process import Client, Dialer, eventually

_TALKS_S = 20
_SETTLES_S = 2.0


@dataclass(frozen=True, slots=True)
class Load:
    """So many campaigns, each of which begins a call every `stagger_s`: campaigns * 20 s / stagger are live."""

    campaigns: int
    stagger_s: float

    @property
    def live(self) -> int:
        """Calls at once."""
        return round(self.campaigns * _TALKS_S / self.stagger_s)


@dataclass(slots=True)
class Cost:
    """With so many pages open: the part of a core that the main process used in each turn, how late each INVITE was, and what
    a page was sent.
    """

    pages: int
    cores: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    bytes_a_second: list[float] = field(default_factory=list)


def measure(load: Load, pages: int, rounds: int, seconds: float) -> list[Cost]:
    """Look `rounds` times for so long, without a page and with so many."""
    found = {0: Cost(0), pages: Cost(pages)}
    turns: list[tuple[int, float, float]] = []
    with tempfile.TemporaryDirectory(prefix="dialer-bench-") as name, FarEnd(Path(name), Manner.ANSWERS) as far_end:
        folder = Path(name)
        with _talking(load, folder, far_end.port, 2 * rounds * (seconds + _SETTLES_S)) as (dialer, client, campaigns):
            for _ in range(rounds):
                for open_pages, cost in found.items():
                    with _open(client, open_pages) as received:
                        time.sleep(_SETTLES_S)
                        before, began, began_cpu = sum(received), time.time(), cpu_seconds([dialer.pid])
                        time.sleep(seconds)
                        took = time.time() - began
                        cost.cores.append((cpu_seconds([dialer.pid]) - began_cpu) / took)
                        cost.bytes_a_second.append((sum(received) - before) / took / max(1, open_pages))
                        turns.append((open_pages, began * 1000, (began + took) * 1000))
        due = {call: at for one in campaigns for call, at in due_times(folder / "dialer.db", one).items()}
        arrived = far_end.received()
    for call, at in due.items():
        for open_pages, began, ended in turns:
            if began <= at < ended and call in arrived:
                found[open_pages].late_ms.append(arrived[call] - at)
    return list(found.values())


@contextmanager
def _talking(load: Load, folder: Path, port: int, seconds: float) -> Iterator[tuple[Dialer, Client, list[str]]]:
    """A server under the load, once all calls of it talk, for so long."""
    channels = load.live * 2
    trunk = {"uri": f"sip:127.0.0.1:{port}", "max_concurrent_calls": channels, "calls_per_second": 1000}
    pacing = {"stagger_seconds": load.stagger_s, "max_concurrent_calls": channels}
    dialer = Dialer(folder, {"pbx": trunk}, pacing=pacing)
    dialer.run("db", "migrate")
    client = dialer.account()
    dialer.start()
    try:
        steps = [{"do": "wait", "seconds": _TALKS_S}, {"do": "hangup"}]
        playbook = client.playbook(ring_timeout_seconds=20, max_call_seconds=60, steps=steps)
        size = round((seconds + _TALKS_S + 15) / load.stagger_s)
        launch = datetime.now(UTC) + timedelta(seconds=5 + load.campaigns / 50)
        campaigns = [
            post(
                client,
                playbook,
                numbers(i * size, size),
                launch + timedelta(seconds=i * load.stagger_s / load.campaigns),
            )
            for i in range(load.campaigns)
        ]
        eventually(lambda: _live(client) >= load.live * 0.98, 120, f"{load.live} calls are live")
        yield dialer, client, campaigns
    finally:
        client.close()
        dialer.stop()


def _live(client: Client) -> float:
    found = re.search(r"^dialer_attempts_live (\S+)", client.http.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


@contextmanager
def _open(client: Client, pages: int) -> Iterator[list[int]]:
    """So many open pages, each of its own login; how many bytes each has been sent."""
    received = [0] * max(1, pages)
    with ExitStack() as parts:
        for i in range(pages):
            browser = parts.enter_context(httpx.Client(base_url=client.dialer.url, timeout=None))
            browser.headers.update({"Accept": "text/html", "Origin": client.dialer.url})
            key = re.search(r'name="key" value="([0-9a-f]+)"', browser.get("/page/login").text)
            assert key is not None
            browser.post("/page/login", data={"key": key[1], "token": client.token})
            answer = parts.enter_context(browser.stream("GET", "/page/stream/overview"))
            assert answer.status_code == 200, answer.status_code
            reader = threading.Thread(target=_read, args=(answer, received, i), daemon=True)
            reader.start()
        yield received


def _read(answer: httpx.Response, received: list[int], i: int) -> None:
    try:
        for piece in answer.iter_raw():
            received[i] += len(piece)
    except (httpx.HTTPError, OSError, httpx.StreamError):  # it was closed
        return
