"""The breaker of one trunk, one story each; what it does to calls is in tests/unit/test_trunk_health.py."""

from dataclasses import dataclass, field

import pytest

from dialer.core.breaker import MAX_HOLD_SECONDS, PROBE_AFTER_SECONDS, Breaker, TrunkState
from dialer.core.model import LegId, Mono, Now, WallMs

UP, DOWN, PROBING = TrunkState.UP, TrunkState.DOWN, TrunkState.PROBING


@dataclass
class Bench:
    """A breaker with a clock; legs are numbered as they leave."""

    channels: int = 30
    options_every: float = 0.0
    mono: float = 100.0
    legs: int = 0
    breaker: Breaker = field(init=False)

    def __post_init__(self) -> None:
        self.breaker = Breaker(self.channels, self.options_every)

    @property
    def now(self) -> Now:
        return Now(WallMs(int(self.mono * 1000)), Mono(self.mono))

    def leave(self, number: str | None = None) -> LegId:
        self.legs += 1
        self.breaker.reserve()
        self.breaker.departed(LegId(self.legs), number or f"+{self.legs}", Mono(self.mono))
        return LegId(self.legs)

    def refuse(self, number: str | None = None, status: int = 503, retry_after: float | None = None) -> None:
        leg = self.leave(number)
        self.breaker.refused(leg, self.now, f"{status}", sip_status=status, retry_after_s=retry_after)
        self.breaker.over(leg)

    def reach(self) -> None:
        leg = self.leave()
        self.breaker.reached(leg, self.now)
        self.breaker.over(leg)

    def ask(self, reason: str | None = None) -> None:
        """Let time pass until an OPTIONS is due, and end it."""
        at = self.breaker.next_poll()
        assert at is not None
        self.mono = max(self.mono, at)
        assert self.breaker.poll(self.now)
        self.breaker.options_ended(self.now, reason)

    def go_down(self) -> None:
        for _ in range(5):
            self.refuse()
        assert self.breaker.state is DOWN

    def go_silent(self) -> None:
        for leg in [self.leave() for _ in range(3)]:
            self.breaker.silent(leg, self.now)
        assert self.breaker.state is DOWN


def test_five_refusals_of_different_numbers_in_a_row_open_it() -> None:
    bench = Bench()
    for _ in range(4):
        bench.refuse()
        assert bench.breaker.state is UP
    bench.refuse()
    assert bench.breaker.state is DOWN
    assert not bench.breaker.admits
    assert not bench.breaker.usable
    assert bench.breaker.last_failure is not None
    assert bench.breaker.last_failure.reason == "503, to 5 numbers in a row"


def test_one_bad_number_that_is_tried_again_and_again_opens_nothing() -> None:
    bench = Bench()
    for _ in range(50):
        bench.refuse("+1")
        bench.refuse("+2")
    assert bench.breaker.state is UP


def test_a_call_that_reaches_somebody_ends_the_row() -> None:
    bench = Bench()
    for _ in range(10):
        for _ in range(4):
            bench.refuse()
        bench.reach()
    assert bench.breaker.state is UP


def test_a_call_that_rings_late_but_left_before_the_trouble_proves_nothing() -> None:
    bench = Bench()
    early = bench.leave()
    for _ in range(4):
        bench.refuse()
    bench.breaker.reached(early, bench.now)
    bench.refuse()
    assert bench.breaker.state is DOWN


def test_refusals_that_are_ten_minutes_apart_are_no_row() -> None:
    bench = Bench()
    for _ in range(20):
        bench.refuse()
        bench.mono += 601
    assert bench.breaker.state is UP


def test_three_silent_legs_open_it_long_before_their_transactions_end() -> None:
    bench = Bench()
    legs = [bench.leave() for _ in range(3)]
    bench.mono += 4
    for leg in legs[:2]:
        bench.breaker.silent(leg, bench.now)
    assert bench.breaker.state is UP
    bench.breaker.silent(legs[2], bench.now)
    assert bench.breaker.state is DOWN
    assert bench.breaker.last_failure is not None
    assert bench.breaker.last_failure.reason == "no response to INVITEs"


@pytest.mark.parametrize("channels", [1, 2])
def test_a_small_trunk_is_silent_when_all_its_channels_are(channels: int) -> None:
    bench = Bench(channels=channels)
    for leg in [bench.leave() for _ in range(channels)]:
        assert bench.breaker.state is UP
        bench.breaker.silent(leg, bench.now)
    assert bench.breaker.state is DOWN


def test_silent_legs_among_others_that_were_heard_of_open_nothing() -> None:
    bench = Bench()
    for _ in range(20):
        silent, heard = bench.leave(), bench.leave()
        bench.breaker.silent(silent, bench.now)
        bench.breaker.reached(heard, bench.now)
    assert bench.breaker.state is UP


def test_a_leg_that_only_got_a_100_interrupts_the_row_of_silent_ones() -> None:
    bench = Bench()
    first, trying, second, third = (bench.leave() for _ in range(4))
    assert trying
    for leg in (first, second, third):
        bench.breaker.silent(leg, bench.now)
    assert bench.breaker.state is UP


def test_news_of_a_silent_leg_has_the_trunk_probed_at_once() -> None:
    bench = Bench()
    legs = [bench.leave() for _ in range(3)]
    for leg in legs:
        bench.breaker.silent(leg, bench.now)
    bench.mono += 0.5
    bench.breaker.reached(legs[0], bench.now)
    assert bench.breaker.next_poll() == bench.mono


