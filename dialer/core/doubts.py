"""Numbers that a trunk says do not exist, and that are not marked before the trunk has shown what its word is worth.

A trunk that has lost its routes answers 404 to everything, and the first 404 looks like any other. So a call with such an
answer waits, without a leg or a channel, until one of these:

- a call that left after it has reached somebody: the trunk routes, the number is invalid;
- the trunk's breaker opens: the 404 was the trunk's failure, and is retried as one;
- the trunk is configured anew, or no more: what it said can be held against nothing, and is retried too;
- nothing has left on the trunk for 5 s, and no call that left later is still undecided: there is no more to learn, and the
  trunk is believed; 30 s after the 404 at the latest.

At a call every few seconds, then, all of five numbers in a row are held when the fifth opens the breaker. Below one call in
5 s a sick trunk cannot be told from a list of wrong numbers in time, and up to four are marked before it opens.
"""

from dataclasses import dataclass

from dialer.core.breaker import Breaker, TrunkState
from dialer.core.disposition import Verdict
from dialer.core.events import LegEnded
from dialer.core.live import LiveAttempt
from dialer.core.model import Disposition, Mono
from dialer.core.pacing import Pacing

IDLE_SECONDS = 5.0
LONGEST_SECONDS = 30.0
LOOK_AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Doubt:
    """An attempt that waits for the worth of its trunk's word, with that word. `since` is when it came."""

    attempt: LiveAttempt
    trunk: str
    verdict: Verdict
    end: LegEnded
    since: Mono
    breaker: Breaker

    def settled(self, pacing: Pacing, now: Mono) -> bool | None:
        """True: the trunk is believed; False: it has failed; None: that is not known yet."""
        breaker = self.breaker
        if breaker.state is not TrunkState.UP or pacing.breaker(self.trunk) is not breaker:
            return False
        departure = self.attempt.departure
        if breaker.believes(departure) or now >= self.since + LONGEST_SECONDS:
            return True
        quiet_since = max(self.since, breaker.departed_at)
        if now >= quiet_since + IDLE_SECONDS and not breaker.undecided_after(departure):
            return True
        return None

    def outcome(self, *, believed: bool) -> Verdict:
        """The verdict once it is settled."""
        if believed:
            return self.verdict
        reason = f"{self.verdict.reason}, as this trunk says of every number now"
        return Verdict(Disposition.TRUNK_FAILURE, reason, another_invite=True)
