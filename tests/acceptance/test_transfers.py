"""Calls that are handed over, over the installed command: what callee and agent hear, how it ends, what is told of it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dialer.core.model import Disposition
from sip.lab import Behaviour, Entry
from sip.lab.behaviours import Plan
from tests.integration.test_sip_bridge import pitch, tones
from tests.integration.test_sip_media import loud_seconds, write_tone
from tests.support.dialer_process import Client, Dialer, eventually
from tests.support.judge import most_at_once, most_in_any_second
from tests.support.lab_thread import LabThread

STAYS, LEAVES_SOON = "+34600000051", "+34600000052"
AGENT, AGENT_LEAVES, AGENT_RINGS, AGENT_BUSY = "+34910000061", "+34910000062", "+34910000063", "+34910000486"
# A call to the agent who stays longest lasts for more INVITEs than there are channels, so that both limits are met.
CPS, CHANNELS = 2, 3
AGENT_STAYS = "+34910000065"


def person(ending: str, **plan: Any) -> Behaviour:
    return Behaviour(ending, "a person", (Plan(**{"alert_seconds": 0.1, **plan}),), (Disposition.ANSWERED,))


PEOPLE = [
    person("", talk_seconds=None),
    person("52", talk_seconds=1.4),
    person("61", talk_seconds=None, tone_hz=1_000),
    person("62", talk_seconds=1.2, tone_hz=1_000),
    person("65", talk_seconds=2.2),
    person("63", alert_seconds=None),
    person("486", alert=None, alert_seconds=0, status=486),
]


@pytest.fixture(scope="module")
def lab() -> Iterator[LabThread]:
    with LabThread(record=True, behaviours=PEOPLE) as lab:
        yield lab


@pytest.fixture(scope="module")
def dialer(lab: LabThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dialer]:
    agents = {**lab.trunk, "calls_per_second": CPS, "max_concurrent_calls": CHANNELS, "caller_id": "+34900000002"}
    folder: Path = tmp_path_factory.mktemp("dialer")
    limits = {"destinations": ["+34"]}
    dialer = Dialer(folder, {"pbx": lab.trunk, "agents": agents}, limits=limits)
    write_tone(dialer.media / "music.wav", 600, 0.4)
    write_tone(dialer.media / "whisper.wav", 1_500, 0.4)
    write_tone(dialer.media / "sorry.wav", 700, 0.4)
    dialer.run("db", "migrate")
    try:
        yield dialer.start()
    finally:
        dialer.stop()


@pytest.fixture(scope="module")
def client(dialer: Dialer) -> Iterator[Client]:
    client = dialer.account()
    yield client
    client.close()


def transfer(to: str, **keys: Any) -> dict[str, Any]:
    return {"do": "transfer", "to": to, "trunks": ["agents"], **keys}


SORRY = {"label": "sorry", "do": "play", "audio": "sorry.wav"}


def begun(client: Client, phone: str, *steps: dict[str, Any]) -> str:
    """A call to the phone has been accepted; its path."""
    playbook = client.playbook(steps=list(steps))
    answer = client.http.post("/call", json={"playbook_id": playbook, "phone": phone})
    assert answer.status_code == 202, answer.text
    return f"/call/{answer.json()['call_id']}"


def over(client: Client, path: str) -> dict[str, Any]:
    """The call, when it is finished and its last leg is down."""

    def look() -> dict[str, Any] | None:
        call: dict[str, Any] = client.http.get(path).json()
        down = all(leg["ended_at"] for attempt in call["attempts"] for leg in attempt["agent_legs"])
        return call if call["state"] == "finished" and down else None

    return eventually(look, 30, f"{path} is finished")


def called(client: Client, phone: str, *steps: dict[str, Any]) -> dict[str, Any]:
    return over(client, begun(client, phone, *steps))


def legs(call: dict[str, Any]) -> list[dict[str, Any]]:
    (attempt,) = call["attempts"]
    found: list[dict[str, Any]] = attempt["agent_legs"]
    return found


def heard(lab: LabThread, sip_call_id: str) -> bytes:
    return eventually(lambda: lab.lab.recordings.get(sip_call_id), 5, "the lab's recording").pcm()


def story(lab: LabThread, sip_call_id: str) -> list[str]:
    return [entry.event for entry in lab.lab.log if entry.call_id == sip_call_id]


def agents_entry(lab: LabThread, event: str, path: str) -> Entry:
    """What the lab saw of the agent's leg of this call."""
    call = path.rpartition("/")[2]

    def look() -> Entry | None:
        return next((e for e in lab.seen(event) if e.call_id.startswith(call) and "-agent-" in e.call_id), None)

    return eventually(look, 15, f"{event} of the agent of {path}")


