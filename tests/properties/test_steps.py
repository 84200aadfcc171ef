"""Whatever the callee and the line do, a playbook ends, ends once, and asks for nothing afterwards."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dialer.core.acts import Act, Alarm, Finish, Note, TimeUp
from dialer.core.effects import (
    AskProgram,
    Beep,
    PlayAudio,
    Speak,
    StartRecording,
    StartStream,
    StopAudio,
    StopRecording,
    StopStream,
    StreamKey,
)
from dialer.core.events import (
    DigitPressed,
    Heard,
    PlayEnded,
    ProgramAnswered,
    RecordEnded,
    StreamEnd,
    StreamEnded,
    StreamOpened,
    TalkEvent,
)
from dialer.core.frames import SILENT_DB
from dialer.core.model import LegId, WallMs
from dialer.core.playbook import Machine, Playbook, check_against
from dialer.core.playbook_reading import MOST_STEPS_ANSWERED
from dialer.core.steps import MAX_STEPS, Script

LEG = LegId(1)
LABELS = ["a", "b", "c"]
TARGETS = st.sampled_from([*LABELS, "end"])
SOUNDS = st.sampled_from(
    [{"do": "play", "audio": "x.wav"}, {"do": "say", "text": "{first_name|you} {gathered.digits}"}]
)
DIGITS = st.sampled_from("0123456789*#ABCD")


def optional(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keys)


STEPS = st.one_of(
    SOUNDS,
    st.just({"do": "wait", "seconds": 1}),
    st.just({"do": "hangup"}),
    st.just({"do": "set", "custom_fields": {"x": "{gathered.digits|none}"}}),
    st.builds(lambda to, n: {"do": "goto", "to": to, "max_times": n}, TARGETS, st.integers(1, 4)),
    st.builds(lambda to: {"do": "branch", "on": "{custom_fields.x}", "branches": {"none": to}}, TARGETS),
    optional(
        prompt=st.lists(SOUNDS, max_size=2),
        barge_in=st.booleans(),
        max_digits=st.integers(1, 3),
        max_tries=st.integers(1, 3),
        branches=st.dictionaries(DIGITS, TARGETS, max_size=2),
        on_invalid=TARGETS,
        on_no_input=TARGETS,
        min_digits=st.integers(1, 3),
    ).map(lambda keys: {"do": "gather", **keys}),
    optional(branches=st.dictionaries(st.just("sold"), TARGETS, max_size=1), on_failed=TARGETS).map(
        lambda keys: {"do": "stream", "url": "wss://assistant.example/", **keys}
    ),
    optional(audio=st.just("music.wav"), on_failed=TARGETS).map(
        lambda keys: {"do": "webhook", "url": "https://shop.example/", **keys}
    ),
    optional(beep=st.booleans(), silence_seconds=st.just(0.5)).map(lambda keys: {"do": "record", **keys}),
)

# What programs answer: steps that lead back into the playbook, or nonsense.
ANSWERS = st.one_of(st.lists(STEPS, max_size=4), st.sampled_from([None, [{"do": "dance"}]]))


@st.composite
def playbooks(draw: st.DrawFn) -> Playbook:
    steps = [dict(step) for step in draw(st.lists(STEPS, max_size=8))]
    steps += [{"do": "wait", "seconds": 1} for _ in LABELS]
    for label, at in zip(LABELS, draw(st.permutations(range(len(steps)))), strict=False):
        steps[at]["label"] = label
    return Playbook.model_validate({"name": "any", "trunks": ["pbx"], "steps": steps})


class Line:
    """The far side and the worker as the script sees them: it may ask for nothing that could not be."""

    def __init__(self, script: Script, steps: int) -> None:
        self._script = script
        self._steps = steps
        self._tokens: list[int] = []
        self._alarms: set[int] = set()
        self._recording: int | None = None
        self._playing: int | None = None
        self._streaming: int | None = None
        self._asking: int | None = None
        self.at = WallMs(0)
        self.notes = 0
        self.take(script.begin(self.at))

    def take(self, acts: list[Act]) -> None:
        for act in acts:
            self._take(act)
        assert self._tokens == sorted(set(self._tokens)), "a token was given twice"

    def _take(self, act: Act) -> None:
        match act:
            case PlayAudio(token=token) | Speak(token=token) | Beep(token=token):
                assert self._playing is None, "two sounds at once"
                self._playing = token
                self._tokens.append(token)
            case StartRecording(token=token):
                assert self._recording is None
                self._recording = token
                self._tokens.append(token)
            case StartStream(token=token):
                assert self._streaming is None
                self._streaming = token
                self._tokens.append(token)
            case AskProgram(token=token):
                assert self._asking is None, "two questions at once"
                self._asking = token
                self._tokens.append(token)
            case StreamKey() | StopStream():
                assert self._streaming is not None
            case Alarm(token=token):
                self._alarms.add(token)
                self._tokens.append(token)
            case StopAudio():
                assert self._playing is not None, "nothing plays that could be stopped"
                self._playing = None
            case StopRecording():
                assert self._recording is not None
            case Note(line=line):
                self.notes += 1
                assert 0 <= line["step"] < (MOST_STEPS_ANSWERED if "of_answer" in line else self._steps)
            case Finish():
                assert self._script.over

    @property
    def possible(self) -> list[str]:
        """What may happen next; what was asked for comes last, and always comes at last."""
        asked = {"play": self._playing is not None, "record": self._recording is not None, "time": bool(self._alarms)}
        asked |= {"open": self._streaming is not None, "stream": self._streaming is not None}
        asked |= {"answer": self._asking is not None}
        return ["press", "hear", *(what for what, is_asked in asked.items() if is_asked)]

    def happen(self, what: str, digit: str, given: Any = None) -> None:
        self.at = WallMs(self.at + 1000)
        self.take(self._script.feed(self._event(what, digit, given), self.at))

    def _event(self, what: str, digit: str, given: Any) -> TalkEvent | TimeUp:  # noqa: PLR0911
        if what == "press":
            return DigitPressed(LEG, self.at, digit)
        if what == "hear":
            return Heard(LEG, self.at, [SILENT_DB] * 10)
        if what == "play":
            assert self._playing is not None
            token, self._playing = self._playing, None
            return PlayEnded(LEG, token, complete=True)
        if what == "record":
            assert self._recording is not None
            token, self._recording = self._recording, None
            return RecordEnded(LEG, token, 1.0)
        if what == "open":
            assert self._streaming is not None
            return StreamOpened(LEG, self._streaming)
        if what == "stream":
            assert self._streaming is not None
            token, self._streaming = self._streaming, None
            return StreamEnded(LEG, token, StreamEnd.SERVER if digit < "8" else StreamEnd.LOST, outcome="sold")
        if what == "answer":
            assert self._asking is not None
            token, self._asking = self._asking, None
            return ProgramAnswered(LEG, token, 200, json.dumps({"steps": given}))
        token = min(self._alarms)
        self._alarms.discard(token)
        return TimeUp(token)


@settings(max_examples=300, deadline=None)
@given(playbooks(), st.data())
def test_a_playbook_ends_once_and_what_it_asks_for_is_always_answerable(
    playbook: Playbook, data: st.DataObject
) -> None:
    machine = Machine({"pbx": None}, None, speaks=True, asks=True)
    assert check_against(playbook, machine) == []
    script = Script(LEG, playbook.steps, {"first_name": "Ana"}, machine=machine)
    line = Line(script, len(playbook.steps))
    for turn in range(60 + 10 * MAX_STEPS):  # a gather takes three tries of two sounds and a wait each
        if script.over:
            break
        # The callee plays with the phone for a while, and then lets things take their course.
        chosen = data.draw(st.sampled_from(line.possible)) if turn < 60 else line.possible[-1]
        given = data.draw(ANSWERS) if chosen == "answer" and turn < 60 else []
        line.happen(chosen, data.draw(DIGITS) if chosen in {"press", "stream"} else "", given)
    assert script.over, "it does not end"
    assert line.notes <= MAX_STEPS + 1
    before = line.notes
    line.happen("press", "1")
    line.take(script.leg_over(line.at))
    assert line.notes == before
