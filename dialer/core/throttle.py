"""How much of its CPS a trunk is given: less while it says that it is overloaded, and soon all of it again.

Worked example: a trunk of 20 CPS answers 503 to three different numbers within 10 s, while other calls ring. It gets 10 CPS
from then on, 5 if three more are refused a second later, and never less than 1.25 (a sixteenth). Left in peace it gains 2 % of
its CPS each second: from 10 CPS it is back at 20 after 25 s.
"""

from collections import deque

from dialer.core.model import Mono

OVERLOADED = frozenset({429, 503})
DIFFERENT_NUMBERS = 3  # one number's 503 may be that number's
WINDOW_SECONDS = 10.0
LEAST_SHARE = 1 / 16
CUT_SECONDS = 1.0  # refusals of INVITEs that were on their way when the last cut was made do not count
GAIN_A_SECOND = 0.02


class Throttle:
    """Additive increase, multiplicative decrease: as for any queue whose length cannot be seen."""

    def __init__(self) -> None:
        self._share = 1.0
        self._cut_at = Mono(float("-inf"))
        self._refused: deque[tuple[Mono, str]] = deque()

    def share(self, now: Mono) -> float:
        """The part of the configured CPS that the trunk takes now: above 0, at most 1."""
        if self._share < 1.0:
            return min(1.0, self._share + GAIN_A_SECOND * (now - self._cut_at))
        return 1.0

    def overloaded(self, number: str, now: Mono) -> None:
        """A call to `number` was refused with one of `OVERLOADED`."""
        if now - self._cut_at < CUT_SECONDS:
            return
        self._refused.append((now, number))
        while self._refused[0][0] < now - WINDOW_SECONDS:
            self._refused.popleft()
        if len({number for _, number in self._refused}) >= DIFFERENT_NUMBERS:
            self._share = max(LEAST_SHARE, self.share(now) / 2)
            self._cut_at = now
            self._refused.clear()
