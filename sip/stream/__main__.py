"""The stream process: carries streams between calls and their servers, all on one loop.

Started as `python -m sip.stream DESCRIPTOR`, where DESCRIPTOR is its end of the channel to the pool. When the other end
closes, the main process is gone or wants it to leave: every server is told, and it leaves.
"""

import asyncio
import functools
import logging
import os
import resource
import signal
import socket
import sys
from collections import deque
from typing import Final

from dialer.core.events import StreamEnd, StreamEnded
from dialer.core.model import LegId
from dialer.log_lines import LogStyle, Outlet, speak
from sip.messages import Ping, Pong
from sip.packets import MAX_PACKET
from sip.stream.messages import CloseStream, OpenStream, PressKey, Report, Setup, decode, encode
from sip.stream.session import LEAVE_SECONDS, Session

log = logging.getLogger(__name__)

PROCESS: Final = "streams"
ORDERS_A_TURN: Final = 32


class Carrier:
    """Takes orders of the pool, and runs a session for each stream."""

    def __init__(self, channel: socket.socket, setup: Setup) -> None:
        self._channel, self._setup = channel, setup
        self._loop = asyncio.get_running_loop()
        self._sessions: dict[LegId, Session] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._carried = 0
        self._out: deque[bytes] = deque()
        self._gone = asyncio.Event()
        self._loop.add_reader(channel, self._readable)

    async def run(self) -> None:
        """Until the other end is closed, and every server was told."""
        await self._gone.wait()
        for session in list(self._sessions.values()):
            session.stop("shutdown")
        if self._running:
            await asyncio.wait(self._running, timeout=2 * LEAVE_SECONDS)

    def _readable(self) -> None:
        for _ in range(ORDERS_A_TURN):
            try:
                packet, descriptors, _, _ = socket.recv_fds(self._channel, MAX_PACKET, 1, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except OSError:
                packet, descriptors = b"", []
            if not packet:
                self._loop.remove_reader(self._channel)
                self._gone.set()
                return
            self._obey(packet, socket.socket(fileno=descriptors[0]) if descriptors else None)

    def _obey(self, packet: bytes, line: socket.socket | None) -> None:
        match decode(packet):
            case Setup() as setup:
                self._setup = setup
                speak(setup.log, Outlet(setup.log), PROCESS)
            case OpenStream() as order if line is not None:
                line.setblocking(False)
                self._open(order, line)
            case PressKey(leg, digit):
                if leg in self._sessions:
                    self._sessions[leg].press(digit)
            case CloseStream(leg, reason):
                if leg in self._sessions:
                    self._sessions[leg].stop(reason)
            case Ping(number):
                self._report(Pong(number, len(self._sessions), self._carried, 0))

    def _open(self, order: OpenStream, line: socket.socket) -> None:
        session = self._sessions[order.leg] = Session(
            order, line, self._setup, functools.partial(self._told, order.leg)
        )
        self._carried += 1
        task = self._loop.create_task(session.run())
        self._running.add(task)
        task.add_done_callback(functools.partial(self._ran, order, session))

    def _told(self, leg: LegId, report: Report) -> None:
        if isinstance(report, StreamEnded):
            self._sessions.pop(leg, None)
        self._report(report)

    def _ran(self, order: OpenStream, session: Session, task: asyncio.Task[None]) -> None:
        """A session is over. One that failed has not reported its end."""
        self._running.discard(task)
        fault = None if task.cancelled() else task.exception()
        if fault is None:
            return
        log.error("a stream failed", exc_info=fault)
        if self._sessions.get(order.leg) is session:
            self._told(order.leg, StreamEnded(order.leg, order.token, StreamEnd.LOST, f"it failed here: {fault!r}"))

    def _report(self, report: Report) -> None:
        self._out.append(encode(report))
        if len(self._out) == 1 and not self._flush():
            self._loop.add_writer(self._channel, self._writable)

    def _writable(self) -> None:
        if self._flush():
            self._loop.remove_writer(self._channel)

    def _flush(self) -> bool:
        """Send what waits; whether all of it went."""
        while self._out:
            try:
                self._channel.send(self._out[0])
            except BlockingIOError:
                return False
            except OSError:  # gone: the reader finds that
                self._out.clear()
                break
            self._out.popleft()
        return True


async def carry(channel: socket.socket, setup: Setup) -> None:
    """Carry streams until the channel closes."""
    await Carrier(channel, setup).run()


def main() -> None:
    """The process."""
    # The pool says when to leave: a signal to the whole group must not cut streams short.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # two descriptors a stream
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    speak(LogStyle(), Outlet(LogStyle()), PROCESS)  # until the pool says how
    channel = socket.socket(fileno=int(sys.argv[1]))
    packet = channel.recv(MAX_PACKET)
    channel.setblocking(False)
    setup = decode(packet) if packet else None
    if isinstance(setup, Setup):
        speak(setup.log, Outlet(setup.log), PROCESS)
        asyncio.run(carry(channel, setup))
    # Nothing is left to be told, and whatever still closes may be left to the kernel.
    os._exit(0)


if __name__ == "__main__":
    main()
