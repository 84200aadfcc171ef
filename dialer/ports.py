"""What the engine needs of the world, as Protocols. Adapters in `scheduler`, `sip` and `api` keep these promises."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dialer.core.changes import Change
from dialer.core.events import LegEvent
from dialer.core.model import (
    AccountId,
    CallId,
    CallRecord,
    Campaign,
    CampaignId,
    CampaignStatus,
    HeldCall,
    LegId,
    Now,
    OpenAgentLeg,
    OpenAttempt,
    WallMs,
)
from dialer.core.sounds import Sound, Unready


class Clock(Protocol):
    """Both clocks, read together."""

    @property
    def boot(self) -> str:
        """What is another one after each start of the machine: offsets mean something within one."""
        ...

    def now(self) -> Now:
        """This instant. `mono` has the origin of the event loop's clock."""
        ...

    def now_and_offset_ms(self) -> tuple[Now, float]:
        """This instant, and how far that same reading of the wall clock is ahead of one that nobody sets and that runs while
        the machine sleeps.

        Only the offset's changes mean something: a jump says that somebody set the wall clock before this reading.
        """
        ...


@dataclass(frozen=True, slots=True)
class DialOrder:
    """Everything that a worker needs for one INVITE.

    `number` is the normalized phone; the trunk turns it into a Request-URI, unless there is a `uri` to be used as it stands.
    `caller_id` "" means the trunk's own. `sip_call_id` becomes the Call-ID header, so that a PBX's CDR can be joined with ours.
    `beside`: the leg that this one is to be bridged with, in whose worker it must live.
    """

    trunk: str
    number: str
    caller_id: str
    sip_call_id: str
    uri: str = ""
    beside: LegId | None = None


@dataclass(frozen=True, slots=True)
class StreamOrder:
    """Where a call's audio is to go. `start` is the JSON object that the server is told first."""

    url: str
    sample_rate: int
    start: str


class CallControl(Protocol):
    """Places and steers legs. No method blocks or raises for what the far side does: that comes back as `LegEvent`s.

    Every leg that was ordered with `dial` ends in exactly one of `LegEnded`, `LegRefused`, `LegLost`.
    """

    def listen(self, receive: Callable[[LegEvent], None]) -> None:
        """Give every later event to `receive`, on the event loop's thread, in order for each leg."""
        ...

    def dial(self, leg: LegId, order: DialOrder) -> None:
        """Send the INVITE now."""
        ...

    def hang_up(self, leg: LegId) -> None:
        """End the leg: CANCEL before the answer, BYE after it. Unknown or ended legs are ignored."""
        ...

    def play(self, leg: LegId, token: int, audio: str) -> None:
        """Play the file `audio` of the media directory to the callee from its start; `PlayEnded(token)` follows."""
        ...

    def stop_playing(self, leg: LegId) -> None:
        """Stop what plays to the leg; its `PlayEnded` follows. Nothing where nothing plays."""
        ...

    def record(self, leg: LegId, token: int, name: str, max_seconds: float) -> None:
        """Write what the callee says to the file `recordings/NAME.wav` of the media directory; `RecordEnded(token)` follows.

        `Heard` is told meanwhile. A recording of the leg that goes on is ended by it.
        """
        ...

    def stop_recording(self, leg: LegId) -> None:
        """End the leg's recording. Nothing where none goes on."""
        ...

    def listen_to(self, leg: LegId) -> None:
        """Tell, as `Heard`, every frame of what the callee says from now on; until `stop_listening` or the leg's end."""
        ...

    def stop_listening(self, leg: LegId) -> None:
        """Tell it no more. Nothing where it is not told."""
        ...

    def stream(self, leg: LegId, token: int, order: StreamOrder) -> None:
        """Connect the leg's audio both ways to a WebSocket server; `StreamOpened(token)`, if it comes to that, and
        `StreamEnded(token)` follow. A leg has one stream at a time.
        """
        ...

    def press_stream_key(self, leg: LegId, digit: str) -> None:
        """Tell the leg's stream of a key. Nothing where there is none."""
        ...

    def stop_stream(self, leg: LegId, reason: str) -> None:
        """End the leg's stream, and tell its server why. Nothing where there is none."""
        ...

    def bridge(self, leg: LegId, other: LegId) -> None:
        """Let two answered legs hear each other, both ways, until one of them ends. The other was dialed `beside` the one.

        Keys that one side presses are passed on to the other. Nothing where one is over.
        """
        ...

    def refer(self, leg: LegId, token: int, number: str, uri: str) -> None:
        """Ask the far side of an answered leg to call `number`, or `uri` where that is not "", in our place (RFC 3515).

        `Referred(token)` follows: once for a refusal or a leg that is over, else with each NOTIFY. The leg itself goes on.
        """
        ...

    def ask(self, trunk: str, ended: Callable[[str | None], None]) -> None:
        """Send the trunk an OPTIONS. `ended` is called once, later, on the event loop's thread.

        With None when the trunk has answered, whatever it said but 408 and 503; else with the reason.
        """
        ...

    def free_places(self) -> int:
        """How many more legs the workers that are up can carry now."""
        ...