def test_callee_and_agent_hear_each_other_and_the_pair_ends_together(client: Client, lab: LabThread) -> None:
    whisper = [{"do": "play", "audio": "whisper.wav"}]
    call = called(client, STAYS, transfer(AGENT_LEAVES, ringback="music.wav", whisper=whisper), SORRY)
    (attempt,), (agent,) = call["attempts"], legs(call)
    assert (call["disposition"], attempt["disposition"], attempt["ended_by"]) == ("answered", "answered", "us")
    assert (agent["agent"], agent["trunk"], agent["caller_id"]) == (AGENT_LEAVES, "agents", "+34900000002")
    assert (agent["disposition"], agent["ended_by"], agent["sip_status"]) == ("answered", "far", 200)
    assert agent["dialed_at"] <= agent["ringing_at"] <= agent["answered_at"] < agent["ended_at"] <= attempt["ended_at"]
    (transferred,) = call["result"]["transfers"]
    assert transferred["outcome"] == "transferred"
    assert transferred["ended_by"] == "agent"
    assert 0.3 < transferred["talk_seconds"] < 1.2
    (line,) = call["transcript"]
    assert line["do"] == "transfer"
    assert {key: line[key] for key in transferred} == transferred
    # The agent hears the whisper, then the callee; the callee hears music, then the agent.
    to_agent, to_callee = heard(lab, agent["sip_call_id"]), heard(lab, attempt["sip_call_id"])
    assert tones(to_agent) == [1_500, 400]
    assert tones(to_callee) == [600, 1_000]
    assert story(lab, attempt["sip_call_id"])[-2:] == ["bye_received", "ended"]


def test_a_callee_who_hangs_up_while_the_agents_phone_rings_stops_it(client: Client, lab: LabThread) -> None:
    call = called(client, LEAVES_SOON, transfer(AGENT_RINGS))
    (agent,) = legs(call)
    assert (agent["disposition"], agent["ended_by"], agent["sip_status"]) == ("cancelled", "us", 487)
    assert call["result"]["transfers"][0]["outcome"] == "abandoned"
    assert call["transcript"][0]["cut_off"]
    assert call["disposition"] == "answered"
    assert "cancel" in story(lab, agent["sip_call_id"])
    rung = heard(lab, call["attempts"][0]["sip_call_id"])
    assert pitch(rung) == pytest.approx(425, rel=0.05), "what the callee heard meanwhile"
    assert 0.8 < loud_seconds(rung) < 1.2


def test_a_callee_who_hangs_up_ends_the_agents_call(client: Client, lab: LabThread) -> None:
    call = called(client, LEAVES_SOON, transfer(AGENT))
    (agent,) = legs(call)
    assert (agent["disposition"], agent["ended_by"]) == ("answered", "us")
    assert call["result"]["transfers"][0]["ended_by"] == "callee"
    assert story(lab, agent["sip_call_id"])[-2:] == ["bye_received", "ended"]


@pytest.mark.parametrize(
    ("agent", "outcome", "way"),
    [(AGENT_BUSY, "busy", "on_busy"), (AGENT_RINGS, "no_answer", "on_no_answer"), (AGENT_BUSY, "busy", "on_failed")],
)
def test_an_agent_who_cannot_be_had_is_followed_by_the_way_for_that(
    client: Client, lab: LabThread, agent: str, outcome: str, way: str
) -> None:
    step = transfer(agent, ring_timeout_seconds=1, **{way: "sorry"})
    call = called(client, STAYS, step, {"do": "hangup"}, SORRY)
    first, second = call["transcript"]
    assert (first["outcome"], first["to"], second["do"]) == (outcome, "sorry", "play")
    assert tones(heard(lab, call["attempts"][0]["sip_call_id"]))[-1] == 700
    assert legs(call)[0]["disposition"] == outcome


def test_a_second_agent_may_follow_the_first(client: Client) -> None:
    call = called(client, STAYS, transfer(AGENT_BUSY), transfer("sip:+34910000062@127.0.0.1", caller_id="callee"))
    first, second = legs(call)
    assert (first["disposition"], second["disposition"]) == ("busy", "answered")
    assert second["agent"] == "sip:+34910000062@127.0.0.1"
    assert second["caller_id"] == STAYS
    assert [made["outcome"] for made in call["result"]["transfers"]] == ["busy", "transferred"]


def test_a_person_who_cancels_the_call_ends_both_legs(client: Client, lab: LabThread) -> None:
    path = begun(client, STAYS, transfer(AGENT))
    agents_entry(lab, "ack", path)
    assert client.http.post(f"{path}/cancel").status_code == 200
    call = over(client, path)
    assert legs(call)[0]["ended_by"] == "us"
    assert call["result"]["transfers"][0]["ended_by"] == "us"


