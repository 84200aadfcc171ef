"""What has just happened, for people who watch: how fast campaigns and trunks go, and what attempts came to by the minute.

Counted from the same changes that go to the disk, in a few steps of a dictionary each. Times are of the wall clock; where it
is set, the figures are off for as long as the jump was, and nothing else depends on them.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from dialer.core.changes import AgentArmed, AttemptArmed, AttemptEnded, AttemptRetried, Change
from dialer.core.model import CallId, CampaignId, Disposition, WallMs

K = TypeVar("K", bound=Hashable)

MINUTE_MS = 60_000
CPS_WINDOW_MS = 10_000


class Sliding(Generic[K]):
    """How many of each key there were in the last `window_ms`, to a good approximation.

    What is in the fixed window that goes on, and of the one before it the share that a sliding window would still hold: with a
    window of a minute, 20 in the one before and 5 so far, there were 5 + 20 * 2/3 = 18.3 after twenty seconds.
    """

    def __init__(self, window_ms: int) -> None:
        self._window_ms = window_ms
        self._number = 0
        self._before: Counter[K] = Counter()
        self._so_far: Counter[K] = Counter()

    def add(self, key: K, at: WallMs) -> None:
        """Count one at `at`."""
        self._move_to(at)
        self._so_far[key] += 1

    def count(self, key: K, now: WallMs) -> float:
        """How many of `key` the window that ends now holds."""
        self._move_to(now)
        left = 1 - (now - self._number * self._window_ms) / self._window_ms
        return self._so_far[key] + self._before[key] * min(1.0, max(0.0, left))

    def _move_to(self, at: WallMs) -> None:
        number = at // self._window_ms
        if number > self._number:
            self._before = self._so_far if number == self._number + 1 else Counter()
            self._so_far = Counter()
            self._number = number


@dataclass(slots=True)
class Ended:
    """Attempts of a campaign that ended in the same minute (of Unix time) in the same way.

    `sip_status` 0: no final response came. `last_at`, `call` and `number` are those of the newest.
    """

    campaign: CampaignId
    minute: int
    disposition: Disposition
    sip_status: int
    attempts: int
    last_at: WallMs
    call: CallId
    number: int


class Recent:
    """Fed with what the disk has taken; somebody has to `take_ended` now and then, or it grows."""

    def __init__(self) -> None:
        self.begun: Sliding[CampaignId] = Sliding(MINUTE_MS)
        """Attempts in the last minute, by campaign."""
        self.invites: Sliding[str] = Sliding(CPS_WINDOW_MS)
        """INVITEs in the last ten seconds, by trunk."""
        self._ended: dict[tuple[CampaignId, int, Disposition, int], Ended] = {}

    def stored(self, changes: Sequence[Change]) -> None:
        """Count these."""
        for change in changes:
            match change:
                case AttemptArmed():
                    self.begun.add(change.campaign, change.fire_at)
                    self.invites.add(change.trunk, change.fire_at)
                case AttemptRetried() | AgentArmed():
                    self.invites.add(change.trunk, change.fire_at)
                case AttemptEnded():
                    self._end(change)

    def _end(self, change: AttemptEnded) -> None:
        minute, status = change.at // MINUTE_MS, change.sip_status or 0
        key = change.campaign, minute, change.disposition, status
        ended = self._ended.get(key)
        if ended is None:
            self._ended[key] = Ended(*key, 1, change.at, change.call, change.number)
        else:
            ended.attempts += 1
            ended.last_at, ended.call, ended.number = change.at, change.call, change.number

    @property
    def kinds(self) -> int:
        """How many different ends wait to be taken."""
        return len(self._ended)

    def ended(self) -> list[Ended]:
        """What has ended and was not taken yet."""
        return list(self._ended.values())

    def take_ended(self) -> list[Ended]:
        """The same, and from now on it is the taker's."""
        taken, self._ended = self.ended(), {}
        return taken
