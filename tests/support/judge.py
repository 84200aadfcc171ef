"""What the called side's log says about the pace: the only evidence that counts."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from sip.lab import Entry


def most_in_any_second(times: Sequence[float]) -> int:
    """The largest number of events in any half-open second."""
    ordered = sorted(times)
    return max((bisect_left(ordered, at + 1.0) - index for index, at in enumerate(ordered)), default=0)


def shortest_gap(times: Sequence[float]) -> float:
    """The least time between two events."""
    ordered = sorted(times)
    return min((later - earlier for earlier, later in pairwise(ordered)), default=float("inf"))


def most_at_once(entries: Sequence[Entry]) -> int:
    """How many calls were under way at the same moment, from INVITE to the end as the called side saw it."""
    moments = [(e.monotonic_at, 1) for e in entries if e.event == "invite"]
    moments += [(e.monotonic_at, -1) for e in entries if e.event == "ended"]
    live = most = 0
    for _, step in sorted(moments):
        live += step
        most = max(most, live)
    return most
