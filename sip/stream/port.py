"""A call's place in the bridge whose other side is a stream. Lives in a worker process."""

import socket
from collections import deque
from dataclasses import dataclass
from typing import Final

import pjsua2 as pj

from dialer.core.model import LegId
from sip.bridge_port import BridgePort
from sip.call import Leg, contained
from sip.frames import fill, samples_of
from sip.stream.line import AUDIO, MAX_PACKET, frame_bytes, from_call

PACKETS_A_FRAME: Final = 64


class StreamPort(BridgePort):
    """Every 20 ms it sends what the callee said over the line, and plays what has come; silence where nothing has.

    Both are called on the bridge's thread. Neither waits: a stream process that sleeps costs its own streams their sound.
    """

    def __init__(self, line: socket.socket, sample_rate: int) -> None:
        super().__init__()
        line.setblocking(False)
        self.line = line
        self._silence = bytes(frame_bytes(sample_rate))
        self._frames: deque[bytes] = deque()
        self._taken = 0
        self.enter("stream", sample_rate)

    @contained
    def onFrameRequested(self, frame: pj.MediaFrame) -> None:  # noqa: N802
        """What the callee is to hear."""
        self._read()
        if self._frames:
            self._taken += 1
            fill(frame, self._frames.popleft())
        else:
            frame.type = pj.PJMEDIA_FRAME_TYPE_NONE

    def _read(self) -> None:
        for _ in range(PACKETS_A_FRAME):
            try:
                packet = self.line.recv(MAX_PACKET)
            except OSError:  # nothing there, or nobody: then silence is all that follows
                return
            if not packet:
                return
            if packet[:1] == AUDIO:
                self._frames.append(packet[1:])
            else:
                self._taken += len(self._frames)
                self._frames.clear()

    @contained
    def onFrameReceived(self, frame: pj.MediaFrame) -> None:  # noqa: N802
        """What the callee said."""
        try:
            self.line.send(from_call(self._taken, samples_of(frame) or self._silence))
        except OSError:  # the stream process sleeps, or is gone
            return


@dataclass(slots=True)
class _Joined:
    leg: Leg
    port: StreamPort

    def connect(self) -> None:
        audio = self.leg.audio()
        if audio is not None:
            audio.startTransmit(self.port)
            self.port.startTransmit(audio)


class StreamPorts:
    """All legs of a worker that are joined to a stream."""

    def __init__(self) -> None:
        self._joined: dict[LegId, _Joined] = {}

    def join(self, leg: Leg, line: socket.socket, sample_rate: int) -> None:
        """Connect now, or as soon as the leg's audio is up. The line is taken over. Raises ValueError with a reason."""
        self.part(leg.leg)
        try:
            port = StreamPort(line, sample_rate)
        except ValueError:
            line.close()
            raise
        joined = self._joined[leg.leg] = _Joined(leg, port)
        joined.connect()

    def media_changed(self, leg: LegId) -> None:
        """The leg's place in the bridge came up or was replaced."""
        joined = self._joined.get(leg)
        if joined is not None:
            joined.connect()

    def part(self, leg: LegId) -> None:
        """Disconnect; the stream process reads the end of the line."""
        joined = self._joined.pop(leg, None)
        if joined is not None:
            joined.port.leave()
            joined.port.line.close()
