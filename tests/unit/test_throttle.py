import pytest

from dialer.core.model import Mono
from dialer.core.pacing import Rate, Sent
from dialer.core.throttle import LEAST_SHARE, Throttle


def overload(throttle: Throttle, at: float, numbers: int = 3) -> None:
    for number in range(numbers):
        throttle.overloaded(f"+{number}", Mono(at))


def test_the_docstrings_worked_example_holds_in_numbers() -> None:
    throttle = Throttle()
    overload(throttle, 100.0)
    assert throttle.share(Mono(100.0)) * 20 == pytest.approx(10)
    overload(throttle, 101.0)
    assert throttle.share(Mono(101.0)) * 20 == pytest.approx(5.2)
    for second in range(102, 120):
        overload(throttle, float(second))
    assert throttle.share(Mono(119.0)) == LEAST_SHARE
    fresh = Throttle()
    overload(fresh, 0.0)
    assert fresh.share(Mono(12.5)) == pytest.approx(0.75)
    assert fresh.share(Mono(25.0)) == 1.0


def test_one_or_two_numbers_slow_nobody_down() -> None:
    throttle = Throttle()
    for second in range(100):
        throttle.overloaded("+1", Mono(second))
        throttle.overloaded("+2", Mono(second))
    assert throttle.share(Mono(100)) == 1.0


def test_refusals_that_lie_far_apart_slow_nobody_down() -> None:
    throttle = Throttle()
    for number in range(20):
        throttle.overloaded(f"+{number}", Mono(number * 6.0))
    assert throttle.share(Mono(120)) == 1.0


def test_one_wave_of_refusals_is_one_cut() -> None:
    throttle = Throttle()
    overload(throttle, 5.0, numbers=50)
    assert throttle.share(Mono(5.0)) == 0.5


def test_a_rate_that_is_slowed_spaces_its_departures_wider() -> None:
    rate = Rate(20)
    sent = Sent(Mono(0))
    rate.take(sent)
    rate.slow_to(0.25)
    assert rate.earliest() == pytest.approx(0.198)
    rate.slow_to(1)
    assert rate.earliest() == pytest.approx(0.05, abs=0.011)
