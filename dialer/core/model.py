"""The frozen records that every part speaks of: campaigns, calls, attempts, trunks, and the two kinds of time.

Clocks. `WallMs` is Unix time in whole milliseconds, UTC: what is stored and shown. `Mono` is seconds of a clock that never
steps: what paces. They are different types on purpose; only `Now`, read once for each turn of the loop, relates them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType

from dialer.core.playbook import Playbook

WallMs = NewType("WallMs", int)
Mono = NewType("Mono", float)
AccountId = NewType("AccountId", int)
CampaignId = NewType("CampaignId", int)
CallId = NewType("CallId", int)
LegId = NewType("LegId", int)


@dataclass(frozen=True, slots=True)
class Now:
    """One instant on both clocks."""

    wall: WallMs
    mono: Mono

    def mono_of(self, wall: WallMs) -> Mono:
        """The monotonic time at which the wall clock will show `wall`, if nobody steps it."""
        return Mono(self.mono + (wall - self.wall) / 1000)

    def wall_of(self, mono: Mono) -> WallMs:
        """The wall-clock millisecond that holds `mono`, rounded up so that nothing seems early."""
        return WallMs(self.wall + -int(-(mono - self.mono) * 1000 // 1))


class CampaignStatus(StrEnum):
    """Who moves a campaign on: `scheduled` its first attempt, `running` its calls' ends, `paused` a person."""

    SCHEDULED = "scheduled"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class Disposition(StrEnum):
    """What an attempt came to. The words of the API."""

    ANSWERED = "answered"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    DECLINED = "declined"
    UNREACHABLE = "unreachable"
    INVALID_NUMBER = "invalid_number"
    TRUNK_FAILURE = "trunk_failure"
    MACHINE = "machine"
    INTERRUPTED = "interrupted"
    SUPPRESSED = "suppressed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Trunk:
    """A SIP connection with limits. `max_concurrent_calls` is its channels; `caller_id` what calls show by default.

    `allowed_caller_ids` are those that playbooks may choose (None: any). `options_interval_seconds` is how often it is asked
    whether it is there; 0: only while it is down. `dispositions` holds what final SIP statuses mean on this trunk, where that
    differs from the table in `dialer.core.disposition`.
    """

    name: str
    max_concurrent_calls: int
    calls_per_second: float
    caller_id: str = ""
    options_interval_seconds: float = 0.0
    dispositions: Mapping[int, Disposition] = field(default_factory=dict, hash=False)
    allowed_caller_ids: frozenset[str] | None = None

    def allows(self, caller_id: str | None) -> bool:
        """Whether a playbook that chose this caller id (None: it chose none) may use the trunk."""
        return caller_id is None or self.allowed_caller_ids is None or caller_id in self.allowed_caller_ids


@dataclass(frozen=True, slots=True)
class Campaign:
    """What was accepted, and never changes: call i of it is `first_call + i`, due at `launch_at + i * stagger_ms`.

    `recall_ms` are offsets from the anchor, ascending. `scheduled` says that a launch_at was given: then the anchor of a
    call's recalls is its own slot, else the time of its first INVITE. A single call (POST /call) is a campaign of one.
    No attempt begins at `expires_at` or later (None: at any time). `zones` is where its people may be, where calling hours
    asked for it (`dialer.core.zones`). `token` is the bearer token by which it came (None: not known). `uuid` is the id that
    users follow; None: that of a single call, which they follow by the call's.
    """

    id: CampaignId
    account: AccountId
    launch_at: WallMs
    stagger_ms: int
    first_call: CallId
    size: int
    recall_ms: tuple[int, ...]
    scheduled: bool
    playbook: Playbook
    expires_at: WallMs | None = None
    zones: tuple[tuple[str, ...], ...] = ()
    token: int | None = None
    uuid: str | None = None

    def slot(self, call: CallId) -> WallMs:
        """When the first attempt of `call` is due."""
        return WallMs(self.launch_at + (call - self.first_call) * self.stagger_ms)

    def due_by(self, at: WallMs) -> int:
        """How many of its first attempts are due at `at` or before."""
        if self.launch_at > at:
            return 0
        return self.size if not self.stagger_ms else min(self.size, (at - self.launch_at) // self.stagger_ms + 1)


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call as the store holds it between attempts.

    `attempts` counts those made (ended ones; 0 before the first). `first_dialed_at` is None until an INVITE of attempt 1
    has left. `uuid` is the id that users follow. `contact` holds the contact's values at the call's creation. `finished`
    calls are never dialed again; `suppressed` says that the number is on a do-not-call list now. One that is `under_review`
    may have been dialed in a life of the database that was lost: it waits until a person releases or cancels it. `put_off` is
    why its next attempt was put off (None: it was not; a recall's time is its own).
    """

    id: CallId
    uuid: str
    phone: str
    contact: dict[str, Any] = field(default_factory=dict)
    attempts: int = 0
    first_dialed_at: WallMs | None = None
    suppressed: bool = False
    finished: bool = False
    under_review: bool = False
    put_off: str | None = None


@dataclass(frozen=True, slots=True)
class HeldCall:
    """A call under review: its attempt `number` is due at `due_at`, and may have been made already."""

    id: CallId
    number: int
    due_at: WallMs


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """An attempt that was found without an end when the store was opened: it was in flight when the process died.

    `dialog` is what the SIP floor told of its latest INVITE when that left; "" when nobody lived to tell, so that it may
    have left or not. `withdrawn`: a person had cancelled the call, so that no recall follows.
    """

    call: CallId
    number: int
    due_at: WallMs
    fire_at: WallMs
    dialed_at: WallMs | None
    answered_at: WallMs | None
    trunk: str
    dialog: str = ""
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class OpenAgentLeg:
    """A leg to an agent that was found without an end when the store was opened; as `OpenAttempt`.

    It would have been given up at `until` at the latest.
    """

    call: CallId
    campaign: CampaignId
    number: int
    position: int
    trunk: str
    until: WallMs
    dialog: str = ""
