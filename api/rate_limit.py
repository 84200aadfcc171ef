"""How often a token may ask: a bucket for each, refilled evenly, so that one runaway program leaves room for the others."""

import math
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus

from api.problems import Problem

# A program may fall silent and then ask so many seconds' worth at once.
BURST_SECONDS = 2.0
_MOST_TOKENS = 10_000


class RateLimit:
    """`per_second` requests of each token; `clock` gives monotonic seconds."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._burst = max(1.0, per_second * BURST_SECONDS)
        self._clock = clock
        self._buckets: OrderedDict[int, tuple[float, float]] = OrderedDict()

    def take(self, token: int) -> None:
        """Count one request. Raises the problem 429 with Retry-After (RFC 6585, 4) when the token has none left."""
        now = self._clock()
        level, at = self._buckets.pop(token, (self._burst, now))
        level = min(self._burst, level + (now - at) * self._per_second)
        allowed = level >= 1
        self._buckets[token] = (level - 1 if allowed else level, now)
        if len(self._buckets) > _MOST_TOKENS:
            self._buckets.popitem(last=False)
        if not allowed:
            seconds = math.ceil((1 - level) / self._per_second)
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"This token may ask {self._per_second:g} times a second (limits.requests_per_second)",
                headers={"Retry-After": str(max(1, seconds))},
            )
