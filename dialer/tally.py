"""What was done since the start, for metrics.

What the engine has done is counted from the same changes that go to the disk, so that nothing counts twice.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from dialer.core.changes import (
    AgentEnded,
    AttemptAnswered,
    AttemptArmed,
    AttemptDialed,
    AttemptEnded,
    AttemptRinging,
    Change,
)
from dialer.core.model import CallId, WallMs

PDD_BOUNDS = (0.25, 0.5, 1, 2, 3, 5, 8, 12, 20)
RING_BOUNDS = (1, 2, 5, 10, 15, 20, 30, 45, 60, 120)
TALK_BOUNDS = (1, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
LAG_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30, 300)
COMMIT_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)


class Histogram:
    """How many values were at or below each bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count one value; what is below zero (a clock that was set) counts as zero."""
        value = max(0.0, value)
        self.sum += value
        for i, bound in enumerate(self.bounds):
            if value <= bound:
                self._counts[i] += 1
                return
        self._counts[-1] += 1

    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus has them: (le, how many up to it), the last of them +Inf."""
        total, found = 0, []
        for bound, count in zip((*map(str, map(float, self.bounds)), "+Inf"), self._counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


@dataclass(slots=True)
class _Times:
    dialed_at: WallMs | None = None
    ringing_at: WallMs | None = None
    answered_at: WallMs | None = None


@dataclass(slots=True)
class Tally:
    """`pdd`: from the INVITE to the first sound of ringing or the answer. `ring`: from the first 18x to the answer or end.

    `talk`: from the answer to the end. `lag`: from an attempt's due time to the time that its INVITE was armed for. `commit`:
    one transaction, fsync included.
    """

    dispositions: Counter[str] = field(default_factory=Counter)
    responses: Counter[int] = field(default_factory=Counter)
    pdd: Histogram = field(default_factory=lambda: Histogram(PDD_BOUNDS))
    ring: Histogram = field(default_factory=lambda: Histogram(RING_BOUNDS))
    talk: Histogram = field(default_factory=lambda: Histogram(TALK_BOUNDS))
    lag: Histogram = field(default_factory=lambda: Histogram(LAG_BOUNDS))
    commit: Histogram = field(default_factory=lambda: Histogram(COMMIT_BOUNDS))
    _live: dict[CallId, _Times] = field(default_factory=dict)

    def take(self, change: Change) -> None:
        """Count one change."""
        match change:
            case AttemptArmed():
                self.lag.add((change.fire_at - change.due_at) / 1000)
                self._live[change.call] = _Times()
            case AttemptDialed():
                times = self._live.setdefault(change.call, _Times())
                times.dialed_at = times.dialed_at or change.at
            case AttemptRinging():
                self._heard(change.call, change.at)
            case AttemptAnswered():
                times = self._heard(change.call, change.at)
                times.answered_at = change.at
                if times.ringing_at is not None:
                    self.ring.add((change.at - times.ringing_at) / 1000)
            case AttemptEnded():
                self._end(change)
            case AgentEnded(sip_status=int(status)):
                self.responses[status] += 1

    def _heard(self, call: CallId, at: WallMs) -> _Times:
        times = self._live.setdefault(call, _Times())
        if times.ringing_at is None and times.dialed_at is not None:
            self.pdd.add((at - times.dialed_at) / 1000)
            times.ringing_at = at
        return times

    def _end(self, change: AttemptEnded) -> None:
        self.dispositions[change.disposition.value] += 1
        if change.sip_status is not None:
            self.responses[change.sip_status] += 1
        times = self._live.pop(change.call, None)
        if times is not None and times.answered_at is not None:
            self.talk.add((change.at - times.answered_at) / 1000)
        elif times is not None and times.ringing_at is not None:
            self.ring.add((change.at - times.ringing_at) / 1000)


@dataclass(slots=True)
class Backups:
    """How the backups on the timer go.

    `succeeded_at` is when the newest good one was begun, by this process or one before it, `failed_at` when one failed last;
    None: never. `failures` are of this process, `seconds` and `size_bytes` of its newest good one; 0: there was none yet.
    """

    succeeded_at: WallMs | None = None
    failed_at: WallMs | None = None
    failures: int = 0
    seconds: float = 0.0
    size_bytes: int = 0
