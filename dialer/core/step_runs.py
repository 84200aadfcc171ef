"""The steps that take time, one class for each kind; what they share is in `dialer.core.stage`."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from dialer.core.acts import Alarm, ScriptEvent, TimeUp
from dialer.core.effects import Beep, StartRecording, StopAudio, StopRecording
from dialer.core.events import DigitPressed, Heard, PlayEnded, RecordEnded
from dialer.core.gathering import Await, Gathered, Gathering, Hush, Order, Outcome, Prompt
from dialer.core.recording import Recorder, StopWhen
from dialer.core.stage import Over, Run, Said, Stage, sound
from dialer.core.step_kinds import Gather, Play, Record, Say, Stream, Transfer, Wait, Webhook
from dialer.core.stream_run import StreamRun
from dialer.core.transfer_run import TransferRun
from dialer.core.webhook_run import WebhookRun


class SoundRun:
    """Audio or a text, to its end."""

    def __init__(self, step: Play | Say, stage: Stage) -> None:
        self.detail: dict[str, Any] = {}
        self._step, self._stage = step, stage
        self._token = -1

    def begin(self) -> Said:
        """Begin to play."""
        self._token = self._stage.token()
        return [sound(self._step, self._stage, self._token, self.detail)]

    def feed(self, event: ScriptEvent) -> Said:
        """The audio's end is the step's."""
        if not isinstance(event, PlayEnded) or event.token != self._token or event.leg_over:
            return []  # of a leg that is over its end says the rest
        if not event.complete:
            self.detail["fault"] = event.reason
        return [Over()]


class WaitRun:
    """Time that passes."""

    def __init__(self, step: Wait, stage: Stage) -> None:
        self.detail: dict[str, Any] = {}
        self._seconds = step.seconds
        self._token = stage.token()

    def begin(self) -> Said:
        """Set the alarm."""
        return [Alarm(self._token, self._seconds)]

    def feed(self, event: ScriptEvent) -> Said:
        """The alarm's time is the step's end."""
        return [Over()] if isinstance(event, TimeUp) and event.token == self._token else []


class GatherRun:
    """Keys, by the rules of `Gathering`."""

    def __init__(self, step: Gather, stage: Stage) -> None:
        self.detail: dict[str, Any] = {}
        self._step, self._stage = step, stage
        self._gathering = Gathering(step)
        self._token = -1

    def begin(self) -> Said:
        """The first try."""
        return self._obey(self._gathering.begin())

    def feed(self, event: ScriptEvent) -> Said:
        """Keys, the prompt's end, and the time for keys that has passed."""
        match event:
            case DigitPressed(digit=digit):
                return self._obey(self._gathering.pressed(digit))
            case PlayEnded() if event.token == self._token and not event.leg_over:
                return self._obey(self._gathering.prompt_over())
            case TimeUp() if event.token == self._token:
                return self._obey(self._gathering.time_up())
        return []

    def _obey(self, orders: Sequence[Order]) -> Said:
        said: Said = []
        for order in orders:
            match order:
                case Prompt(part):
                    self._token = self._stage.token()
                    said.append(sound(part, self._stage, self._token, self.detail))
                case Hush():
                    self._token = -1  # the end of this audio means nothing any more
                    said.append(StopAudio(self._stage.leg))
                case Await(seconds):
                    self._token = self._stage.token()
                    said.append(Alarm(self._token, seconds))
                case Gathered():
                    said.append(self._gathered(order))
        return said

    def _gathered(self, gathered: Gathered) -> Over:
        step, stage = self._step, self._stage
        good = gathered.outcome is Outcome.DIGITS
        target = step.on_invalid if gathered.outcome is Outcome.INVALID else step.on_no_input
        if good:
            target = step.branches.get(gathered.digits)
            stage.gathered(step.save_as, gathered.digits)
        self.detail |= {"outcome": gathered.outcome.value, "digits": gathered.digits, "tries": gathered.tries}
        if target is not None:
            self.detail["to"] = target
        return Over(target)


class RecordRun:
    """A recording, after its beep; `Recorder` says when it is to stop."""

    def __init__(self, step: Record, stage: Stage) -> None:
        self.detail: dict[str, Any] = {}
        self._step, self._stage = step, stage
        self._recorder: Recorder | None = None
        self._token = -1

    def begin(self) -> Said:
        """The beep, or the recording at once."""
        if not self._step.beep:
            return self._record()
        self._token = self._stage.token()
        return [Beep(self._stage.leg, self._token)]

    def feed(self, event: ScriptEvent) -> Said:
        """The beep's end, keys, levels, and the recording's end."""
        recorder = self._recorder
        match event:
            case PlayEnded() if recorder is None and event.token == self._token and not event.leg_over:
                return self._record()
            case DigitPressed(digit=digit) if recorder is not None:
                return self._stop(recorder.pressed(digit))
            case Heard(levels_db=levels) if recorder is not None:
                return self._stop(recorder.heard(levels))
            case RecordEnded() if recorder is not None and event.token == self._token:
                return [self._recorded(recorder, event)]
        return []

    def _record(self) -> Said:
        self._token = self._stage.token()
        number = len(self._stage.result.get("recordings", ())) + 1
        self._recorder = Recorder(self._step, f"{self._stage.recording_name}-{number}")
        return [StartRecording(self._stage.leg, self._token, self._recorder.name, self._step.max_seconds)]

    def _stop(self, reason: StopWhen | None) -> Said:
        return [] if reason is None else [StopRecording(self._stage.leg)]

    def _recorded(self, recorder: Recorder, event: RecordEnded) -> Over:
        if event.seconds <= 0:
            self.detail["fault"] = event.reason
        else:
            ended_by = recorder.ended_by(leg_over=event.leg_over).value
            made = {"name": recorder.name, "seconds": event.seconds, "ended_by": ended_by}
            self._stage.came_to("recordings", [*self._stage.result.get("recordings", ()), made])
            self.detail |= made
        return Over(leg_over=event.leg_over)


TimedStep: TypeAlias = Play | Say | Wait | Gather | Record | Stream | Webhook | Transfer
"""The steps that take time. All others are taken at once, by the script itself."""


def run_of(step: TimedStep, stage: Stage) -> Run:
    """How the step goes on the call."""
    return _RUNS[type(step)](step, stage)


_RUNS: dict[type[TimedStep], Callable[[Any, Stage], Run]] = {
    Play: SoundRun,
    Say: SoundRun,
    Wait: WaitRun,
    Gather: GatherRun,
    Record: RecordRun,
    Stream: StreamRun,
    Webhook: WebhookRun,
    Transfer: TransferRun,
}
