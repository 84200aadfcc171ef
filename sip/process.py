"""One worker process as the pool holds it: its legs, its signs of life."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from dialer.core.model import LegId
from sip.child import Child
from sip.messages import Begin, Command, Message, Ping, Pong, decode, encode
from sip.packets import lines_of

PINGS_OF_SILENCE: Final = 2  # sent and not answered; one is always on its way


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
    _child: Child = field(init=False)

    def __post_init__(self) -> None:
        self._child = Child("sip.worker", self._packet_came, lambda reason: self.gone(self, reason))

    async def start(self) -> None:
        """Start the process. Raises OSError."""
        await self._child.start()
        self.started_at = asyncio.get_running_loop().time()

    @property
    def silent(self) -> bool:
        """Whether the last ping but one has gone unanswered."""
        return self._unanswered >= PINGS_OF_SILENCE

    @property
    def pid(self) -> int:
        """The process id; 0 before the start."""
        return self._child.pid

    def send(self, command: Command, line: socket.socket | None = None) -> None:
        """Send, or queue while the worker does not read; `line` becomes the worker's. After its end nothing happens."""
        self._child.send(encode(command), line)

    def _packet_came(self, packet: bytes) -> None:
        for line in lines_of(packet):
            message = decode(line)
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
        self._child.kill()

    async def reaped(self) -> None:
        """Wait until the process is no more; at once when its channel is still open."""
        await self._child.reaped()
