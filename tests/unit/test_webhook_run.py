"""A program is asked what a call is to do next: what it is told, and what becomes of whatever it answers."""

import json
from typing import Any

import pytest

from dialer.core.acts import Alarm, Finish
from dialer.core.disposition import Why
from dialer.core.effects import AskProgram, PlayAudio, PrepareSounds, Speak, StopAudio
from dialer.core.events import ProgramAnswered
from dialer.core.model import WallMs
from dialer.core.playbook import Machine, Playbook
from dialer.core.playbook_reading import MOST_STEPS_ANSWERED, MOST_VALUES
from dialer.core.sounds import Spoken
from dialer.core.steps import MAX_STEPS, Script
from dialer.core.webhook_run import MOST_STEPS_GIVEN
from tests.unit.test_steps import HELLO, IDS, LEG, PAUSE, Played

URL = "https://shop.example/next"
MACHINE = Machine({"pbx": frozenset({"+34910000000"})}, speaks=True, asks=True)
SORRY = {"label": "sorry", "do": "play", "audio": "sorry.wav"}
WAIT = {"do": "wait", "seconds": 7}


class Asking(Played):
    """A script that asks programs. `at` moves by a second with each answer."""

    def __init__(self, *steps: dict[str, Any], machine: Machine = MACHINE, **values: Any) -> None:
        playbook = Playbook.model_validate({"name": "any", "trunks": ["pbx"], "steps": list(steps)})
        self.script = Script(LEG, playbook.steps, values, ids=IDS, trunks=playbook.trunks, machine=machine)
        self.at = WallMs(0)
        self.acts = []
        self._take(self.script.begin(self.at))

    @property
    def asked(self) -> AskProgram:
        return next(act for act in reversed(self.acts) if isinstance(act, AskProgram))

    def answered(self, body: Any = None, *, status: int = 200, fault: str = "", text: str | None = None) -> None:
        told = json.dumps(body) if text is None else text
        self.at = WallMs(self.at + 1000)
        self._take(self.script.feed(ProgramAnswered(LEG, self.asked.token, status, told, fault), self.at))


def webhook(**keys: Any) -> dict[str, Any]:
    return {"do": "webhook", "url": URL, **keys}


def test_the_program_is_told_whose_call_it_is_what_it_has_come_to_and_the_parameters_alone_of_the_person() -> None:
    call = Asking(
        {"do": "set", "custom_fields": {"plan": "gold"}},
        webhook(label="ask", url=f"{URL}?key=secret", timeout_seconds=3, parameters={"name": "{first_name|friend}"}),
        first_name="Ana",
        email="ana@example.com",
    )
    (asked,) = call.last[1:]
    assert isinstance(asked, AskProgram)
    assert (asked.leg, asked.url, asked.timeout_seconds) == (LEG, f"{URL}?key=secret", 3)
    assert asked.question_id == "call-2-1"
    assert json.loads(asked.body) == {
        "type": "call.step",
        "at": "1970-01-01T00:00:00.000Z",
        "campaign_id": "campaign",
        "call_id": "call",
        "attempt": 2,
        "label": "ask",
        "parameters": {"name": "Ana"},
        "result": {"custom_fields": {"plan": "gold"}},
    }


def test_the_steps_of_the_answer_are_taken_and_then_those_behind_the_question() -> None:
    call = Asking(webhook(url=f"{URL}?key=secret"), HELLO, first_name="Ana")
    call.answered({"steps": [{"do": "say", "text": "Hello {first_name}"}, WAIT]})
    assert call.last == [PrepareSounds((Spoken("Hello Ana"),)), Speak(LEG, call.token, "Hello Ana", "")]
    call.played()
    assert call.last == [Alarm(call.token, 7)]
    call.time_up()
    assert call.last == [PlayAudio(LEG, call.token, "hello.wav")]
    call.played()
    assert call.last == [Finish()]
    told = [{key: value for key, value in line.items() if key not in {"at", "ended_at"}} for line in call.lines]
    assert told == [
        {"step": 0, "do": "webhook", "url": URL, "answered_ms": 1000, "status": 200, "answer": 1, "steps": 2},
        {"step": 0, "of_answer": 1, "do": "say", "text": "Hello Ana"},
        {"step": 1, "of_answer": 1, "do": "wait"},
        {"step": 1, "do": "play"},
    ]


