"""What callees say, measured frame by frame, for those who listen to a call. Lives in a worker process."""

from array import array
from collections import deque
from dataclasses import dataclass, field
from typing import Final

import pjsua2 as pj

from dialer.core.events import Heard
from dialer.core.frames import SILENT_DB
from dialer.core.model import LegId
from sip.bridge_port import BridgePort
from sip.call import Leg, contained, wall_ms
from sip.endpoint import BRIDGE_HZ
from sip.frames import samples_of
from sip.levels import measure

FRAMES_A_REPORT: Final = 5
MAX_FRAMES: Final = 250  # 5 s that a thread held up for so long would have to make up for


class Ear(BridgePort):
    """A place in the bridge that keeps what it is sent, until that is measured on the worker's own thread."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: deque[bytes] = deque(maxlen=MAX_FRAMES)
        self.enter("ear", BRIDGE_HZ)

    @contained
    def onFrameReceived(self, frame: pj.MediaFrame) -> None:  # noqa: N802
        """Called every 20 ms on the bridge's thread, whether somebody speaks or not: nothing but a copy is made there."""
        self.frames.append(samples_of(frame))


@dataclass(slots=True)
class _Listening:
    leg: Leg
    ear: Ear
    levels_db: list[int] = field(default_factory=list)
    tones_hz: list[int] = field(default_factory=list)

    def connect(self) -> None:
        audio = self.leg.audio()
        if audio is not None:
            audio.startTransmit(self.ear)

    def report(self) -> Heard | None:
        """Measure what has come; a report when that is enough."""
        while self.ear.frames and len(self.levels_db) < FRAMES_A_REPORT:
            samples = array("h", self.ear.frames.popleft())
            level, hertz = measure(samples) if samples else (SILENT_DB, 0)
            self.levels_db.append(level)
            self.tones_hz.append(hertz)
        if len(self.levels_db) < FRAMES_A_REPORT:
            return None
        heard = Heard(self.leg.leg, wall_ms(), self.levels_db, self.tones_hz)
        self.levels_db, self.tones_hz = [], []
        return heard


class Ears:
    """All legs of a worker that are listened to."""

    def __init__(self) -> None:
        self._listening: dict[LegId, _Listening] = {}

    def start(self, leg: Leg) -> None:
        """Listen from now on, or from when the leg's audio is up: until then it counts as silent.

        Raises ValueError with a reason.
        """
        if leg.leg not in self._listening:
            listening = self._listening[leg.leg] = _Listening(leg, Ear())
            listening.connect()

    def media_changed(self, leg: LegId) -> None:
        """The leg's place in the bridge came up or was replaced."""
        listening = self._listening.get(leg)
        if listening is not None:
            listening.connect()

    def stop(self, leg: LegId) -> None:
        """Listen no more."""
        listening = self._listening.pop(leg, None)
        if listening is not None:
            listening.ear.leave()

    def settle(self) -> list[Heard]:
        """What was heard since the last time."""
        return [heard for heard in (one.report() for one in self._listening.values()) if heard is not None]
