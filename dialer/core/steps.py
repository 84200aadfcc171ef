"""The playbook's interpreter: told what happened on the answered call, it says what to do next.

Pure: it holds no media and no clock. Events of the leg go in with their time, effects come out, with timers to set, notes to
keep and custom fields to write among them. What reports back carries a token, a new one each time, so that what comes late
(the end of audio that was cut off, a timer that no longer counts) is known as late.

No playbook runs for ever: after `MAX_STEPS` steps the call is hung up, and `goto` has a limit of its own.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dialer.core.acts import Act, Alarm, Finish, Note, TimeUp, WriteFields
from dialer.core.contact import LONGEST_TEXT
from dialer.core.effects import Beep, PlayAudio, Speak, StartRecording, StopAudio, StopRecording
from dialer.core.events import DigitPressed, Heard, PlayEnded, RecordEnded, TalkEvent
from dialer.core.gathering import Await, Gathered, Gathering, Hush, Order, Outcome, Prompt
from dialer.core.model import LegId, WallMs
from dialer.core.recording import Recorder, StopWhen
from dialer.core.step_kinds import END, Branch, Gather, Goto, Hangup, Play, Record, Say, Set, Step, Wait
from dialer.core.templates import fill

MAX_STEPS = 1000


@dataclass(slots=True)
class _UnderWay:
    """The step that goes on: since when, what it waits for, and what is known of it for the transcript."""

    step: Step
    index: int
    began_at: WallMs
    token: int = -1
    gathering: Gathering | None = None
    recorder: Recorder | None = None
    detail: dict[str, Any] = field(default_factory=dict)


class Script:
    """One answered call's way through its steps. After the last step comes `Finish`, always, and once.

    `values` are the contact's fields with `phone`; `recording_name` is what its recordings are called, a number behind it.
    """

    def __init__(
        self, leg: LegId, steps: Sequence[Step], values: Mapping[str, Any] | None = None, recording_name: str = "call"
    ) -> None:
        self._leg = leg
        self._steps = steps
        self._labels = {step.label: i for i, step in enumerate(steps) if step.label is not None}
        self._values: dict[str, Any] = {**(values or {}), "gathered": {}}
        self._values["custom_fields"] = dict(self._values.get("custom_fields") or {})
        self._recording_name = recording_name
        self._result: dict[str, Any] = {}
        self._jumps: Counter[int] = Counter()
        self._token = 0
        self._taken = 0
        self._now: _UnderWay | None = None
        self._over = False

    @property
    def over(self) -> bool:
        """Whether the steps have ended, one way or the other."""
        return self._over

    def begin(self, at: WallMs) -> list[Act]:
        """The first step, at the answer."""
        return self._go(0, at)

    def feed(self, event: TalkEvent | TimeUp, at: WallMs) -> list[Act]:
        """Something happened; what to do now. What is late or does not matter here changes nothing."""
        now = self._now
        if now is None:
            return []
        match event:
            case DigitPressed(digit=digit):
                return self._pressed(now, digit, at)
            case Heard(levels_db=levels):
                return [] if now.recorder is None else self._stop_recording(now.recorder.heard(levels))
            case PlayEnded() | TimeUp() | RecordEnded():
                return self._reported(now, event, at) if event.token == now.token else []

    def leg_over(self, at: WallMs) -> list[Act]:
        """The call is over: the step under way ends here, and no other follows."""
        now, self._now, self._over = self._now, None, True
        if now is None:
            return []
        now.detail["cut_off"] = True
        return [self._note(now, at)]

    # Inside

    def _fresh(self) -> int:
        self._token += 1
        return self._token

    def _pressed(self, now: _UnderWay, digit: str, at: WallMs) -> list[Act]:
        if now.gathering is not None:
            return self._obey(now, now.gathering.pressed(digit), at)
        return [] if now.recorder is None else self._stop_recording(now.recorder.pressed(digit))

    def _reported(self, now: _UnderWay, event: PlayEnded | TimeUp | RecordEnded, at: WallMs) -> list[Act]:
        """What the step under way waited for has come."""
        if isinstance(event, PlayEnded) and event.leg_over:
            return []  # the leg's end says the rest
        if now.gathering is not None:
            told = now.gathering.time_up() if isinstance(event, TimeUp) else now.gathering.prompt_over()
            return self._obey(now, told, at)
        if isinstance(event, RecordEnded) and now.recorder is not None:
            return self._recorded(now, event, at)
        if isinstance(now.step, Record) and now.recorder is None:
            return self._record(now, now.step)
        if isinstance(event, PlayEnded) and not event.complete:
            now.detail["fault"] = event.reason
        return self._next(now, at)

    def _next(self, now: _UnderWay, at: WallMs, target: str | None = None, *, result: bool = False) -> list[Act]:
        """The step under way is over; on to the target, or to the one behind it."""
        self._now = None
        noted = self._note(now, at, result=result)
        if target == END:
            return [noted, *self._finish()]
        index = now.index + 1 if target is None else self._labels[target]
        return [noted, *self._go(index, at)]

    def _note(self, now: _UnderWay, at: WallMs, *, result: bool = False) -> Note:
        label = {"label": now.step.label} if now.step.label is not None else {}
        line = {"step": now.index, "do": now.step.do, **label, "at": now.began_at, "ended_at": at}
        return Note(at, {**line, **now.detail}, dict(self._result) if result else None)

    def _finish(self) -> list[Act]:
        self._over = True
        return [Finish()]

    def _go(self, index: int, at: WallMs) -> list[Act]:
        """Take steps from this one on, until one takes time."""
        acts: list[Act] = []
        while index < len(self._steps):
            self._taken += 1
            step = self._steps[index]
            now = _UnderWay(step, index, at)
            if self._taken > MAX_STEPS:
                now.detail["fault"] = f"the call took {MAX_STEPS} steps, which is the limit"
                acts.append(self._note(now, at))
                break
            if isinstance(step, Goto | Branch | Set | Hangup):
                target = self._at_once(step, now, acts, at)
                if target == END:
                    break
                index = index + 1 if target is None else self._labels[target]
                continue
            self._now = now
            return acts + self._start(now, at)
        return acts + self._finish()

    def _at_once(self, step: Goto | Branch | Set | Hangup, now: _UnderWay, acts: list[Act], at: WallMs) -> str | None:
        """Take a step that needs no time; where it leads, None: to the next."""
        target: str | None = None
        written = False
        match step:
            case Hangup():
                target = END
            case Goto():
                self._jumps[now.index] += 1
                if self._jumps[now.index] <= step.max_times:
                    target = step.to
            case Branch():
                found = fill(step.on, self._values).strip()
                target = step.branches.get(found, step.otherwise)
                now.detail["on"] = found
            case Set():
                fields = {name: fill(text, self._values)[:LONGEST_TEXT] for name, text in step.custom_fields.items()}
                self._values["custom_fields"] |= fields
                self._result["custom_fields"] = {**self._result.get("custom_fields", {}), **fields}
                acts.append(WriteFields(fields))
                written = True
        if target is not None and not isinstance(step, Hangup):
            now.detail["to"] = target
        acts.append(self._note(now, at, result=written))
        return target

    def _start(self, now: _UnderWay, at: WallMs) -> list[Act]:
        """Begin a step that takes time."""
        match now.step:
            case Play() | Say() as sound:
                return [self._sound(now, sound)]
            case Wait(seconds=seconds):
                return [self._alarm(now, seconds)]
            case Record() as record if record.beep:
                now.token = self._fresh()
                return [Beep(self._leg, now.token)]
            case Record() as record:
                return self._record(now, record)
            case Gather() as gather:
                now.gathering = Gathering(gather)
                return self._obey(now, now.gathering.begin(), at)
        raise ValueError(f"a step that nobody can take: {now.step.do}")

    def _sound(self, now: _UnderWay, sound: Play | Say) -> Act:
        now.token = self._fresh()
        if isinstance(sound, Play):
            return PlayAudio(self._leg, now.token, sound.audio)
        text = fill(sound.text, self._values)
        now.detail["text"] = text
        return Speak(self._leg, now.token, text, sound.voice or "")

    def _alarm(self, now: _UnderWay, seconds: float) -> Act:
        now.token = self._fresh()
        return Alarm(now.token, seconds)

    def _obey(self, now: _UnderWay, orders: Sequence[Order], at: WallMs) -> list[Act]:
        """What a gather asks for."""
        acts: list[Act] = []
        for order in orders:
            match order:
                case Prompt(part):
                    acts.append(self._sound(now, part))
                case Hush():
                    now.token = -1  # the end of this audio means nothing any more
                    acts.append(StopAudio(self._leg))
                case Await(seconds):
                    acts.append(self._alarm(now, seconds))
                case Gathered():
                    acts += self._gathered(now, order, at)
        return acts

    def _gathered(self, now: _UnderWay, gathered: Gathered, at: WallMs) -> list[Act]:
        step = now.step
        assert isinstance(step, Gather)
        good = gathered.outcome is Outcome.DIGITS
        target = step.on_invalid if gathered.outcome is Outcome.INVALID else step.on_no_input
        if good:
            target = step.branches.get(gathered.digits)
            self._values["gathered"][step.save_as] = gathered.digits
            self._result["gathered"] = dict(self._values["gathered"])
        now.detail |= {"outcome": gathered.outcome.value, "digits": gathered.digits, "tries": gathered.tries}
        if target is not None:
            now.detail["to"] = target
        return self._next(now, at, target, result=good)

    def _record(self, now: _UnderWay, step: Record) -> list[Act]:
        now.token = self._fresh()
        number = len(self._result.get("recordings", ())) + 1
        now.recorder = Recorder(step, f"{self._recording_name}-{number}")
        return [StartRecording(self._leg, now.token, now.recorder.name, step.max_seconds)]

    def _stop_recording(self, reason: StopWhen | None) -> list[Act]:
        return [] if reason is None else [StopRecording(self._leg)]

    def _recorded(self, now: _UnderWay, event: RecordEnded, at: WallMs) -> list[Act]:
        assert now.recorder is not None
        if event.seconds <= 0:
            now.detail["fault"] = event.reason
        else:
            ended_by = now.recorder.ended_by(leg_over=event.leg_over).value
            made = {"name": now.recorder.name, "seconds": event.seconds, "ended_by": ended_by}
            self._result["recordings"] = [*self._result.get("recordings", ()), made]
            now.detail |= made
        if event.leg_over:
            self._now, self._over = None, True
            return [self._note(now, at, result=event.seconds > 0)]
        return self._next(now, at, result=event.seconds > 0)
