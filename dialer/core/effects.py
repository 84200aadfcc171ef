"""What the engine is asked to do on the wire, and to tell its operator, once the changes that were told with it are on disk."""

from dataclasses import dataclass

from dialer.core.breaker import TrunkState
from dialer.core.model import LegId
from dialer.core.sounds import Sound


@dataclass(frozen=True, slots=True)
class Dial:
    """Send the INVITE of a new leg now: to `number`, or to `uri` as it stands where that is not "".

    `beside`: the leg that it is to be joined with (None: with none), so that both must be in one worker.
    """

    leg: LegId
    trunk: str
    number: str
    caller_id: str
    sip_call_id: str
    uri: str = ""
    beside: LegId | None = None


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


@dataclass(frozen=True, slots=True)
class Speak:
    """Say a text; its end is reported with `token`, as of audio. `voice` "": the server's own."""

    leg: LegId
    token: int
    text: str
    voice: str


@dataclass(frozen=True, slots=True)
class Beep:
    """Play the tone after which people speak; its end is reported with `token`."""

    leg: LegId
    token: int


@dataclass(frozen=True, slots=True)
class RingBack:
    """Play the tone of a phone that rings elsewhere, once; its end is reported with `token`."""

    leg: LegId
    token: int


@dataclass(frozen=True, slots=True)
class Bridge:
    """Let the two legs hear each other, from now until one of them ends."""

    leg: LegId
    other: LegId


@dataclass(frozen=True, slots=True)
class Refer:
    """Ask the leg's far side to call `number` itself, or `uri` where that is not "" (REFER); its word comes with `token`."""

    leg: LegId
    token: int
    number: str
    uri: str


@dataclass(frozen=True, slots=True)
class StopAudio:
    """Stop whatever plays to the leg; its end is reported as of audio that was cut off."""

    leg: LegId


@dataclass(frozen=True, slots=True)
class StartRecording:
    """Write what the callee says to the recording `name`, at most `max_seconds`; its end is reported with `token`."""

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
    """Tell how loud the callee is from now on, frame by frame, as `Heard`."""

    leg: LegId


@dataclass(frozen=True, slots=True)
class StopListening:
    """Tell it no more."""

    leg: LegId


@dataclass(frozen=True, slots=True)
class StartStream:
    """Connect the leg's audio both ways to the WebSocket server at `url`; its opening and end are reported with `token`.

    `start` is a JSON object: what the server is told first.
    """

    leg: LegId
    token: int
    url: str
    sample_rate: int
    start: str


@dataclass(frozen=True, slots=True)
class StreamKey:
    """Tell the leg's stream that the callee pressed a key."""

    leg: LegId
    digit: str


@dataclass(frozen=True, slots=True)
class StopStream:
    """End the leg's stream; `reason` is told to the server."""

    leg: LegId
    reason: str


@dataclass(frozen=True, slots=True)
class AskProgram:
    """Post the question to `url`; its answer, or that there is none in time, is reported with `token`.

    `question_id` is told as the message's id, and is its own. `body` is a JSON object.
    """

    leg: LegId
    token: int
    url: str
    question_id: str
    body: str
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class PrepareSounds:
    """These are about to be played or said: begin to make what is not at hand. Nothing is reported."""

    sounds: tuple[Sound, ...]


@dataclass(frozen=True, slots=True)
class AskTrunk:
    """Send an OPTIONS to the trunk; how it ends is told to `Dispatch.options_ended`."""

    trunk: str


@dataclass(frozen=True, slots=True)
class TrunkMoved:
    """The trunk's state has changed, for `reason` ("" unless it is down)."""

    trunk: str
    state: TrunkState
    reason: str


Effect = (
    Dial
    | HangUp
    | PlayAudio
    | Speak
    | Beep
    | RingBack
    | StopAudio
    | StartRecording
    | StopRecording
    | Listen
    | StopListening
    | StartStream
    | StreamKey
    | StopStream
    | Bridge
    | Refer
    | AskProgram
    | PrepareSounds
    | AskTrunk
    | TrunkMoved
)
