"""`dialer playbook try`: one call now, its steps on the terminal, over the installed command and the lab."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_sip_bridge import tones
from tests.integration.test_sip_media import write_tone
from tests.support.dialer_process import DIALER, Client, Dialer, eventually
from tests.support.lab_thread import LabThread

PRESSES_1, STAYS, BUSY, NEVER_ANSWERS = "+34600000031", "+34600000002", "+34600000486", "+34600000010"
MENU = [
    {
        "label": "menu",
        "do": "gather",
        "prompt": [{"do": "play", "audio": "menu.wav"}],
        "branches": {"1": "one"},
        "on_no_input": "end",
    },
    {"do": "hangup"},
    {"label": "one", "do": "say", "text": "Hello {first_name|friend}"},
    {"do": "play", "audio": "one.wav"},
]


@pytest.fixture(scope="module")
def lab() -> Iterator[LabThread]:
    with LabThread(pace=0.2, record=True) as lab:
        yield lab


@pytest.fixture(scope="module")
def machine(lab: LabThread, tmp_path_factory: pytest.TempPathFactory) -> Dialer:
    """A configuration. No server runs, and there is no database."""
    folder = tmp_path_factory.mktemp("dialer")
    voice = folder / "voice"
    voice.write_text(f'#!/bin/sh\ncp {folder}/voice.wav "$2"\n')
    voice.chmod(0o755)
    write_tone(folder / "voice.wav", 700, 0.4)
    dialer = Dialer(folder, {"pbx": lab.trunk}, speech={"command": f"{voice} {{input}} {{output}}"})
    write_tone(dialer.media / "menu.wav", 500, 2)
    write_tone(dialer.media / "one.wav", 900, 0.4)
    return dialer


def file_with(dialer: Dialer, *steps: dict[str, Any], **keys: Any) -> str:
    path = dialer.folder / "tried.json"
    path.write_text(json.dumps({"name": "Tried", "trunks": ["pbx"], "steps": list(steps), **keys}))
    return str(path)


def tried(dialer: Dialer, file: str, to: str, *words: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, what was printed, and the trace."""
    done = dialer.run("playbook", "try", file, "--to", to, *words, check=False)
    return done.returncode, json.loads(done.stdout or "null"), done.stderr


def test_an_answered_call_is_told_step_by_step(machine: Dialer, lab: LabThread) -> None:
    file = file_with(machine, *MENU)
    status, outcome, trace = tried(machine, file, PRESSES_1, "--field", "first_name=Ana")
    assert status == 0
    assert outcome == {"disposition": "answered", "reason": "the steps ended", "result": {"gathered": {"digits": "1"}}}
    told = [line.split(maxsplit=1)[1] for line in trace.splitlines()]
    told = [line for line in told if not line.startswith("waits: ")]
    assert told[:3] == [f"INVITE to {PRESSES_1} over pbx", "rings (180)", "answered"]
    assert told[3] == "key 1"
    assert told[4].startswith("steps.0 gather 'menu'  ")
    assert "outcome=digits  digits=1  tries=1  to=one" in told[4]
    assert told[5].startswith("steps.2 say 'one'  ")
    assert told[5].endswith('text="Hello Ana"')
    # The last step and our BYE are one moment.
    ending = sorted(told[6:])
    assert ending[:2] == ["answered: the steps ended", "hung up by us"]
    assert ending[2].startswith("steps.3 play  ")
    assert "audio=one.wav" in ending[2]
    recording = eventually(lambda: list(lab.lab.recordings.values()), 5, "the lab's recording")[-1]
    heard = tones(recording.pcm())
    assert heard == [500, 700, 900]
    assert not (machine.folder / "dialer.db").exists()


@pytest.mark.parametrize(
    ("number", "status", "disposition", "reason"),
    [
        (BUSY, 4, "busy", "486 Busy Here (Q.850 cause 17)"),
        (NEVER_ANSWERS, 5, "no_answer", "ring timeout"),
        ("+34600000404", 8, "invalid_number", "404 Not Found (Q.850 cause 1)"),
    ],
)
def test_the_exit_status_says_what_a_call_came_to(
    machine: Dialer, number: str, status: int, disposition: str, reason: str
) -> None:
    file = file_with(machine, *MENU, ring_timeout_seconds=1)
    assert tried(machine, file, number)[:2] == (status, {"disposition": disposition, "reason": reason, "result": None})


