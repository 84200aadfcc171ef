"""A clock that tests move by hand, and an event loop that lives in its time: waiting costs nothing and nothing sleeps."""

import asyncio
import math
import selectors
from collections.abc import Coroutine
from typing import Any

from dialer.core.model import Mono, Now, WallMs

EPOCH = WallMs(1_740_823_200_000)
"""2025-03-01T10:00:00.000Z"""


class FakeClock:
    """Keeps `dialer.ports.Clock`. Time moves only when told, and by `cost` seconds at each reading."""

    def __init__(self, *, wall: WallMs = EPOCH, mono: float = 5_000.0, cost: float = 0.0) -> None:
        self.mono = mono
        self.cost = cost
        self._wall_at_zero = wall - mono * 1000
        self._slept_ms = 0.0
        self._step_after: tuple[int, int] | None = None
        self.boots = 1

    @property
    def boot(self) -> str:
        return f"boot {self.boots}"

    def now(self) -> Now:
        if self._step_after is not None:
            ms, readings = self._step_after
            self._step_after = (ms, readings - 1) if readings else None
            if not readings:
                self.step_wall(ms)
        self.mono += self.cost
        # Rounded to the microsecond first: 0.1 + 0.2 must not make a millisecond that is not over yet.
        return Now(
            WallMs(math.floor(round(self._wall_at_zero + self._slept_ms + self.mono * 1000, 3))), Mono(self.mono)
        )

    def now_and_offset_ms(self) -> tuple[Now, float]:
        now = self.now()
        return now, self._wall_at_zero

    @property
    def wall(self) -> WallMs:
        """The wall clock, at no cost."""
        return WallMs(math.floor(round(self._wall_at_zero + self._slept_ms + self.mono * 1000, 3)))

    def advance(self, seconds: float) -> None:
        self.mono += seconds

    def advance_to(self, mono: float) -> None:
        """Move forward to `mono`; nothing when that is past."""
        self.mono = max(self.mono, mono)

    def step_wall(self, ms: float) -> None:
        """Somebody sets the wall clock, or it slews by so much."""
        self._wall_at_zero += ms

    def step_wall_after(self, ms: int, readings: int) -> None:
        """Somebody sets the wall clock when it has been read so many more times."""
        self._step_after = ms, readings

    def suspend(self, seconds: float) -> None:
        """The machine sleeps: the monotonic clock stands still meanwhile."""
        self._slept_ms += seconds * 1000


# What a loop does at one instant before it counts as never at rest.
ROUNDS_AT_ONE_INSTANT = 100_000


class _Selector(selectors.SelectSelector):
    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock
        self._since, self._rounds = clock.mono, 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if self._clock.mono != self._since:
            self._since, self._rounds = self._clock.mono, 0
        self._rounds += 1
        if self._rounds > ROUNDS_AT_ONE_INSTANT:
            self._rounds = 0  # whoever closes the loop needs it once more
            raise AssertionError("the loop is never at rest: something wakes again and again at one instant")
        if not ready:
            if timeout is None:
                raise AssertionError("nothing is scheduled any more: the loop would wait for ever")
            self._clock.advance(max(timeout, 0))
        return ready


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """An event loop on a `FakeClock`: where it would sleep, it moves the clock."""

    def __init__(self, clock: FakeClock) -> None:
        self._fake = clock
        super().__init__(_Selector(clock))

    def time(self) -> float:
        return self._fake.mono


def run_in_fake_time(clock: FakeClock, main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end on a `FakeTimeLoop`."""
    with asyncio.Runner(loop_factory=lambda: FakeTimeLoop(clock)) as runner:
        runner.run(main)