def test_a_trunk_that_was_silent_closes_after_two_answers_to_options_a_second_apart() -> None:
    bench = Bench()
    bench.go_silent()
    began = bench.mono
    bench.ask()
    assert bench.breaker.state is PROBING
    assert not bench.breaker.admits
    bench.ask()
    assert bench.breaker.state is UP
    assert bench.mono - began == PROBE_AFTER_SECONDS[0] + 1


def test_a_trunk_that_refused_has_to_reach_somebody_twice_one_call_at_a_time() -> None:
    bench = Bench()
    bench.go_down()
    bench.ask()
    assert bench.breaker.state is PROBING
    assert bench.breaker.admits
    trial = bench.leave()
    assert not bench.breaker.admits
    bench.breaker.reached(trial, bench.now)
    assert bench.breaker.state is PROBING
    assert bench.breaker.admits
    bench.reach()
    assert bench.breaker.state is UP


def test_a_trial_that_fails_doubles_the_pause_up_to_30_s() -> None:
    bench = Bench()
    bench.go_down()
    pauses = []
    for _ in range(7):
        began = bench.mono
        bench.ask()
        pauses.append(bench.mono - began)
        bench.refuse()
        assert bench.breaker.state is DOWN
    assert pauses == [2, 4, 8, 16, 30, 30, 30]


def test_a_trial_that_is_silent_or_proves_nothing_is_no_success() -> None:
    bench = Bench()
    bench.go_down()
    bench.ask()
    cancelled = bench.leave()
    bench.breaker.over(cancelled)
    assert bench.breaker.admits
    bench.breaker.silent(bench.leave(), bench.now)
    assert bench.breaker.state is DOWN


def test_a_trial_that_never_leaves_is_given_back() -> None:
    bench = Bench()
    bench.go_down()
    bench.ask()
    bench.breaker.reserve()
    assert not bench.breaker.admits
    bench.breaker.given_back()
    assert bench.breaker.admits


def test_a_call_is_tried_where_options_was_never_answered_and_none_where_it_used_to_be() -> None:
    deaf, known = Bench(), Bench(options_every=10)
    deaf.go_silent()
    deaf.ask("no answer")
    assert deaf.breaker.admits
    known.breaker.poll(known.now)
    known.ask()
    known.go_silent()
    known.ask("no answer")
    assert known.breaker.state is DOWN
    assert not known.breaker.usable


def test_two_unanswered_keepalives_open_it_where_they_were_answered_before() -> None:
    bench = Bench(options_every=30)
    bench.breaker.poll(bench.now)
    bench.ask("no answer")
    bench.ask("no answer")
    bench.ask("no answer")
    assert bench.breaker.state is UP
    bench.ask()
    bench.ask("no answer")
    before = bench.mono
    assert bench.breaker.state is UP
    bench.ask("no answer")
    assert bench.breaker.state is DOWN
    assert bench.mono - before == 2
    bench.ask()
    bench.ask()
    assert bench.breaker.state is UP


def test_any_response_to_a_call_makes_up_for_an_unanswered_keepalive() -> None:
    bench = Bench(options_every=30)
    bench.breaker.poll(bench.now)
    bench.ask()
    for _ in range(5):
        bench.ask("no answer")
        bench.reach()
    assert bench.breaker.state is UP


def test_without_an_interval_nothing_is_asked_while_it_is_up() -> None:
    bench = Bench()
    assert not bench.breaker.poll(bench.now)
    assert bench.breaker.next_poll() is None


@pytest.mark.parametrize(("asked", "held"), [(20.0, 20.0), (0.0, 2.0), (1e9, MAX_HOLD_SECONDS)])
def test_retry_after_to_three_numbers_holds_the_trunk_for_as_long_as_it_asks(asked: float, held: float) -> None:
    bench = Bench()
    bench.refuse(retry_after=1)
    bench.refuse(retry_after=asked)
    assert bench.breaker.state is UP
    bench.refuse(retry_after=1)
    assert bench.breaker.state is DOWN
    assert bench.breaker.next_poll() == bench.mono + max(held, 2.0)


def test_retry_after_for_one_number_stalls_nobody() -> None:
    bench = Bench()
    for _ in range(10):
        bench.refuse("+1", retry_after=3600)
    assert bench.breaker.admits


def test_the_pause_begins_anew_once_it_has_been_up_for_a_minute() -> None:
    bench = Bench()
    for _ in range(2):
        bench.go_silent()
        bench.ask()
        bench.ask()
    bench.go_silent()
    assert bench.breaker.next_poll() == bench.mono + 8
    bench.ask()
    bench.ask()
    bench.mono += 61
    bench.go_silent()
    assert bench.breaker.next_poll() == bench.mono + 2


def test_news_of_legs_that_are_over_or_unknown_changes_nothing() -> None:
    bench = Bench()
    for act in (bench.breaker.reached, bench.breaker.silent):
        act(LegId(99), bench.now)
    bench.breaker.refused(LegId(99), bench.now, "503")
    bench.breaker.over(LegId(99))
    assert bench.breaker.last_failure is None


def test_an_answer_to_options_that_comes_when_it_is_up_again_changes_nothing() -> None:
    bench = Bench(options_every=5)
    bench.breaker.poll(bench.now)
    bench.ask()
    assert bench.breaker.state is UP
    assert bench.breaker.next_poll() == bench.mono + 5
