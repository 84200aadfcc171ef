"""What is played to legs, recorded of them and heard from them. Lives in a worker process, on its one thread."""

import logging
import socket
from collections.abc import Callable
from pathlib import Path

import pjsua2 as pj

from dialer.core.events import LegEvent, PlayEnded, RecordEnded
from dialer.core.model import LegId
from sip.bridges import Bridges
from sip.call import Leg
from sip.ears import Ears
from sip.media import Jukebox
from sip.messages import (
    JoinStream,
    Listen,
    MediaOrder,
    NotJoined,
    PartStream,
    Play,
    Record,
    StopListening,
    StopPlaying,
    StopRecording,
)
from sip.stream.port import StreamPorts
from sip.tape import Tapes

log = logging.getLogger(__name__)


class LegMedia:
    """Carries out what is ordered of the audio of legs. `report` is given what came of it; `settle` runs after every turn."""

    def __init__(
        self, media_directory: Path, sink: pj.AudioMedia, report: Callable[[LegEvent | NotJoined], None]
    ) -> None:
        self._report = report
        self._jukebox = Jukebox(media_directory)
        self._tapes = Tapes(media_directory)
        self._ears = Ears()
        self._streams = StreamPorts()
        self._bridges = Bridges()
        self._sink = sink
        self._taken: set[LegId] = set()

    def obey(self, order: MediaOrder, leg: Leg | None, line: socket.socket | None) -> None:
        """Do it. `leg` None: it is over, or about to be; what has an end is told as ended then, too.

        `line` is that of a stream, and taken over.
        """
        match order:
            case Play(token=token, audio=audio):
                self._play(order.leg, leg, token, audio)
            case StopPlaying():
                self._stop_playing(order.leg, "stopped")
            case Record():
                self._record(order, leg)
            case StopRecording():
                self._tapes.stop(order.leg)
            case Listen() if leg is not None:
                self._listen(leg)
            case StopListening():
                self._ears.stop(order.leg)
            case JoinStream(sample_rate=sample_rate) if line is not None:
                self._join(leg, line, sample_rate)
            case PartStream():
                self._streams.part(order.leg)

    def _play(self, id_: LegId, leg: Leg | None, token: int, audio: str) -> None:
        if leg is None:
            self._report(PlayEnded(id_, token, complete=False, reason="the call is over", leg_over=True))
            return
        try:
            cut_off = self._jukebox.play(leg, token, audio)
        except (OSError, ValueError) as fault:
            self._report(PlayEnded(id_, token, complete=False, reason=str(fault)))
            return
        if cut_off is not None:
            self._report(PlayEnded(id_, cut_off, complete=False, reason="cut off by the next audio"))

    def _stop_playing(self, leg: LegId, reason: str, *, leg_over: bool = False) -> None:
        token = self._jukebox.stop(leg)
        if token is not None:
            self._report(PlayEnded(leg, token, complete=False, reason=reason, leg_over=leg_over))

    def _record(self, order: Record, leg: Leg | None) -> None:
        if leg is None:
            self._report(RecordEnded(order.leg, order.token, 0.0, "the call is over", leg_over=True))
            return
        self._take_from(leg)
        try:
            self._tapes.start(leg, order.token, order.name, order.max_seconds)
        except (OSError, ValueError) as fault:
            self._report(RecordEnded(order.leg, order.token, 0.0, str(fault)))

    def _join(self, leg: Leg | None, line: socket.socket, sample_rate: int) -> None:
        if leg is None:
            line.close()
            return
        self._take_from(leg)
        try:
            self._streams.join(leg, line, sample_rate)
        except ValueError as fault:
            self._report(NotJoined(leg.leg, str(fault)))

    def _listen(self, leg: Leg) -> None:
        self._take_from(leg)
        try:
            self._ears.start(leg)
        except ValueError as fault:  # who waits for what is heard has a clock, too
            log.warning("a call cannot be listened to: %s", fault, extra={"sip_call_id": leg.sip_call_id})

    def _take_from(self, leg: Leg) -> None:
        """Once somebody has listened, the leg's audio is taken out for as long as it lives, to nowhere if need be.

        What nobody takes out of the jitter buffer stays there, and whoever listened next would hear the half second of
        before. The first to listen would not: the stack begins with an empty buffer.
        """
        self._taken.add(leg.leg)
        audio = leg.audio()
        if audio is not None:
            audio.startTransmit(self._sink)

    def media_changed(self, leg: Leg) -> None:
        """The leg's place in the bridge came up or was replaced."""
        if leg.leg in self._taken:
            self._take_from(leg)
        self._jukebox.media_changed(leg.leg)
        self._tapes.media_changed(leg.leg)
        self._ears.media_changed(leg.leg)
        self._streams.media_changed(leg.leg)
        self._bridges.media_changed(leg.leg)

    def leg_over(self, leg: LegId, reason: str) -> None:
        """Stop all that goes on. A recording may take a moment until its file is whole: `is_busy` says so."""
        self._taken.discard(leg)
        self._bridges.part(leg)
        self._ears.stop(leg)
        self._streams.part(leg)
        self._tapes.stop(leg, leg_over=True)
        self._stop_playing(leg, reason, leg_over=True)

    def is_busy(self, leg: LegId) -> bool:
        """Whether something is still to be told of the leg, which is over."""
        return self._tapes.is_closing(leg)

    def bridge(self, one: Leg, other: Leg) -> None:
        """Let the two hear each other, until one is over."""
        self._bridges.join(one, other)

    def pressed(self, leg: LegId, digit: str) -> None:
        """A key was pressed on the leg. Inside a callback of the stack."""
        self._bridges.pressed(leg, digit)

    def settle(self) -> None:
        """Report what was heard and what has ended since the last time; send keys on."""
        self._bridges.settle()
        for report in (*self._tapes.settle(), *self._ears.settle()):
            self._report(report)
        for leg, token in self._jukebox.take_ended():
            self._report(PlayEnded(leg, token, complete=True))
