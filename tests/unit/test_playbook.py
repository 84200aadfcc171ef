from typing import Any

import pytest
from pydantic import ValidationError

from dialer.core.playbook import Fault, Machine, Playbook, check_against
from dialer.core.playbook_reading import read_playbook

WHOLE: dict[str, Any] = {
    "name": "Renewal",
    "trunks": ["pbx", "spare"],
    "caller_id": "+34910000000",
    "ring_timeout_seconds": 25,
    "max_call_seconds": 120.5,
    "recall_on": ["busy"],
    "steps": [{"do": "play", "audio": "hello.wav"}, {"do": "wait", "seconds": 1}, {"do": "hangup"}],
    "calling_hours": None,
    "amd": None,
}


def faults(body: dict[str, Any]) -> list[str]:
    """Where the body is wrong."""
    with pytest.raises(ValidationError) as caught:
        Playbook.model_validate(body)
    return [".".join(str(part) for part in error["loc"]) for error in caught.value.errors()]


def test_a_whole_playbook_comes_back_as_it_was_given() -> None:
    assert Playbook.model_validate(WHOLE).model_dump(mode="json") == WHOLE


def test_what_is_left_out_has_the_contracts_defaults() -> None:
    playbook = Playbook.model_validate({"name": "Short", "trunks": ["pbx"]})
    assert playbook.caller_id is None
    assert playbook.ring_timeout_seconds == 30
    assert playbook.max_call_seconds == 600
    assert playbook.recall_on == ["busy", "no_answer", "declined", "unreachable"]
    assert playbook.steps == []


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"name": ""}, "name"),
        ({"name": "  "}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": 7}, "name"),
        ({"trunks": []}, "trunks"),
        ({"trunks": ["pbx", "pbx"]}, "trunks"),
        ({"trunks": "pbx"}, "trunks"),
        ({"caller_id": "anonymous"}, "caller_id"),
        ({"caller_id": "+34\r\nX: 1"}, "caller_id"),
        ({"caller_id": "+34910000000\n"}, "caller_id"),
        ({"ring_timeout_seconds": 0.5}, "ring_timeout_seconds"),
        ({"ring_timeout_seconds": 301}, "ring_timeout_seconds"),
        ({"ring_timeout_seconds": "30"}, "ring_timeout_seconds"),
        ({"ring_timeout_seconds": float("nan")}, "ring_timeout_seconds"),
        ({"max_call_seconds": 0}, "max_call_seconds"),
        ({"max_call_seconds": 86_401}, "max_call_seconds"),
        ({"recall_on": ["answered"]}, "recall_on.0"),
        ({"recall_on": ["busy", "interrupted"]}, "recall_on.1"),
        ({"steps": [{"do": "dance"}]}, "steps.0"),
        ({"steps": [{"do": "wait", "seconds": 0}]}, "steps.0.wait.seconds"),
        ({"steps": [{"do": "hangup"}, {"do": "play"}]}, "steps.1.play.audio"),
        ({"steps": [{"do": "play", "audio": "../secret.wav"}]}, "steps.0.play.audio"),
        ({"steps": [{"do": "play", "audio": "a/../../b.wav"}]}, "steps.0.play.audio"),
        ({"steps": [{"do": "play", "audio": "/etc/passwd"}]}, "steps.0.play.audio"),
        ({"steps": [{"do": "play", "audio": "a.wav", "volume": 3}]}, "steps.0.play.volume"),
        ({"steps": [{"do": "hangup"}] * 201}, "steps"),
        ({"amd": {"on_machine": "shout"}}, "amd.on_machine"),
        ({"amd": {"to": "message"}}, "amd.to"),
        ({"amd": {"greeting_ms": 5_000}}, "amd.max_decision_ms"),
        ({"steps": [{"do": "stream", "url": "https://a.example/"}]}, "steps.0.stream.url"),
        ({"steps": [{"do": "stream", "url": "wss://a.example/{phone}"}]}, "steps.0.stream.url"),
        ({"steps": [{"do": "stream", "url": "wss://me:x@a.example/"}]}, "steps.0.stream.url"),
        ({"steps": [{"do": "stream", "url": "wss://a.example/", "sample_rate": 44_100}]}, "steps.0.stream.sample_rate"),
        ({"steps": [{"do": "stream", "url": "wss://a.example/", "max_seconds": 0}]}, "steps.0.stream.max_seconds"),
        (
            {"steps": [{"do": "stream", "url": "wss://a.example/", "parameters": {"a": "{b}"}}]},
            "steps.0.stream.parameters.a",
        ),
        ({"colour": "red"}, "colour"),
    ],
    ids=str,
)
def test_a_fault_is_named_by_its_path(change: dict[str, Any], where: str) -> None:
    assert faults({**WHOLE, **change}) == [where]


