"""How late INVITEs leave: due time in the database against the kernel's receive time at the called side.

The server is the real one, with its loaders and SIP workers. Beside the calls that are measured, large campaigns are
posted for tomorrow, so that storing them is all that they ask for; small requests go on meanwhile, and are timed too.
"""

import json
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import httpx

from benchmarks.far_end import FarEnd
from tests.support.dialer_process import Client, Dialer, eventually

_BEFORE_LAUNCH_S = 2.0
_MORE_LOAD_S = 1.0
# Calls a second of one campaign, a stagger of 20 ms; as many campaigns side by side as the rate asks for.
_A_CAMPAIGN = 50


@dataclass(frozen=True, slots=True)
class Lateness:
    """Of one run: milliseconds from due to wire, and what small requests took meanwhile. `gap` is between INVITEs."""

    calls: int
    late_ms: list[float]
    shortest_gap_ms: float
    load_seconds: float
    small_ms: list[float]
    resident_mb: float


@dataclass(frozen=True, slots=True)
class Load:
    """So many requests of so many contacts, all sent at once."""

    requests: int
    contacts: int


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of all lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def measure(rate: int, seconds: int, load: Load | None) -> Lateness:
    """Place `rate` calls a second (a multiple of 50) for so long, at least until the load is in; how late they were."""
    with tempfile.TemporaryDirectory(prefix="dialer-bench-") as name, FarEnd(Path(name)) as far_end:
        folder = Path(name)
        with server(folder, far_end.port, stagger_seconds=1 / _A_CAMPAIGN) as (dialer, client):
            playbook = client.playbook(ring_timeout_seconds=5)
            # No load takes a millisecond a contact; the campaigns are cancelled when it is in.
            size = _A_CAMPAIGN * (seconds if load is None else seconds + load.requests * load.contacts // 1000)
            count = rate // _A_CAMPAIGN
            launch = datetime.now(UTC) + timedelta(seconds=_BEFORE_LAUNCH_S + count * size / 20_000)
            campaigns = []
            for i in range(count):
                phones = numbers(i * size, size)
                campaigns.append(post(client, playbook, phones, launch + timedelta(seconds=i / rate)))
            eventually(lambda: datetime.now(UTC) > launch, 120, "the launch")
            small_ms: list[float] = []
            with small_requests(client, playbook, small_ms):
                began = time.monotonic()
                if load is not None:
                    send(load, client, playbook)
                load_seconds = time.monotonic() - began
                time.sleep(max(_MORE_LOAD_S, seconds - load_seconds))
            for campaign in campaigns:
                client.http.post(f"/campaign/{campaign}/cancel")  # 409: it is over already

            def all_over() -> bool:
                return all(client.campaign(campaign)["calls"]["live"] == 0 for campaign in campaigns)

            eventually(all_over, 30, "the last call is over")
            resident = resident_mb(dialer.pid)
            client.close()
        due = {call_id: at for one in campaigns for call_id, at in due_times(folder / "dialer.db", one).items()}
        received = far_end.received()
    arrivals = sorted(received[call_id] for call_id in due if call_id in received)
    late = [received[call_id] - at for call_id, at in due.items() if call_id in received]
    gap = min(later - earlier for earlier, later in pairwise(arrivals))
    return Lateness(len(late), late, gap, load_seconds if load else 0.0, small_ms, resident)


@contextmanager
def server(folder: Path, port: int, *, stagger_seconds: float) -> Iterator[tuple[Dialer, Client]]:
    """A dialer with one trunk to that port, faster than it will be asked for."""
    trunk = {"uri": f"sip:127.0.0.1:{port}", "max_concurrent_calls": 400, "calls_per_second": 1000}
    pacing = {"stagger_seconds": stagger_seconds, "max_concurrent_calls": 400}
    dialer = Dialer(folder, {"pbx": trunk}, pacing=pacing)
    dialer.run("db", "migrate")
    client = dialer.account()
    dialer.start()
    try:
        yield dialer, client
    finally:
        dialer.stop()


def post(client: Client, playbook: str, phones: Sequence[str], launch: datetime) -> str:
    """A campaign over HTTP; its id."""
    return client.post(playbook, phones, launch_at=launch.isoformat())


def numbers(first: int, size: int) -> list[str]:
    """That many different E.164 numbers."""
    return [f"+34{600_000_000 + i}" for i in range(first, first + size)]


def body(playbook: str, first: int, size: int) -> bytes:
    """A request of so many contacts as companies send them, for tomorrow."""
    people = [
        {"phone": phone, "first_name": f"Name{i}", "last_name": "Surname", "email": f"name{i}@example.com"}
        for i, phone in enumerate(numbers(first, size))
    ]
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    return json.dumps({"playbook_id": playbook, "contacts": people, "launch_at": tomorrow.isoformat()}).encode()


def send(load: Load, client: Client, playbook: str) -> None:
    """Post the whole load at once, and wait until all of it is accepted."""
    bodies = [body(playbook, 10_000_000 + i * load.contacts, load.contacts) for i in range(load.requests)]

    def one(content: bytes) -> None:
        with httpx.Client(base_url=client.http.base_url, headers=client.http.headers, timeout=600) as http:
            answer = http.post("/campaign", content=content, headers={"Content-Type": "application/json"})
            assert answer.status_code == 202, answer.text

    with ThreadPoolExecutor(load.requests) as pool:
        list(pool.map(one, bodies))


@contextmanager
def small_requests(client: Client, playbook: str, took_ms: list[float]) -> Iterator[None]:
    """One POST /call for tomorrow after the other, ten a second, timed, from a thread of its own."""
    over = threading.Event()
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()

    def go_on() -> None:
        with httpx.Client(base_url=client.http.base_url, headers=client.http.headers, timeout=60) as http:
            while not over.wait(0.1):
                began = time.perf_counter()
                answer = http.post(
                    "/call", json={"playbook_id": playbook, "phone": "+34700000000", "launch_at": tomorrow}
                )
                assert answer.status_code == 202, answer.text
                took_ms.append((time.perf_counter() - began) * 1000)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def due_times(path: Path, campaign: str) -> dict[str, int]:
    """When each first attempt of a campaign was due, in Unix milliseconds, by Call-ID."""
    connection = sqlite3.connect(path)
    first, last = connection.execute(
        "SELECT first_call, first_call + size - 1 FROM campaign WHERE uuid = ?", (campaign,)
    ).fetchone()
    rows = connection.execute("SELECT sip_call_id, due_at FROM attempt WHERE call_id BETWEEN ? AND ?", (first, last))
    found = dict(rows.fetchall())
    connection.close()
    return found


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
