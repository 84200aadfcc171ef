"""An attempt under way: what is known of it until it ends."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from dialer.core.attempt import Event, State, advance
from dialer.core.disposition import Evidence, Verdict, Why
from dialer.core.events import LegEnded
from dialer.core.lanes import Lane
from dialer.core.model import CallId, CallRecord, LegId, Mono, WallMs
from dialer.core.pacing import Sent

# The pauses before technical retries, once every trunk of the playbook has refused. They use no recall.
TECHNICAL_RETRY_SECONDS = (5.0, 15.0, 45.0)
# A trunk that asks for more than this is not worth keeping an attempt open for.
RETRY_AFTER_MAX_SECONDS = 3600.0
# A worker without a free place (its last leg's peer is silent) usually has one again soon.
NO_PLACE_RETRY_SECONDS = 0.5


class Timer(StrEnum):
    """The times that an attempt waits for."""

    FIRE = "fire"
    RETRY = "retry"
    RING = "ring"
    TALK = "talk"
    WAIT = "wait"
    UNHEARD = "unheard"
    DOUBT = "doubt"


@dataclass(slots=True, eq=False)
class LiveAttempt:
    """Mutable, owned by `Dispatch`. `trunk_index` is the trunk of the route in use; `rounds` technical retries were spent;
    `retry_after_s` is the longest wait that a trunk has asked for in this round.

    `anchor` is what the recall ladder counts from. `stored`: its latest INVITE is on disk and may leave. `departure` is that
    INVITE's place in the order in which the trunk's INVITEs left.
    """

    call: CallRecord
    lane: Lane
    number: int
    due_at: WallMs
    anchor: WallMs
    trunk: str
    fire_at: Mono
    sip_call_id: str
    state: State = State.ARMED
    trunk_index: int = 0
    rounds: int = 0
    retry_after_s: float = 0.0
    invites: int = 1
    stored: bool = False
    leg: LegId | None = None
    departure: int = 0
    sent: Sent | None = None
    dialed: bool = False
    rang: bool = False
    answered: bool = False
    asked: Why | None = None
    may_recall: bool = True

    @property
    def id(self) -> CallId:
        """The call's id: a call has one attempt at a time."""
        return self.call.id

    @property
    def holds_channel(self) -> bool:
        """True from being armed until the leg's real end."""
        return self.state not in {State.WAITING, State.ENDED}

    def advance(self, event: Event) -> bool:
        """Move on; False when the event is late."""
        after = advance(self.state, event)
        if after is None:
            return False
        self.state = after
        return True

    def evidence(self, end: LegEnded) -> Evidence:
        """What was seen of the leg that has ended."""
        return Evidence(
            sip_status=end.sip_status,
            by=end.by,
            q850=end.q850,
            rang=self.rang,
            answered=self.answered,
            asked=self.asked,
            phrase=end.reason,
        )

    def avoid_dead_trunk(self, usable: Callable[[str], bool]) -> None:
        """Where the trunk is not usable now, take the first of the route that is; none: it is waited for."""
        if not usable(self.trunk):
            for index, name in enumerate(self.lane.route):
                if usable(name):
                    self.trunk_index, self.trunk = index, name
                    return

    def next_invite(
        self, verdict: Verdict, retry_after_s: float | None, usable: Callable[[str], bool]
    ) -> tuple[str, float] | None:
        """The trunk and the pause in seconds of the technical retry after this refusal; None: no (further) one.

        The playbook's next trunk follows at once; those that are not `usable` are passed over. When all have refused, the
        round begins again after 5, 15 and 45 s, or after Retry-After where that is longer.
        """
        if not verdict.another_invite:
            return None
        route = self.lane.route
        self.retry_after_s = max(self.retry_after_s, retry_after_s or 0)
        for index in range(self.trunk_index + 1, len(route)):
            if usable(route[index]):
                self.trunk_index = index
                return route[index], 0.0
        if self.rounds >= len(TECHNICAL_RETRY_SECONDS) or self.retry_after_s > RETRY_AFTER_MAX_SECONDS:
            return None
        pause = max(TECHNICAL_RETRY_SECONDS[self.rounds], self.retry_after_s)
        self.retry_after_s = 0.0
        self.rounds += 1
        self.trunk_index = 0
        return route[0], pause
