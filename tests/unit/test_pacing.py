import pytest

from dialer.core.model import Mono, Trunk
from dialer.core.pacing import GUARD_SECONDS, Admission, Interval, Pacing, Rate, Sent, tolerance_of


def leave(rate: Rate | Interval, at: float) -> Sent:
    sent = Sent(Mono(at))
    rate.take(sent)
    sent.left(Mono(at))
    return sent


def test_the_docstrings_worked_example_holds_in_numbers() -> None:
    rate = Rate(20)
    leave(rate, 0.0)
    assert rate.earliest() == pytest.approx(0.048)
    leave(rate, 0.050)
    third = Sent(Mono(0.100))
    rate.take(third)
    third.left(Mono(0.109))
    assert rate.earliest() == pytest.approx(0.157)
    for n in range(19):
        leave(rate, max(rate.earliest(), 0.157 + n * 0.048))
    assert rate.earliest() >= 0.050 + 1 + GUARD_SECONDS
    leave(rate, rate.earliest())
    assert rate.earliest() >= 0.109 + 1 + GUARD_SECONDS


def test_the_first_departure_waits_for_nothing() -> None:
    assert Interval(0.2).earliest() == float("-inf")
    assert Pacing([Trunk("pbx", 1, 5)], 1).next_dial_time(["pbx"], Mono(7)) == Admission("pbx", Mono(7))


def test_a_hold_is_kept_to_the_instant() -> None:
    interval = Interval(0.2)
    interval.hold_until(Mono(10))
    assert interval.earliest() == pytest.approx(10)
    pacing = Pacing([Trunk("pbx", 1, 5)], 1)
    pacing.hold_until(Mono(10))
    admission = pacing.next_dial_time(["pbx"], Mono(7))
    assert admission is not None
    assert admission.at == pytest.approx(10)


def test_turns_that_come_a_little_late_cost_no_rate() -> None:
    interval = Interval(0.05)
    at = 0.0
    for _ in range(1000):
        at = max(at, interval.earliest()) + 0.001
        leave(interval, at)
    assert at < 1000 * 0.05 + 0.01


def test_a_departure_that_slipped_moves_all_that_were_planned_behind_it() -> None:
    interval = Interval(0.1)
    plans = [Sent(Mono(n * 0.1)) for n in range(3)]
    for plan in plans:
        interval.take(plan)
    plans[0].left(Mono(0.19))
    assert plans[1].earliest() == pytest.approx(0.288)
    assert plans[2].earliest() == pytest.approx(0.386)
    assert interval.earliest() >= 0.48


def test_a_report_that_is_earlier_than_what_is_known_changes_nothing() -> None:
    sent = Sent(Mono(5))
    sent.left(Mono(5.2))
    sent.left(Mono(5.1))
    assert sent.at == 5.2


def test_less_than_one_call_a_second_is_one_in_that_many_seconds() -> None:
    rate = Rate(0.5)
    leave(rate, 0.0)
    assert rate.earliest() == pytest.approx(1.998)


def test_a_full_trunk_is_passed_over_for_the_next_of_the_route() -> None:
    pacing = Pacing([Trunk("pbx", 1, 5), Trunk("spare", 1, 5)], 9)
    pacing.take("pbx", Mono(0))
    assert pacing.next_dial_time(["pbx", "spare"], Mono(1)) == Admission("spare", Mono(1))
    pacing.take("spare", Mono(1))
    assert pacing.next_dial_time(["pbx", "spare"], Mono(2)) is None
    pacing.release("pbx")
    assert pacing.next_dial_time(["pbx", "spare"], Mono(2)) == Admission("pbx", Mono(2))


def test_a_trunk_whose_rate_is_used_up_is_waited_for() -> None:
    pacing = Pacing([Trunk("pbx", 9, 5), Trunk("spare", 9, 5)], 9)
    pacing.take("pbx", Mono(0))
    admission = pacing.next_dial_time(["pbx", "spare"], Mono(0))
    assert admission is not None
    assert (admission.trunk, admission.at) == ("pbx", pytest.approx(0.198))