@pytest.mark.parametrize(
    ("agent", "outcome", "statuses"),
    [(AGENT, "transferred", [100, 180, 200]), (AGENT_BUSY, "busy", [100, 486]), (AGENT_RINGS, "no_answer", [100, 180])],
)
def test_refer_asks_the_callees_side_to_call_the_agent(
    client: Client, lab: LabThread, agent: str, outcome: str, statuses: list[int]
) -> None:
    step = {"do": "transfer", "mode": "refer", "to": agent, "ring_timeout_seconds": 1, "on_failed": "sorry"}
    call = called(client, STAYS, step, {"do": "hangup"}, SORRY)
    sip_call_id = call["attempts"][0]["sip_call_id"]
    assert call["result"]["transfers"][0]["outcome"] == outcome
    assert [line["do"] for line in call["transcript"]] == ["transfer"] + ["play"] * (outcome != "transferred")
    assert [entry.status for entry in lab.seen("notified") if entry.call_id == sip_call_id] == statuses
    assert legs(call) == []


def test_legs_to_agents_keep_the_pace_and_the_channels_of_their_trunk(client: Client, lab: LabThread) -> None:
    numbers = [f"+3460000{n:03}51" for n in range(6)]
    campaign = client.post(
        client.playbook(steps=[transfer(AGENT_STAYS, ring_timeout_seconds=60)], max_call_seconds=60), numbers
    )
    client.finished(campaign, 60)
    sent = lab.invites(AGENT_STAYS)
    assert len(sent) == len(numbers)
    assert most_in_any_second([entry.monotonic_at for entry in sent]) <= CPS
    ours = {entry.call_id for entry in sent}
    assert most_at_once([entry for entry in lab.lab.log if entry.call_id in ours]) == CHANNELS
    outcomes = [call["result"]["transfers"][0]["outcome"] for call in client.calls(campaign).values()]
    assert outcomes == ["transferred"] * len(numbers)


@pytest.mark.parametrize(
    ("step", "path"),
    [
        (transfer("+441632960961"), "steps.0.to"),
        (transfer("sip:00441632960961@127.0.0.1"), "steps.0.to"),
        (transfer("sip:ana@elsewhere.example"), "steps.0.to"),
        (transfer(AGENT, ringback="nothing.wav"), "steps.0.ringback"),
        (transfer(AGENT, trunks=["gone"]), "steps.0.trunks.0"),
        (transfer(AGENT, on_busy="nowhere"), "steps.0.on_busy"),
        (transfer(AGENT, mode="refer"), "steps.0.trunks"),
        (transfer(AGENT, whisper=[{"do": "play", "audio": "nothing.wav"}]), "steps.0.whisper.0.audio"),
        (transfer(AGENT, whisper=[{"do": "say", "text": "x"}]), "steps.0.whisper.0"),
    ],
)
def test_a_transfer_that_cannot_be_is_refused_with_the_path_of_the_fault(
    client: Client, step: dict[str, Any], path: str
) -> None:
    answer = client.http.post("/playbook", json={"name": "x", "trunks": ["pbx"], "steps": [step]})
    assert answer.status_code == 400
    assert [detail["field"] for detail in answer.json()["details"]] == [path]


def test_a_worker_that_is_killed_leaves_neither_of_a_pair_in_a_call_with_nobody(
    client: Client, dialer: Dialer, lab: LabThread
) -> None:
    path = begun(client, STAYS, transfer(AGENT))
    agents_entry(lab, "ack", path)
    for worker in dialer.workers():
        os.kill(worker, signal.SIGKILL)
    call = over(client, path)
    ended = [call["attempts"][0], legs(call)[0]]
    assert [leg["disposition"] for leg in ended] == ["interrupted", "interrupted"]
    for leg in ended:
        assert story(lab, leg["sip_call_id"])[-2:] == ["bye_received", "ended"]


def test_a_server_that_is_killed_ends_both_legs_when_it_comes_back(
    client: Client, dialer: Dialer, lab: LabThread
) -> None:
    talking, ringing = begun(client, STAYS, transfer(AGENT)), begun(client, "+34600000151", transfer(AGENT_RINGS))
    agents_entry(lab, "ack", talking)
    agents_entry(lab, "ringing", ringing)
    eventually(lambda: legs(client.http.get(ringing).json())[0]["ringing_at"], 10, "the ringing is on disk")
    dialer.kill()
    dialer.start()
    for path, agents_end in ((talking, "bye_received"), (ringing, "cancel")):
        call = over(client, path)
        (agent,) = legs(call)
        assert (call["attempts"][0]["disposition"], agent["disposition"]) == ("interrupted", "interrupted")
        assert story(lab, call["attempts"][0]["sip_call_id"])[-2:] == ["bye_received", "ended"]
        assert agents_end in story(lab, agent["sip_call_id"])
    call = called(client, STAYS, transfer(AGENT_LEAVES))
    assert call["result"]["transfers"][0]["outcome"] == "transferred"
