"""The pool's side of streams: starts stream processes when there is something to carry, watches them, tells of ends."""

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from dialer.core.events import StreamEnd, StreamEnded, StreamOpened
from dialer.core.model import LegId
from sip.child import Child
from sip.messages import Ping
from sip.stream.messages import CloseStream, OpenStream, Order, PressKey, Setup, decode, encode
from sip.supervisor import PINGS_MISSED, START_TICKS, TICK_SECONDS

log = logging.getLogger(__name__)

# One process carries so many streams before the next is started: together a fifth of a core.
STREAMS_A_PROCESS: Final = 64
MAX_PROCESSES: Final = 32


@dataclass(slots=True, eq=False)
class _Carrier:
    """One stream process, with the tokens of the streams that it carries. Orders wait until it has started.

    It is `up` when it has said something for the first time.
    """

    child: Child
    streams: dict[LegId, int] = field(default_factory=dict)
    unanswered: int = 0
    started: bool = False
    up: bool = False
    dead: bool = False
    waiting: list[tuple[Order, socket.socket | None]] = field(default_factory=list)

    def send(self, order: Order, line: socket.socket | None = None) -> None:
        if self.started:
            self.child.send(encode(order), line)
        else:
            self.waiting.append((order, line))

    def forget(self) -> None:
        """Nothing that waits is sent any more."""
        for _, line in self.waiting:
            if line is not None:
                line.close()
        self.waiting.clear()


class StreamHost:
    """Opens streams, and tells `receive` of their openings and ends; each that was opened ends once.

    A process that dies, or answers no pings, takes its streams with it: they end as lost.
    """

    def __init__(self, setup: Setup, receive: Callable[[StreamOpened | StreamEnded], None]) -> None:
        self._setup, self._receive = setup, receive
        self._carriers: list[_Carrier] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticking: asyncio.Task[None] | None = None
        self._stopping = False

    def follow(self, setup: Setup) -> None:
        """Streams that are opened from now on go by this."""
        self._setup = setup
        for carrier in self._carriers:
            if carrier.started:  # the others are told when they have
                carrier.send(setup)

    def open(self, order: OpenStream, line: socket.socket) -> None:
        """Carry the call at the other end of `line`, which is taken over."""
        carrier = self._with_room()
        carrier.streams[order.leg] = order.token
        carrier.send(order, line)

    def press(self, leg: LegId, digit: str) -> None:
        """The callee pressed a key. Nothing where there is no stream."""
        self._send(leg, PressKey(leg, digit))

    def close(self, leg: LegId, reason: str) -> None:
        """End the leg's stream. Nothing where there is none."""
        self._send(leg, CloseStream(leg, reason))

    def leg_over(self, leg: LegId) -> None:
        """The leg is over, and with it its stream: that is told now, before the leg's own end. Nothing where there is none."""
        self._end(leg, StreamEnd.STOPPED, "hangup", leg_over=True)

    def not_joined(self, leg: LegId, reason: str) -> None:
        """The leg's worker has closed the line. Nothing where there is no stream."""
        self._end(leg, StreamEnd.FAILED, reason)

    def _end(self, leg: LegId, by: StreamEnd, reason: str, *, leg_over: bool = False) -> None:
        for carrier in self._carriers:
            token = carrier.streams.pop(leg, None)
            if token is not None:
                self._receive(StreamEnded(leg, token, by, reason, leg_over=leg_over))

    @property
    def pids(self) -> list[int]:
        """The process ids of the stream processes."""
        return [carrier.child.pid for carrier in self._carriers if carrier.started]

    async def stop(self) -> None:
        """Let every server be told, and every process leave."""
        self._stopping = True
        for task in (*self._tasks, *([self._ticking] if self._ticking else [])):
            task.cancel()
        carriers = list(self._carriers)
        for carrier in carriers:
            carrier.forget()
            carrier.child.close()
        for carrier in carriers:
            await carrier.child.reaped()

    def _send(self, leg: LegId, order: Order) -> None:
        for carrier in self._carriers:
            if leg in carrier.streams:
                carrier.send(order)

    def _with_room(self) -> _Carrier:
        living = [carrier for carrier in self._carriers if not carrier.dead]
        least = min(living, key=lambda carrier: len(carrier.streams), default=None)
        if least is not None and (len(least.streams) < STREAMS_A_PROCESS or len(living) >= MAX_PROCESSES):
            return least
        return self._launch()

    def _launch(self) -> _Carrier:
        # Its packets and its end find the carrier, which has to be there before them.
        child = Child(
            "sip.stream", lambda packet: self._told(carrier, packet), lambda reason: self._gone(carrier, reason)
        )
        carrier = _Carrier(child)
        self._carriers.append(carrier)
        task = asyncio.ensure_future(self._start(carrier))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._ticking is None:
            self._ticking = asyncio.ensure_future(self._tick())
        return carrier

    async def _start(self, carrier: _Carrier) -> None:
        try:
            await carrier.child.start()
        except OSError as fault:
            self._gone(carrier, f"it cannot be started: {fault}")
            return
        carrier.started = True
        carrier.send(self._setup)
        waiting, carrier.waiting = carrier.waiting, []
        for order, line in waiting:
            carrier.send(order, line)

    def _told(self, carrier: _Carrier, packet: bytes) -> None:
        carrier.unanswered, carrier.up = 0, True
        match decode(packet):
            case StreamEnded() as ended if carrier.streams.get(ended.leg) == ended.token:
                del carrier.streams[ended.leg]
                self._receive(ended)
            case StreamOpened() as opened if carrier.streams.get(opened.leg) == opened.token:
                self._receive(opened)

    def _gone(self, carrier: _Carrier, reason: str) -> None:
        carrier.dead = True
        if carrier in self._carriers:
            self._carriers.remove(carrier)
        carrier.forget()
        if not self._stopping:
            log.error("stream process %d: %s, with %d streams", carrier.child.pid, reason, len(carrier.streams))
        for leg, token in carrier.streams.items():
            self._receive(StreamEnded(leg, token, StreamEnd.LOST, f"the stream process ended: {reason}"))

    async def _tick(self) -> None:
        number = 0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            number += 1
            for carrier in [carrier for carrier in self._carriers if carrier.started]:
                if carrier.unanswered >= (PINGS_MISSED if carrier.up else START_TICKS):
                    log.error("stream process %d does not answer: it is killed", carrier.child.pid)
                    carrier.child.kill()
                carrier.unanswered += 1
                carrier.send(Ping(number))
