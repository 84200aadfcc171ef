import json
from typing import Any

import pytest

from dialer.core.acts import Act, Alarm, Finish, Note, TimeUp, WriteFields
from dialer.core.disposition import Why
from dialer.core.effects import (
    Beep,
    Listen,
    PlayAudio,
    Speak,
    StartRecording,
    StartStream,
    StopAudio,
    StopListening,
    StopRecording,
    StopStream,
    StreamKey,
)
from dialer.core.events import DigitPressed, Heard, PlayEnded, RecordEnded, StreamEnd, StreamEnded, StreamOpened
from dialer.core.frames import SILENT_DB
from dialer.core.model import LegId, WallMs
from dialer.core.playbook import Playbook
from dialer.core.stage import CallIds
from dialer.core.steps import MAX_STEPS, Script

LEG = LegId(1)
IDS = CallIds("call", "campaign", 2)
HELLO, PAUSE = {"do": "play", "audio": "hello.wav"}, {"do": "wait", "seconds": 1}
MENU = {"do": "gather", "prompt": [HELLO], "branches": {"1": "one", "2": "end"}, "save_as": "choice"}


class Played:
    """A script on a call, and all that it said. `at` is the time of the next event."""

    def __init__(self, *steps: dict[str, Any], amd: dict[str, Any] | None = None, **values: Any) -> None:
        playbook = Playbook.model_validate({"name": "any", "trunks": ["pbx"], "steps": list(steps), "amd": amd})
        self.script = Script(LEG, playbook.steps, values, recording_name="call-1", amd=playbook.amd, ids=IDS)
        self.at = WallMs(0)
        self.acts: list[Act] = []
        self._take(self.script.begin(self.at))

    def _take(self, acts: list[Act]) -> None:
        self.last = [act for act in acts if not isinstance(act, Note)]
        self.acts += acts

    @property
    def token(self) -> int:
        """The last token that was given out."""
        return max((getattr(act, "token", 0) for act in self.acts), default=0)

    def played(self, token: int | None = None, **more: Any) -> None:
        self._take(self.script.feed(PlayEnded(LEG, token or self.token, **{"complete": True, **more}), self.at))

    def time_up(self, token: int | None = None) -> None:
        self._take(self.script.feed(TimeUp(token or self.token), self.at))

    def press(self, digits: str) -> None:
        for digit in digits:
            self._take(self.script.feed(DigitPressed(LEG, self.at, digit), self.at))

    def hear(self, *levels_db: int, hertz: int = 0) -> None:
        self._take(self.script.feed(Heard(LEG, self.at, list(levels_db), [hertz] * len(levels_db)), self.at))

    def recorded(self, seconds: float, **more: Any) -> None:
        self._take(self.script.feed(RecordEnded(LEG, self.token, seconds, **more), self.at))

    def streamed(self, event: StreamOpened | StreamEnded) -> None:
        self._take(self.script.feed(event, self.at))

    def hung_up(self) -> None:
        self._take(self.script.leg_over(self.at))

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [dict(act.line) for act in self.acts if isinstance(act, Note)]

    @property
    def way(self) -> list[int]:
        """The steps that are over, in order."""
        return [line["step"] for line in self.lines]

    @property
    def result(self) -> Any:
        results = [act.result for act in self.acts if isinstance(act, Note) and act.result is not None]
        return results[-1] if results else None


def test_steps_come_in_order_and_the_end_hangs_up() -> None:
    call = Played(HELLO, PAUSE)
    assert call.last == [PlayAudio(LEG, 1, "hello.wav")]
    call.at = WallMs(1500)
    call.played()
    assert call.last == [Alarm(2, 1)]
    call.at = WallMs(2500)
    call.time_up()
    assert call.last == [Finish()]
    assert call.lines == [
        {"step": 0, "do": "play", "at": 0, "ended_at": 1500},
        {"step": 1, "do": "wait", "at": 1500, "ended_at": 2500},
    ]


def test_no_steps_hang_up_at_the_answer() -> None:
    assert Played().acts == [Finish()]


def test_a_report_of_another_step_than_the_one_under_way_is_late() -> None:
    call = Played(HELLO, PAUSE)
    call.played(1)
    call.played(1)
    assert call.last == []
    call.time_up(7)
    assert call.last == []
    call.time_up(2)
    assert call.last == [Finish()]


def test_nothing_happens_after_the_end() -> None:
    call = Played(HELLO)
    call.played()
    call.played()
    call.hung_up()
    assert call.acts.count(Finish()) == 1
    assert call.last == []


