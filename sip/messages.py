"""What the pool and its workers say to each other, as packets of `sip.packets`.

The events of `dialer.core.events` travel as they are.
"""

from dataclasses import dataclass, field
from typing import Final, cast

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
    Referred,
)
from dialer.core.model import LegId
from dialer.log_lines import LogStyle
from dialer.ports import WireMessage
from sip.packets import Packets
from sip.trunk import TrunkProfile


@dataclass(frozen=True, slots=True)
class Begin:
    """The first message to a worker: what it is to bind and how many legs it may carry.

    `sip_port` 0 lets the kernel choose. RTP ports are `rtp_port` to `rtp_port + rtp_ports - 1`, of this worker alone. The
    DSCPs (RFC 2474) mark what leaves. `log` is how the worker writes its log. `nameservers` (address, port) are asked for
    names that far ends put into their headers.
    """

    sip_port: int
    rtp_port: int
    rtp_ports: int
    max_legs: int
    media_directory: str
    signalling_dscp: int = 24
    media_dscp: int = 46
    log: LogStyle = LogStyle()  # noqa: RUF009 - frozen
    nameservers: list[tuple[str, int]] = field(default_factory=list)


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
    """Send an INVITE for `leg` now, to `number` or to `uri`. `beside`: a leg of this worker that it belongs to.

    `ordered_at` is the main process's CLOCK_MONOTONIC, which is the worker's, too.
    """

    leg: LegId
    trunk: str
    number: str
    caller_id: str
    sip_call_id: str
    ordered_at: float
    uri: str = ""
    beside: LegId | None = None


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
class JoinStream:
    """Connect the audio of `leg` both ways with the line that comes along (`sip.stream.line`)."""

    leg: LegId
    sample_rate: int


@dataclass(frozen=True, slots=True)
class NotJoined:
    """The leg's audio cannot be connected with a stream; its line is closed."""

    leg: LegId
    reason: str


@dataclass(frozen=True, slots=True)
class PartStream:
    """Let the leg and its stream hear each other no more."""

    leg: LegId


@dataclass(frozen=True, slots=True)
class Bridge:
    """Join the audio of two legs, and pass keys from each to the other, until one ends."""

    leg: LegId
    other: LegId


@dataclass(frozen=True, slots=True)
class Refer:
    """Send a REFER on `leg`, to have its far side call `number` or `uri`; `Referred(token)` follows."""

    leg: LegId
    token: int
    number: str
    uri: str


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
class Unconfirmed:
    """The far side may not know of the end that is told next: the leg's connection has closed, or has fallen silent."""

    leg: LegId


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker's stack did not start; it leaves after this."""

    reason: str


MediaOrder = Play | StopPlaying | Record | StopRecording | Listen | StopListening | JoinStream | PartStream
"""What is ordered of a leg's audio."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Report the messages whose Call-ID begins with one of these (`WireMessage`), no others; none: stop."""

    call_ids: list[str]


Command = Begin | Speak | SetTrunk | DropTrunk | Dial | HangUp | MediaOrder | Bridge | Refer | Ping | Retire | Trace
Report = Pong | RegistrationChanged | TrunkFailed | Failed | NotJoined | Unconfirmed | WireMessage | LegEvent
Message = Command | Report


_KINDS: Final[tuple[type, ...]] = (
    *(Begin, Speak, SetTrunk, DropTrunk, Dial, HangUp, Ping, Retire, Trace, WireMessage),
    *(Play, StopPlaying, Record, StopRecording, Listen, StopListening, JoinStream, PartStream, Bridge, Refer),
    *(Pong, RegistrationChanged, TrunkFailed, Failed, NotJoined, Unconfirmed),
    *(InviteSent, NoReply, Rang, Answered, LegEnded, LegRefused, LegLost),
    *(PlayEnded, DigitPressed, Heard, RecordEnded, Referred),
)
_PACKETS: Final = Packets(_KINDS)


def encode(message: Message) -> bytes:
    """The line for `message`, without its end."""
    return _PACKETS.encode(message)


def decode(line: bytes) -> Message:
    """The message in `line`. Raises BadMessage."""
    return cast("Message", _PACKETS.decode(line))
