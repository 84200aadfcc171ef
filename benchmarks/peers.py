"""The same work on other schedulers: put N jobs into their store, then have each due job taken and finished.

Each runs as its documentation shows, with its store on a disk of this machine: APScheduler 3 with its SQLAlchemy job store
on SQLite, huey with its SQLite storage and fsync on, PgQueuer on a PostgreSQL of its own. What is not installed is left
out, with the reason. Jobs do nothing, so that a figure is the scheduler's own work.
"""

import asyncio
import importlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.lateness import numbers
from dialer.core.changes import AttemptArmed, AttemptEnded, CallFinished, Change
from dialer.core.model import CallId, Disposition, WallMs
from tests.support.sqlite_world import SqliteWorld

_BATCH = 10
_POSTGRES_DIRECTORIES = ("/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/15/bin")


@dataclass(frozen=True, slots=True)
class Peer:
    """Jobs a second put in, and taken and finished. `missing` says why there are no figures."""

    name: str
    put: float = 0.0
    done: float = 0.0
    missing: str = ""


def measure(jobs: int) -> list[Peer]:
    """All of them, one after the other."""
    found = []
    for name, run in _PEERS.items():
        try:
            put, done = run(jobs)
            found.append(Peer(name, put, done))
        except ImportError as fault:
            found.append(Peer(name, missing=f"{fault.name} is not installed (dependency group bench)"))
        except FileNotFoundError as fault:
            found.append(Peer(name, missing=str(fault)))
    return found