def test_what_stands_behind_a_hangup_is_never_taken() -> None:
    call = Played({"do": "hangup"}, HELLO)
    assert call.last == [Finish()]
    assert call.way == [0]


def test_audio_that_cannot_be_played_is_noted_and_the_next_step_follows() -> None:
    call = Played(HELLO, PAUSE)
    call.played(complete=False, reason="no such file")
    assert call.lines[0]["fault"] == "no such file"
    assert call.last == [Alarm(2, 1)]


def test_a_call_that_ends_while_audio_plays_takes_no_further_step() -> None:
    call = Played(HELLO, {"do": "set", "custom_fields": {"heard": "yes"}})
    call.played(complete=False, reason="the call ended", leg_over=True)
    assert call.last == []
    call.hung_up()
    assert call.lines == [{"step": 0, "do": "play", "at": 0, "ended_at": 0, "cut_off": True}]


def test_a_text_is_said_with_the_persons_values() -> None:
    call = Played(
        {"do": "say", "text": "Hi {first_name|you}", "voice": "es"}, {"do": "say", "text": "{phone}"}, phone="+34"
    )
    assert call.last == [Speak(LEG, 1, "Hi you", "es")]
    call.played()
    assert call.last == [Speak(LEG, 2, "+34", "")]
    assert call.lines[0]["text"] == "Hi you"


def test_set_writes_fields_that_later_steps_see() -> None:
    call = Played(
        {"do": "set", "custom_fields": {"asked": "yes", "who": "{first_name}"}},
        {"do": "say", "text": "{custom_fields.who} {custom_fields.old}"},
        first_name="Ana",
        custom_fields={"old": 1},
    )
    assert call.last == [WriteFields({"asked": "yes", "who": "Ana"}), Speak(LEG, 1, "Ana 1", "")]
    assert call.result == {"custom_fields": {"asked": "yes", "who": "Ana"}}


@pytest.mark.parametrize(("plan", "way"), [("gold", [0, 2]), ("none", [0, 1]), ("", [0, 1])])
def test_a_branch_leads_by_its_text_or_otherwise_to_the_next(plan: str, way: list[int]) -> None:
    branch = {"do": "branch", "on": "{custom_fields.plan}", "branches": {"gold": "vip"}}
    call = Played(
        branch,
        {"do": "hangup"},
        {"do": "set", "custom_fields": {"a": "b"}, "label": "vip"},
        custom_fields={"plan": plan},
    )
    assert call.way == way


def test_a_branch_that_knows_no_such_case_goes_on_at_otherwise() -> None:
    call = Played({"do": "branch", "on": "x", "branches": {}, "otherwise": "end"}, HELLO)
    assert call.last == [Finish()]
    assert call.lines[0] == {"step": 0, "do": "branch", "at": 0, "ended_at": 0, "on": "x", "to": "end"}


def test_goto_leads_back_so_often_and_then_on() -> None:
    call = Played({**HELLO, "label": "again"}, {"do": "goto", "to": "again", "max_times": 2}, PAUSE)
    for _ in range(3):
        assert isinstance(call.last[-1], PlayAudio)
        call.played()
    assert isinstance(call.last[-1], Alarm)
    assert call.way == [0, 1, 0, 1, 0, 1]


def test_a_playbook_that_runs_in_circles_is_hung_up_at_the_limit() -> None:
    call = Played(
        {"do": "branch", "on": "x", "branches": {"x": "back"}, "label": "back"},
    )
    assert call.last == [Finish()]
    assert len(call.way) == MAX_STEPS + 1
    assert str(MAX_STEPS) in call.lines[-1]["fault"]


def test_a_digit_ends_the_prompt_and_leads_to_its_label() -> None:
    call = Played(MENU, {"do": "hangup"}, {"do": "wait", "seconds": 2, "label": "one"})
    assert call.last == [PlayAudio(LEG, 1, "hello.wav")]
    call.press("1")
    assert call.last == [StopAudio(LEG), Alarm(2, 2)]
    assert call.lines == [
        {"step": 0, "do": "gather", "at": 0, "ended_at": 0, "outcome": "digits", "digits": "1", "tries": 1, "to": "one"}
    ]
    assert call.result == {"gathered": {"choice": "1"}}
    call.played(1, complete=False)
    assert call.last == []  # the end of the prompt that was cut off


