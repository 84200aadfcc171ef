"""What a playbook does on a call, over the installed command: spoken to, asked, recorded, told in the API."""

import struct
import wave
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_sip_media import crossings, loud_seconds, write_tone
from tests.support.dialer_process import Client, Dialer, eventually
from tests.support.lab_thread import LabThread

PRESSES_1, PRESSES_2, TYPES_1234 = "+34600000031", "+34600000032", "+34600000033"
ANSWERS_AND_TALKS = "+34600000001"
MENU = {
    "do": "gather",
    "prompt": [{"do": "play", "audio": "menu.wav"}],
    "save_as": "choice",
    "branches": {"1": "one", "2": "two"},
    "on_no_input": "end",
}


@pytest.fixture(scope="module")
def lab() -> Iterator[LabThread]:
    with LabThread(pace=0.2, record=True) as lab:
        yield lab


@pytest.fixture(scope="module")
def dialer(lab: LabThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dialer]:
    folder: Path = tmp_path_factory.mktemp("dialer")
    speech = {"command": "espeak-ng -v {voice} -w {output} -f {input}"}
    dialer = Dialer(folder, {"pbx": lab.trunk}, speech=speech)
    write_tone(dialer.media / "menu.wav", 500, 5)
    write_tone(dialer.media / "one.wav", 1_000, 0.5)
    write_tone(dialer.media / "two.wav", 700, 0.5, rate=11_025)
    dialer.run("db", "migrate")
    try:
        yield dialer.start()
    finally:
        dialer.stop()


def called(client: Client, phone: str, *steps: dict[str, Any], **contact: Any) -> dict[str, Any]:
    """A call to the phone, when it is finished."""
    playbook = client.playbook(steps=list(steps))
    answer = client.http.post("/call", json={"playbook_id": playbook, "phone": phone, **contact})
    assert answer.status_code == 202, answer.text
    path = f"/call/{answer.json()['call_id']}"

    def look() -> dict[str, Any] | None:
        call: dict[str, Any] = client.http.get(path).json()
        return call if call["state"] == "finished" else None

    return eventually(look, 30, f"{path} is finished")


def heard(lab: LabThread, call: dict[str, Any]) -> bytes:
    sip_call_id = call["attempts"][-1]["sip_call_id"]
    return eventually(lambda: lab.lab.recordings.get(sip_call_id), 5, "the lab's recording").pcm()


