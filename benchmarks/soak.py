"""Hours of mixed outcomes at fifty calls a second, with a broker that comes and goes and SIP workers that are killed.

The server is the real one, with MQTT, backups on a timer and campaigns that are pruned once they are over. The called side is
`benchmarks.mixture`; `benchmarks.soak_report` judges.
"""

import os
import random
import re
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.capacity import family
from benchmarks.far_end import FarEnd
from benchmarks.lateness import numbers, resident_mb
from benchmarks.soak_report import CAMPAIGN_S, CPS, STAGGER_S, Attempt, Report, Sample, attempt_of, campaign_size
from dialer.core.model import WallMs
from scheduler.connection import connect
from scheduler.retention import prune
from tests.support.broker import MOSQUITTO, Broker
from tests.support.dialer_process import Client, Dialer, eventually

# The length of a whole one.
SECONDS: Final = float(os.environ.get("DIALER_SOAK_SECONDS", "3600"))
RECALL_S: Final = 15.0
WORKERS: Final = 4
_AHEAD_S: Final = 15.0
_SAMPLE_S: Final = 5.0
_TIDY_S: Final = 20.0
_KILL_S: Final = (15.0, 45.0)
_BROKER_UP_S: Final = (20.0, 60.0)
_BROKER_DOWN_S: Final = (3.0, 20.0)
_BACKUP_HOURS: Final = 1 / 30
_TRACEBACK: Final = re.compile(r"^Traceback \(most recent call last\):\n(?:[ ].*\n)*(.*)", re.MULTILINE)
# A silent party's first INVITE ends after 32 s, and its recall follows.
_PATIENCE_S: Final = 240.0


