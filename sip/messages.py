"""What the pool and its workers say to each other: frozen records, one JSON array to a packet.

The channel is an AF_UNIX SOCK_SEQPACKET pair, which keeps the borders of packets, so a packet is one message and needs
no framing. JSON and not pickle: a worker reads bytes from the network, and must not be able to make the main process run
code.

The first element of an array is the record's name, the others are its fields in order. The events of
`dialer.core.events` travel as they are.
"""

import json
import types
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, Final, Union, cast, get_args, get_origin, get_type_hints

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
Command = Begin | SetTrunk | DropTrunk | Dial | HangUp | MediaOrder | Ping | Retire
Report = Pong | RegistrationChanged | TrunkFailed | Failed | LegEvent
Message = Command | Report


def encode(message: Message) -> bytes:
    """The packet for `message`."""
    return json.dumps([type(message).__name__, *_plain(message)], ensure_ascii=False, separators=(",", ":")).encode()


def decode(packet: bytes) -> Message:
    """The message in `packet`. Raises BadMessage."""
    try:
        array = json.loads(packet)
        name, *values = array
        reader = _READERS[name]
    except (ValueError, TypeError, KeyError) as fault:
        raise BadMessage(f"not a message: {packet[:80]!r}") from fault
    return cast("Message", reader(values))


def _plain(record: object) -> list[object]:
    values = [getattr(record, item.name) for item in fields(cast("Any", record))]
    return [_plain(value) if is_dataclass(value) else value for value in values]


_Reader = Callable[[object], object]


def _reader(kind: object) -> _Reader:
    """What turns a JSON value back into `kind`, checking its type."""
    kind = getattr(kind, "__supertype__", kind)  # a NewType is its supertype at run time
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:
        inner = _reader(next(argument for argument in arguments if argument is not type(None)))
        return lambda value: None if value is None else inner(value)
    if origin is list:
        return _list_reader(_reader(arguments[0]))
    if origin is dict:
        return _dict_reader(_reader(arguments[0]), _reader(arguments[1]))
    if not isinstance(kind, type):
        raise TypeError(f"no message can hold a {kind}")
    if is_dataclass(kind):
        return _record_reader(kind)
    return _enum_reader(kind) if issubclass(kind, Enum) else _scalar_reader(kind)


def _scalar_reader(kind: type) -> _Reader:
    accepted = (int, float) if kind is float else (kind,)

    def read(value: object) -> object:
        if type(value) not in accepted:
            raise BadMessage(f"expected {kind.__name__}, found {value!r}")
        return value

    return read


def _enum_reader(kind: type[Enum]) -> _Reader:
    def read(value: object) -> object:
        try:
            return kind(value)
        except ValueError as fault:
            raise BadMessage(f"expected {kind.__name__}, found {value!r}") from fault

    return read


def _list_reader(item: _Reader) -> _Reader:
    def read(value: object) -> object:
        if not isinstance(value, list):
            raise BadMessage(f"expected an array, found {value!r}")
        return [item(held) for held in value]

    return read


def _dict_reader(key: _Reader, item: _Reader) -> _Reader:
    def read(value: object) -> object:
        if not isinstance(value, dict):
            raise BadMessage(f"expected an object, found {value!r}")
        return {key(name): item(held) for name, held in value.items()}

    return read


def _record_reader(kind: type) -> _Reader:
    hints = get_type_hints(kind)
    readers = [_reader(hints[item.name]) for item in fields(cast("Any", kind))]

    def read(values: object) -> object:
        if not isinstance(values, list) or len(values) != len(readers):
            raise BadMessage(f"{kind.__name__} has {len(readers)} fields: {values!r}")
        return kind(*[read_one(value) for read_one, value in zip(readers, values, strict=True)])

    return read


_KINDS: Final[tuple[type, ...]] = (
    *(Begin, SetTrunk, DropTrunk, Dial, HangUp, Ping, Retire),
    *(Play, StopPlaying, Record, StopRecording, Listen, StopListening),
    *(Pong, RegistrationChanged, TrunkFailed, Failed),
    *(InviteSent, NoReply, Rang, Answered, LegEnded, LegRefused, LegLost, PlayEnded, DigitPressed, Heard, RecordEnded),
)
_READERS: Final[dict[str, _Reader]] = {kind.__name__: _record_reader(kind) for kind in _KINDS}
