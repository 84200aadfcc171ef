"""Who answered is decided in time, once, and more speech is never more of a person."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dialer.core.acts import Act, Finish, Note, TimeUp
from dialer.core.amd import Amd, Answerer, BeepWatch, Decision, Detector
from dialer.core.effects import Listen, StopListening
from dialer.core.events import Heard
from dialer.core.frames import FRAME_MS
from dialer.core.model import LegId, WallMs
from dialer.core.steps import Script

LEG = LegId(1)
LEVELS = st.one_of(st.integers(0, 100), st.sampled_from([20, 30, 45, 70]))
TONES = st.one_of(st.just(0), st.sampled_from([425, 1_000, 1_005, 2_100]))
# Speech and silence come in stretches.
STRETCHES = st.lists(st.tuples(LEVELS, TONES, st.integers(1, 80)), max_size=40)
FRAMES = STRETCHES.map(lambda found: [(level, hertz) for level, hertz, n in found for _ in range(n)])


@st.composite
def rules(draw: st.DrawFn) -> Amd:
    greeting = draw(st.integers(500, 4_000))
    given: dict[str, Any] = {
        "greeting_ms": greeting,
        "max_decision_ms": draw(st.integers(max(1_000, greeting + 1), 8_000)),
        "initial_silence_ms": draw(st.integers(500, 6_000)),
        "pause_ms": draw(st.integers(200, 2_000)),
        "min_word_ms": draw(st.integers(20, 400)),
        "speech_db": draw(st.integers(20, 70)),
        "max_beep_wait_seconds": draw(st.integers(1, 10)),
        "on_machine": draw(st.sampled_from(["hangup", "continue", "beep"])),
    }
    return Amd(**given)


def decision(rules: Amd, frames: list[tuple[int, int]]) -> Decision | None:
    detector = Detector(rules)
    for frame in frames:
        detector.heard(*frame)
    return detector.decision


@given(rules(), FRAMES)
def test_it_is_decided_in_time_and_never_again(rules: Amd, frames: list[tuple[int, int]]) -> None:
    detector = Detector(rules)
    made: Decision | None = None
    for number, frame in enumerate(frames, 1):
        found = detector.heard(*frame)
        assert made is None or found == made
        if made is None and found is not None:
            assert found.after_ms == number * FRAME_MS
        made = found
        assert made is not None or number * FRAME_MS < rules.max_decision_ms
    if made is not None:
        assert made.after_ms < rules.max_decision_ms + FRAME_MS
        assert made.reason


@given(rules(), st.integers(0, 100), st.integers(1, 400), st.integers(1, 400))
def test_a_longer_greeting_is_never_more_of_a_person(rules: Amd, before: int, spoken: int, more: int) -> None:
    def greeting(frames: int) -> list[tuple[int, int]]:
        return [(90, 0)] * before + [(10, 0)] * frames + [(90, 0)] * 500

    shorter, longer = decision(rules, greeting(spoken)), decision(rules, greeting(spoken + more))
    assert shorter is not None
    assert longer is not None
    if shorter.answerer is Answerer.MACHINE:
        assert longer.answerer is Answerer.MACHINE


@given(rules(), FRAMES, st.integers(-6, 6))
def test_how_loud_all_of_it_is_matters_only_against_noise_and_threshold(
    rules: Amd, frames: list[tuple[int, int]], gain: int
) -> None:
    # A line that is silent between words: what lies well on its side of the threshold stays there.
    clear = [(10 if level < 50 else 95, 0) for level, _ in frames]
    louder = [(level - gain, 0) for level, _ in clear]
    assert decision(rules, clear) == decision(rules, louder)


@given(rules(), FRAMES)
def test_the_wait_for_a_tone_ends_always_and_once(rules: Amd, frames: list[tuple[int, int]]) -> None:
    watch = BeepWatch(rules)
    watch.begin(rules.speech_db)
    ready = None
    for frame in [*frames, *[(10, 0)] * round(rules.max_beep_wait_seconds * 50)]:
        found = watch.heard(*frame)
        assert ready is None or found == ready
        ready = found
    assert ready is not None
    assert ready.after_ms <= rules.max_beep_wait_seconds * 1_000


def told(rules: Amd, frames: list[tuple[int, int]], sizes: list[int]) -> list[Act]:
    """What a script does that is told the frames in reports of those sizes, over and over, and at last nothing more."""
    script = Script(LEG, [], amd=rules)
    acts = script.begin(WallMs(0))
    at, turn = 0, 0
    while at < len(frames) and not script.over:
        part = frames[at : at + sizes[turn % len(sizes)]]
        heard = Heard(LEG, WallMs(0), [level for level, _ in part], [hertz for _, hertz in part])
        acts += script.feed(heard, WallMs(0))
        at, turn = at + len(part), turn + 1
    for token in range(10):
        acts += script.feed(TimeUp(token), WallMs(0))
    return acts


@given(rules(), FRAMES, st.lists(st.integers(1, 60), min_size=1, max_size=5))
def test_it_does_not_matter_in_how_many_reports_the_frames_come(
    rules: Amd, frames: list[tuple[int, int]], sizes: list[int]
) -> None:
    acts = told(rules, frames, sizes)
    assert acts == told(rules, frames, [1])
    assert isinstance(acts[0], Listen)
    assert acts.count(StopListening(LEG)) == 1
    assert isinstance(acts[-1], Finish)
    noted = [act for act in acts if isinstance(act, Note)]
    assert [note.line["do"] for note in noted] == ["amd"]
    assert noted[0].line["decision"] in {"human", "machine", "unknown"}
    assert noted[0].result == {"amd": {key: noted[0].line[key] for key in noted[0].result["amd"]}}
