"""What the engine and a loader process say to each other over a Unix socket: frames of a JSON head and bytes.

    length of the head, length of the bytes (two unsigned 32-bit numbers, network order), head, bytes

A request too large to keep in memory travels as an open file beside the head instead (SCM_RIGHTS), so that the process that
places calls never holds it, and no name is left on disk whoever dies.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from dataclasses import dataclass
from typing import Any

_LENGTHS = struct.Struct("!II")


@dataclass(frozen=True, slots=True)
class Frame:
    """One message. `file` is a descriptor that the receiver owns."""

    head: dict[str, Any]
    content: bytes = b""
    file: int | None = None

    def encoded(self) -> bytes:
        """The bytes on the socket; the file goes beside the first of them."""
        head = json.dumps(self.head).encode()
        return _LENGTHS.pack(len(head), len(self.content)) + head + self.content

    def whole_content(self) -> bytes:
        """The content, read from the file where there is one; closes the file."""
        if self.file is None:
            return self.content
        try:
            size = os.fstat(self.file).st_size
            parts = bytearray()
            while len(parts) < size and (part := os.pread(self.file, size - len(parts), len(parts))):
                parts += part
            return bytes(parts)
        finally:
            os.close(self.file)


def receive(connection: socket.socket) -> Frame | None:
    """The next message of a blocking socket; None when the other side is gone."""
    first, files, _, _ = socket.recv_fds(connection, _LENGTHS.size, 1)
    file = files[0] if files else None
    try:
        lengths = first + _exactly(connection, _LENGTHS.size - len(first))
        head_length, content_length = _LENGTHS.unpack(lengths)
        head = json.loads(_exactly(connection, head_length))
        return Frame(head, _exactly(connection, content_length), file)
    except EOFError:
        if file is not None:
            os.close(file)
        return None


def send(connection: socket.socket, frame: Frame) -> None:
    """Send a message without a file on a blocking socket."""
    connection.sendall(frame.encoded())


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = connection.recv(min(length - len(data), 1 << 20))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


def lengths_of(first: bytes) -> tuple[int, int]:
    """The lengths of head and content from a message's first `LENGTHS_SIZE` bytes."""
    head_length, content_length = _LENGTHS.unpack(first)
    return head_length, content_length


LENGTHS_SIZE = _LENGTHS.size