def test_without_barge_in_the_prompt_is_heard_whole_and_its_digits_count_at_its_end() -> None:
    call = Played({**MENU, "barge_in": False}, {"do": "hangup"}, {**PAUSE, "label": "one"})
    call.press("1")
    assert call.last == []
    call.played()
    assert call.last == [Alarm(2, 1)]


def test_digits_end_with_a_terminator_which_is_none_of_them() -> None:
    call = Played({"do": "gather", "max_digits": 8}, {"do": "say", "text": "{gathered.digits}"})
    assert call.last == [Alarm(1, 5)]
    call.press("12")
    assert call.last == [Alarm(3, 3)]
    call.press("#")
    assert call.last == [Speak(LEG, 4, "12", "")]


def test_digits_end_when_no_more_come() -> None:
    call = Played({"do": "gather", "max_digits": 8})
    call.press("12")
    call.time_up(1)
    assert call.last == []  # the wait for the first digit is over already
    call.time_up()
    assert call.last == [Finish()]
    assert call.result == {"gathered": {"digits": "12"}}


def test_what_is_invalid_or_missing_is_asked_for_again_and_then_leads_elsewhere() -> None:
    ways = {"on_no_input": "nothing", "on_invalid": "wrong", "max_tries": 2}
    rest = [{"do": "hangup"}, {**PAUSE, "label": "nothing"}, {**PAUSE, "label": "wrong"}, {**PAUSE, "label": "one"}]
    call = Played({**MENU, **ways}, *rest)
    call.press("9")
    assert isinstance(call.last[-1], PlayAudio)
    call.press("8")
    assert call.lines[0] == {
        "step": 0,
        "do": "gather",
        "at": 0,
        "ended_at": 0,
        "outcome": "invalid",
        "digits": "8",
        "tries": 2,
        "to": "wrong",
    }
    assert call.result is None
    call = Played({**MENU, **ways}, *rest)
    for _ in range(2):
        call.played()
        call.time_up()
    assert call.lines[0]["outcome"] == "no_input"
    assert call.lines[0]["to"] == "nothing"


def test_too_few_digits_are_invalid() -> None:
    call = Played({"do": "gather", "min_digits": 4, "max_digits": 4})
    call.press("123#")
    assert call.lines[0]["outcome"] == "invalid"


def test_keys_outside_a_gather_mean_nothing() -> None:
    call = Played(HELLO, {"do": "gather"})
    call.press("1")
    assert call.last == []
    call.played()
    assert call.last == [Alarm(2, 5)]


def test_a_recording_begins_after_the_beep_and_ends_by_a_key() -> None:
    call = Played({"do": "record", "max_seconds": 30}, HELLO)
    assert call.last == [Beep(LEG, 1)]
    call.press("#")
    assert call.last == []
    call.played()
    assert call.last == [StartRecording(LEG, 2, "call-1-1", 30)]
    call.press("5#")
    assert call.last == [StopRecording(LEG)]
    call.press("#")
    assert call.last == []
    call.recorded(2.5)
    assert call.last == [PlayAudio(LEG, 3, "hello.wav")]
    made = {"name": "call-1-1", "seconds": 2.5, "ended_by": "key"}
    assert call.result == {"recordings": [made]}
    assert call.lines[0] == {"step": 0, "do": "record", "at": 0, "ended_at": 0, **made}


def test_silence_ends_a_recording_and_speech_begins_it_anew() -> None:
    call = Played({"do": "record", "beep": False, "silence_seconds": 1})
    call.hear(*[SILENT_DB] * 49)
    assert call.last == []
    call.hear(20, *[60] * 49)
    assert call.last == []
    call.hear(60)
    assert call.last == [StopRecording(LEG)]
    call.recorded(2)
    assert call.result["recordings"][0]["ended_by"] == "silence"


def test_a_call_that_ends_while_it_is_recorded_keeps_the_recording() -> None:
    call = Played({"do": "record", "beep": False}, {"do": "set", "custom_fields": {"a": "b"}})
    call.recorded(4, leg_over=True)
    assert call.result == {"recordings": [{"name": "call-1-1", "seconds": 4, "ended_by": "hangup"}]}
    call.hung_up()
    assert call.way == [0]


def test_recordings_of_one_call_are_numbered() -> None:
    call = Played({"do": "record", "beep": False, "label": "r"}, {"do": "goto", "to": "r", "max_times": 1})
    call.recorded(1)
    assert isinstance(call.last[-1], StartRecording)
    assert call.last[-1].name == "call-1-2"
    call.recorded(0, reason="disk full")
    assert call.lines[-2]["fault"] == "disk full"
    assert len(call.result["recordings"]) == 1