def test_all_faults_are_reported_at_once() -> None:
    assert faults({"trunks": [], "colour": "red", "steps": [{"do": "wait", "seconds": -1}]}) == [
        "name",
        "trunks",
        "steps.0.wait.seconds",
        "colour",
    ]


def test_whole_seconds_may_be_written_as_integers_and_booleans_are_no_numbers() -> None:
    assert Playbook.model_validate({**WHOLE, "max_call_seconds": 60}).max_call_seconds == 60
    assert faults({**WHOLE, "max_call_seconds": True}) == ["max_call_seconds"]


def test_a_playbook_that_the_machine_can_carry_out_has_no_faults() -> None:
    machine = Machine({"pbx": None, "spare": frozenset({"+34910000000"})}, frozenset({"hello.wav"}))
    assert check_against(Playbook.model_validate(WHOLE), machine) == []


def test_unknown_trunks_caller_ids_and_missing_audio_are_all_named() -> None:
    machine = Machine({"pbx": frozenset({"+1"})}, frozenset())
    assert check_against(Playbook.model_validate(WHOLE), machine) == [
        Fault("caller_id", "trunk 'pbx' does not allow the caller id '+34910000000'"),
        Fault("trunks.1", "no trunk is named 'spare' (known: pbx)"),
        Fault("steps.0.audio", "no file 'hello.wav' in the media directory"),
    ]


def test_audio_that_nobody_looked_for_is_not_a_fault() -> None:
    machine = Machine({"pbx": None, "spare": None}, None)
    assert check_against(Playbook.model_validate(WHOLE), machine) == []


def test_a_whole_number_may_be_written_as_a_decimal() -> None:
    steps = [{"do": "gather", "prompt": [], "save_as": "pin", "max_digits": 4.0}]
    read = read_playbook({"name": "x", "trunks": ["pbx"], "steps": steps}, Machine({"pbx": None}))
    assert isinstance(read, Playbook), read
    assert read.model_dump()["steps"][0]["max_digits"] == 4


def test_a_machine_cannot_be_led_where_no_step_is() -> None:
    read = read_playbook({**WHOLE, "amd": {"on_machine": "beep", "to": "mars"}}, Machine({"pbx": None, "spare": None}))
    assert read == [Fault("amd.to", "no step has the label 'mars'")]


def test_a_stream_may_go_where_the_operator_lets_it_and_its_ways_must_lead_somewhere() -> None:
    there = {"do": "stream", "url": "ws://127.0.0.1:9000/", "branches": {"sold": "mars"}, "on_failed": "venus"}
    playbook = {"name": "x", "trunks": ["pbx"], "steps": [{"do": "wait", "seconds": 1}, there]}
    lost = [
        Fault("steps.1.branches.sold", "no step has the label 'mars'"),
        Fault("steps.1.on_failed", "no step has the label 'venus'"),
    ]
    plain = Fault("steps.1.url", "must begin with wss://: what is sent there tells of people")
    assert read_playbook(playbook, Machine({"pbx": None})) == [plain, *lost]
    assert read_playbook(playbook, Machine({"pbx": None}, streams_privately=True)) == lost
    there["url"] = "wss://10.0.0.7/"
    private = "the host 10.0.0.7 is 10.0.0.7, a private address; the setting stream.allow_private lets them in"
    assert read_playbook(playbook, Machine({"pbx": None})) == [Fault("steps.1.url", private), *lost]
