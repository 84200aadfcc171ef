"""A call's place in the bridge whose other side is a stream. Lives in a worker process."""

import contextlib
import logging
import socket
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

import pjsua2 as pj

from dialer.core.model import LegId
from sip.call import Leg, contained
from sip.frames import fill, format_of, samples_of
from sip.stream.line import AUDIO, MAX_PACKET, frame_bytes, from_call

log = logging.getLogger(__name__)

# The bridge calls a port on a thread of its own: one that was disconnected is kept until no such call can be under way.
BURIAL_SECONDS: Final = 0.25
PACKETS_A_FRAME: Final = 64


class StreamPort(pj.AudioMediaPort):  # type: ignore[misc]
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
        self.createPort("stream", format_of(sample_rate))

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

    def disconnect(self) -> None:
        over = self.leg.hung_up or self.leg.end is not None
        audio = None if over else self.leg.audio()
        if audio is not None:
            audio.stopTransmit(self.port)
            self.port.stopTransmit(audio)


class StreamPorts:
    """All legs of a worker that are joined to a stream."""

    def __init__(self) -> None:
        self._joined: dict[LegId, _Joined] = {}
        self._parted: deque[tuple[float, StreamPort]] = deque()

    def join(self, leg: Leg, line: socket.socket, sample_rate: int) -> None:
        """Connect now, or as soon as the leg's audio is up. The line is taken over."""
        self.part(leg.leg)
        joined = self._joined[leg.leg] = _Joined(leg, StreamPort(line, sample_rate))
        joined.connect()

    def media_changed(self, leg: LegId) -> None:
        """The leg's place in the bridge came up or was replaced."""
        joined = self._joined.get(leg)
        if joined is not None:
            joined.connect()

    def part(self, leg: LegId) -> None:
        """Disconnect; the stream process reads the end of the line."""
        joined = self._joined.pop(leg, None)
        if joined is None:
            return
        try:
            joined.disconnect()
        except pj.Error as fault:  # the call's media went first
            log.debug("leg %s: part: %s", leg, fault.reason)
        # Closed when no call can be under way: its number may be another's by then. The other side is told now.
        with contextlib.suppress(OSError):  # it is gone
            joined.port.line.shutdown(socket.SHUT_RDWR)
        self._parted.append((time.monotonic() + BURIAL_SECONDS, joined.port))

    def settle(self) -> None:
        """Let ports go."""
        while self._parted and self._parted[0][0] < time.monotonic():
            _, port = self._parted.popleft()
            port.line.close()
