"""What happened to a leg, as the SIP floor reports it. Times are the worker's own, taken when the stack told it."""

from dataclasses import dataclass, field
from enum import StrEnum

from dialer.core.model import LegId, WallMs


class EndedBy(StrEnum):
    """Who ended a leg: the far side's message, our own order, or nobody (a timer or a transport of ours)."""

    FAR = "far"
    US = "us"
    STACK = "stack"


@dataclass(frozen=True, slots=True)
class InviteSent:
    """The INVITE is on the wire. `dialog` is what a later process would need to end this dialog (opaque here)."""

    leg: LegId
    at: WallMs
    dialog: str = ""


@dataclass(frozen=True, slots=True)
class NoReply:
    """The INVITE left some seconds ago, was repeated since, and nothing at all came back. The leg goes on."""

    leg: LegId
    at: WallMs


@dataclass(frozen=True, slots=True)
class Rang:
    """The first 18x (180 to 189) arrived; `early_media` when it brought a session description."""

    leg: LegId
    at: WallMs
    sip_status: int
    early_media: bool = False
    dialog: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """CONFIRMED was reached: our ACK to a 200 is out. A 200 alone is not an answer."""

    leg: LegId
    at: WallMs
    dialog: str = ""


@dataclass(frozen=True, slots=True)
class LegEnded:
    """The leg is over and its place in the stack is free: the far end of this channel can carry another call.

    `sip_status` is the last response to the INVITE that came over the wire: the final one, or a provisional when the leg
    ended without (a 100 that nothing followed, a BYE before the answer); 0 when nothing came at all. `q850` comes from a
    Reason header of the final response or BYE (RFC 3326); None without one. `retry_after_s` None without the header.
    `reason` is the far side's phrase or the stack's, for people.
    """

    leg: LegId
    at: WallMs
    by: EndedBy
    sip_status: int = 0
    q850: int | None = None
    retry_after_s: int | None = None
    reason: str = ""
    rtp: dict[str, float] | None = None

    @property
    def final_status(self) -> int | None:
        """The final response; None when the far side sent none."""
        return self.sip_status if self.sip_status >= 200 else None


@dataclass(frozen=True, slots=True)
class LegRefused:
    """The worker could not place the leg and nothing went to the wire (no free place, an address that does not resolve).

    `transient`: trying again soon on the same trunk may help; no attempt at reaching the far side was made.
    """

    leg: LegId
    at: WallMs
    reason: str
    transient: bool

    def as_end(self) -> LegEnded:
        """The same as an end of which nothing was seen on the wire."""
        return LegEnded(self.leg, self.at, EndedBy.STACK, reason=self.reason)


@dataclass(frozen=True, slots=True)
class LegLost:
    """The worker process that carried the leg is gone, and what became of the leg is not known."""

    leg: LegId
    at: WallMs
    reason: str


@dataclass(frozen=True, slots=True)
class PlayEnded:
    """The audio that was started under `token` was played to its end (`complete`), or not, with `reason`.

    `leg_over`: because the leg was; its own end follows.
    """

    leg: LegId
    token: int
    complete: bool
    reason: str = ""
    leg_over: bool = False


@dataclass(frozen=True, slots=True)
class DigitPressed:
    """The callee pressed a key: one of 0-9, *, #, A-D (RFC 4733 or SIP INFO). Once for each time it was pressed."""

    leg: LegId
    at: WallMs
    digit: str


@dataclass(frozen=True, slots=True)
class Heard:
    """How loud the callee was, in frames of 20 ms up to `at`: dB below full scale (`dialer.core.frames`).

    Told only while a recording goes on, or while the leg is listened to. Then every frame is there, with the frequency of
    the pure tone that it holds (0: it holds none); else `tones_hz` is empty.
    """

    leg: LegId
    at: WallMs
    levels_db: list[int]
    tones_hz: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RecordEnded:
    """The recording that was started under `token` is a file of so many seconds now; or it failed (0 s) with `reason`.

    `leg_over`: the leg's end ended it; that follows.
    """

    leg: LegId
    token: int
    seconds: float
    reason: str = ""
    leg_over: bool = False


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The stream that was started under `token` is connected."""

    leg: LegId
    token: int


class StreamEnd(StrEnum):
    """What ended a stream: its server, our own order, a connection that broke, or one that never came to be."""

    SERVER = "server"
    STOPPED = "stopped"
    LOST = "lost"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The stream that was started under `token` is over, `by` whom, and for what `reason` where that is a fault.

    `outcome` is what the server said the conversation came to. `dropped_ms` of the callee's audio were not sent, because the
    server did not take them. `leg_over`: because the leg was; its own end follows.
    """

    leg: LegId
    token: int
    by: StreamEnd
    reason: str = ""
    outcome: str = ""
    dropped_ms: int = 0
    leg_over: bool = False


@dataclass(frozen=True, slots=True)
class Referred:
    """The far side's word on the REFER that was sent under `token`, in SIP's own statuses (RFC 3515).

    202 first, when it was taken; then how the call to the agent goes, as NOTIFYs tell. `final`: no other follows (a final 202
    says that there will be no NOTIFY). `refused`: it will not call the agent; the status is of the REFER itself.
    """

    leg: LegId
    at: WallMs
    token: int
    sip_status: int
    reason: str = ""
    final: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True)
class ProgramAnswered:
    """The program that was asked under `token` has answered with `body`, or there is a `fault`.

    `status` is that of HTTP; 0: it did not come to that.
    """

    leg: LegId
    token: int
    status: int
    body: str
    fault: str = ""


Stamped = InviteSent | NoReply | Rang | Answered | LegEnded | LegRefused | LegLost | DigitPressed | Heard | Referred
"""Events that bear the wall-clock time at which a worker saw them."""
TalkEvent = PlayEnded | DigitPressed | Heard | RecordEnded | StreamOpened | StreamEnded | Referred | ProgramAnswered
LegEvent = InviteSent | NoReply | Rang | Answered | LegEnded | LegRefused | LegLost | TalkEvent