def test_the_machines_own_channels_limit_all_trunks_together() -> None:
    pacing = Pacing([Trunk("pbx", 5, 50), Trunk("spare", 5, 50)], 2)
    pacing.take("pbx", Mono(0))
    pacing.take("spare", Mono(0))
    assert pacing.next_dial_time(["pbx", "spare"], Mono(9)) is None
    assert (pacing.taken, pacing.channels()) == (2, {"pbx": (1, 5), "spare": (1, 5)})


def test_an_unknown_trunk_takes_no_call() -> None:
    assert Pacing([Trunk("pbx", 1, 5)], 1).next_dial_time(["gone"], Mono(0)) is None


def test_a_channel_is_neither_taken_nor_released_beyond_what_there_is() -> None:
    pacing = Pacing([Trunk("pbx", 1, 5)], 1)
    with pytest.raises(ValueError, match="no channel of trunk 'pbx' is taken"):
        pacing.release("pbx")
    pacing.take("pbx", Mono(0))
    with pytest.raises(ValueError, match="no free channel on trunk 'pbx'"):
        pacing.take("pbx", Mono(1))
    pacing.release("pbx")
    assert pacing.taken == 0


def test_a_delay_is_caught_up_little_by_little_and_the_old_pace_goes_on() -> None:
    interval = Interval(0.1)
    leave(interval, 0.0)
    leave(interval, 0.12)
    times = [leave(interval, interval.earliest()).at for _ in range(20)]
    assert times[:3] == pytest.approx([0.218, 0.316, 0.414])
    assert times[-1] == pytest.approx(2.098)


def test_a_standstill_is_not_caught_up() -> None:
    interval = Interval(0.1)
    leave(interval, 0.0)
    leave(interval, 60.0)
    assert [leave(interval, interval.earliest()).at for _ in range(3)] == pytest.approx([60.098, 60.198, 60.298])


def test_what_every_invite_takes_to_the_wire_is_not_held_against_the_next() -> None:
    interval = Interval(0.1)
    sent = leave(interval, 0.0)
    sent.seen(Mono(0.003))
    assert interval.earliest() == pytest.approx(0.098)
    sent.seen(Mono(0.024))
    assert interval.earliest() == pytest.approx(0.118)


def test_a_row_of_plans_moves_with_its_first_one_however_long_it_is() -> None:
    stagger, rate = Interval(0.02), Interval(0.01)
    plans = [Sent(Mono(n * 0.02)) for n in range(5_000)]
    for plan in plans:
        stagger.take(plan)
        rate.take(plan)
    plans[0].left(Mono(10.0))
    assert plans[-1].earliest() == pytest.approx(10.0 + 4_999 * 0.018)


def test_a_plan_that_is_given_up_keeps_its_place_and_holds_nobody_up_after_the_next_departure() -> None:
    interval = Interval(0.1)
    first, _given_up, third, fourth = plans = [Sent(Mono(n * 0.1)) for n in range(4)]
    for plan in plans:
        interval.take(plan)
    first.left(Mono(0.5))
    assert third.earliest() == pytest.approx(0.5 + 2 * 0.098)
    third.left(third.at)
    assert fourth.earliest() == pytest.approx(third.at + 0.098)


def test_one_that_leaves_out_of_turn_is_kept_away_from_too() -> None:
    interval = Interval(0.1)
    first, second, third = plans = [Sent(Mono(n * 0.1)) for n in range(3)]
    for plan in plans:
        interval.take(plan)
    first.left(Mono(0.0))
    third.left(Mono(0.2))  # the second waits for another limit of its own
    assert second.earliest() == pytest.approx(0.298)


@pytest.mark.parametrize(
    ("interval", "tolerance"), [(0, 0), (0.0005, 0.0005), (0.00125, 0.001), (0.006, 0.0012), (1, 0.002)]
)
def test_an_interval_may_be_shorter_by_little_and_a_very_short_one_by_most_of_it(
    interval: float, tolerance: float
) -> None:
    assert tolerance_of(interval) == pytest.approx(tolerance)