GREETS = [20] * 100
TO_MESSAGE = {"on_machine": "beep", "to": "message"}
MESSAGE = {"do": "play", "audio": "message.wav", "label": "message"}


def test_a_person_hears_the_first_step_and_the_transcript_says_who_it_was() -> None:
    call = Played(HELLO, amd={})
    assert call.last == [Listen(LEG), Alarm(1, 7)]
    call.at = WallMs(1_100)
    call.hear(*[20] * 20, *[60] * 40)
    assert call.last == [StopListening(LEG), PlayAudio(LEG, 2, "hello.wav")]
    found = {"decision": "human", "after_ms": 1_200, "reason": "spoke for 400 ms, then was silent for 800 ms"}
    assert call.lines == [{"step": None, "do": "amd", "at": 0, "ended_at": 1_100, **found}]
    assert call.result == {"amd": found}


def test_a_machine_is_hung_up_as_one() -> None:
    call = Played(HELLO, amd={})
    call.hear(*GREETS)
    assert call.last == [StopListening(LEG), Finish(Why.MACHINE)]
    assert call.result["amd"]["decision"] == "machine"


def test_a_call_may_go_on_with_a_machine_at_the_first_step_or_elsewhere() -> None:
    call = Played(HELLO, amd={"on_machine": "continue"})
    call.hear(*GREETS)
    assert call.last == [StopListening(LEG), PlayAudio(LEG, 2, "hello.wav")]
    call = Played(HELLO, MESSAGE, amd={"on_machine": "continue", "to": "message"})
    call.hear(*GREETS)
    assert call.last == [StopListening(LEG), PlayAudio(LEG, 2, "message.wav")]
    assert call.lines[0]["to"] == "message"


def test_a_message_follows_a_machines_tone() -> None:
    call = Played(HELLO, MESSAGE, amd=TO_MESSAGE)
    call.hear(*GREETS)
    assert call.last == [Alarm(2, 32)]
    assert call.result is None  # it is told when it is over
    call.hear(*[20] * 10, hertz=1_000)
    assert call.last == []
    call.hear(60, 60)
    assert call.last == [StopListening(LEG), PlayAudio(LEG, 3, "message.wav")]
    assert call.result["amd"]["beep_reason"] == "a tone of 1,000 Hz for 200 ms"


def test_a_line_that_cannot_be_heard_does_not_hold_the_call_up() -> None:
    call = Played(HELLO, amd={})
    call.time_up(1)
    assert call.last == [StopListening(LEG), PlayAudio(LEG, 2, "hello.wav")]
    assert call.lines[0]["reason"] == "the line was not heard"
    call = Played(MESSAGE, amd=TO_MESSAGE)
    call.hear(*GREETS)
    call.time_up(1)
    assert call.last == []  # the time to decide is over already
    call.time_up(2)
    found = call.result["amd"]
    assert (found["beep"], found["beep_after_ms"] - found["after_ms"]) == ("none", 30_000)
    assert found["beep_reason"] == "the line was not heard any more"


def test_a_machine_that_hangs_up_before_its_tone_was_a_machine_all_the_same() -> None:
    call = Played(MESSAGE, amd=TO_MESSAGE)
    call.hear(*GREETS)
    call.hung_up()
    assert (call.lines[0]["decision"], call.lines[0]["cut_off"]) == ("machine", True)
    assert call.result["amd"]["decision"] == "machine"


ASSISTANT = {"do": "stream", "url": "wss://assistant.example/talk?key=secret"}


def start_of(call: Played) -> Any:
    """What the server is told first."""
    (started,) = (act for act in call.acts if isinstance(act, StartStream))
    return json.loads(started.start)


def test_a_stream_is_opened_with_what_the_server_should_know() -> None:
    texts = {"name": "{first_name|friend}", "plan": "{custom_fields.plan}", "agent": "Bea"}
    call = Played({**ASSISTANT, "sample_rate": 16_000, "parameters": texts, "max_seconds": 90}, first_name="Ana")
    started, alarm = call.last
    assert isinstance(started, StartStream)
    assert (started.token, started.url, started.sample_rate) == (1, ASSISTANT["url"], 16_000)
    assert alarm == Alarm(2, 90)
    parameters = {"name": "Ana", "plan": "", "agent": "Bea"}
    assert start_of(call) == {"call_id": "call", "campaign_id": "campaign", "attempt": 2, "parameters": parameters}