class Soak:
    """One run: things happen on a timetable, some at random intervals, until the last campaign is over."""

    def __init__(self, folder: Path, seconds: float, seed: int) -> None:
        self._folder = folder
        self._dice = random.Random(seed)
        self._seconds = seconds
        self._posted = 0
        self._campaigns = -(-int(seconds) // CAMPAIGN_S)
        self._open: set[str] = set()
        self._pruning: threading.Thread | None = None
        self.report: Report
        self.dialer: Dialer
        self.client: Client
        self.far_end: FarEnd
        self.broker: Broker | None = None

    @contextmanager
    def world(self) -> Iterator[None]:
        """Everything that takes part, up."""
        if MOSQUITTO is not None:
            self.broker = Broker(self._folder / "broker").start()
        with FarEnd(self._folder, module="benchmarks.mixture") as self.far_end:
            trunk = {"uri": f"sip:127.0.0.1:{self.far_end.port}", "max_concurrent_calls": 400, "calls_per_second": CPS}
            self.dialer = Dialer(
                self._folder,
                {"pbx": trunk},
                pacing={"stagger_seconds": STAGGER_S, "max_concurrent_calls": 400, "min_recall_gap_seconds": 1},
                sip={"bind_host": "127.0.0.1", "workers": WORKERS},
                backup={"directory": str(self._folder / "backups"), "interval_hours": _BACKUP_HOURS, "keep": 2},
                log={"level": "warning"},
                **({} if self.broker is None else {"mqtt": {"url": self.broker.url}}),
            )
            self.dialer.run("db", "migrate")
            self.client = self.dialer.account()
            self.dialer.start()
            try:
                yield
            finally:
                self.client.close()
                self.dialer.stop()
                if self.broker is not None:
                    self.broker.kill()

    def run(self, say: Callable[[Sample], None]) -> Report:
        """Soak for so long, wait for the last call, and look."""
        with self.world():
            playbook = self.client.playbook(
                ring_timeout_seconds=2.5, max_call_seconds=30, steps=[{"do": "wait", "seconds": 1}, {"do": "hangup"}]
            )
            launch = time.time() + _AHEAD_S
            report = self.report = Report(self._seconds, launch * 1000)
            began = time.monotonic() + _AHEAD_S
            timetable: list[tuple[float, Callable[[float], float | None]]] = [
                (-_AHEAD_S, lambda now: self._post(playbook, launch, now)),
                (0.0, lambda now: self._sample(now, say)),
                (_TIDY_S, lambda _: self._tidy()),
                (self._between(_KILL_S), self._kill),
                (self._between(_BROKER_UP_S), self._toggle_broker),
            ]
            while self._posted < self._campaigns or self._open:
                now = time.monotonic() - began
                assert now < self._seconds + _PATIENCE_S, f"calls never came to an end: {self._states()}"
                for entry in [entry for entry in timetable if entry[0] <= now]:
                    timetable.remove(entry)
                    again = entry[1](now)
                    if again is not None:
                        timetable.append((now + again, entry[1]))
                time.sleep(0.1)
            if self.broker is not None and not self.broker.is_up:
                self.broker.start()
            eventually(lambda: self._metric("dialer_outbox_events") == 0, 60, "all events are delivered")
            assert self._pruning is not None
            self._pruning.join()
            report.given_up = round(self._metric("dialer_events_given_up_total"))
            report.backups = len(list((self._folder / "backups").glob("dialer-*.db")))
            assert self._metric("dialer_backup_failures_total") == 0, "a backup failed"
        report.tracebacks = _TRACEBACK.findall(self.dialer.log.read_text("utf-8"))
        report.invites = [
            (call_id, int(at) / 1e6, number)
            for call_id, at, number in map(str.split, self.far_end.log.read_text("ascii").splitlines())
        ]
        return report

    # The timetable: each answers after how many seconds it is due again; None: no more.

    def _post(self, playbook: str, launch: float, now: float) -> float | None:
        at = datetime.fromtimestamp(launch + self._posted * CAMPAIGN_S, UTC)
        phones = numbers(self._posted * campaign_size(), campaign_size())
        self._open.add(self.client.post(playbook, phones, launch_at=at.isoformat(), recall=[RECALL_S / 60]))
        self._posted += 1
        # From the launch, not from now: what this loop is late by must not add up to campaigns that are posted too late.
        return self._posted * CAMPAIGN_S - _AHEAD_S - now if self._posted < self._campaigns else None

    def _kill(self, now: float) -> float | None:
        if workers := self.dialer.workers():
            os.kill(self._dice.choice(workers), signal.SIGKILL)
            self.report.kills += 1
        return self._between(_KILL_S) if now < self._seconds else None

    def _toggle_broker(self, now: float) -> float | None:
        if self.broker is None or now > self._seconds:
            return None
        if self.broker.is_up:
            self.broker.kill()
            self.report.outages += 1
            return self._between(_BROKER_DOWN_S)
        self.broker.start()
        return self._between(_BROKER_UP_S)

    def _between(self, bounds: tuple[float, float]) -> float:
        return self._dice.uniform(*bounds)

    def _tidy(self) -> float:
        """Note what the campaigns that are over came to, and prune them, as an operator would after some months."""
        again = min(_TIDY_S, self._seconds / 4)
        if self._pruning is not None and self._pruning.is_alive():
            return again
        before = WallMs(time.time_ns() // 1_000_000)
        path = self._folder / "dialer.db"
        with closing(connect(path, query_only=True)) as database:
            rows = database.execute(
                "SELECT uuid, id, first_call, size, finished FROM campaign WHERE status = 'completed'"
            )
            for uuid, _, first, size, finished in rows.fetchall():
                if uuid not in self._open:
                    continue
                assert finished == size
                self._open.remove(uuid)
                self.report.calls += size
                told = database.execute(_ATTEMPTS, (first, first + size - 1))
                self.report.attempts |= {attempt_of(sip): Attempt(*rest) for sip, *rest in told}
        self._pruning = threading.Thread(target=prune, args=(path,), kwargs={"ended_before": before}, daemon=True)
        self._pruning.start()
        return again

    def _sample(self, now: float, say: Callable[[Sample], None]) -> float:
        main = self.dialer.pid
        workers = loaders = 0.0
        for pid in family(main):
            words = _words_of(pid)
            if b"sip.worker" in words:
                workers += resident_mb(pid)
            elif any(b"spawn_main" in word for word in words):
                loaders += resident_mb(pid)
        began = time.perf_counter()
        self.client.http.get("/campaign", params={"limit": 1})
        took = (time.perf_counter() - began) * 1000
        wal = self._folder / "dialer.db-wal"
        sample = Sample(
            at_s=now,
            main_mb=resident_mb(main),
            workers_mb=workers,
            loaders_mb=loaders,
            files=len(list(Path(f"/proc/{main}/fd").iterdir())),
            threads=len(list(Path(f"/proc/{main}/task").iterdir())),
            database_mb=(self._folder / "dialer.db").stat().st_size / 1e6,
            wal_mb=wal.stat().st_size / 1e6 if wal.exists() else 0.0,
            waiting=round(self._metric("dialer_outbox_events")),
            request_ms=took,
        )
        self.report.samples.append(sample)
        say(sample)
        return _SAMPLE_S

    def _metric(self, name: str) -> float:
        text = self.client.http.get("/metrics").text
        return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))

    def _states(self) -> list[object]:
        return [self.client.campaign(uuid)["calls"] for uuid in self._open]


def run(seconds: float, *, seed: int = 1, say: Callable[[Sample], None] = lambda _: None) -> Report:
    """Soak for so many seconds, and some minutes more until the last call is over."""
    with tempfile.TemporaryDirectory(prefix="dialer-soak-") as name:
        return Soak(Path(name), seconds, seed).run(say)


def _words_of(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


_ATTEMPTS: Final = """
SELECT sip_call_id, phone, due_at, fire_at, attempt.disposition FROM attempt JOIN call ON call.id = call_id
WHERE call_id BETWEEN ? AND ?"""
