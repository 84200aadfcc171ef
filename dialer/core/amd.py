"""Answering machine detection: who answered, decided from how loud and how pure the line was in frames of 20 ms.

Pure: levels in, a decision out, which stands once it is made. What counts is the time of the frames, so that it does not
matter how many of them are told at once.

A person says a word or two and waits: `human`. A machine talks on: `machine`; so is what sends a steady tone, after it spoke or
as a fax does. Whoever says nothing, or cannot be told from the two in time, is `unknown`.

A worked example, with the defaults. The line is quiet for 400 ms, then "Hello?" takes 500 ms: 800 ms later, at 1,700 ms, it
is a person. With "Hello, you have reached .." in its place the greeting is 2,000 ms long at 2,400 ms, and it is a machine.

Noise: what counts as speech is as loud as `speech_db` says and 5 dB louder than the quietest tenth of a second so far. That
moment may come after the first word, so all frames are counted anew when it does.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from dialer.core.frames import FRAME_MS
from dialer.core.step_kinds import Closed, Target

# Noise is taken to be no louder than this, or somebody who speaks at once and without a pause would be noise.
_LOUDEST_NOISE_DB = 32
_ABOVE_NOISE_DB = 5
_QUIET_FRAMES = 5
# The closed lips of a "p" do not end a word.
_BRIDGED_FRAMES = 3


class Amd(Closed):
    """Answering machine detection. Durations are in ms of the answered call's own audio; levels in dB below full scale.

    `greeting_ms` of speech with no pause of `pause_ms` is a machine; such a pause after a word is a person. A word has
    `min_word_ms` at least. Without a word in `initial_silence_ms`, or without a decision in `max_decision_ms`, it is
    unknown, and the call goes on as with a person. Frames quieter than `speech_db` are silence.

    With a machine the call is hung up, goes on (`continue`), or waits for the end of its tone and then goes on (`beep`), for
    at most `max_beep_wait_seconds`: at the label `to`, or with the first step.
    """

    on_machine: Literal["hangup", "continue", "beep"] = "hangup"
    to: Target | None = None
    initial_silence_ms: Annotated[int, Field(ge=500, le=10_000)] = 2_500
    greeting_ms: Annotated[int, Field(ge=500, le=10_000)] = 2_000
    pause_ms: Annotated[int, Field(ge=200, le=5_000)] = 800
    min_word_ms: Annotated[int, Field(ge=20, le=1_000)] = 100
    max_decision_ms: Annotated[int, Field(ge=1_000, le=20_000, validate_default=True)] = 5_000
    speech_db: Annotated[int, Field(ge=20, le=70)] = 50
    max_beep_wait_seconds: Annotated[float, Field(ge=1, le=120)] = 30

    @field_validator("to")
    @classmethod
    def _leads_somewhere(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("on_machine") == "hangup":
            raise ValueError("needs on_machine to be continue or beep: a call that is hung up goes nowhere")
        return value

    @field_validator("max_decision_ms")
    @classmethod
    def _leaves_time_for_a_greeting(cls, value: int, info: ValidationInfo) -> int:
        if value <= info.data.get("greeting_ms", 0):
            raise ValueError("must be greater than greeting_ms, or nothing is ever a machine")
        return value


class Answerer(StrEnum):
    """Who answered."""

    HUMAN = "human"
    MACHINE = "machine"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Decision:
    """Who answered, how long after the answer that was known, and why."""

    answerer: Answerer
    after_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class Tone:
    """A tone that was heard for so long."""

    hertz: int
    ms: int

    @property
    def is_data(self) -> bool:
        """Whether it is a fax or a modem, and not the ringing of a line that answers before it is answered."""
        return self.hertz >= 900 and self.ms >= 600

    def __str__(self) -> str:
        return f"a tone of {self.hertz:,} Hz for {self.ms:,} ms"


class ToneEar:
    """Finds tones: frames in a row that hold the same pure frequency. One may be missing (a packet that was lost)."""

    SHORTEST_MS = 160  # vowels stay that pure and within 4 % of one frequency for 80 ms at most
    _WITHIN = 0.04
    _MISSING_FRAMES = 1

    def __init__(self) -> None:
        self._hertz = self._frames = self._missing = 0

    @property
    def sounding(self) -> Tone | None:
        """The tone that goes on."""
        found = Tone(self._hertz, self._frames * FRAME_MS)
        return found if found.ms >= self.SHORTEST_MS else None

    def heard(self, hertz: int) -> Tone | None:
        """The frame's tone, 0: it has none. The tone that ended before it, if one did."""
        if self._frames and abs(hertz - self._hertz) <= self._WITHIN * self._hertz:
            self._frames += 1 + self._missing
            self._missing = 0
            return None
        if self._frames and not hertz and self._missing < self._MISSING_FRAMES:
            self._missing += 1
            return None
        ended = self.sounding
        self._hertz, self._frames, self._missing = hertz, int(hertz > 0), 0
        return ended


class _Words:
    """Where speech was, in frames: from the start of the first word to behind the end of the last; both 0: nowhere yet."""

    def __init__(self, rules: Amd) -> None:
        self._min_frames = rules.min_word_ms / FRAME_MS
        self._began = self._ended = -_BRIDGED_FRAMES - 1
        self._voiced = 0
        self.first = self.last = 0
        self.speaking = False

    @property
    def ms(self) -> int:
        """From the first word to the last, with the pauses between them."""
        return (self.last - self.first) * FRAME_MS

    def take(self, frame: int, *, voiced: bool) -> None:
        self.speaking = voiced
        if not voiced:
            return
        if frame - self._ended > _BRIDGED_FRAMES:
            self._began, self._voiced = frame, 0
        self._voiced += 1
        self._ended = frame + 1
        if self._voiced >= self._min_frames:
            if self.last == 0:
                self.first = self._began
            self.last = self._ended


