"""An attempt under way: what is known of it until it ends, and what the core has to tell of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from dialer.core.changes import Change
from dialer.core.channels import Outgoing
from dialer.core.disposition import Verdict
from dialer.core.effects import Effect
from dialer.core.lanes import Lane
from dialer.core.model import CallId, CallRecord, WallMs

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
    RANG_OUT = "rang_out"
    TALK = "talk"
    WAIT = "wait"
    UNHEARD = "unheard"
    DOUBT = "doubt"


@dataclass(slots=True)
class Told:
    """What the core has told and the engine has not yet taken: changes for the disk, effects for the wire, in order."""

    changes: list[Change] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class LiveAttempt(Outgoing):
    """Mutable, owned by `Attempts`. `rounds` technical retries were spent; `retry_after_s` is the longest wait that a trunk has
    asked for in this round. `anchor` is what recalls count from, `caller_id` what the callee sees of the latest INVITE.
    `agent_legs` were begun for its transfers.
    """

    call: CallRecord
    lane: Lane
    number: int
    due_at: WallMs
    anchor: WallMs
    caller_id: str = ""
    rounds: int = 0
    retry_after_s: float = 0.0
    dialed: bool = False
    may_recall: bool = True
    agent_legs: int = 0

    @property
    def id(self) -> CallId:
        """The call's id: a call has one attempt at a time."""
        return self.call.id

    @property
    def staggered(self) -> bool:
        """Whether its next INVITE is the first that the callee would see of this campaign, and keeps the stagger."""
        return self.number == 1 and not self.dialed

    def find_trunk(self, usable: Callable[[str], bool]) -> None:
        """Where the trunk is not usable now, or left the route, take the first of the route that is; none: it is waited for."""
        route = self.lane.route
        if self.trunk not in route or not usable(self.trunk):
            waited_for = self.trunk if self.trunk in route else route[0]
            self.trunk = next(filter(usable, route), waited_for)

    def next_invite(
        self, verdict: Verdict, retry_after_s: float | None, usable: Callable[[str], bool]
    ) -> tuple[str, float] | None:
        """The trunk and the pause in seconds of the technical retry after this refusal; None: no (further) one.

        The playbook's next trunk follows at once; those that are not `usable` are passed over. When all have refused, the
        round begins again after 5, 15 and 45 s, or after Retry-After where that is longer.
        """
        if not verdict.another_invite:
            return None
        # A trunk that is configured no more has left the route, but it keeps its place in the playbook.
        route, order = self.lane.route, self.lane.campaign.playbook.trunks
        self.retry_after_s = max(self.retry_after_s, retry_after_s or 0)
        for name in route:
            if order.index(name) > order.index(self.trunk) and usable(name):
                return name, 0.0
        if self.rounds >= len(TECHNICAL_RETRY_SECONDS) or self.retry_after_s > RETRY_AFTER_MAX_SECONDS:
            return None
        pause = max(TECHNICAL_RETRY_SECONDS[self.rounds], self.retry_after_s)
        self.retry_after_s = 0.0
        self.rounds += 1
        return next(iter(route), self.trunk), pause