@dataclass(frozen=True, slots=True)
class WireMessage:
    """A SIP message that has left (`sent`) or come, without credentials. `peer` is the other side's address and port."""

    at: WallMs
    sent: bool
    transport: str
    peer: str
    sip_call_id: str
    text: str


class SoundLibrary(Protocol):
    """Turns what playbooks play and say into files that `CallControl.play` takes. No method blocks."""

    def prepare(self, sounds: Iterable[Sound]) -> Unready | None:
        """Begin to make what is not at hand; None: all is."""
        ...

    def fetch(self, sound: Sound, ready: Callable[[str | None, str], None]) -> None:
        """Call `ready` with the name of the sound's file, before `fetch` returns where it is at hand.

        None and a reason where it cannot be made.
        """
        ...

    @property
    def beep(self) -> str:
        """The file of the tone after which people speak."""
        ...

    @property
    def ringback(self) -> str:
        """The file of the tone of a phone that rings elsewhere: once, with the pause behind it."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What a program is asked in a call: `body` is a JSON object, `id` its own. Without an answer in time there is none."""

    id: str
    url: str
    body: str
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What a program has answered, with which status of HTTP (0: with none), or the `fault` for which it has not."""

    status: int = 0
    body: str = ""
    fault: str = ""


class Programs(Protocol):
    """Asks other programs what calls are to do next. No method blocks."""

    def ask(self, question: Question, answered: Callable[[Reply], None]) -> None:
        """Post the question. `answered` is called once, later, on the event loop's thread, whatever the program does."""
        ...


@dataclass(frozen=True, slots=True)
class StoredCampaign:
    """A campaign that still has work, with how far it had come. `cursor` first attempts were claimed, `live` are open."""

    campaign: Campaign
    status: CampaignStatus
    cursor: int
    finished: int
    live: int
    last_first_attempt_at: WallMs | None


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event as programs are told it. `position` orders all events, and grows.

    `account`, `campaign` and `call` are public ids; `campaign` is None for a single call, `call` where a campaign is told
    of. `active`: the campaign has not ended. `payload` is the JSON object that goes out, the same wherever it goes.
    """

    position: int
    account_id: AccountId
    account: str
    campaign: str | None
    call: str | None
    active: bool
    recorded_at: WallMs
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """An address that is told its account's events, as the sink `sink`. `secret` signs them; `types` are those that it
    wants, none: all. `failures` deliveries in a row failed; `retry_at` is when the next may be tried, None: at once.
    """

    number: int
    sink: str
    account_id: AccountId
    url: str
    secret: str
    types: frozenset[str]
    failures: int
    retry_at: WallMs | None


class StoreUnavailable(Exception):
    """The database cannot be written now (disk full, I/O error). Nothing of the batch was stored; try again later."""


class Store(Protocol):
    """The durable side of the schedule. All methods run on the loop's thread and return only when done."""

    def apply(self, changes: Sequence[Change]) -> None:
        """Store the changes in one transaction, on disk (fsync) before it returns.

        Raises `StoreUnavailable` and stores none of them when the disk refuses.
        """
        ...

    def call(self, call: CallId) -> CallRecord:
        """The call, as it stands on disk. Raises KeyError for a call that does not exist (or was erased)."""
        ...

    def active_campaigns(self) -> list[StoredCampaign]:
        """Every campaign that is neither completed nor cancelled, or still has an open attempt; by id."""
        ...

    def campaign(self, campaign: CampaignId) -> StoredCampaign:
        """One campaign. Raises KeyError."""
        ...

    def open_attempts(self) -> list[OpenAttempt]:
        """Attempts without an end."""
        ...

    def under_review(self, first: CallId, last: CallId, limit: int) -> list[HeldCall]:
        """Those of the calls `first` to `last` that are under review, by id, `limit` at most.

        Such a call has no timer and the cursor has passed it. A snooze, its end or its campaign's ends its review.
        """
        ...

    def open_agent_legs(self) -> list[OpenAgentLeg]:
        """Legs to agents without an end, whether or not their attempt has one."""
        ...

    def due_timers(self, until: WallMs) -> Iterable[tuple[WallMs, CallId]]:
        """Take all timers with due <= `until`, earliest first. A timer row is given once in a process's life."""
        ...

    def clock_stepped(self, step_ms: int, before: WallMs | None) -> None:
        """The wall clock was set from `before` to `before + step_ms`: move everything that counts elapsed time with it.

        That is every timer, what recalls count from, the slots of campaigns that were launched at `before`, and the noted
        offset. A launch that is still to come stays where it is: it was promised by the wall clock. None: it was set while
        nobody ran, who knows when; launched are campaigns without a time of their own and those of which something was
        begun. Raises `StoreUnavailable`.
        """
        ...

    def noted_offset_ms(self, boot: str) -> float | None:
        """The wall clock's offset as it was noted last; None: never since this start of the machine."""
        ...

    def note_offset(self, boot: str, offset_ms: float) -> None:
        """Keep the offset for the next process, on disk when it returns. Raises `StoreUnavailable`."""
        ...

    def next_timer(self) -> WallMs | None:
        """When to ask for due timers again; None when no timer is stored."""
        ...
