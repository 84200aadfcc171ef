"""What callees say, into WAV files, and how loud it was meanwhile. Lives in a worker process."""

import logging
import math
import time
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pjsua2 as pj

from dialer.core.events import Heard, RecordEnded
from dialer.core.frames import SILENT_DB
from dialer.core.model import LegId
from sip.call import Leg, wall_ms
from sip.g711 import decode

log = logging.getLogger(__name__)

FRAME_SECONDS: Final = 0.02
FRAMES_A_REPORT: Final = 10
HEADER_BYTES: Final = 44
BYTES_A_SECOND: Final = 16_000  # 16 bits at the bridge's 8 kHz
# The stack closes a file on its own thread, at the next tick of the bridge.
CLOSING_SECONDS: Final = 2.0
EMPTY_SECONDS: Final = 0.2  # without samples by then, there were none


def _level_db(percent: int) -> int:
    """The stack's level (the mean amplitude of a frame as inverted mu-law, in percent of 255) in dB below full scale."""
    (amplitude,) = array("h", decode(bytes([0xFF - (percent * 255 // 100 + 1)]), "PCMU"))
    return SILENT_DB if percent == 0 else round(20 * math.log10(32_768 / amplitude))


_LEVELS_DB: Final = tuple(_level_db(percent) for percent in range(50))  # of 127, the loudest


@dataclass(slots=True)
class Tape:
    """One recording. `recorder` None: the stack was told to close the file, whose end is awaited."""

    leg: Leg
    token: int
    path: Path
    recorder: pj.AudioMediaRecorder | None
    audio: pj.AudioMedia | None = None
    until: float = 0.0
    next_frame: float = 0.0
    levels: list[int] = field(default_factory=list)
    leg_over: bool = False
    closing_since: float = 0.0

    def connect(self) -> None:
        """Begin to write, as soon as the call's audio is up; again after it was re-negotiated."""
        audio = self.leg.audio()
        if audio is not None and self.recorder is not None:
            audio.startTransmit(self.recorder)
            self.audio = audio
            self.next_frame = time.monotonic() + FRAME_SECONDS

    def listen(self, now: float) -> Heard | None:
        """Measure the frame whose time has come; a report when there are enough."""
        if self.audio is None or now < self.next_frame:
            return None
        self.next_frame += FRAME_SECONDS
        if self.next_frame < now:  # the thread was held up: what it missed is not made up
            self.next_frame = now + FRAME_SECONDS
        self.levels.append(_LEVELS_DB[min(self.audio.getTxLevel(), len(_LEVELS_DB) - 1)])
        if len(self.levels) < FRAMES_A_REPORT:
            return None
        levels, self.levels = self.levels, []
        return Heard(self.leg.leg, wall_ms(), levels)

    def close(self, now: float, *, leg_over: bool) -> None:
        """Stop writing."""
        self.leg_over = self.leg_over or leg_over
        if self.recorder is None:
            return
        if self.audio is not None and not leg_over:
            try:
                self.audio.stopTransmit(self.recorder)
            except pj.Error as fault:  # the call's media went first
                log.debug("leg %s: stop: %s", self.leg.leg, fault.reason)
        self.audio = self.recorder = None
        self.closing_since = now

    def ended(self, now: float) -> RecordEnded | None:
        """What became of a tape that was closed; None: the stack is not done with the file."""
        try:
            with self.path.open("rb") as file:
                head = file.read(HEADER_BYTES)
            size = self.path.stat().st_size - HEADER_BYTES
        except OSError as fault:
            return RecordEnded(self.leg.leg, self.token, 0.0, str(fault), leg_over=self.leg_over)
        if len(head) == HEADER_BYTES and size > 0 and int.from_bytes(head[40:44], "little") == size:
            return RecordEnded(self.leg.leg, self.token, size / BYTES_A_SECOND, leg_over=self.leg_over)
        if now - self.closing_since < (CLOSING_SECONDS if size > 0 else EMPTY_SECONDS):
            return None
        self.path.unlink(missing_ok=True)
        return RecordEnded(self.leg.leg, self.token, 0.0, "nothing was recorded", leg_over=self.leg_over)


class Tapes:
    """All recordings of a worker, at most one that goes on for each leg."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "recordings"
        self._running: dict[LegId, Tape] = {}
        self._closing: list[Tape] = []

    def start(self, leg: Leg, token: int, name: str, max_seconds: float) -> None:
        """Record from now on, or from when the leg's audio is up. Raises OSError and ValueError with a reason."""
        self.stop(leg.leg)
        path = self._directory / f"{name}.wav"
        if path.parent != self._directory or "\0" in name:
            raise ValueError(f"{name}: not a name of a recording")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        recorder = pj.AudioMediaRecorder()
        try:
            recorder.createRecorder(str(path))
        except pj.Error as fault:
            raise ValueError(f"{name}: {fault.reason}") from None
        tape = Tape(leg, token, path, recorder, until=time.monotonic() + max_seconds)
        self._running[leg.leg] = tape
        tape.connect()

    def media_changed(self, leg: LegId) -> None:
        """The leg's place in the bridge came up or was replaced."""
        tape = self._running.get(leg)
        if tape is not None:
            tape.connect()

    def stop(self, leg: LegId, *, leg_over: bool = False) -> None:
        """End the leg's recording; `settle` tells when the file is whole."""
        tape = self._running.pop(leg, None)
        if tape is not None:
            tape.close(time.monotonic(), leg_over=leg_over)
            self._closing.append(tape)

    def is_closing(self, leg: LegId) -> bool:
        """Whether a file of the leg is not whole yet."""
        return any(tape.leg.leg == leg for tape in self._closing)

    def settle(self) -> list[Heard | RecordEnded]:
        """What was heard and what has ended since the last time."""
        if not self._running and not self._closing:
            return []
        now = time.monotonic()
        reports: list[Heard | RecordEnded] = []
        for leg, tape in list(self._running.items()):
            heard = tape.listen(now)
            if heard is not None:
                reports.append(heard)
            if now >= tape.until:
                self.stop(leg)
        for tape in list(self._closing):
            ended = tape.ended(now)
            if ended is not None:
                self._closing.remove(tape)
                reports.append(ended)
        return reports
