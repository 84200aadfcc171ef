"""Who answered, from levels and tones in frames of 20 ms."""

from typing import Any

import pytest
from pydantic import ValidationError

from dialer.core.amd import Amd, Answerer, BeepWatch, Decision, Detector, Ready

QUIET, SPEECH, NOISE = 70, 22, 38
Frames = list[tuple[int, int]]


def ms(duration: int, level: int, hertz: int = 0) -> Frames:
    return [(level, hertz)] * (duration // 20)


def decided(frames: Frames, **rules: Any) -> Decision:
    detector = Detector(Amd(**rules))
    for frame in frames:
        detector.heard(*frame)
    assert detector.decision is not None
    return detector.decision


def readied(frames: Frames, **rules: Any) -> Ready | None:
    watch = BeepWatch(Amd(**rules))
    watch.begin(speech_db=50)
    for frame in frames:
        watch.heard(*frame)
    return watch.ready


def test_the_worked_example() -> None:
    hello = ms(400, QUIET) + ms(500, SPEECH) + ms(2_000, QUIET)
    assert decided(hello) == Decision(Answerer.HUMAN, 1_700, "spoke for 500 ms, then was silent for 800 ms")
    greeting = ms(400, QUIET) + ms(3_000, SPEECH)
    assert decided(greeting) == Decision(Answerer.MACHINE, 2_400, "spoke for 2,000 ms without a pause of 800 ms")


def test_a_pause_that_is_shorter_than_it_must_be_belongs_to_the_greeting() -> None:
    greeting = ms(600, SPEECH) + ms(700, QUIET) + ms(800, SPEECH)
    assert decided(greeting).answerer is Answerer.MACHINE


def test_somebody_who_says_nothing_is_unknown() -> None:
    assert decided(ms(5_000, QUIET)) == Decision(Answerer.UNKNOWN, 2_500, "nothing was said for 2,500 ms")


def test_a_crack_is_no_word() -> None:
    assert decided(ms(500, QUIET) + ms(60, SPEECH) + ms(5_000, QUIET)).answerer is Answerer.UNKNOWN


def test_who_speaks_late_is_not_clear_within_the_time() -> None:
    late = ms(2_000, QUIET) + (ms(400, SPEECH) + ms(600, QUIET)) * 5
    slow = {"greeting_ms": 4_500, "initial_silence_ms": 3_000}
    assert decided(late, **slow) == Decision(Answerer.UNKNOWN, 5_000, "not clear within 5,000 ms")


def test_a_word_in_noise_is_a_word_and_the_noise_is_none() -> None:
    assert decided(ms(600, NOISE) + ms(500, SPEECH) + ms(2_000, NOISE)).answerer is Answerer.HUMAN
    assert decided(ms(5_000, NOISE)).answerer is Answerer.UNKNOWN


def test_a_line_whose_noise_shows_after_the_first_word_is_heard_anew() -> None:
    # At first nobody can say that 30 dB is speech; the pause behind it tells.
    soft = ms(600, 30) + ms(2_000, QUIET)
    assert decided(soft) == Decision(Answerer.HUMAN, 1_400, "spoke for 600 ms, then was silent for 800 ms")


def test_a_tone_after_a_word_is_a_machine_of_few_words() -> None:
    curt = ms(900, SPEECH) + ms(500, QUIET) + ms(400, SPEECH, 1_000)
    assert decided(curt) == Decision(
        Answerer.MACHINE, 1_560, "spoke for 900 ms, then sent a tone of 1,000 Hz for 160 ms"
    )


def test_a_vowel_that_is_as_pure_as_a_tone_is_speech_all_the_same() -> None:
    humming = ms(400, QUIET) + (ms(100, SPEECH, 440) + ms(100, SPEECH)) * 10
    assert decided(humming).reason == "spoke for 2,000 ms without a pause of 800 ms"


def test_a_fax_is_a_machine_and_ringing_that_goes_on_is_nobody_yet() -> None:
    assert decided(ms(1_000, SPEECH, 2_100)).reason == "said nothing and sent a tone of 2,100 Hz for 600 ms"
    ringing = ms(1_000, SPEECH, 425) + ms(4_000, QUIET)
    assert decided(ringing).answerer is Answerer.UNKNOWN


@pytest.mark.parametrize(
    ("rules", "frames", "answerer"),
    [
        ({"greeting_ms": 1_000}, ms(1_000, SPEECH), Answerer.MACHINE),
        ({"pause_ms": 1_500}, ms(400, SPEECH) + ms(1_400, QUIET) + ms(400, SPEECH), Answerer.MACHINE),
        ({"initial_silence_ms": 4_000}, ms(3_000, QUIET) + ms(300, SPEECH) + ms(800, QUIET), Answerer.HUMAN),
        ({"min_word_ms": 400}, ms(300, SPEECH) + ms(3_000, QUIET), Answerer.UNKNOWN),
        ({"speech_db": 20}, ms(3_000, SPEECH), Answerer.UNKNOWN),
        ({"max_decision_ms": 2_200}, ms(400, QUIET) + ms(1_900, SPEECH), Answerer.UNKNOWN),
    ],
    ids=str,
)
def test_every_threshold_acts(rules: dict[str, Any], frames: Frames, answerer: Answerer) -> None:
    assert decided(frames, **rules).answerer is answerer


def test_the_tone_is_over_when_it_ends() -> None:
    assert readied(ms(2_000, SPEECH) + ms(400, SPEECH, 1_000)) is None
    beeped = readied(ms(2_000, SPEECH) + ms(400, SPEECH, 1_000) + ms(40, QUIET))
    assert beeped == Ready("tone", 2_440, "a tone of 1,000 Hz for 400 ms")


def test_a_lost_packet_does_not_cut_a_tone_in_two() -> None:
    tone = ms(100, SPEECH, 1_000) + ms(20, 100) + ms(100, SPEECH, 1_010)
    beeped = readied(tone + ms(40, QUIET))
    assert beeped == Ready("tone", 260, "a tone of 1,000 Hz for 220 ms")


def test_a_vowel_is_no_tone() -> None:
    vowel = [*ms(80, SPEECH, 500), *ms(80, SPEECH, 600), *ms(80, SPEECH, 700)]
    assert readied(vowel + ms(200, SPEECH)) is None


def test_a_machine_without_a_tone_is_ready_after_silence() -> None:
    silent = readied(ms(500, SPEECH) + ms(3_000, QUIET))
    assert silent == Ready("silence", 3_500, "no tone, and silence for 3,000 ms")


def test_a_machine_that_never_ends_is_not_waited_for_for_ever() -> None:
    rules = {"max_beep_wait_seconds": 2}
    assert readied(ms(1_980, SPEECH), **rules) is None
    assert readied(ms(2_000, SPEECH), **rules) == Ready("none", 2_000, "no tone within 2,000 ms")


def test_a_tone_that_began_before_it_was_known_to_be_a_machine_counts() -> None:
    watch = BeepWatch(Amd())
    for frame in ms(900, SPEECH) + ms(160, SPEECH, 1_000):
        watch.heard(*frame)
    watch.begin(speech_db=50)
    for frame in ms(240, SPEECH, 1_000) + ms(40, QUIET):
        watch.heard(*frame)
    assert watch.ready == Ready("tone", 1_340, "a tone of 1,000 Hz for 400 ms")


@pytest.mark.parametrize(
    ("rules", "where"),
    [
        ({"on_machine": "shout"}, "on_machine"),
        ({"to": "message"}, "to"),
        ({"on_machine": "hangup", "to": "message"}, "to"),
        ({"greeting_ms": 499}, "greeting_ms"),
        ({"greeting_ms": 6_000}, "max_decision_ms"),
        ({"max_decision_ms": 2_000}, "max_decision_ms"),
        ({"pause_ms": 0.5}, "pause_ms"),
        ({"speech_db": 71}, "speech_db"),
        ({"max_beep_wait_seconds": 0}, "max_beep_wait_seconds"),
        ({"silence": 3}, "silence"),
    ],
    ids=str,
)
def test_a_fault_is_named_by_its_key(rules: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Amd.model_validate(rules)
    assert [error["loc"] for error in caught.value.errors()] == [(where,)]