def test_keys_go_to_the_server() -> None:
    call = Played(ASSISTANT)
    call.press("5")
    assert call.last == [StreamKey(LEG, "5")]


def test_what_the_server_says_it_came_to_leads_on_and_is_in_texts_and_the_result() -> None:
    agent = {"do": "say", "text": "You wanted: {gathered.wish}", "label": "agent"}
    call = Played({**ASSISTANT, "save_as": "wish", "branches": {"agent": "agent"}}, {"do": "hangup"}, agent)
    call.at = WallMs(120)
    call.streamed(StreamOpened(LEG, 1))
    call.at = WallMs(5_000)
    call.streamed(StreamEnded(LEG, 1, StreamEnd.SERVER, outcome="agent", dropped_ms=40))
    assert call.last == [Speak(LEG, 3, "You wanted: agent", "")]
    assert call.result == {"gathered": {"wish": "agent"}}
    assert call.lines == [
        {
            "step": 0,
            "do": "stream",
            "at": 0,
            "ended_at": 5_000,
            "url": "wss://assistant.example/talk",
            "connected_ms": 120,
            "ended_by": "server",
            "dropped_ms": 40,
            "outcome": "agent",
            "to": "agent",
        }
    ]


@pytest.mark.parametrize("outcome", ["", "something else"])
def test_a_server_that_says_nothing_of_use_leads_to_the_next_step(outcome: str) -> None:
    call = Played({**ASSISTANT, "branches": {"agent": "end"}}, HELLO)
    call.streamed(StreamEnded(LEG, 1, StreamEnd.SERVER, outcome=outcome))
    assert isinstance(call.last[0], PlayAudio)
    assert call.result == ({"gathered": {"outcome": outcome}} if outcome else None)
    said = {"outcome": outcome} if outcome else {}
    url = ASSISTANT["url"].partition("?")[0]
    assert call.lines == [{"step": 0, "do": "stream", "at": 0, "ended_at": 0, "url": url, "ended_by": "server", **said}]


@pytest.mark.parametrize(("opened_at", "took_ms"), [(1_300, 300), (900, 0)])
def test_how_long_it_took_to_connect_counts_from_the_steps_turn(opened_at: int, took_ms: int) -> None:
    call = Played(PAUSE, ASSISTANT)
    call.at = WallMs(1_000)
    call.time_up()
    call.at = WallMs(opened_at)  # a clock may be set back
    call.streamed(StreamOpened(LEG, call.last[0].token))
    call.hung_up()
    assert call.lines[1]["connected_ms"] == took_ms


@pytest.mark.parametrize("by", [StreamEnd.FAILED, StreamEnd.LOST])
def test_a_server_that_is_not_there_leads_to_the_fallback_and_the_transcript_says_why(by: StreamEnd) -> None:
    call = Played({**ASSISTANT, "on_failed": "sorry"}, {"do": "hangup"}, {**HELLO, "label": "sorry"})
    call.streamed(StreamEnded(LEG, 1, by, "the connection broke"))
    assert isinstance(call.last[0], PlayAudio)
    line = call.lines[0]
    assert (line["ended_by"], line["fault"], line["to"]) == (by.value, "the connection broke", "sorry")
    call = Played(ASSISTANT, HELLO)
    call.streamed(StreamEnded(LEG, 1, by, "the connection broke"))
    assert isinstance(call.last[0], PlayAudio)


def test_the_longest_time_ends_a_stream_and_the_next_step_follows_when_it_has_ended() -> None:
    call = Played(ASSISTANT, HELLO)
    call.time_up(2)
    assert call.last == [StopStream(LEG, "max_seconds")]
    call.streamed(StreamEnded(LEG, 1, StreamEnd.STOPPED, "max_seconds"))
    assert isinstance(call.last[0], PlayAudio)
    assert call.lines[0]["ended_by"] == "max_seconds"


def test_a_stream_that_ends_with_the_call_says_no_more() -> None:
    call = Played(ASSISTANT, HELLO)
    call.streamed(StreamEnded(LEG, 7, StreamEnd.SERVER))
    assert call.last == []  # another's
    call.streamed(StreamEnded(LEG, 1, StreamEnd.STOPPED, "hangup", leg_over=True))
    assert call.last == []
    call.hung_up()
    assert call.lines[0]["cut_off"]
