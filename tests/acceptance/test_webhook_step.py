"""Calls that the documented example program leads, over the installed command, and calls whose program fails."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dialer.core.model import Disposition
from sip.lab import Behaviour, Plan
from tests.integration.test_sip_bridge import tones
from tests.integration.test_sip_media import loud_seconds, write_tone
from tests.support.dialer_process import Client, Dialer, eventually
from tests.support.lab_thread import LabThread
from tests.support.program import SECRET

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "examples" / "webhook_server.py"
PLAYBOOK = re.findall(r"```json\n(.*?)```", (DOCS / "webhook-step.md").read_text("utf-8"), re.DOTALL)[0]
MUSIC_HZ, SORRY_HZ = 600, 900
# Presses a key two seconds after the answer.
PRESSES = Plan(presses="5", talk_seconds=None)
# What the speech command of these tests "says": a file that lies there.
SPEECH_SECONDS = 0.3


@pytest.fixture(scope="module")
def lab() -> Iterator[LabThread]:
    with LabThread(record=True, behaviours=[Behaviour("", "presses", (PRESSES,), (Disposition.ANSWERED,))]) as lab:
        yield lab


@pytest.fixture(scope="module")
def program() -> Iterator[str]:
    """The example's address."""
    command = [sys.executable, str(EXAMPLE), "--port", "0", "--secret", SECRET]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    port = re.fullmatch(r"listening on (\d+)\n", process.stdout.readline())
    assert port is not None
    try:
        yield f"http://127.0.0.1:{port[1]}/next?key=1"
    finally:
        process.terminate()
        process.communicate(timeout=10)


@pytest.fixture(scope="module")
def dialer(lab: LabThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dialer]:
    folder: Path = tmp_path_factory.mktemp("dialer")
    spoken = folder / "spoken.wav"
    write_tone(spoken, 400, SPEECH_SECONDS)
    speech = {"command": f"sh -c 'cp {spoken} {{output}}' {{input}}"}
    dialer = Dialer(folder, {"pbx": lab.trunk}, webhooks={"allow_private": True, "secret": SECRET}, speech=speech)
    write_tone(dialer.media / "music.wav", MUSIC_HZ, 0.2)
    write_tone(dialer.media / "sorry.wav", SORRY_HZ, 0.4)
    dialer.run("db", "migrate")
    try:
        yield dialer.start()
    finally:
        dialer.stop()


def called(client: Client, **playbook: Any) -> dict[str, Any]:
    """A call by the playbook, when it is finished."""
    body = {
        "playbook_id": client.playbook(**playbook),
        "phone": "+34600000100",
        "custom_fields": {"customer": "A-17"},
    }
    call = client.http.post("/call", json=body).json()["call_id"]

    def over() -> dict[str, Any] | None:
        shown: dict[str, Any] = client.http.get(f"/call/{call}").json()
        return shown if shown["state"] == "finished" else None

    return eventually(over, 40, "the call is finished")


def heard(lab: LabThread, call: dict[str, Any]) -> bytes:
    sip_call_id = call["attempts"][-1]["sip_call_id"]
    return eventually(lambda: lab.lab.recordings.get(sip_call_id), 5, "the lab's recording").pcm()


def test_the_example_asks_for_an_order_and_says_where_it_is(client: Client, program: str) -> None:
    documented = json.loads(PLAYBOOK)
    documented["steps"][0]["url"] = program
    call = called(client, **documented)
    assert call["disposition"] == "answered"
    assert call["result"] == {"gathered": {"order": "5"}, "custom_fields": {"last_order": "5"}}
    lines = call["transcript"]
    assert [(line["do"], line.get("of_answer")) for line in lines] == [
        ("webhook", None),
        ("gather", 1),
        ("goto", 1),
        ("webhook", None),
        ("say", 2),
        ("set", 2),
        ("hangup", None),
    ]
    assert lines[4]["text"] == "Your order 5 is on its way."
    assert [(line["status"], line["answer"], line["steps"]) for line in lines if line["do"] == "webhook"] == [
        (200, 1, 2),
        (200, 2, 2),
    ]
    assert {line["url"] for line in lines if line["do"] == "webhook"} == {program.partition("?")[0]}


def test_while_a_program_is_silent_the_callee_hears_music_and_then_the_fallback(client: Client, lab: LabThread) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        steps = [
            {"do": "webhook", "url": url, "timeout_seconds": 1, "audio": "music.wav", "on_failed": "sorry"},
            {"do": "hangup"},
            {"label": "sorry", "do": "play", "audio": "sorry.wav"},
        ]
        call = called(client, steps=steps)
    asked, played = call["transcript"]
    assert (asked["fault"], asked["to"], played["do"]) == ("no answer within 1 s", "sorry", "play")
    assert 1000 <= asked["answered_ms"] < 5000
    pcm = heard(lab, call)
    assert tones(pcm) == [MUSIC_HZ, SORRY_HZ]
    assert loud_seconds(pcm) > 0.9, "music over and over"


def test_a_new_secret_signs_after_a_reload(client: Client, dialer: Dialer, program: str) -> None:
    steps = [{"do": "webhook", "url": program, "parameters": {"order": "7"}}]
    dialer.configure(webhooks={"secret": f"whsec_{'B' * 32}"})
    dialer.run("reload")
    (refused,) = called(client, steps=steps)["transcript"]
    assert refused["fault"] == "answered 401"
    dialer.configure(webhooks={"secret": SECRET})
    dialer.run("reload")
    assert called(client, steps=steps)["result"] == {"custom_fields": {"last_order": "7"}}


def test_a_question_into_our_own_network_or_without_a_secret_is_refused(tmp_path: Path) -> None:
    dialer = Dialer(tmp_path, {"pbx": {"uri": "sip:127.0.0.1:5060"}})
    playbook = {"name": "x", "trunks": ["pbx"], "steps": [{"do": "webhook", "url": "http://127.0.0.1:9000/"}]}
    file = tmp_path / "playbook.json"
    file.write_text(json.dumps(playbook))
    refused = dialer.run("playbook", "check", str(file), check=False)
    assert refused.returncode == 1
    assert "steps.0.url: must begin with https://" in refused.stderr
    assert "steps.0.do: this server asks no programs: it has no webhooks.secret to sign with" in refused.stderr