@pytest.mark.parametrize(("phone", "label", "hertz"), [(PRESSES_1, "one", 1_000), (PRESSES_2, "two", 700)])
def test_the_key_that_is_pressed_decides_what_is_heard(
    client: Client, lab: LabThread, phone: str, label: str, hertz: int
) -> None:
    rest = [
        {"do": "play", "audio": "one.wav", "label": "one"},
        {"do": "goto", "to": "end"},
        {"do": "play", "audio": "two.wav", "label": "two"},
    ]
    call = called(client, phone, MENU, {"do": "hangup"}, *rest)
    assert call["disposition"] == "answered"
    assert call["result"] == {"gathered": {"choice": phone[-1]}}
    gathered = call["transcript"][0]
    assert (gathered["do"], gathered["attempt"], gathered["outcome"], gathered["to"]) == ("gather", 1, "digits", label)
    assert call["transcript"][1]["label"] == label
    assert gathered["at"] < gathered["ended_at"] <= call["transcript"][1]["at"]
    pcm = heard(lab, call)
    prompt, answer = pcm[: len(pcm) // 4], pcm[-int(0.4 * 16_000) :]
    assert loud_seconds(pcm) < 3, "the key ends the prompt of 5 s"
    assert crossings(prompt) == pytest.approx(500 * loud_seconds(prompt), rel=0.1)
    assert crossings(answer) == pytest.approx(hertz * loud_seconds(answer), rel=0.1)


def test_a_person_is_spoken_to_by_name_and_the_first_sound_follows_the_answer(client: Client, lab: LabThread) -> None:
    call = called(
        client,
        ANSWERS_AND_TALKS.replace("001", "002"),
        {"do": "say", "text": "Hello {first_name|friend}, good morning"},
        first_name="Ana",
    )
    assert call["transcript"][0]["text"] == "Hello Ana, good morning"
    pcm = heard(lab, call)
    assert loud_seconds(pcm) > 0.5
    samples = struct.unpack(f"<{len(pcm) // 2}h", pcm)
    first = next(n for n, sample in enumerate(samples) if abs(sample) > 500)
    assert first / 8_000 < 0.6


def test_digits_are_written_to_the_contact_and_to_later_texts(client: Client) -> None:
    gather = {"do": "gather", "max_digits": 8, "save_as": "pin"}
    keep = {"do": "set", "custom_fields": {"pin": "{gathered.pin}"}}
    say = {"do": "say", "text": "Your pin is {custom_fields.pin}"}
    call = called(client, TYPES_1234, gather, keep, say, custom_fields={"plan": "gold"})
    assert call["result"] == {"gathered": {"pin": "1234"}, "custom_fields": {"pin": "1234"}}
    assert call["transcript"][2]["text"] == "Your pin is 1234"
    (contact,) = client.http.get("/contact", params={"phone": TYPES_1234}).json()["items"]
    assert contact["custom_fields"] == {"plan": "gold", "pin": "1234"}


def test_what_the_callee_says_is_fetched_and_goes_with_its_person(client: Client, dialer: Dialer) -> None:
    phone = "+34600100001"
    call = called(client, phone, {"do": "record", "max_seconds": 10})
    (made,) = call["result"]["recordings"]
    assert made["ended_by"] == "hangup"
    answer = client.http.get(f"/call/{call['id']}/recording")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "audio/wav")
    with wave.open(BytesIO(answer.content)) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(made["seconds"])
        pcm = file.readframes(file.getnframes())
    assert crossings(pcm) == pytest.approx(400 * loud_seconds(pcm), rel=0.1), "the lab's tone"
    assert client.http.get(f"/call/{call['id']}/recording?number=2").status_code == 404
    assert client.http.get(f"/call/{call['id']}/recording?number=x").status_code == 400
    stranger = dialer.account("Stranger")
    assert stranger.http.get(f"/call/{call['id']}/recording").status_code == 404
    stranger.close()
    (contact,) = client.http.get("/contact", params={"phone": phone}).json()["items"]
    assert client.http.delete(f"/contact/{contact['id']}").status_code == 204
    after = client.http.get(f"/call/{call['id']}").json()
    assert (after["result"], after["transcript"]) == (None, [])
    assert not list((dialer.media / "recordings").glob(f"{made['name']}*"))


def test_a_speech_command_that_fails_calls_nobody(lab: LabThread, tmp_path: Path) -> None:
    dialer = Dialer(tmp_path, {"pbx": lab.trunk}, speech={"command": "false {input} {output}"})
    dialer.run("db", "migrate")
    try:
        client = dialer.start().account()
        playbook = client.playbook(steps=[{"do": "say", "text": "Hello"}])
        phone = "+34600200002"
        call = client.http.post("/call", json={"playbook_id": playbook, "phone": phone}).json()["call_id"]
        eventually(lambda: "could not be turned into speech" in dialer.log.read_text(), 20, "the failure is logged")
        shown = client.http.get(f"/call/{call}").json()
        assert (shown["state"], shown["attempts"]) == ("scheduled", [])
        assert lab.invites(phone.removeprefix("+")) + lab.invites(phone) == []
        client.close()
    finally:
        dialer.stop()


def test_every_fault_of_a_playbook_is_named_by_its_path(client: Client) -> None:
    steps = [
        {"do": "gather", "prompt": [{"do": "play", "audio": "nowhere.wav"}], "branches": {"1": "nowhere"}},
        {"do": "say", "text": "Hello {birthday}"},
        {"do": "goto", "to": "mars"},
    ]
    answer = client.http.post("/playbook", json={"name": "Wrong", "trunks": ["pbx"], "steps": steps})
    assert [detail["field"] for detail in answer.json()["details"]] == ["steps.1.text"]
    steps[1]["text"] = "Hello"
    answer = client.http.post("/playbook", json={"name": "Wrong", "trunks": ["pbx"], "steps": steps})
    assert answer.status_code == 400
    assert [detail["field"] for detail in answer.json()["details"]] == [
        "steps.0.prompt.0.audio",
        "steps.0.branches.1",
        "steps.2.to",
    ]
