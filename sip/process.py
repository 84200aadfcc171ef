"""One worker process as the pool holds it: its channel, its legs, its signs of life."""

import asyncio
import contextlib
import logging
import socket
import subprocess
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from dialer.core.model import LegId
from sip.facts import child_command
from sip.messages import MAX_PACKET, BadMessage, Begin, Command, Message, Ping, Pong, decode, encode, lines_of

log = logging.getLogger(__name__)

PACKETS_A_TURN: Final = 64  # of one worker, before the others and the rest of the loop get their turn
PINGS_OF_SILENCE: Final = 2  # sent and not answered; one is always on its way
EXIT_SECONDS: Final = 2.0  # from the channel's end to the process's end


@dataclass(slots=True, eq=False)
class WorkerProcess:
    """Starts a worker, speaks with it, and tells of its end.

    `receive` gets every message, `gone` is called once, with a reason, when the channel has closed, whoever closed it.
    Neither is called before `start` has returned. `begin` is what it is, or will be, told first.
    """

    slot: int
    begin: Begin
    receive: Callable[["WorkerProcess", Message], None]
    gone: Callable[["WorkerProcess", str], None]
    legs: set[LegId] = field(default_factory=set)
    ended_at: deque[float] = field(default_factory=deque)
    up: bool = False
    retiring: bool = False
    dead: bool = False
    started_at: float = 0.0
    last_pong: Pong | None = None
    _pings: int = 0
    _unanswered: int = 0
    _queue: deque[bytes] = field(default_factory=deque)
    _channel: socket.socket | None = None
    _process: "subprocess.Popen[bytes] | None" = None
    _reaping: "asyncio.Future[None] | None" = None

    async def start(self) -> None:
        """Start the process. Raises OSError."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command, environment = child_command(str(theirs.fileno()))
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
        self.started_at = loop.time()
        loop.add_reader(ours, self._readable)

    @property
    def silent(self) -> bool:
        """Whether the last ping but one has gone unanswered."""
        return self._unanswered >= PINGS_OF_SILENCE

    @property
    def pid(self) -> int:
        """The process id; 0 before the start."""
        return self._process.pid if self._process else 0

    def send(self, command: Command) -> None:
        """Send, or queue while the worker does not read. After its end nothing happens."""
        if self._channel is None:
            return
        packet = encode(command)
        if not self._queue:
            try:
                self._channel.send(packet)
            except BlockingIOError:
                asyncio.get_running_loop().add_writer(self._channel, self._writable)
            except OSError:  # it died: the reader finds the end, after what it had said before
                return
            else:
                return
        self._queue.append(packet)

    def _writable(self) -> None:
        if self._channel is None:
            return
        try:
            while self._queue:
                self._channel.send(self._queue[0])
                self._queue.popleft()
        except BlockingIOError:
            return
        except OSError:
            self._queue.clear()
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
                self._close()
                return
            self._take(packet)

    def _take(self, packet: bytes) -> None:
        for line in lines_of(packet):
            try:
                message = decode(line)
            except BadMessage:
                log.exception("worker %d speaks nonsense: it is killed", self.pid)
                self.kill()
                return
            if isinstance(message, Pong):
                self._unanswered = 0
                self.last_pong = message
            self.receive(self, message)

    def ping(self) -> int:
        """Ask for a sign of life. How many pings before this one have gone unanswered.

        Turns are counted, not seconds: when it was this process that slept, its workers are not blamed.
        """
        unanswered = self._unanswered
        self._pings += 1
        self._unanswered += 1
        self.send(Ping(self._pings))
        return unanswered

    def kill(self) -> None:
        """End the process with SIGKILL; `gone` follows."""
        if self._process is not None:
            self._process.kill()

    def _close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(channel)
        loop.remove_writer(channel)
        channel.close()
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
        self.gone(self, f"killed by signal {-status}" if status < 0 else f"exit status {status}")

    async def reaped(self) -> None:
        """Wait until the process is no more; at once when its channel is still open."""
        if self._reaping is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._reaping
