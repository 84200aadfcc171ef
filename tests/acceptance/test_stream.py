"""Calls that the documented example server speaks with, over the installed command."""

import json
import re
import subprocess
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dialer.core.model import Disposition
from sip.lab import Behaviour, Plan
from sip.lab.voices import Speech, pause, speak
from sip.levels import tone_hz
from tests.integration.test_sip_media import crossings, loud_seconds, write_tone
from tests.support.dialer_process import Client, Dialer, eventually, free_port
from tests.support.greetings import frames
from tests.support.lab_thread import LabThread

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "stream_server.py"
SECRET = "tests only"
GREETING_HZ, SORRY_HZ = 600, 900
# Speaks up while it is greeted, and presses a key two seconds after the answer.
SPEAKS_UP = Speech("speaks up after 1.2 s", lambda: pause(1.2) + speak(3))
TALKS = Plan(says=SPEAKS_UP, presses="5", talk_seconds=None)


@pytest.fixture(scope="module")
def lab() -> Iterator[LabThread]:
    with LabThread(record=True, behaviours=[Behaviour("", "talks", (TALKS,), (Disposition.ANSWERED,))]) as lab:
        yield lab


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, list[str]]]:
    """The example, its address, and what it has printed once it is over."""
    command = [sys.executable, str(EXAMPLE), "--port", "0", "--secret", SECRET]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = re.fullmatch(r"listening on (\d+)\n", process.stdout.readline())
    assert port is not None
    printed: list[str] = []
    try:
        yield f"ws://127.0.0.1:{port[1]}/talk?key=1", printed
    finally:
        process.terminate()
        printed += process.communicate(timeout=10)[0].splitlines()


@pytest.fixture(scope="module")
def dialer(lab: LabThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dialer]:
    folder: Path = tmp_path_factory.mktemp("dialer")
    dialer = Dialer(folder, {"pbx": lab.trunk}, stream={"allow_private": True, "secret": SECRET})
    write_tone(dialer.media / "sorry.wav", SORRY_HZ, 0.5)
    dialer.run("db", "migrate")
    try:
        yield dialer.start()
    finally:
        dialer.stop()


def steps(url: str) -> list[dict[str, Any]]:
    there = {
        "do": "stream",
        "url": url,
        "save_as": "wish",
        "parameters": {"name": "{first_name}"},
        "on_failed": "sorry",
    }
    return [
        there,
        {"do": "set", "custom_fields": {"wish": "{gathered.wish}"}},
        {"do": "hangup"},
        {"do": "play", "audio": "sorry.wav", "label": "sorry"},
    ]


@pytest.fixture(scope="module")
def calls(client: Client, server: tuple[str, list[str]]) -> dict[str, dict[str, Any]]:
    """One call to the server, and one to where there is none, both at once, when they are finished."""
    urls = {"talks": server[0], "fails": f"ws://127.0.0.1:{free_port()}/"}
    ids = {}
    for n, (name, url) in enumerate(urls.items()):
        body = {"playbook_id": client.playbook(steps=steps(url)), "phone": f"+3460000010{n}", "first_name": "Ana"}
        ids[name] = client.http.post("/call", json=body).json()["call_id"]

    def over(call: str) -> dict[str, Any] | None:
        shown: dict[str, Any] = client.http.get(f"/call/{call}").json()
        return shown if shown["state"] == "finished" else None

    return {name: eventually(lambda call=call: over(call), 40, f"{name} is finished") for name, call in ids.items()}


def heard(lab: LabThread, call: dict[str, Any]) -> bytes:
    sip_call_id = call["attempts"][-1]["sip_call_id"]
    return eventually(lambda: lab.lab.recordings.get(sip_call_id), 5, "the lab's recording").pcm()


def test_a_conversation_comes_to_what_the_callee_wanted(
    calls: dict[str, dict[str, Any]], client: Client, server: tuple[str, list[str]]
) -> None:
    call = calls["talks"]
    assert call["disposition"] == "answered"
    assert call["result"] == {"gathered": {"wish": "pressed 5"}, "custom_fields": {"wish": "pressed 5"}}
    line, written, hung_up = call["transcript"]
    assert (line["url"], line["ended_by"], line["outcome"]) == (server[0].partition("?")[0], "server", "pressed 5")
    assert line["connected_ms"] < 5_000
    assert [written["do"], hung_up["do"]] == ["set", "hangup"]


def test_the_callee_is_greeted_interrupts_and_hears_itself(calls: dict[str, dict[str, Any]], lab: LabThread) -> None:
    loud = [frame for frame in frames(array("h", heard(lab, calls["talks"]))) if max(map(abs, frame)) > 2_000]
    greeted = [frame for frame in loud if tone_hz(frame) == pytest.approx(GREETING_HZ, abs=10)]
    assert 5 < len(greeted) < 90, "the greeting has a hundred frames"
    assert len(loud) - len(greeted) > 10, "what was said comes back"


def test_without_a_server_the_playbooks_fallback_is_heard_and_the_transcript_says_why(
    calls: dict[str, dict[str, Any]], lab: LabThread
) -> None:
    call = calls["fails"]
    line, played = call["transcript"]
    assert (line["ended_by"], line["to"], played["do"]) == ("failed", "sorry", "play")
    assert "refused" in line["fault"]
    pcm = heard(lab, call)
    assert loud_seconds(pcm) == pytest.approx(0.5, abs=0.05)
    assert crossings(pcm) == pytest.approx(SORRY_HZ * 0.5, rel=0.05)


def test_a_stream_into_our_own_network_is_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    dialer = Dialer(tmp_path, {"pbx": {"uri": "sip:127.0.0.1:5060"}})
    playbook = {"name": "x", "trunks": ["pbx"], "steps": steps("ws://127.0.0.1:9000/")}
    (dialer.media / "sorry.wav").write_bytes(b"RIFF")
    file = tmp_path / "playbook.json"
    file.write_text(json.dumps(playbook))
    refused = dialer.run("playbook", "check", str(file), check=False)
    assert refused.returncode == 1
    assert "steps.0.url: must begin with wss://" in refused.stderr
