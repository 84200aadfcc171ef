"""The machine's clocks, for everything that is handed a `dialer.ports.Clock`."""

import select
import time
from pathlib import Path

from dialer.core.model import Mono, Now, WallMs

_READ_TOGETHER_NS = 1_000_000


class SystemClock:
    """Keeps `dialer.ports.Clock` by the operating system: CLOCK_REALTIME cut to milliseconds, and CLOCK_MONOTONIC."""

    @property
    def boot(self) -> str:
        """As `boot_id`."""
        return boot_id()

    def now(self) -> Now:
        """This instant. `mono` is `time.monotonic`, which asyncio's loop uses too."""
        return Now(wall=WallMs(time.time_ns() // 1_000_000), mono=Mono(time.monotonic()))

    def now_and_offset_ms(self) -> tuple[Now, float]:
        """As `now`, with the wall clock minus CLOCK_BOOTTIME: they are read until nothing came in between for a millisecond."""
        while True:
            before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            wall, mono = time.time_ns(), time.monotonic()
            after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            if after - before < _READ_TOGETHER_NS:
                return Now(wall=WallMs(wall // 1_000_000), mono=Mono(mono)), (wall - after) / 1e6


def pause(seconds: float) -> None:
    """Keep this thread waiting."""
    # Not time.sleep(): with a clock that is set by libfaketime it fails where this process was late itself.
    select.select((), (), (), seconds)


def boot_id() -> str:
    """What is different after each start of the machine; CLOCK_BOOTTIME counts from there."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
