"""Who answered, found out on real calls: people and machines that espeak-ng speaks, and those of the lab's own table."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dialer.core.model import Disposition
from sip.lab import BEHAVIOURS, Behaviour, Plan
from sip.lab.voices import GREETING, Speech, beep, pause
from tests.integration.test_sip_media import crossings, write_tone
from tests.support.dialer_process import Client, Dialer, eventually
from tests.support.greetings import speech
from tests.support.lab_thread import LabThread

MESSAGE_HZ, MESSAGE_SECONDS = 700, 1.0
PERSON, MACHINE, SILENT = "41", "42", "43"
AT_LENGTH = "You have reached the voice mail of Julia. I am not available right now. Please leave a message."


def says(ending: str, *parts: bytes, alert: Any = 180) -> Behaviour:
    plan = Plan(alert=alert, says=Speech(ending, lambda: b"".join(parts)), talk_seconds=None)
    return Behaviour(ending, ending, (plan,), (Disposition.ANSWERED,))


def spoken() -> list[Behaviour]:
    return [
        says("91", pause(0.3), speech("Hello?")),
        says("92", pause(0.8), speech("Diga?", "es")),
        says("93", pause(0.2), speech(AT_LENGTH), pause(0.4), beep(1_400, 0.3)),
        says("94", pause(0.2), speech("Leave a message.", "en+f2"), pause(0.5), beep(440, 0.5)),
        says("95", pause(0.5), speech("Guten Tag. Bitte sprechen Sie nach dem Ton.", "de"), pause(0.3), beep(850, 1.0)),
        # It rings on this side for two seconds before the answer, and then a person speaks.
        says("96", pause(0.3), speech("Hello?"), alert=183),
        Behaviour("43", "picks up and says nothing", (Plan(audio=False, talk_seconds=None),), (Disposition.ANSWERED,)),
    ]


@pytest.fixture(scope="module")
def lab() -> Iterator[LabThread]:
    with LabThread(pace=0.5, record=True, behaviours=[*BEHAVIOURS, *spoken()]) as lab:
        yield lab


@pytest.fixture(scope="module")
def dialer(lab: LabThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dialer]:
    folder: Path = tmp_path_factory.mktemp("dialer")
    dialer = Dialer(folder, {"pbx": lab.trunk})
    write_tone(dialer.media / "message.wav", MESSAGE_HZ, MESSAGE_SECONDS)
    dialer.run("db", "migrate")
    try:
        yield dialer.start()
    finally:
        dialer.stop()


PEOPLE, MACHINES = ["91", "92", "96", PERSON], ["93", "94", "95", MACHINE]
MESSAGE = {"do": "play", "audio": "message.wav"}
PLAYBOOKS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "hangup": ([*PEOPLE, *MACHINES, SILENT], {"amd": {}, "steps": [MESSAGE]}),
    "beep": (
        ["93", "95", MACHINE],
        {
            "amd": {"on_machine": "beep", "to": "message"},
            "steps": [{"do": "hangup"}, {**MESSAGE, "label": "message"}],
        },
    ),
    "continue": (
        [MACHINE],
        {
            "amd": {"on_machine": "continue", "to": "machine"},
            "steps": [{"do": "hangup"}, {"do": "set", "custom_fields": {"machine": "yes"}, "label": "machine"}],
        },
    ),
    "again": ([MACHINE], {"amd": {}, "recall_on": ["machine"], "steps": []}),
}
Called = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def calls(client: Client) -> dict[str, Called]:
    """Calls by all playbooks at once: by playbook and by the number's ending, when they are finished."""
    posted = {}
    for i, (name, (endings, keys)) in enumerate(PLAYBOOKS.items()):
        numbers = [f"+34600{i}00{ending}" for ending in endings]
        posted[name] = client.post(client.playbook(ring_timeout_seconds=10, **keys), numbers, recall=[0.01])
    found: dict[str, Called] = {}
    for name, campaign in posted.items():
        client.finished(campaign, 60)
        ids = [call["id"] for call in client.calls(campaign).values()]
        shown = [client.http.get(f"/call/{one}").json() for one in ids]
        found[name] = {call["phone"][-2:]: call for call in shown}
    return found


def message_began(lab: LabThread, call: dict[str, Any]) -> float:
    """How long after the answer the message was first heard, in seconds; it must be the message."""
    recording = eventually(lambda: lab.lab.recordings.get(call["attempts"][-1]["sip_call_id"]), 5, "the recording")
    pcm = recording.pcm()
    assert crossings(pcm) == pytest.approx(MESSAGE_HZ * MESSAGE_SECONDS, rel=0.05)
    samples = struct.unpack(f"<{len(pcm) // 2}h", pcm)
    return next(n for n, sample in enumerate(samples) if abs(sample) > 1_000) / 8_000


def test_people_hear_the_message(calls: dict[str, Called], lab: LabThread) -> None:
    for ending in PEOPLE:
        call = calls["hangup"][ending]
        assert (call["disposition"], call["result"]["amd"]["decision"]) == ("answered", "human"), call
        assert message_began(lab, call) > 1


def test_machines_are_hung_up(calls: dict[str, Called]) -> None:
    for ending in MACHINES:
        call = calls["hangup"][ending]
        assert (call["disposition"], call["result"]["amd"]["decision"]) == ("machine", "machine"), call
        assert [line["do"] for line in call["transcript"]] == ["amd"]
        (attempt,) = call["attempts"]
        assert (attempt["reason"], attempt["ended_by"]) == ("a machine answered", "us")


def test_who_says_nothing_is_unknown_and_the_transcript_says_why(calls: dict[str, Called]) -> None:
    call = calls["hangup"][SILENT]
    found = {"decision": "unknown", "after_ms": 2_500, "reason": "nothing was said for 2,500 ms"}
    assert (call["disposition"], call["result"]) == ("answered", {"amd": found})
    first, second = call["transcript"]
    times = {"at": first["at"], "ended_at": first["ended_at"]}
    assert first == {"attempt": 1, "step": None, "do": "amd", **times, **found}
    assert (second["do"], second["at"]) == ("play", first["ended_at"])


def test_a_message_follows_the_machines_tone(calls: dict[str, Called], lab: LabThread) -> None:
    for call in calls["beep"].values():
        found, line = call["result"]["amd"], call["transcript"][0]
        assert (call["disposition"], found["decision"], found["beep"]) == ("answered", "machine", "tone"), call
        assert line["to"] == "message"
        assert line["beep_after_ms"] == found["beep_after_ms"] > found["after_ms"]
        assert [line["do"] for line in call["transcript"]] == ["amd", "play"]
    greeted = len(GREETING.render()) / 16_000
    assert greeted - 0.1 < message_began(lab, calls["beep"][MACHINE]) < greeted + 1.5


def test_a_playbook_may_go_on_with_a_machine(calls: dict[str, Called]) -> None:
    call = calls["continue"][MACHINE]
    assert (call["disposition"], call["result"]["custom_fields"]) == ("answered", {"machine": "yes"})


def test_a_playbook_may_call_a_machine_again(calls: dict[str, Called]) -> None:
    assert [attempt["disposition"] for attempt in calls["again"][MACHINE]["attempts"]] == ["machine", "machine"]
