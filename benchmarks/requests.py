"""The API under load while calls run: how long requests take, and whether INVITEs leave later for them.

200 calls are up with audio, one campaign dials 50 calls a second more, and a bounded loader asks: at a steady rate from
connections that stay open, or as fast as answers come. It is a process of its own, with requests written by hand, so that it
takes little of the two cores.

Run as `python -m benchmarks.requests` it is that loader: a job as JSON on standard input, figures as JSON on standard output.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.far_end import FarEnd, Manner
from benchmarks.lateness import due_times, numbers, post
from tests.support.dialer_process import Client, Dialer, eventually

CALLS_UP = 200
_DIALED_A_SECOND = 50


@dataclass(frozen=True, slots=True)
class Job:
    """Requests to send for so many seconds over so many connections, in turn. `rate` a second in all; 0: without a pause."""

    port: int
    requests: tuple[str, ...]
    rate: float
    connections: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of a job. `took_ms` of each answer; `errors`: answers that were no success, and connections that broke."""

    took_ms: list[float]
    errors: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """One row of the table."""

    what: str
    asked: float
    answered: Answered | None
    late_ms: list[float]


def measure(seconds: float) -> Iterator[Run]:
    """Without requests, at steady rates, and at full speed; each for so long."""
    with tempfile.TemporaryDirectory(prefix="dialer-bench-") as name:
        folder = Path(name)
        with talking(folder) as (dialer, client, far_end):
            playbook = client.playbook(trunks=["fast"], ring_timeout_seconds=5)
            held = client.post(
                client.playbook(trunks=["held"], max_call_seconds=3600, steps=_STAY), numbers(0, CALLS_UP)
            )
            eventually(lambda: client.campaign(held)["calls"]["live"] == CALLS_UP, 60, "all calls are up")
            look = request("GET", f"/campaign/{held}", client.token)
            place = request("POST", "/call", client.token, _tomorrow(playbook))
            cases: list[tuple[str, tuple[str, ...], float, int]] = [
                ("none", (), 0, 0),
                ("GET /campaign/{id}", (look,), 100, 4),
                ("POST /call", (place,), 50, 4),
                ("both in turn", (look, place), 100, 8),
                ("GET /campaign/{id}", (look,), 0, 16),
                ("POST /call", (place,), 0, 16),
            ]
            runs: list[tuple[str, float, Answered | None, str]] = []
            for i, (what, requests, rate, connections) in enumerate(cases):
                size = round(_DIALED_A_SECOND * seconds)
                launch = datetime.now(UTC) + timedelta(seconds=1.5)
                dialed = post(client, playbook, numbers(1_000_000 * (i + 1), size), launch)
                eventually(lambda at=launch: datetime.now(UTC) > at, 10, "the launch")  # type: ignore[misc]
                answered = None
                if requests:
                    answered = load(Job(dialer.port, requests, rate, connections, seconds - 0.5))
                client.finished(dialed, seconds + 60)
                runs.append((what, rate, answered, dialed))
            assert client.campaign(held)["calls"]["live"] == CALLS_UP, "calls ended meanwhile"
            client.http.post(f"/campaign/{held}/cancel")
            received = far_end.received()
        for what, rate, answered, dialed in runs:
            due = due_times(folder / "dialer.db", dialed)
            yield Run(
                what, rate, answered, [received[call_id] - at for call_id, at in due.items() if call_id in received]
            )


_STAY = [{"do": "wait", "seconds": 3600}]


@contextmanager
def talking(folder: Path) -> Iterator[tuple[Dialer, Client, FarEnd]]:
    """A dialer with a trunk `held` to who answers and stays, and a trunk `fast` to the far end, which is busy."""
    aside = folder / "held"
    aside.mkdir()
    with FarEnd(aside, Manner.ANSWERS) as answers, FarEnd(folder) as busy:
        trunks = {
            "held": {"uri": f"sip:127.0.0.1:{answers.port}", "max_concurrent_calls": CALLS_UP, "calls_per_second": 50},
            "fast": {"uri": f"sip:127.0.0.1:{busy.port}", "max_concurrent_calls": 100, "calls_per_second": 1000},
        }
        pacing = {"stagger_seconds": 1 / _DIALED_A_SECOND, "max_concurrent_calls": CALLS_UP + 100}
        dialer = Dialer(folder, trunks, pacing=pacing)
        dialer.run("db", "migrate")
        client = dialer.account()
        try:
            yield dialer.start(), client, busy
        finally:
            client.close()
            dialer.stop()


def _tomorrow(playbook: str) -> dict[str, Any]:
    at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    return {"playbook_id": playbook, "phone": "+34700000000", "first_name": "Ana", "launch_at": at}


def request(method: str, path: str, token: str, body: object = None) -> str:
    """A request as it goes out."""
    content = "" if body is None else json.dumps(body)
    head = f"{method} {path} HTTP/1.1\r\nHost: dialer\r\nAuthorization: Bearer {token}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n{content}"


def load(job: Job) -> Answered:
    """Carry the job out in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.requests"]
    done = subprocess.run(command, input=json.dumps(asdict(job)), capture_output=True, text=True, check=True)
    return Answered(**json.loads(done.stdout))


async def _carry_out(job: Job) -> Answered:
    began = time.perf_counter()
    over_at = began + job.seconds
    took_ms: list[float] = []
    errors = 0

    async def connection(number: int) -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection("127.0.0.1", job.port)
        pause = job.connections / job.rate if job.rate else 0.0
        turn, at = number, began + pause * number / job.connections
        while time.perf_counter() < over_at:
            # Counted from when it was to be sent: a slow answer does not spare the next request its wait.
            if pause:
                await asyncio.sleep(at - time.perf_counter())
            sent = at if pause else time.perf_counter()
            writer.write(job.requests[turn % len(job.requests)].encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            took_ms.append((time.perf_counter() - sent) * 1000)
            errors += head.split(b" ", 2)[1] not in {b"200", b"202"}
            turn += 1
            at += pause
        writer.close()

    results = await asyncio.gather(*(connection(i) for i in range(job.connections)), return_exceptions=True)
    errors += sum(isinstance(result, BaseException) for result in results)
    return Answered(took_ms, errors, time.perf_counter() - began)


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(_carry_out(Job(**json.load(sys.stdin)))))))
