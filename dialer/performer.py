"""Carries the core's effects out: orders to the legs, sounds from the library."""

from collections.abc import Callable

from dialer.core.effects import (
    AskProgram,
    Beep,
    Bridge,
    Dial,
    Effect,
    HangUp,
    Listen,
    PlayAudio,
    PrepareSounds,
    Refer,
    RingBack,
    Speak,
    StartRecording,
    StartStream,
    StopAudio,
    StopListening,
    StopRecording,
    StopStream,
    StreamKey,
)
from dialer.core.events import LegEvent, PlayEnded, ProgramAnswered
from dialer.core.model import LegId
from dialer.core.sounds import Sound, Spoken
from dialer.ports import CallControl, DialOrder, Programs, Question, Reply, SoundLibrary, StreamOrder


class Performer:
    """`tell` is given, as an event of the leg, what came of a sound that could not be made, and what a program answered.

    `library` None: files only. `programs` None: none is asked.
    """

    def __init__(
        self,
        control: CallControl,
        library: SoundLibrary | None,
        programs: Programs | None,
        tell: Callable[[LegEvent], None],
    ) -> None:
        self._control = control
        self._library = library
        self._programs = programs
        self._tell = tell

    def do(self, effect: Effect) -> None:  # noqa: C901, PLR0912  one arm of the match an effect
        """Order it. Nothing blocks, and nothing is told before this returns."""
        match effect:
            case Dial(leg, trunk, number, caller_id, sip_call_id, uri, beside):
                self._control.dial(leg, DialOrder(trunk, number, caller_id, sip_call_id, uri, beside))
            case HangUp(leg):
                self._control.hang_up(leg)
            case PlayAudio(leg, token, audio):
                self._play(leg, token, audio)
            case Speak(leg, token, text, voice):
                self._play(leg, token, Spoken(text, voice))
            case Beep(leg, token):
                self._tone(leg, token, None if self._library is None else self._library.beep)
            case RingBack(leg, token):
                self._tone(leg, token, None if self._library is None else self._library.ringback)
            case StopAudio(leg):
                self._control.stop_playing(leg)
            case StartRecording(leg, token, name, max_seconds):
                self._control.record(leg, token, name, max_seconds)
            case StopRecording(leg):
                self._control.stop_recording(leg)
            case Listen(leg):
                self._control.listen_to(leg)
            case StopListening(leg):
                self._control.stop_listening(leg)
            case StartStream(leg, token, url, sample_rate, start):
                self._control.stream(leg, token, StreamOrder(url, sample_rate, start))
            case StreamKey(leg, digit):
                self._control.press_stream_key(leg, digit)
            case StopStream(leg, reason):
                self._control.stop_stream(leg, reason)
            case Bridge(leg, other):
                self._control.bridge(leg, other)
            case Refer(leg, token, number, uri):
                self._control.refer(leg, token, number, uri)
            case PrepareSounds(sounds):
                if self._library is not None:
                    self._library.prepare(sounds)
            case AskProgram(leg, token, url, question_id, body, timeout_seconds):
                self._ask(leg, token, Question(question_id, url, body, timeout_seconds))

    def _ask(self, leg: LegId, token: int, question: Question) -> None:
        def answered(reply: Reply) -> None:
            self._tell(ProgramAnswered(leg, token, reply.status, reply.body, reply.fault))

        if self._programs is None:
            answered(Reply(fault="this server asks no programs"))
        else:
            self._programs.ask(question, answered)

    def _tone(self, leg: LegId, token: int, file: str | None) -> None:
        if file is None:
            self._tell(PlayEnded(leg, token, complete=False, reason="there is no sound library"))
        else:
            self._control.play(leg, token, file)

    def _play(self, leg: LegId, token: int, sound: Sound) -> None:
        def ready(file: str | None, reason: str) -> None:
            if file is not None:
                self._control.play(leg, token, file)
            else:
                self._tell(PlayEnded(leg, token, complete=False, reason=reason))

        if self._library is not None:
            self._library.fetch(sound, ready)
        elif isinstance(sound, str):
            ready(sound, "")
        else:
            ready(None, "there is no sound library")