def test_a_trunk_that_refuses_is_not_tried_again_later(machine: Dialer, lab: LabThread) -> None:
    number = "+34600010503"
    status, outcome, _ = tried(machine, file_with(machine, *MENU), number)
    assert (status, outcome["disposition"]) == (9, "trunk_failure")
    assert "503" in outcome["reason"]
    assert len(lab.invites(number)) == 1


def test_speech_that_cannot_be_rendered_calls_nobody(lab: LabThread, tmp_path: Path) -> None:
    dialer = Dialer(tmp_path, {"pbx": lab.trunk}, speech={"command": "false {input} {output}"})
    number = "+34600020002"
    status, outcome, _ = tried(dialer, file_with(dialer, {"do": "say", "text": "Hello"}), number)
    assert (status, outcome["disposition"]) == (1, "expired")
    assert "false ended with 1" in outcome["reason"]
    assert lab.invites(number) == []


def test_a_step_with_a_fault_is_told_and_shows_in_the_exit_status(machine: Dialer) -> None:
    steps = [
        {"do": "transfer", "to": "{custom_fields.agent|}", "on_failed": "sorry"},
        {"label": "sorry", "do": "webhook", "url": "http://127.0.0.1:9/"},
    ]
    machine.configure(webhooks={"secret": f"whsec_{'A' * 32}", "allow_private": True})
    status, _, trace = tried(machine, file_with(machine, *steps), STAYS)
    assert status == 3
    assert "fault=" in trace


@pytest.mark.parametrize("user", ["1031", "alice.31", "+34600000031"])
def test_a_uri_on_any_host_is_called_as_it_stands(machine: Dialer, lab: LabThread, user: str) -> None:
    uri = f"sip:{user}@localhost:{lab.lab.port}"
    status, outcome, trace = tried(machine, file_with(machine, {"do": "hangup"}), uri)
    assert (status, outcome["disposition"]) == (0, "answered")
    assert f"INVITE to {uri} over (direct)" in trace
    assert lab.invites(user)


def test_a_uri_of_a_trunks_host_goes_over_that_trunk(machine: Dialer, lab: LabThread) -> None:
    uri = f"sip:1002@127.0.0.1:{lab.lab.port}"
    status, _, trace = tried(machine, file_with(machine, {"do": "hangup"}), uri)
    assert status == 0
    assert f"INVITE to {uri} over pbx" in trace


@pytest.mark.parametrize(
    "to", ["sip:alice", "sip:al ice@host", "alice", "sip:a@host:99999", "+34", "sip:+34806123456@host", ""]
)
def test_whom_nobody_can_call_is_refused_by_name(machine: Dialer, to: str) -> None:
    done = machine.run("playbook", "try", file_with(machine, {"do": "hangup"}), "--to", to, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"--to {to}: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("field", ["first_name", "colour=red", "custom_fields.=x", "timezone=Mars"])
def test_a_field_that_no_contact_has_is_wrong_usage(machine: Dialer, field: str) -> None:
    file = file_with(machine, {"do": "hangup"})
    done = machine.run("playbook", "try", file, "--to", STAYS, "--field", field, check=False)
    assert done.returncode == 2
    assert "--field" in done.stderr


@pytest.mark.parametrize("number", [STAYS, NEVER_ANSWERS])
def test_ctrl_c_hangs_up(machine: Dialer, lab: LabThread, number: str) -> None:
    before = len(lab.invites(number))
    command = [DIALER, "--config", machine.config, "playbook", "try", file_with(machine, {"do": "wait", "seconds": 60})]
    with subprocess.Popen(
        [*command, "--to", number], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        assert process.stderr is not None
        awaited = "answered" if number == STAYS else "rings"
        while awaited not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(out)["disposition"] == ("answered" if number == STAYS else "cancelled")
    assert len(lab.invites(number)) == before + 1
    eventually(lambda: lab.lab.calls_now == 0, 10, "the lab's call is over")


def test_a_trial_stands_beside_a_server_that_runs(lab: LabThread, tmp_path: Path) -> None:
    dialer = Dialer(tmp_path, {"pbx": lab.trunk})
    dialer.run("db", "migrate")
    dialer.start()
    try:
        client: Client = dialer.account("Beside")
        status, _, _ = tried(dialer, file_with(dialer, {"do": "hangup"}), "+34600030002")
        assert status == 0
        assert client.http.get("/contact", params={"phone": "+34600030002"}).json()["items"] == []
        client.close()
    finally:
        dialer.stop()
