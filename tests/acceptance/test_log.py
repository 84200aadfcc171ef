"""The server's log: a call can be followed in it by its id, through all processes, and nobody's number stands there."""

import json
from pathlib import Path
from typing import Any

from tests.support.dialer_process import Dialer, eventually
from tests.support.lab_thread import LabThread

ANSWERS, BUSY = "+34600000001", "+34600000011"


def told(dialer: Dialer, **wanted: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in dialer.log.read_text().splitlines()]
    return [line for line in lines if all(str(line.get(name, "")).startswith(text) for name, text in wanted.items())]


def test_a_call_can_be_followed_by_its_id_and_no_number_is_shown(lab: LabThread, tmp_path: Path) -> None:
    dialer = Dialer(tmp_path, {"pbx": lab.trunk}, log={"format": "json", "level": "debug"})
    dialer.run("db", "migrate")
    try:
        client = dialer.start().account()
        campaign = client.post(client.playbook(), [ANSWERS, BUSY], recall=[0.01])
        client.finished(campaign)
        calls = client.calls(campaign)
        client.close()
    finally:
        dialer.stop()
    answered, busy = (told(dialer, call=calls[number]["id"]) for number in (ANSWERS, BUSY))
    assert [line["event"] for line in answered] == ["dialing", "ringing", "answered", "attempt ended"]
    assert answered[-1]["talk_seconds"] > 0
    ends = [line for line in busy if line["event"] == "attempt ended"]
    assert [(end["attempt"], end["sip_status"], end["state"]) for end in ends] == [
        (1, 486, "scheduled"),
        (2, 200, "finished"),
    ]
    assert ends[0]["next_attempt_at"] == calls[BUSY]["attempts"][1]["due_at"]
    assert {line["campaign"] for line in answered + busy} == {campaign}
    assert [line["event"] for line in told(dialer, campaign=campaign, event="campaign ")] == [
        "campaign accepted",
        "campaign is completed",
    ]
    (invite,) = told(dialer, process="sip-worker", sip_call_id=calls[ANSWERS]["id"])
    assert invite["number"] == answered[0]["phone"] == "+…0001"
    text = dialer.log.read_text()
    assert ANSWERS.removeprefix("+") not in text
    assert BUSY.removeprefix("+") not in text


def test_numbers_are_shown_where_the_operator_wants_them(lab: LabThread, tmp_path: Path) -> None:
    dialer = Dialer(tmp_path, {"pbx": lab.trunk}, log={"mask_numbers": False, "level": "debug"})
    dialer.run("db", "migrate")
    try:
        client = dialer.start().account()
        client.finished(client.post(client.playbook(), [BUSY]))
        client.close()
        eventually(lambda: "attempt ended" in dialer.log.read_text(), 5, "the end is told")
    finally:
        dialer.stop()
    lines = dialer.log.read_text().splitlines()
    shown = {
        word for line in lines if BUSY in line for word in ("sip-worker", "attempt ended", "dialing") if word in line
    }
    assert shown == {"sip-worker", "attempt ended", "dialing"}
