"""The machine's clocks, for everything that is handed a `dialer.ports.Clock`."""

import time

from dialer.core.model import Mono, Now, WallMs


class SystemClock:
    """Keeps `dialer.ports.Clock` by the operating system: CLOCK_REALTIME cut to milliseconds, and CLOCK_MONOTONIC."""

    def now(self) -> Now:
        """This instant. `mono` is `time.monotonic`, which asyncio's loop uses too."""
        return Now(wall=WallMs(time.time_ns() // 1_000_000), mono=Mono(time.monotonic()))
