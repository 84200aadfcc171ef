"""The event loop of the service: asyncio's own, with timers that keep the microsecond.

epoll_wait counts in whole milliseconds and Python rounds up, so that a timer is 0.6 ms late as a rule. That is more than
pacing may catch up at a short stagger: at 100 calls a second each delay would stay for good and the rate be lost.
"""

import asyncio
import select
import selectors
from selectors import SelectorKey

# What select() can be asked about.
_FD_SETSIZE = 1024


class PreciseSelector(selectors.EpollSelector):
    """epoll that waits to the microsecond: select() is asked when its own descriptor becomes readable."""

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """See `selectors.BaseSelector`."""
        descriptor = self.fileno()
        if timeout is None or timeout <= 0 or descriptor >= _FD_SETSIZE:
            return super().select(timeout)
        try:
            select.select((descriptor,), (), (), timeout)
        except InterruptedError:
            return []
        return super().select(0)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """For `asyncio.Runner(loop_factory=...)`."""
    return asyncio.SelectorEventLoop(PreciseSelector())
