"""What the pool and its workers say to each other: frozen records, one to a line.

The channel is an AF_UNIX SOCK_SEQPACKET pair, which keeps the borders of packets. A packet is one line, or as many as wait to
be sent: a send costs more than most of what it tells. JSON and not pickle: a worker reads bytes from the network, and must not
be able to make the main process run code.

A line is the record's name, a space, and its fields as a JSON object. The events of `dialer.core.events` travel as they are.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from dialer.core.events import (
    Answered,
    DigitPressed,
    Heard,
    InviteSent,
    LegEnded,
    LegEvent,
    LegLost,
    LegRefused,
    NoReply,
    PlayEnded,
    Rang,
    RecordEnded,
)
from dialer.core.model import LegId
from dialer.log_lines import LogStyle
from dialer.ports import WireMessage
from sip.trunk import TrunkProfile

MAX_PACKET: Final = 65_536  # bytes; far under the kernel's default buffer of 212,992, so that a send is all or nothing


class BadMessage(ValueError):
    """A packet that no version of this program wrote."""


@dataclass(frozen=True, slots=True)
class Begin:
    """The first message to a worker: what it is to bind and how many legs it may carry.

    `sip_port` 0 lets the kernel choose. RTP ports are `rtp_port` to `rtp_port + rtp_ports - 1`, of this worker alone. The
    DSCPs (RFC 2474) mark what leaves. `log` is how the worker writes its log.
    """

    sip_port: int
    rtp_port: int
    rtp_ports: int
    max_legs: int
    media_directory: str
    signalling_dscp: int = 24
    media_dscp: int = 46
    log: LogStyle = LogStyle()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class Speak:
    """From now on tell the log so."""

    log: LogStyle


@dataclass(frozen=True, slots=True)
class SetTrunk:
    """Add a trunk, or change it for later legs.

    `address` is the resolved host of its URI, `local_address` this host's address on the way there. `registers`: this
    worker is the one that keeps the trunk's registration alive.
    """

    trunk: TrunkProfile
    address: str
    local_address: str
    registers: bool


@dataclass(frozen=True, slots=True)
class DropTrunk:
    """Take no more legs for the trunk, and leave its registrar; legs that it has go on."""

    trunk: str


@dataclass(frozen=True, slots=True)
class Dial:
    """Send an INVITE for `leg` now."""

    leg: LegId
    trunk: str
    number: str
    caller_id: str
    sip_call_id: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """End `leg`: CANCEL or BYE, as its state wants."""

    leg: LegId


@dataclass(frozen=True, slots=True)
class Play:
    """Play a file of the media directory to the callee; `PlayEnded(token)` follows."""

    leg: LegId
    token: int
    audio: str


@dataclass(frozen=True, slots=True)
class StopPlaying:
    """Stop what plays to `leg`."""

    leg: LegId


@dataclass(frozen=True, slots=True)
class Record:
    """Write what the callee says to `recordings/NAME.wav`; `RecordEnded(token)` follows."""

    leg: LegId
    token: int
    name: str
    max_seconds: float


@dataclass(frozen=True, slots=True)
class StopRecording:
    """End the leg's recording."""

    leg: LegId


@dataclass(frozen=True, slots=True)
class Listen:
    """Tell what the callee of `leg` says, as `Heard`, from now on."""

    leg: LegId


@dataclass(frozen=True, slots=True)
class StopListening:
    """Tell it no more."""

    leg: LegId


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for a `Pong` with the same number: a worker that is stopped or stuck does not send it."""

    number: int


@dataclass(frozen=True, slots=True)
class Retire:
    """Take no more legs; leave when those that live have ended. With `hang_up`, end them now."""

    hang_up: bool


@dataclass(frozen=True, slots=True)
class Pong:
    """`places` are taken in the stack (legs, and ended ones whose peer has not confirmed); `dialed` since the start."""

    number: int
    places: int
    dialed: int
    resident_kb: int


@dataclass(frozen=True, slots=True)
class RegistrationChanged:
    """The registrar's last word on a trunk: `sip_status` 0 when it gave none; `reason` is for people."""

    trunk: str
    registered: bool
    sip_status: int
    reason: str


@dataclass(frozen=True, slots=True)
class TrunkFailed:
    """A `SetTrunk` could not be carried out (a port that is taken, an address that is gone); dialing on it is refused."""

    trunk: str
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker's stack did not start; it leaves after this."""

    reason: str


MediaOrder = Play | StopPlaying | Record | StopRecording | Listen | StopListening
"""What is ordered of a leg's audio."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Report the messages whose Call-ID begins with one of these (`WireMessage`), no others; none: stop."""

    call_ids: list[str]


Command = Begin | Speak | SetTrunk | DropTrunk | Dial | HangUp | MediaOrder | Ping | Retire | Trace
Report = Pong | RegistrationChanged | TrunkFailed | Failed | WireMessage | LegEvent
Message = Command | Report


def encode(message: Message) -> bytes:
    """The line for `message`, without its end.

    What a peer wrote need not be UTF-8: the stack hands such bytes over as lone surrogates (PEP 383), which become "?".
    """
    name = type(message).__name__.encode()
    try:
        return name + b" " + msgspec.json.encode(message)
    except UnicodeEncodeError:
        plain = json.dumps(msgspec.to_builtins(message), ensure_ascii=False)
        return name + b" " + plain.encode("utf-8", "replace")


def decode(line: bytes) -> Message:
    """The message in `line`. Raises BadMessage."""
    name, _, record = line.partition(b" ")
    try:
        found: Message = _DECODERS[name].decode(record)
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


_KINDS: Final[tuple[type, ...]] = (
    *(Begin, Speak, SetTrunk, DropTrunk, Dial, HangUp, Ping, Retire, Trace, WireMessage),
    *(Play, StopPlaying, Record, StopRecording, Listen, StopListening),
    *(Pong, RegistrationChanged, TrunkFailed, Failed),
    *(InviteSent, NoReply, Rang, Answered, LegEnded, LegRefused, LegLost, PlayEnded, DigitPressed, Heard, RecordEnded),
)
_DECODERS: Final[dict[bytes, msgspec.json.Decoder[Any]]] = {
    kind.__name__.encode(): msgspec.json.Decoder(kind) for kind in _KINDS
}
