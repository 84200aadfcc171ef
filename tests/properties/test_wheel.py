"""The wheel agrees with a sorted list, whatever is scheduled, cancelled and polled, also at the levels' edges."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from scheduler.wheel import Wheel

SECOND = 1000
BLOCK = 64 * SECOND
SUPERBLOCK = 64 * BLOCK

EDGES = [0, SECOND, BLOCK, SUPERBLOCK, 2 * SUPERBLOCK, 63 * SECOND, 63 * BLOCK, 30 * 24 * 3600 * SECOND]
near_an_edge = st.builds(lambda edge, off: edge + off, st.sampled_from(EDGES), st.integers(-2, 2))
ahead = st.one_of(near_an_edge, st.integers(-5 * SECOND, 3 * BLOCK), st.integers(0, 3 * SUPERBLOCK))
items = st.integers(0, 40)


class Reference:
    """Everything in one list, sorted each time it is asked."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, int, int]] = []
        self.order = 0

    def schedule(self, due: int, item: int) -> None:
        self.cancel(item)
        self.order += 1
        self.entries.append((due, self.order, item))

    def cancel(self, item: int) -> bool:
        before = len(self.entries)
        self.entries = [entry for entry in self.entries if entry[2] != item]
        return len(self.entries) < before

    def poll(self, now: int) -> list[tuple[int, int]]:
        due = sorted(entry for entry in self.entries if entry[0] <= now)
        self.entries = [entry for entry in self.entries if entry[0] > now]
        return [(at, item) for at, _, item in due]

    def next_deadline(self) -> int | None:
        return min((entry[0] for entry in self.entries), default=None)


class WheelAgainstSortedList(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.wheel: Wheel[int] = Wheel()
        self.reference = Reference()
        self.now = 0

    @rule(after=ahead, item=items)
    def schedule(self, after: int, item: int) -> None:
        self.wheel.schedule(self.now + after, item)
        self.reference.schedule(self.now + after, item)

    @rule(due=near_an_edge, item=items)
    def schedule_at_an_edge_of_the_wheel_itself(self, due: int, item: int) -> None:
        self.wheel.schedule(due, item)
        self.reference.schedule(due, item)

    @rule(item=items)
    def cancel(self, item: int) -> None:
        assert self.wheel.cancel(item) == self.reference.cancel(item)

    @rule(step=ahead)
    def poll(self, step: int) -> None:
        self.now += step
        assert list(self.wheel.poll(self.now)) == self.reference.poll(self.now)

    @precondition(lambda self: self.reference.entries)
    @rule(off=st.integers(-1, 1))
    def poll_around_the_next_deadline(self, off: int) -> None:
        deadline = self.wheel.next_deadline()
        assert deadline is not None
        self.now = deadline + off
        given_now = list(self.wheel.poll(self.now))
        assert given_now == self.reference.poll(self.now)
        assert bool(given_now) == (off >= 0)

    @rule(count=st.integers(70, 200), after=ahead)
    def churn_through_many_cancelled_items(self, count: int, after: int) -> None:
        for i in range(count):
            self.wheel.schedule(self.now + after + i * 700, 1_000 + i)
        for i in range(count):
            assert self.wheel.cancel(1_000 + i)

    @invariant()
    def both_hold_the_same(self) -> None:
        assert len(self.wheel) == len(self.reference.entries)
        assert sorted(self.wheel) == sorted((due, item) for due, _, item in self.reference.entries)
        assert self.wheel.next_deadline() == self.reference.next_deadline()


WheelAgainstSortedList.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestWheelAgainstSortedList = WheelAgainstSortedList.TestCase


@given(dues=st.lists(ahead, max_size=60), steps=st.lists(st.integers(1, SUPERBLOCK), max_size=20))
def test_walking_forward_in_any_steps_gives_every_item_once_and_in_order(dues: list[int], steps: list[int]) -> None:
    wheel: Wheel[int] = Wheel()
    for item, due in enumerate(dues):
        wheel.schedule(due, item)
    got: list[tuple[int, int]] = []
    now = 0
    for step in [*steps, 100 * 24 * 3600 * SECOND]:
        now += step
        got += wheel.poll(now)
    assert got == sorted((due, item) for item, due in enumerate(dues))
    assert len(wheel) == 0
