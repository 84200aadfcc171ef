"""Messages between our processes: frozen records, one to a line.

The channel is an AF_UNIX SOCK_SEQPACKET pair, which keeps the borders of packets. A packet is one line, or as many as wait to
be sent: a send costs more than most of what it tells. JSON and not pickle: a process that reads bytes from the network must
not be able to make the main one run code.

A line is the record's name, a space, and its fields as a JSON object.
"""

import json
from collections.abc import Iterable
from typing import Any, Final

import msgspec

MAX_PACKET: Final = 65_536  # bytes; far under the kernel's default buffer of 212,992, so that a send is all or nothing


class BadMessage(ValueError):
    """A packet that no version of this program wrote."""


class Packets:
    """Turns records of these kinds into lines and back."""

    def __init__(self, kinds: Iterable[type]) -> None:
        self._decoders: dict[bytes, msgspec.json.Decoder[Any]] = {
            kind.__name__.encode(): msgspec.json.Decoder(kind) for kind in kinds
        }

    def encode(self, message: object) -> bytes:
        """The line for `message`, without its end.

        What a peer wrote need not be UTF-8: the stack hands such bytes over as lone surrogates (PEP 383), which become "?".
        """
        name = type(message).__name__.encode()
        try:
            return name + b" " + msgspec.json.encode(message)
        except UnicodeEncodeError:
            plain = json.dumps(msgspec.to_builtins(message), ensure_ascii=False)
            return name + b" " + plain.encode("utf-8", "replace")

    def decode(self, line: bytes) -> object:
        """The message in `line`. Raises BadMessage."""
        name, _, record = line.partition(b" ")
        try:
            found: object = self._decoders[name].decode(record)
        except (KeyError, ValueError) as fault:
            raise BadMessage(f"not a message: {line[:80]!r}") from fault
        return found


def packet_of(lines: Iterable[bytes]) -> tuple[bytes, int]:
    """A packet of as many lines as one holds, the first of them in any case; and how many those are."""
    taken: list[bytes] = []
    size = 0
    for line in lines:
        size += len(line) + 1
        if taken and size > MAX_PACKET:
            break
        taken.append(line)
    return b"\n".join(taken), len(taken)


def lines_of(packet: bytes) -> list[bytes]:
    """The lines of a packet."""
    return packet.split(b"\n")