class Detector:
    """Decides who answered. Feed it every frame from the answer on; `decision` is None until it is made, and then stays."""

    def __init__(self, rules: Amd) -> None:
        self._rules = rules
        self._levels_db: list[int] = []
        self._in_tone: list[bool] = []
        self._quietest_db = 0
        self._tones = ToneEar()
        self._may_be_tone = False
        self.speech_db = rules.speech_db
        """What is as loud as this is speech, as far as the line is known."""
        self._words = _Words(rules)
        self.decision: Decision | None = None

    def heard(self, level_db: int, hertz: int = 0) -> Decision | None:
        """The next frame: its level in dB below full scale, and the frequency of the pure tone that it holds (0: none)."""
        if self.decision is None:
            self._levels_db.append(level_db)
            self._in_tone.append(False)
            anew = self._heard_tone(hertz)
            anew = self._heard_noise() or anew
            if anew:
                self._words = _Words(self._rules)
            for frame in range(0 if anew else len(self._levels_db) - 1, len(self._levels_db)):
                self._words.take(frame, voiced=self._levels_db[frame] <= self.speech_db and not self._in_tone[frame])
            self.decision = self._judge()
        return self.decision

    def _heard_tone(self, hertz: int) -> bool:
        """A tone is no speech. Whether some of what was taken for speech turns out to be one."""
        before = self._tones.sounding
        self._tones.heard(hertz)
        self._may_be_tone = hertz > 0
        tone = self._tones.sounding
        if tone is None:
            return False
        frames = 1 if before is not None else tone.ms // FRAME_MS
        self._in_tone[-frames:] = [True] * frames
        return before is None

    def _heard_noise(self) -> bool:
        """The last frames may be the quietest so far. Whether other frames are speech now."""
        loudest = min(self._levels_db[-_QUIET_FRAMES:])
        if len(self._levels_db) < _QUIET_FRAMES or loudest <= self._quietest_db:
            return False
        before, self._quietest_db = self.speech_db, loudest
        self.speech_db = min(self._rules.speech_db, max(loudest, _LOUDEST_NOISE_DB) - _ABOVE_NOISE_DB)
        return self.speech_db != before

    def _judge(self) -> Decision | None:
        now_ms = len(self._levels_db) * FRAME_MS
        found = self._machine() or self._person(now_ms) or self._neither(now_ms)
        return None if found is None else Decision(found[0], now_ms, found[1])

    def _machine(self) -> tuple[Answerer, str] | None:
        spoke_ms, tone = self._words.ms, self._tones.sounding
        if spoke_ms >= self._rules.greeting_ms:
            return Answerer.MACHINE, f"spoke for {spoke_ms:,} ms without a pause of {self._rules.pause_ms:,} ms"
        if tone is not None and (spoke_ms or tone.is_data):
            before = f"spoke for {spoke_ms:,} ms, then" if spoke_ms else "said nothing and"
            return Answerer.MACHINE, f"{before} sent {tone}"
        return None

    def _person(self, now_ms: int) -> tuple[Answerer, str] | None:
        words = self._words
        silent_ms = now_ms - words.last * FRAME_MS
        if words.ms and silent_ms >= self._rules.pause_ms and not words.speaking and not self._may_be_tone:
            return Answerer.HUMAN, f"spoke for {words.ms:,} ms, then was silent for {silent_ms:,} ms"
        return None

    def _neither(self, now_ms: int) -> tuple[Answerer, str] | None:
        if now_ms >= self._rules.max_decision_ms:
            return Answerer.UNKNOWN, f"not clear within {now_ms:,} ms"
        if not self._words.ms and now_ms >= self._rules.initial_silence_ms:
            return Answerer.UNKNOWN, f"nothing was said for {now_ms:,} ms"
        return None


@dataclass(frozen=True, slots=True)
class Ready:
    """The machine records now, as far as can be told: what was heard, how long after the answer, and why."""

    beep: Literal["tone", "silence", "none"]
    after_ms: int
    reason: str


class BeepWatch:
    """Waits for the end of a machine's tone. Feed it every frame from the answer on; `begin` says that it is a machine.

    A tone that has ended, or silence for `SILENCE_MS` (a machine without a tone, or one that was missed), or no more
    patience: one of the three comes, always.
    """

    SILENCE_MS = 3_000

    def __init__(self, rules: Amd) -> None:
        self._patience_ms = rules.max_beep_wait_seconds * 1000
        self._tones = ToneEar()
        self._now_ms = self._silent_ms = self._began_ms = 0
        self._speech_db: int | None = None
        self.ready: Ready | None = None

    def begin(self, speech_db: int) -> None:
        """It is a machine; what is quieter than `speech_db` is silence on its line."""
        self._speech_db, self._began_ms, self._silent_ms = speech_db, self._now_ms, 0

    def heard(self, level_db: int, hertz: int = 0) -> Ready | None:
        """The next frame, as `Detector.heard` takes it."""
        self._now_ms += FRAME_MS
        ended = self._tones.heard(hertz)
        if self._speech_db is not None and self.ready is None:
            self._silent_ms = 0 if level_db <= self._speech_db else self._silent_ms + FRAME_MS
            self.ready = self._judge(ended)
        return self.ready

    def _judge(self, ended: Tone | None) -> Ready | None:
        if ended is not None:
            return Ready("tone", self._now_ms, str(ended))
        if self._silent_ms >= self.SILENCE_MS:
            return Ready("silence", self._now_ms, f"no tone, and silence for {self._silent_ms:,} ms")
        if self._now_ms - self._began_ms >= self._patience_ms:
            return Ready("none", self._now_ms, f"no tone within {self._patience_ms:,.0f} ms")
        return None
