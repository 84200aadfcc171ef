"""The installed server against SIPp as the called side: a stack that is neither ours nor the lab's, and a judge.

Each scenario has a SIPp of its own, which ends with 0 only when every message came as it is written there; all run at once.
"""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_on_the_wire import at, serving
from tests.support.dialer_process import Client, free_port

SIPP = shutil.which("sipp")
SCENARIOS = Path(__file__).parents[1] / "support" / "sipp"
LIMITS = {"max_concurrent_calls": 8, "calls_per_second": 20}
CREDENTIALS = {"username": "dialer", "password": "secret"}
TRANSACTION_SECONDS = 32  # 64*T1: what nobody answers is over then

pytestmark = pytest.mark.skipif(SIPP is None, reason="sipp is not installed")


@dataclass(frozen=True)
class Scenario:
    """`called_NAME.xml`, how often it is called, and what each of these calls has to come to."""

    name: str
    disposition: str
    sip_status: int | None  # a final one
    ended_by: str
    calls: int = 4
    invites: int = 1  # SIPp counts every Call-ID
    rings: bool = True
    trunk: dict[str, Any] = field(default_factory=dict)
    then: tuple[str, ...] = ()  # the trunks that are tried after it


ROWS = [
    Scenario("answers", "answered", 200, "us"),
    Scenario("rings_out", "no_answer", 487, "us"),
    Scenario("busy_after_183", "busy", 486, "far"),
    Scenario("answers_across_cancel", "no_answer", 200, "us"),
    Scenario("hangs_up_ringing", "no_answer", None, "far"),
    Scenario("answer_is_lost", "answered", 200, "us"),
    Scenario("ack_is_lost", "answered", 200, "far"),
    Scenario("forks", "answered", 200, "us"),
    Scenario("asks_for_prack", "answered", 200, "us"),
    Scenario("is_slow_to_try", "answered", 200, "us"),
    Scenario("offers_against_bye", "answered", 200, "us"),
    Scenario("has_a_stale_nonce", "answered", 200, "us", trunk=CREDENTIALS),
    Scenario("talks_garbage", "answered", 200, "us"),
    Scenario("full", "answered", 200, "us", calls=1, then=("spare",)),
    Scenario("is_full_at_first", "answered", 200, "us", calls=1, invites=2),
    Scenario("only_tries", "no_answer", None, "us", rings=False),
    Scenario("says_nothing", "answered", 200, "us", calls=1, then=("spare",)),
]


class Called:
    """SIPp on a port of its own; it ends by itself after so many calls."""

    def __init__(self, scenario: str, calls: int, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder / f"{scenario}-{self.port}"
        self._folder.mkdir()
        file = SCENARIOS / f"called_{scenario}.xml"
        words = [
            "-sf",
            file,
            "-i",
            "127.0.0.1",
            "-p",
            self.port,
            "-m",
            calls,
            "-timeout",
            "100s",
            "-nostdin",
            # A busy machine repeats an INVITE (500 ms without a response). SIPp knows that for what it is until it has sent two
            # messages since the first one: later the scenarios let it by where they wait for another, and pauses do so here.
            "-pause_msg_ign",
            "-trace_err",
        ]
        self.process = subprocess.Popen(
            [str(SIPP), *map(str, words)], cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def saw_what_is_written(self) -> None:
        assert self.process.wait(60) == 0, "\n".join(file.read_text() for file in self._folder.glob("*errors.log"))

    def end(self) -> None:
        self.process.kill()
        self.process.wait(10)


@dataclass
class Exchange:
    client: Client
    called: dict[str, Called]
    campaigns: dict[str, str]

    def calls(self, name: str) -> list[dict[str, Any]]:
        self.client.finished(self.campaigns[name], 60)
        return list(self.client.calls(self.campaigns[name]).values())


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    folder = tmp_path_factory.mktemp("sipp")
    spare = sum(row.calls for row in ROWS if "spare" in row.then)
    called = {row.name: Called(row.name, row.calls * row.invites, folder) for row in ROWS}
    called["spare"] = Called("answers", spare, folder)
    settings = {row.name: row.trunk for row in ROWS}
    trunks = {
        name: {"uri": f"sip:127.0.0.1:{one.port}", **LIMITS, **settings.get(name, {})} for name, one in called.items()
    }
    try:
        with serving(folder, trunks, pacing={"max_concurrent_calls": 64}) as (_, client):
            yield Exchange(client, called, {row.name: posted(client, n, row) for n, row in enumerate(ROWS)})
    finally:
        for one in called.values():
            one.end()


def posted(client: Client, n: int, row: Scenario) -> str:
    steps = [{"do": "wait", "seconds": 0.5 if row.ended_by == "us" else 20}, {"do": "hangup"}]
    book = {"name": row.name, "trunks": [row.name, *row.then], "ring_timeout_seconds": 2.5, "steps": steps}
    answer = client.http.post("/playbook", json=book)
    assert answer.status_code in {200, 201}, answer.text
    return client.post(answer.json()["id"], [f"+346900{n:02}0{call}" for call in range(row.calls)])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_call_comes_to_what_the_scenario_asks_for_and_sipp_saw_all_of_it(
    exchange: Exchange, row: Scenario
) -> None:
    calls = exchange.calls(row.name)
    assert len(calls) == row.calls
    for call in calls:
        (attempt,) = call["attempts"]
        told = call["disposition"], attempt["sip_status"], attempt["ended_by"], attempt["trunk"]
        assert told == (row.disposition, row.sip_status, row.ended_by, (row.name, *row.then)[-1]), attempt
        assert (attempt["ringing_at"] is not None) == row.rings
        assert (attempt["answered_at"] is not None) == (row.disposition == "answered")
    exchange.called[row.name].saw_what_is_written()


def test_a_second_invite_is_never_early(exchange: Exchange) -> None:
    """A trunk that is full says when to come again; one that is silent has the first transaction's time."""
    for name, seconds in (("is_full_at_first", 7), ("says_nothing", TRANSACTION_SECONDS - 1)):
        ((attempt,),) = (call["attempts"] for call in exchange.calls(name))
        assert at(attempt["answered_at"]) - at(attempt["dialed_at"]) >= seconds


def test_the_spare_trunk_carried_what_the_others_refused(exchange: Exchange) -> None:
    exchange.called["spare"].saw_what_is_written()
