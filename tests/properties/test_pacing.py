"""Stagger, CPS and channels hold at the actual departures, however late the loop is; and a backlog drains at its pace."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from dialer.core.model import Mono, Trunk
from dialer.core.pacing import GUARD_SECONDS, Interval, Pacing, Sent, tolerance_of

AHEAD = 0.010


@dataclass
class Loop:
    """Plans departures a little ahead and fires them when a turn comes, as `Attempts` does."""

    pacing: Pacing
    route: list[str]
    stagger: Interval
    now: float = 0.0
    left: list[tuple[str, float]] = field(default_factory=list)
    up: list[str] = field(default_factory=list)
    most: int = 0
    _planned: list[tuple[float, int, str, Sent]] = field(default_factory=list)
    _ids: Iterator[int] = field(default_factory=count)

    def turn(self, backlog: int) -> int:
        """Fire what is due, then plan; how many were planned."""
        self._fire()
        planned = 0
        while planned < backlog:
            admission = self.pacing.next_dial_time(self.route, Mono(self.now))
            if admission is None:
                break
            at = max(self.now, admission.at, self.stagger.earliest())
            if at > self.now + AHEAD:
                break
            sent = self.pacing.take(admission.trunk, Mono(at))
            self.stagger.take(sent)
            heapq.heappush(self._planned, (at, next(self._ids), admission.trunk, sent))
            planned += 1
        self._fire()
        return planned

    def next_turn(self) -> float:
        times = [self._planned[0][0]] if self._planned else []
        admission = self.pacing.next_dial_time(self.route, Mono(self.now))
        if admission is not None:
            times.append(max(admission.at, self.stagger.earliest()) - AHEAD)
        return max(self.now, min(times, default=self.now))

    def end(self, index: int) -> None:
        if self.up:
            self.pacing.release(self.up.pop(index % len(self.up)))

    def _fire(self) -> None:
        while self._planned and self._planned[0][0] <= self.now:
            at, _, trunk, sent = heapq.heappop(self._planned)
            earliest = sent.earliest()
            if earliest > at:
                heapq.heappush(self._planned, (earliest, next(self._ids), trunk, sent))
                continue
            sent.left(Mono(self.now))
            self.left.append((trunk, self.now))
            self.up.append(trunk)


def assert_kept(departures: list[float], per_second: float) -> None:
    interval, most = 1 / per_second, max(1, int(per_second))
    slack = tolerance_of(interval) + 1e-9
    assert all(later - sooner >= interval - slack for sooner, later in pairwise(departures))
    for sooner, later in zip(departures, departures[most:], strict=False):
        assert later - sooner > 1, f"more than {most} in a sliding second"


rates = st.sampled_from([0.7, 1.0, 2.5, 5.0, 20.0, 150.0, 400.0])
lateness = st.one_of(st.just(0.0), st.floats(0, 0.004), st.floats(0, 0.7))
steps = st.lists(st.tuples(lateness, st.integers(0, 3), st.integers(0, 40)), min_size=5, max_size=120)


@given(rates, rates, st.sampled_from([0.0, 0.002, 0.006, 0.05, 0.2]), st.integers(1, 8), st.integers(1, 12), steps)
@settings(max_examples=250, deadline=None)
def test_no_limit_is_broken_by_late_turns_and_random_ends(
    rate: float, spare_rate: float, stagger: float, channels: int, machine: int, happening: list[tuple[float, int, int]]
) -> None:
    trunks = [Trunk("pbx", channels, rate), Trunk("spare", 2, spare_rate)]
    loop = Loop(Pacing(trunks, machine), ["pbx", "spare"], Interval(stagger))
    for late, ends, backlog in happening:
        loop.now = loop.next_turn() + late + 1e-7
        loop.turn(backlog)
        assert loop.up.count("pbx") <= channels
        assert loop.up.count("spare") <= 2
        assert len(loop.up) <= machine
        for index in range(ends):
            loop.end(index * 7)
    for trunk in trunks:
        assert_kept([at for name, at in loop.left if name == trunk.name], trunk.calls_per_second)
    slack = tolerance_of(stagger) + 1e-9
    assert all(later - sooner >= stagger - slack for (_, sooner), (_, later) in pairwise(loop.left))


@given(st.sampled_from([1.0, 3.0, 20.0, 150.0]), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_jitter_on_the_way_to_the_wire_breaks_no_sliding_second(rate: float, seed: int) -> None:
    dice = Random(seed)
    loop = Loop(Pacing([Trunk("pbx", 10_000, rate)], 10_000), ["pbx"], Interval(0))
    while len(loop.left) < 3 * rate + 5:
        loop.now = loop.next_turn() + 1e-7 + dice.choice([0, 0, 0.001, 0.03])
        loop.turn(1000)
    wire = [at + dice.uniform(0, GUARD_SECONDS) for _, at in loop.left]
    most = int(rate)
    assert all(later - sooner >= 1 for sooner, later in zip(wire, wire[most:], strict=False))


@given(st.sampled_from([2.0, 5.0, 20.0, 50.0]), st.sampled_from([0.0, 0.1, 0.5]), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_a_backlog_drains_at_its_pace_without_drift(rate: float, stagger: float, seed: int) -> None:
    dice = Random(seed)
    loop = Loop(Pacing([Trunk("pbx", 10_000, rate)], 10_000), ["pbx"], Interval(stagger))
    calls = 300
    while len(loop.left) < calls:
        loop.now = loop.next_turn() + 1e-7 + dice.uniform(0, min(0.0009, 0.04 / rate))
        loop.turn(calls - len(loop.left))
    pace = max(1 / rate, stagger)
    took, ideal = loop.left[calls - 1][1], (calls - 1) * pace
    # A trunk that is always busy gives away the guard of each second, and what the turns in it were late.
    assert ideal - 0.003 <= took <= ideal * (1 + GUARD_SECONDS + 0.005 if pace == 1 / rate else 1) + 0.003
