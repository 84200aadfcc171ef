"""What the pool and the stream process say to each other, as packets of `sip.packets`."""

from dataclasses import dataclass
from typing import Final, cast

from dialer.core.events import StreamEnded, StreamOpened
from dialer.core.model import LegId
from dialer.log_lines import LogStyle
from sip.messages import Ping, Pong
from sip.packets import Packets


@dataclass(frozen=True, slots=True)
class Setup:
    """The first message: whether streams may go to private addresses, what signs their requests ("": nothing), the log."""

    allow_private: bool
    secret: str
    log: LogStyle


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Connect the call whose line comes along to the server at `url`. `start` is the JSON object that it is told first."""

    leg: LegId
    token: int
    url: str
    sample_rate: int
    start: str


@dataclass(frozen=True, slots=True)
class PressKey:
    """The callee pressed a key."""

    leg: LegId
    digit: str


@dataclass(frozen=True, slots=True)
class CloseStream:
    """End the leg's stream, and tell its server why."""

    leg: LegId
    reason: str


Order = Setup | OpenStream | PressKey | CloseStream | Ping
Report = StreamOpened | StreamEnded | Pong

_PACKETS: Final = Packets((Setup, OpenStream, PressKey, CloseStream, Ping, Pong, StreamOpened, StreamEnded))


def encode(message: Order | Report) -> bytes:
    """The packet for `message`."""
    return _PACKETS.encode(message)


def decode(packet: bytes) -> Order | Report:
    """The message in `packet`. Raises BadMessage."""
    return cast("Order | Report", _PACKETS.decode(packet))