def _ours(jobs: int) -> tuple[float, float]:
    """Calls instead of jobs: each is armed, ended and finished, ten to a commit."""
    with tempfile.TemporaryDirectory(prefix="dialer-bench-") as name:
        world = SqliteWorld(Path(name) / "dialer.db")
        began = time.perf_counter()
        campaign = world.add_campaign(size=jobs, phones=numbers(0, jobs))
        put = jobs / (time.perf_counter() - began)
        now = WallMs(time.time_ns() // 1_000_000)
        began = time.perf_counter()
        for start in range(campaign.first_call, campaign.first_call + jobs, _BATCH):
            calls = [CallId(start + i) for i in range(min(_BATCH, campaign.first_call + jobs - start))]
            for call in calls:
                world.store.call(call)
            armed: list[Change] = [
                AttemptArmed(call, campaign.id, 1, now, now, "pbx", "", f"{call}-1") for call in calls
            ]
            world.store.apply(armed)
            over: list[Change] = []
            for call in calls:
                over.append(AttemptEnded(call, campaign.id, 1, now, Disposition.BUSY, "", 486, 17, "far"))
                over.append(CallFinished(call, campaign.id, now, Disposition.BUSY, "", attempted=True))
            world.store.apply(over)
        done = jobs / (time.perf_counter() - began)
        world.close()
    return put, done


def nothing() -> None:
    """What every job does."""


def _apscheduler(jobs: int) -> tuple[float, float]:
    jobstores = importlib.import_module("apscheduler.jobstores.sqlalchemy")
    schedulers = importlib.import_module("apscheduler.schedulers.background")
    events = importlib.import_module("apscheduler.events")
    with tempfile.TemporaryDirectory(prefix="dialer-bench-") as name:
        store = jobstores.SQLAlchemyJobStore(url=f"sqlite:///{name}/jobs.db")
        scheduler = schedulers.BackgroundScheduler(jobstores={"default": store}, timezone=UTC)
        scheduler.start(paused=True)
        began = time.perf_counter()
        at = datetime.now(UTC) - timedelta(seconds=1)
        for _ in range(jobs):
            scheduler.add_job(nothing, "date", run_date=at, misfire_grace_time=3600)
        put = jobs / (time.perf_counter() - began)
        over = 0

        def count(_event: object) -> None:
            nonlocal over
            over += 1

        scheduler.add_listener(count, events.EVENT_JOB_EXECUTED)
        began = time.perf_counter()
        scheduler.resume()
        _wait(lambda: over >= jobs)
        done = jobs / (time.perf_counter() - began)
        scheduler.shutdown()
    return put, done


def _huey(jobs: int) -> tuple[float, float]:
    huey_module = importlib.import_module("huey")
    with tempfile.TemporaryDirectory(prefix="dialer-bench-") as name:
        huey = huey_module.SqliteHuey(filename=f"{name}/huey.db", fsync=True, results=False)
        task = huey.task()(nothing)
        began = time.perf_counter()
        for _ in range(jobs):
            task.schedule(delay=-1)
        put = jobs / (time.perf_counter() - began)
        began = time.perf_counter()
        for due in iter(lambda: huey.read_schedule(datetime.now(UTC).replace(tzinfo=None)), []):
            for one in due:
                huey.enqueue(one)
        while (one := huey.dequeue()) is not None:
            huey.execute(one)
        done = jobs / (time.perf_counter() - began)
    return put, done


def _pgqueuer(jobs: int) -> tuple[float, float]:
    return asyncio.run(_pgqueuer_on(jobs))


async def _pgqueuer_on(jobs: int) -> tuple[float, float]:
    asyncpg = importlib.import_module("asyncpg")
    pgqueuer = importlib.import_module("pgqueuer")
    queries_module = importlib.import_module("pgqueuer.queries")
    drivers = importlib.import_module("pgqueuer.db")
    with _postgres() as socket_directory:
        connection = await asyncpg.connect(host=socket_directory, user="postgres", database="postgres")
        driver = drivers.AsyncpgDriver(connection)
        queries = queries_module.Queries(driver)
        await queries.install()
        began = time.perf_counter()
        for start in range(0, jobs, 1000):
            n = min(1000, jobs - start)
            await queries.enqueue(["call"] * n, [None] * n, [0] * n)
        put = jobs / (time.perf_counter() - began)
        queue = pgqueuer.PgQueuer(driver)
        over = 0

        @queue.entrypoint("call")  # type: ignore[untyped-decorator]
        async def work(_job: Any) -> None:  # noqa: ANN401
            nonlocal over
            over += 1
            if over >= jobs:
                queue.shutdown.set()

        began = time.perf_counter()
        await queue.run(batch_size=_BATCH, dequeue_timeout=timedelta(seconds=1))
        done = jobs / (time.perf_counter() - began)
        await connection.close()
    return put, done


@contextmanager
def _postgres() -> Iterator[str]:
    """A PostgreSQL of our own on a Unix socket; yields the socket's folder."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *_POSTGRES_DIRECTORIES])
    initdb, pg_ctl = shutil.which("initdb", path=path), shutil.which("pg_ctl", path=path)
    if initdb is None or pg_ctl is None:
        raise FileNotFoundError("PostgreSQL is not installed (initdb, pg_ctl)")
    owner = _database_owner()
    with tempfile.TemporaryDirectory(prefix="dialer-bench-") as name:
        data = f"{name}/data"
        if owner is not None:
            shutil.chown(name, owner)

        def run(*command: str) -> None:
            # Not captured: the server would inherit the pipe and hold it open.
            subprocess.run(command, check=True, user=owner, cwd=name, stdout=subprocess.DEVNULL)

        run(initdb, "-D", data, "-U", "postgres", "-A", "trust")
        options = f"-k {name} -c listen_addresses=''"
        run(pg_ctl, "-D", data, "-o", options, "-l", f"{name}/log", "-w", "start")
        try:
            yield name
        finally:
            run(pg_ctl, "-D", data, "-m", "fast", "-w", "stop")


def _database_owner() -> str | None:
    """PostgreSQL does not run as root: then it is the user that its package made. None: whoever we are."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        raise FileNotFoundError("PostgreSQL does not run as root, and there is no user postgres") from None


def _wait(over: Callable[[], bool]) -> None:
    while not over():
        time.sleep(0.001)


_PEERS: dict[str, Callable[[int], tuple[float, float]]] = {
    "dialer (10 calls a commit)": _ours,
    "APScheduler 3 (SQLite)": _apscheduler,
    "huey (SQLite, fsync)": _huey,
    "PgQueuer (PostgreSQL, batches of 10)": _pgqueuer,
}
