"""A process of ours at the other end of a channel: started, spoken with, and its end told of."""

import asyncio
import contextlib
import logging
import socket
import subprocess
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sip.facts import child_command
from sip.packets import MAX_PACKET, BadMessage

log = logging.getLogger(__name__)

PACKETS_A_TURN: Final = 64  # of one process, before the others and the rest of the loop get their turn
EXIT_SECONDS: Final = 2.0  # from the channel's end to the process's end


@dataclass(slots=True, eq=False)
class Child:
    """Runs `python -m MODULE DESCRIPTOR`, where DESCRIPTOR is its end of an AF_UNIX SOCK_SEQPACKET pair.

    `receive` gets every packet; where it raises BadMessage, the process is killed. `gone` is called once, with a reason,
    when the channel has closed, whoever closed it. Neither is called before `start` has returned.
    """

    module: str
    receive: Callable[[bytes], None]
    gone: Callable[[str], None]
    _queue: deque[tuple[bytes, socket.socket | None]] = field(default_factory=deque)
    _channel: socket.socket | None = None
    _process: "subprocess.Popen[bytes] | None" = None
    _reaping: "asyncio.Future[None] | None" = None

    async def start(self) -> None:
        """Start the process. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command, environment = child_command(self.module, str(theirs.fileno()))
            try:
                # In a thread: starting a process takes milliseconds, which the loop does not have.
                self._process = await asyncio.to_thread(
                    subprocess.Popen, command, env=environment, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL
                )
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        self._channel = ours
        asyncio.get_running_loop().add_reader(ours, self._readable)

    @property
    def pid(self) -> int:
        """The process id; 0 before the start."""
        return self._process.pid if self._process else 0

    def send(self, packet: bytes, line: socket.socket | None = None) -> None:
        """Send, or queue while the process does not read. After its end nothing happens.

        `line` goes along, and is closed on this side: its descriptor is the process's then.
        """
        if self._channel is None:
            _close(line)
            return
        self._queue.append((packet, line))
        if len(self._queue) == 1 and not self._flush():
            asyncio.get_running_loop().add_writer(self._channel, self._writable)

    def _flush(self) -> bool:
        """Send what waits; whether all of it went."""
        while self._queue and self._channel is not None:
            packet, line = self._queue[0]
            try:
                if line is None:
                    self._channel.send(packet)
                else:
                    socket.send_fds(self._channel, [packet], [line.fileno()])
            except BlockingIOError:
                return False
            except OSError:  # it died: the reader finds the end, after what it had said before
                self._drop()
                break
            _close(line)
            self._queue.popleft()
        return True

    def _drop(self) -> None:
        for _, line in self._queue:
            _close(line)
        self._queue.clear()

    def _writable(self) -> None:
        if self._channel is not None and self._flush():
            asyncio.get_running_loop().remove_writer(self._channel)

    def _readable(self) -> None:
        for _ in range(PACKETS_A_TURN):
            if self._channel is None:
                return
            try:
                packet = self._channel.recv(MAX_PACKET)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self.close()
                return
            try:
                self.receive(packet)
            except BadMessage:
                log.exception("process %d speaks nonsense: it is killed", self.pid)
                self.kill()
                return

    def kill(self) -> None:
        """End the process with SIGKILL; `gone` follows."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Close the channel, which tells the process to leave; `gone` follows its end."""
        channel, self._channel = self._channel, None
        if channel is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(channel)
        loop.remove_writer(channel)
        channel.close()
        self._drop()
        self._reaping = asyncio.ensure_future(self._reap())

    async def _reap(self) -> None:
        process = self._process
        if process is None:
            return
        try:
            await asyncio.to_thread(process.wait, EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)
        status = process.returncode
        gone = self.gone
        # Who holds this child is held by these: without them both go at once, and do not wait for the cycle collector.
        self.receive = self.gone = _unheard
        gone(f"killed by signal {-status}" if status < 0 else f"exit status {status}")

    async def reaped(self) -> None:
        """Wait until the process is no more; at once when its channel is still open."""
        if self._reaping is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._reaping


def _unheard(_: object) -> None:
    """What is told by a child that is no more."""


def _close(line: socket.socket | None) -> None:
    if line is not None:
        line.close()