@pytest.mark.parametrize(("body", "status"), [({"steps": []}, 200), (None, 204)])
def test_an_answer_without_steps_leads_to_the_next_step(body: Any, status: int) -> None:
    call = Asking(webhook(on_failed="sorry"), PAUSE, SORRY)
    call.answered(body, status=status, text="" if body is None else None)
    assert call.last == [Alarm(call.token, 1)]
    assert "fault" not in call.lines[0]


def test_answers_have_labels_of_their_own_and_lead_back_into_the_playbook() -> None:
    call = Asking(webhook(label="ask"), {"label": "bye", "do": "play", "audio": "bye.wav"})
    loop = [{"label": "again", **WAIT}, {"do": "goto", "to": "again", "max_times": 1}, {"do": "goto", "to": "ask"}]
    for _ in range(2):
        call.answered({"steps": loop})
        for _ in range(2):
            assert call.last[-1] == Alarm(call.token, 7)
            call.time_up()
        assert call.last == [call.asked]
    call.answered({"steps": [{"do": "branch", "on": "x", "branches": {}, "otherwise": "bye"}, WAIT]})
    assert call.last[-1] == PlayAudio(LEG, call.token, "bye.wav")
    assert [act.question_id for act in call.acts if isinstance(act, AskProgram)] == ["call-2-1", "call-2-2", "call-2-3"]


def test_a_label_of_an_answer_hides_the_playbooks() -> None:
    call = Asking(webhook(), {"label": "there", **PAUSE})
    call.answered({"steps": [{"do": "goto", "to": "there"}, PAUSE, {"label": "there", **WAIT}]})
    assert call.last[-1] == Alarm(call.token, 7)


def test_an_answer_may_ask_again_and_the_way_behind_it_is_kept() -> None:
    call = Asking(webhook(), HELLO)
    call.answered({"steps": [webhook(), WAIT]})
    call.answered({"steps": [PAUSE]})
    assert call.last[-1] == Alarm(call.token, 1)
    call.time_up()
    assert call.last == [Alarm(call.token, 7)]
    call.time_up()
    assert call.last == [PlayAudio(LEG, call.token, "hello.wav")]
    assert [line.get("of_answer") for line in call.lines] == [None, 1, 2, 1]


@pytest.mark.parametrize("step", [{"do": "hangup"}, {"do": "goto", "to": "end"}])
def test_an_answer_may_end_the_call(step: dict[str, Any]) -> None:
    call = Asking(webhook(), HELLO)
    call.answered({"steps": [step]})
    assert call.last[-1] == Finish(Why.STEPS_ENDED)


FAULTY = [
    ("not json", "answer", "is not JSON"),
    ("[" * 5000, "answer", "is nested too deep"),
    ('{"a":' * 900 + "1" + "}" * 900, "answer", "is nested too deep"),
    ("[]", "answer", "must be an object"),
    ("{}", "steps", "field required"),
    ('{"steps": [], "step": 1}', "step", "no such key"),
    (json.dumps({"steps": [PAUSE] * (MOST_STEPS_ANSWERED + 1)}), "steps", "at most 50"),
    (
        json.dumps({"steps": [{**PAUSE, **{f"k{n}": n for n in range(MOST_VALUES)}}]}),
        "answer",
        "more than 1,000 values",
    ),
    ('{"steps": [{"do": "dance"}]}', "steps.0", "dance"),
    ('{"steps": [{"seconds": 1}]}', "steps.0", "has no `do`"),
    ('{"steps": [1]}', "steps.0", "must be an object"),
    ('{"steps": [{"do": "wait", "seconds": 0}]}', "steps.0.seconds", "greater than 0"),
    ('{"steps": [{"do": "goto", "to": "nowhere"}]}', "steps.0.to", "no step has the label"),
    ('{"steps": [{"do": "gather", "prompt": [{"do": "play"}]}]}', "steps.0.prompt.0.audio", "field required"),
    (
        '{"steps": [{"do": "transfer", "to": "1001", "whisper": [{"do": "play"}]}]}',
        "steps.0.whisper.0.audio",
        "field required",
    ),
    ('{"steps": [{"do": "transfer", "to": "sip:a@elsewhere.example"}]}', "steps.0.to", "elsewhere.example"),
    ('{"steps": [{"do": "transfer", "to": "+34910000009", "caller_id": "112"}]}', "steps.0.caller_id", "112"),
    ('{"steps": [{"do": "stream", "url": "ws://127.0.0.1/"}]}', "steps.0.url", "wss"),
    ('{"steps": [{"do": "webhook", "url": "https://10.0.0.1/"}]}', "steps.0.url", "private"),
]


