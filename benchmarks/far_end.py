"""A called side that costs next to nothing, whose kernel says when an INVITE came.

Run as `python -m benchmarks.far_end LOG MANNER`. The first line on standard output is its UDP port. It answers each INVITE
at once, as its manner says; a datagram `?` is answered with what it has seen, as JSON. LOG gets a line for each INVITE that
is no retransmission: its Call-ID, and the nanosecond of Unix time at which the kernel took the datagram in.

What is played to it goes to a port that nobody reads, but for every so many calls, whose packets are looked at one by one.
"""

import json
import selectors
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Final, Self

# linux/asm-generic/socket.h; Python's module does not name it. The ancillary message is a struct timespec.
SO_TIMESTAMPNS: Final = 35
_TIMESPEC: Final = struct.Struct("ll")
Address = tuple[str, int]
_RTP: Final = struct.Struct("!BBHII")
_RECEIVE_BUFFER: Final = 8 << 20
_KEPT: Final = (b"via", b"v", b"from", b"f", b"call-id", b"i", b"cseq")
_DATAGRAMS_A_TURN: Final = 64
# Every so many calls one is listened to, by one of so many sockets.
_LISTENED_TO: Final = 50
_LISTENERS: Final = 20


class Manner(StrEnum):
    """What an INVITE gets."""

    BUSY = "busy"
    FULL = "full"  # 503
    ANSWERS = "answers"


_START_LINES: Final = {
    Manner.BUSY: b"SIP/2.0 486 Busy Here",
    Manner.FULL: b"SIP/2.0 503 Service Unavailable",
    Manner.ANSWERS: b"SIP/2.0 200 OK",
}


def answer(request: bytes, start_line: bytes, *rest: bytes) -> tuple[bytes, bytes]:
    """The Call-ID of a request and a response to it (RFC 3261 section 8.2.6.2); `rest` are further headers and the body."""
    call_id = b""
    lines = []
    for line in request.split(b"\r\n\r\n", 1)[0].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        word = name.strip().lower()
        if word in _KEPT:
            lines.append(line)
            if word in {b"call-id", b"i"}:
                call_id = value.strip()
        elif word in {b"to", b"t"}:
            lines.append(line if b";tag=" in line else line + b";tag=far")
    return call_id, b"\r\n".join([start_line, *lines, *(rest or (b"Content-Length: 0", b"", b""))])


def description(port: int) -> tuple[bytes, ...]:
    """Headers and body of an answer that wants its audio at this port."""
    body = f"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n".encode()
    return b"Content-Type: application/sdp", b"Content-Length: %d" % len(body), b"", body


@dataclass(slots=True)
class Stream:
    """One call's packets. `longest_ms` is the longest time between two of them."""

    packets: int = 0
    missing: int = 0
    longest_ms: float = 0.0
    _sequence: int = 0
    _at_ns: int = 0

    def take(self, sequence: int, at_ns: int) -> None:
        """A packet came."""
        if self.packets:
            self.missing += max(0, ((sequence - self._sequence) & 0xFFFF) - 1)
            self.longest_ms = max(self.longest_ms, (at_ns - self._at_ns) / 1e6)
        self.packets += 1
        self._sequence, self._at_ns = sequence, at_ns


@dataclass(slots=True)
class Seen:
    """Calls by how far they came, retransmissions not counted, and what was heard of those that were listened to."""

    invites: int = 0
    acknowledged: int = 0
    ended: int = 0
    streams: list[dict[str, float]] = field(default_factory=list)


