"""How often somebody may ask: a bucket for each, refilled evenly, so that one runaway program leaves room for the others."""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from http import HTTPStatus

from api.problems import Problem
from dialer.core.amounts import amount

# A program may fall silent and then ask so many seconds' worth at once.
BURST_SECONDS = 2.0
_MOST_BUCKETS = 10_000


class RateLimit:
    """`per_second` requests of each; `clock` gives monotonic seconds.

    `burst` requests may come at once; left out, two seconds' worth. `refusal` is what those who ask too often are told.
    """

    def __init__(
        self,
        per_second: float,
        clock: Callable[[], float],
        *,
        burst: float | None = None,
        refusal: str | None = None,
    ) -> None:
        self._per_second = per_second
        self._burst = max(1.0, per_second * BURST_SECONDS) if burst is None else burst
        self._clock = clock
        self._refusal = (
            refusal or f"This token may ask {amount(per_second, 'time')} a second (limits.requests_per_second)"
        )
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, who: Hashable) -> None:
        """Count one request. Raises the problem 429 with Retry-After (RFC 6585, 4) when there is none left."""
        now = self._clock()
        level, at = self._buckets.pop(who, (self._burst, now))
        level = min(self._burst, level + (now - at) * self._per_second)
        allowed = level >= 1
        self._buckets[who] = (level - 1 if allowed else level, now)
        if len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)
        if not allowed:
            seconds = math.ceil((1 - level) / self._per_second)
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                self._refusal,
                headers={"Retry-After": str(max(1, seconds))},
            )
