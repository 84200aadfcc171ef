"""A called side that costs next to nothing: every INVITE is answered 486 at once, and the kernel says when it came.

Run as `python -m benchmarks.far_end LOG`. The first line on standard output is its UDP port; LOG gets a line for each
INVITE that is no retransmission: its Call-ID, and the nanosecond of Unix time at which the kernel took the datagram in.
"""

import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

# linux/asm-generic/socket.h; Python's module does not name it. The ancillary message is a struct timespec.
SO_TIMESTAMPNS: Final = 35
_TIMESPEC: Final = struct.Struct("ll")
_RECEIVE_BUFFER: Final = 8 << 20
_KEPT: Final = (b"via", b"v", b"from", b"f", b"call-id", b"i", b"cseq")


def busy(request: bytes) -> tuple[bytes, bytes]:
    """The Call-ID of a request and a 486 to it (RFC 3261 section 8.2.6.2)."""
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
            lines.append(line + b";tag=busy")
    return call_id, b"\r\n".join([b"SIP/2.0 486 Busy Here", *lines, b"Content-Length: 0", b"", b""])


def serve(log: Path) -> None:
    """Answer until killed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener, log.open("w", buffering=1 << 16) as lines:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        listener.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        listener.bind(("127.0.0.1", 0))
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        known = set()
        while True:
            request, ancillary, _, peer = listener.recvmsg(65_536, 64)
            if not request.startswith(b"INVITE "):
                continue
            call_id, answer = busy(request)
            listener.sendto(answer, peer)
            if call_id not in known:
                known.add(call_id)
                seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2])
                lines.write(f"{call_id.decode()} {seconds * 1_000_000_000 + nanoseconds}\n")


class FarEnd:
    """The process, from `with` to the end of the block or `received`."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "invites.log"
        self._process: subprocess.Popen[str]
        self.port = 0

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "benchmarks.far_end", str(self._log)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)

    def received(self) -> dict[str, float]:
        """When each INVITE came, by Call-ID, in milliseconds of Unix time. Ends the process, whose log is whole only then."""
        self.__exit__()
        pairs = (line.split() for line in self._log.read_text(encoding="ascii").splitlines())
        return {call_id: int(at) / 1e6 for call_id, at in pairs}


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
