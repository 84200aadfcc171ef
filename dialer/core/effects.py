"""What the engine is asked to do on the wire, once the changes that were told with it are on disk."""

from dataclasses import dataclass

from dialer.core.model import LegId


@dataclass(frozen=True, slots=True)
class Dial:
    """Send the INVITE of a new leg now."""

    leg: LegId
    trunk: str
    number: str
    caller_id: str
    sip_call_id: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the leg: CANCEL or BYE."""

    leg: LegId


@dataclass(frozen=True, slots=True)
class PlayAudio:
    """Play a file of the media directory; its end is reported with `token`."""

    leg: LegId
    token: int
    audio: str


Effect = Dial | HangUp | PlayAudio
