"""A list of contacts from the HTTP body to durable and active, against the bare insert of as many narrow rows.

Over HTTP it is the real server: one request of 100,000 contacts after the other, each answered 202 when its calls are on
disk. Below HTTP it is the same work in this process: read, check and store the bodies. The floor is one transaction of
(integer, phone, short text) rows into a plain table, with the same fsync.
"""

import gc
import statistics
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.far_end import FarEnd
from benchmarks.lateness import body, numbers, server
from dialer.core.intake import CampaignRequest, IntakeRules, read_campaign
from scheduler.connection import connect
from scheduler.intake_rows import Acceptance, IntakeRows
from scheduler.write_turn import WriteTurn
from tests.support.dialer_process import Client
from tests.support.fake_store import PLAYBOOK
from tests.support.sqlite_world import SqliteWorld

_A_PLAYBOOK = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True, slots=True)
class Intake:
    """Seconds of each way, wall and (below HTTP) CPU; the ratios are medians over rounds of (way / floor)."""

    contacts: int
    floor_s: float
    below_s: float
    http_s: float
    below_ratio: float
    below_cpu_ratio: float
    http_ratio: float


def measure(contacts: int, a_request: int, rounds: int) -> Intake:
    """So many contacts in requests of that size, by each way in turn."""
    taken: dict[str, list[float]] = {}
    for _ in range(rounds):
        floor, floor_cpu = floor_seconds(contacts)
        below, cpu = below_http_seconds(contacts, a_request)
        http = http_seconds(contacts, a_request)
        once = {"floor": floor, "floor cpu": floor_cpu, "below": below, "below cpu": cpu, "http": http}
        for way, seconds in once.items():
            taken.setdefault(way, []).append(seconds)
    return Intake(
        contacts,
        statistics.median(taken["floor"]),
        statistics.median(taken["below"]),
        statistics.median(taken["http"]),
        _ratio(taken["below"], taken["floor"]),
        _ratio(taken["below cpu"], taken["floor cpu"]),
        _ratio(taken["http"], taken["floor"]),
    )


def _ratio(ways: list[float], floors: list[float]) -> float:
    return statistics.median(way / floor for way, floor in zip(ways, floors, strict=True))


def floor_seconds(contacts: int) -> tuple[float, float]:
    """Wall and CPU seconds of inserting that many narrow rows in one transaction."""
    phones = numbers(0, contacts)
    with (
        tempfile.TemporaryDirectory(prefix="dialer-bench-") as name,
        closing(connect(Path(name) / "floor.db", create=True, checkpoints=False)) as connection,
    ):
        connection.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, phone TEXT, name TEXT)")
        began, cpu = time.perf_counter(), time.process_time()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO row VALUES (?, ?, ?)", ((i, phone, "Name") for i, phone in enumerate(phones))
        )
        connection.execute("COMMIT")
        return time.perf_counter() - began, time.process_time() - cpu


def below_http_seconds(contacts: int, a_request: int) -> tuple[float, float]:
    """Wall and CPU seconds from bodies in memory to active campaigns with their contacts, in a process like a loader's."""
    rules = IntakeRules(max_contacts=a_request)
    bodies = [body(_A_PLAYBOOK, first, a_request) for first in range(0, contacts, a_request)]
    with tempfile.TemporaryDirectory(prefix="dialer-bench-") as name:
        world = SqliteWorld(Path(name) / "dialer.db")
        number = world.add_playbook(1, PLAYBOOK)
        connection = connect(world.path, checkpoints=False)
        rows = IntakeRows(connection, WriteTurn(connection))
        text = PLAYBOOK.model_dump_json()
        gc.collect()
        gc.disable()
        began, cpu = time.perf_counter(), time.process_time()
        for i, content in enumerate(bodies):
            request = read_campaign(content, rules)
            assert isinstance(request, CampaignRequest)
            acceptance = Acceptance(f"campaign-{i}", 1, number, text, rules.stagger_ms, single=False, request=request)
            stored = rows.reserve(acceptance)
            work = rows.write_calls(stored, acceptance)
            rows.activate(stored, None, lambda _: "{}")
            rows.complete(stored.id, work)
            del request, acceptance, work
        took = time.perf_counter() - began, time.process_time() - cpu
        gc.enable()
        connection.close()
        world.close()
    return took


def http_seconds(contacts: int, a_request: int) -> float:
    """Seconds until the last 202, by which the contacts are complete too."""
    with (
        tempfile.TemporaryDirectory(prefix="dialer-bench-") as name,
        FarEnd(Path(name)) as far_end,
        server(Path(name), far_end.port, stagger_seconds=0.2) as (_, client),
    ):
        playbook = client.playbook()
        bodies = [body(playbook, first, a_request) for first in range(0, contacts, a_request)]
        began = time.perf_counter()
        for content in bodies:
            _post(client, content)
        took = time.perf_counter() - began
        client.close()
    return took


def _post(client: Client, content: bytes) -> None:
    answer = client.http.post("/campaign", content=content, headers={"Content-Type": "application/json"}, timeout=300)
    assert answer.status_code == 202, answer.text
