"""The machine's clocks, for everything that is handed a `dialer.ports.Clock`."""

import time
from pathlib import Path

from dialer.core.model import Mono, Now, WallMs

_READ_TOGETHER_NS = 1_000_000


class SystemClock:
    """Keeps `dialer.ports.Clock` by the operating system: CLOCK_REALTIME cut to milliseconds, and CLOCK_MONOTONIC."""

    def now(self) -> Now:
        """This instant. `mono` is `time.monotonic`, which asyncio's loop uses too."""
        return Now(wall=WallMs(time.time_ns() // 1_000_000), mono=Mono(time.monotonic()))

    def offset_ms(self) -> float:
        """Wall clock minus CLOCK_BOOTTIME, to about a millisecond: the two are read until nothing came in between."""
        while True:
            before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            wall = time.time_ns()
            after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            if after - before < _READ_TOGETHER_NS:
                return (wall - after) / 1e6


def boot_id() -> str:
    """What is different after each start of the machine; CLOCK_BOOTTIME counts from there."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