class Party:
    """The called side itself."""

    def __init__(self, log: IO[str], manner: Manner) -> None:
        self._log = log
        self._manner = manner
        self._sip = listener(_RECEIVE_BUFFER)
        self.port: int = self._sip.getsockname()[1]
        self._deaf = listener(4096)
        self._ears = [listener(1 << 20) for _ in range(_LISTENERS)] if manner is Manner.ANSWERS else []
        self._streams: dict[int, Stream] = {}
        self._invited: set[bytes] = set()
        self._acknowledged: set[bytes] = set()
        self._ended: set[bytes] = set()

    def serve(self) -> None:
        """Answer until killed."""
        with selectors.DefaultSelector() as selector:
            for one in (self._sip, *self._ears):
                one.setblocking(False)
                take = self._request if one is self._sip else self._packet
                selector.register(one, selectors.EVENT_READ, (one, take))
            while True:
                for key, _ in selector.select():
                    take_all(*key.data)

    def _request(self, request: bytes, at_ns: int, peer: Address) -> None:
        if request == b"?":
            self._sip.sendto(json.dumps(self._seen()).encode(), peer)
            return
        method = request[:4]
        if method == b"INVI":
            port = self._ear() if self._ears else 0
            contact = b"Contact: <sip:far@127.0.0.1:%d>" % self.port
            rest = (contact, *description(port)) if port else ()
            call_id, response = answer(request, _START_LINES[self._manner], *rest)
            self._sip.sendto(response, peer)
            if call_id not in self._invited:
                self._invited.add(call_id)
                self._log.write(f"{call_id.decode()} {at_ns}\n")
            return
        call_id, response = answer(request, b"SIP/2.0 200 OK")
        if method == b"ACK ":
            self._acknowledged.add(call_id)
        else:
            self._sip.sendto(response, peer)
            if method == b"BYE ":
                self._ended.add(call_id)

    def _ear(self) -> int:
        """Where the next call is to send its audio."""
        turn, rest = divmod(len(self._invited), _LISTENED_TO)
        one = self._deaf if rest else self._ears[turn % _LISTENERS]
        port: int = one.getsockname()[1]
        return port

    def _packet(self, packet: bytes, at_ns: int, _: Address) -> None:
        if len(packet) > _RTP.size:
            _, _, sequence, _, source = _RTP.unpack_from(packet)
            self._streams.setdefault(source, Stream()).take(sequence, at_ns)

    def _seen(self) -> dict[str, Any]:
        return {
            "invites": len(self._invited),
            "acknowledged": len(self._acknowledged & self._invited),
            "ended": len(self._ended & self._invited),
            "streams": [
                {"packets": one.packets, "missing": one.missing, "longest_ms": one.longest_ms}
                for one in self._streams.values()
            ],
        }


def listener(receive_buffer: int) -> socket.socket:
    """A UDP socket on loopback whose kernel tells when each datagram came."""
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    one.bind(("127.0.0.1", 0))
    return one


def take_all(one: socket.socket, take: Callable[[bytes, int, Address], None]) -> None:
    """Give what has come to `take`, with the nanosecond of Unix time at which the kernel had it, and whence."""
    for _ in range(_DATAGRAMS_A_TURN):
        try:
            data, ancillary, _, peer = one.recvmsg(65_536, 64)
        except BlockingIOError:
            return
        seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2])
        take(data, seconds * 1_000_000_000 + nanoseconds, peer)


class FarEnd:
    """The process, from `with` to the end of the block or `received`."""

    def __init__(self, folder: Path, manner: Manner = Manner.BUSY, module: str = "benchmarks.far_end") -> None:
        self.log = folder / "invites.log"
        self._manner = manner
        self._module = module
        self._process: subprocess.Popen[str]
        self.port = 0

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", self._module, str(self.log), self._manner]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.terminate()

    def seen(self) -> Seen:
        """What it has seen so far."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(30)
            asking.sendto(b"?", ("127.0.0.1", self.port))
            return Seen(**json.loads(asking.recv(65_536)))

    def received(self) -> dict[str, float]:
        """When each INVITE came, by Call-ID, in milliseconds of Unix time. Ends the process, whose log is whole only then."""
        self.__exit__()
        pairs = (line.split() for line in self.log.read_text(encoding="ascii").splitlines())
        return {call_id: int(at) / 1e6 for call_id, at in pairs}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with Path(sys.argv[1]).open("w", buffering=1 << 16) as lines:
        party = Party(lines, Manner(sys.argv[2]))
        sys.stdout.write(f"{party.port}\n")
        sys.stdout.flush()
        party.serve()
