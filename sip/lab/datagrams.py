"""UDP sockets on the event loop whose datagrams carry the kernel's receive time.

asyncio's own datagram transport gives no such time, and a judge that is late itself would blame the caller for it.
"""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable
from typing import Final

from sip.lab.log import Instant

Address = tuple[str, int]

_SO_TIMESTAMPNS: Final = 35  # Linux; not named by Python's socket module
_TIMESPEC: Final = struct.Struct("@ll")
_MAX_DRAINED: Final = 1_000
_MAX_KERNEL_DELAY_SECONDS: Final = 60.0


class UdpSocket:
    """A bound UDP socket. `on_datagram(data, (host, port), received)` is called for each datagram until `close()`.

    `port` 0 takes a free one. `max_bytes` cuts longer datagrams; `batch` is how many are read before others get a turn.
    Raises OSError when it cannot be bound.
    """

    def __init__(
        self,
        host: str,
        port: int,
        on_datagram: Callable[[bytes, Address, Instant], None],
        *,
        max_bytes: int,
        batch: int = 1,
        buffer_bytes: int | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_datagram = on_datagram
        self._max_bytes, self._batch = max_bytes, batch
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            if ":" in host:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            if buffer_bytes:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            self._socket.bind((host, port))
        except OSError:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]
        self._loop.add_reader(self._socket.fileno(), self._readable)

    def send(self, data: bytes, address: Address) -> bool:
        """Send one datagram; False when it did not leave (a full buffer, an address without route), like a lost one."""
        try:
            self._socket.sendto(data, address)
        except (OSError, OverflowError):
            return False
        return True

    def close(self) -> None:
        """Stop reading and free the port. Twice is once."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def drain(self) -> None:
        """Take what has arrived and was not read yet."""
        if self._socket.fileno() >= 0:
            self._read(_MAX_DRAINED)

    def _readable(self) -> None:
        self._read(self._batch)

    def _read(self, at_most: int) -> None:
        for _ in range(at_most):
            try:
                data, ancillary, _, address = self._socket.recvmsg(self._max_bytes, socket.CMSG_SPACE(_TIMESPEC.size))
            except BlockingIOError:
                return
            except OSError:  # an ICMP error of something sent earlier
                continue
            self._on_datagram(data, address[:2], _received(ancillary))
            if self._socket.fileno() < 0:  # closed by what it brought
                return


def _received(ancillary: list[tuple[int, int, bytes]]) -> Instant:
    monotonic, wall = time.monotonic(), time.time()
    for _, kind, value in ancillary:
        if kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(value)
            received = seconds + nanoseconds / 1e9
            # The clock may have been stepped between the kernel's look and ours; then our own look is the better one.
            if 0 <= wall - received < _MAX_KERNEL_DELAY_SECONDS:
                return Instant(monotonic - (wall - received), received)
    return Instant(monotonic, wall)


def local_address_towards(host: str) -> str:
    """The address of this machine that a peer at `host` sees. Nothing is sent. Falls back to the loopback address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))
        return str(probe.getsockname()[0])
    return "::1" if family == socket.AF_INET6 else "127.0.0.1"
