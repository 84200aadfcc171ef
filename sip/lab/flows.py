"""Where SIP messages come in and go out: one UDP socket and the TCP connections of the same port.

A `Flow` is the way back to one peer. Nothing that a peer sends raises here: what cannot be read is counted and dropped.
"""

import asyncio
import ipaddress
from collections.abc import Callable
from typing import Final, Protocol

from sip.grammar import MalformedMessage, Uri, Via
from sip.lab.datagrams import Address, UdpSocket, local_address_towards
from sip.lab.log import Instant
from sip.wire import MAX_MESSAGE_BYTES, Message, Request, framed, parse

MAX_CONNECTIONS: Final = 1_000
_RECEIVE_BUFFER_BYTES: Final = 4 * 1024 * 1024
_BATCH: Final = 64


class Flow(Protocol):
    """The way to one peer. `transport` is its name in Via; a `reliable` one loses nothing; `source` is the peer's address."""

    transport: str
    reliable: bool
    source: Address

    def send(self, message: Message) -> None:
        """Send, or lose, one message."""

    def replying(self, via: Via) -> "Flow":
        """The flow for the responses to a request whose top Via is `via`."""

    def towards(self, uri: Uri) -> "Flow":
        """The flow for a request to `uri` inside a dialog that began on this one."""


OnMessage = Callable[[Message, Flow, Instant], None]


class UdpFlow:
    """A peer's address on our UDP socket."""

    transport: str = "UDP"
    reliable: bool = False

    def __init__(self, udp: UdpSocket, source: Address, send_to: Address | None = None) -> None:
        self._udp = udp
        self.source = source
        self._send_to = send_to or source

    def send(self, message: Message) -> None:
        """One datagram."""
        self._udp.send(message.encode(), self._send_to)

    def replying(self, via: Via) -> "UdpFlow":
        """For responses: to the source host, at the source port only if the client asked by rport (RFC 3581, 18.2.2)."""
        if "rport" in via.parameters:
            return self
        return UdpFlow(self._udp, self.source, (self.source[0], via.port or 5060))

    def towards(self, uri: Uri) -> "UdpFlow":
        """To the URI's address where it is an IP literal; else (names are not resolved) back to the peer itself."""
        try:
            host = str(ipaddress.ip_address(uri.host.strip("[]")))
        except ValueError:
            return self
        return UdpFlow(self._udp, self.source, (host, uri.port or 5060))


class TcpFlow(asyncio.Protocol):
    """One accepted connection (RFC 3261 18.3, RFC 5626 4.4.1)."""

    transport: str = "TCP"
    reliable: bool = True

    def __init__(self, ports: "SipPorts") -> None:
        self._ports = ports
        self._buffer = bytearray()
        self._connection: asyncio.Transport | None = None
        self.source: Address = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, unless there are too many."""
        assert isinstance(transport, asyncio.Transport)
        self.source = transport.get_extra_info("peername")[:2]
        self._connection = transport
        self._ports.connections.add(self)
        if len(self._ports.connections) > MAX_CONNECTIONS:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        del exc
        self._ports.connections.discard(self)
        self._connection = None

    def data_received(self, data: bytes) -> None:
        """Cut messages out of the stream."""
        received = Instant.now()
        if data == b"\r\n\r\n" and not self._buffer and self._connection:
            self._connection.write(b"\r\n")
            return
        self._buffer += data
        try:
            for message in framed(self._buffer):
                self._ports.take(message, self, received)
        except MalformedMessage:
            self._ports.malformed += 1
            self.close()

    def send(self, message: Message) -> None:
        """Into the stream; lost when the connection is gone or its peer does not read."""
        if self._connection and self._connection.get_write_buffer_size() < MAX_MESSAGE_BYTES:
            self._connection.write(message.encode())

    def replying(self, via: Via) -> "TcpFlow":
        """The same connection (18.2.2)."""
        del via
        return self

    def towards(self, uri: Uri) -> "TcpFlow":
        """The same connection: a caller's own port is seldom one that accepts."""
        del uri
        return self

    def close(self) -> None:
        """Close the connection, after what was written."""
        if self._connection:
            self._connection.close()


class SipPorts:
    """The lab's UDP socket and TCP listener on one port; `malformed` counts what could not be read."""

    def __init__(self, host: str, on_message: OnMessage) -> None:
        self.host = host
        self.port = 0
        self.malformed = 0
        self.connections: set[TcpFlow] = set()
        self._on_message = on_message
        self._udp: UdpSocket | None = None
        self._server: asyncio.Server | None = None
        self._own_address: dict[str, str] = {}

    async def open(self, port: int) -> None:
        """Bind UDP and TCP to `port`; 0 takes a port that is free in both. Raises OSError."""
        loop = asyncio.get_running_loop()
        while True:
            udp = UdpSocket(
                self.host,
                port,
                self._datagram,
                max_bytes=MAX_MESSAGE_BYTES,
                batch=_BATCH,
                buffer_bytes=_RECEIVE_BUFFER_BYTES,
            )
            try:
                self._server = await loop.create_server(lambda: TcpFlow(self), self.host, udp.port)
            except OSError:
                udp.close()
                if port:
                    raise
            else:
                self._udp, self.port = udp, udp.port
                return

    def close(self) -> None:
        """Close the port and every connection."""
        if self._udp:
            self._udp.close()
        if self._server:
            self._server.close()
        for connection in list(self.connections):
            connection.close()

    def sent_by(self, flow: Flow) -> str:
        """Our host:port towards the peer of `flow`, as a Via or URI has it."""
        return host_port(self.address_towards(flow), self.port)

    def address_towards(self, flow: Flow) -> str:
        """Our own address as the peer of `flow` can reach it, without brackets."""
        if not ipaddress.ip_address(self.host).is_unspecified:
            return self.host
        return local_address_towards(flow.source[0])

    def take(self, data: bytes, flow: Flow, received: Instant) -> None:
        """Read one message and pass it on: a request as RFC 3261 18.2.1 has it, with the flow of its responses."""
        try:
            message = parse(data)
        except MalformedMessage:
            self.malformed += 1
            return
        if isinstance(message, Request):
            message = message.received_from(*flow.source)
            flow = flow.replying(message.via)
        self._on_message(message, flow, received)

    def _datagram(self, data: bytes, source: Address, received: Instant) -> None:
        if self._udp and data.strip(b"\r\n\0 "):  # an empty one only keeps a NAT open
            self.take(data, UdpFlow(self._udp, source), received)


def host_port(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