@pytest.mark.parametrize(("text", "path", "reason"), FAULTY, ids=range(len(FAULTY)))
def test_an_answer_is_read_as_strictly_as_a_playbook_and_its_faults_are_told_by_path(
    text: str, path: str, reason: str
) -> None:
    call = Asking(webhook(on_failed="sorry"), PAUSE, SORRY)
    call.answered(text=text)
    assert call.last == [PlayAudio(LEG, call.token, "sorry.wav")]
    (line,) = call.lines
    assert (line["fault"], line["to"]) == ("the answer cannot be used", "sorry")
    assert line["faults"][0]["path"] == path
    assert reason in line["faults"][0]["reason"]


def test_a_faulty_answer_does_not_flood_the_transcript() -> None:
    call = Asking(webhook())
    call.answered({"steps": [{"do": "dance"}] * 30})
    assert len(call.lines[0]["faults"]) == 20


@pytest.mark.parametrize("keys", [{}, {"on_failed": "sorry"}])
def test_a_program_that_does_not_answer_leads_to_the_fallback(keys: dict[str, Any]) -> None:
    call = Asking(webhook(**keys), PAUSE, SORRY)
    call.answered(status=503, fault="answered 503")
    (line,) = call.lines
    assert (line["fault"], line["status"], line["answered_ms"]) == ("answered 503", 503, 1000)
    assert call.last == [PlayAudio(LEG, call.token, "sorry.wav") if keys else Alarm(call.token, 1)]


def test_one_that_was_never_reached_has_no_status() -> None:
    call = Asking(webhook())
    call.answered(status=0, fault="no answer within 5 s")
    assert "status" not in call.lines[0]
    assert call.last == [Finish()]


def test_meanwhile_the_callee_hears_audio_over_and_over_which_the_answer_ends() -> None:
    call = Asking(webhook(audio="music.wav"), PAUSE)
    assert call.last == [call.asked, PlayAudio(LEG, call.token, "music.wav")]
    call.played()
    assert call.last == [PlayAudio(LEG, call.token, "music.wav")]
    call.press("1")
    call.answered({"steps": []})
    assert call.last == [StopAudio(LEG), Alarm(call.token, 1)]


def test_audio_that_cannot_be_played_is_not_tried_for_ever() -> None:
    call = Asking(webhook(audio="music.wav"), PAUSE)
    call.played(complete=False, reason="music.wav: no such file")
    assert call.last == []
    call.answered({"steps": []})
    assert call.last == [Alarm(call.token, 1)]
    assert call.lines[0]["audio_fault"] == "music.wav: no such file"


def test_a_late_answer_means_nothing() -> None:
    call = Asking(webhook(), PAUSE)
    call.answered({"steps": []})
    call.answered({"steps": [HELLO]})
    assert call.last == []


def test_a_callee_who_hangs_up_cuts_the_question_off() -> None:
    call = Asking(webhook())
    call.hung_up()
    assert call.lines[0]["cut_off"]
    call.answered({"steps": [HELLO]})
    assert call.last == []


def test_answers_may_give_so_many_steps_in_one_call_and_no_more() -> None:
    call = Asking({"label": "ask", **webhook(on_failed="sorry")}, {"do": "goto", "to": "ask", "max_times": 100}, SORRY)
    given = [{"do": "hangup", "label": "never"}, *[PAUSE] * (MOST_STEPS_ANSWERED - 1)]
    rounds = MOST_STEPS_GIVEN // MOST_STEPS_ANSWERED
    for _ in range(rounds):
        call.answered({"steps": [{"do": "goto", "to": "ask"}, *given[1:]]})
        assert call.last[-1] == call.asked
    call.answered({"steps": [PAUSE]})
    assert call.last == [PlayAudio(LEG, call.token, "sorry.wav")]
    assert call.lines[-1]["fault"] == "more than 1000 steps were answered in this call"


def test_programs_that_only_ask_again_end_at_the_limit_of_steps() -> None:
    call = Asking(webhook())
    for _ in range(MAX_STEPS - 1):
        call.answered({"steps": [webhook()]})
        assert call.last[-1] == call.asked
    call.answered({"steps": [webhook()]})
    assert call.last[-1] == Finish()
    assert call.lines[-1]["fault"] == f"the call took {MAX_STEPS} steps, which is the limit"
