import pytest

from scheduler.wheel import Wheel

HOUR = 3_600_000


def due_now(wheel: Wheel[str], now: int) -> list[str]:
    return [item for _, item in wheel.poll(now)]


def test_an_item_is_given_at_its_due_time_and_not_a_millisecond_before() -> None:
    wheel: Wheel[str] = Wheel()
    wheel.schedule(10_000, "a")
    assert due_now(wheel, 9_999) == []
    assert due_now(wheel, 10_000) == ["a"]
    assert due_now(wheel, 10_000) == []


def test_items_of_one_millisecond_come_in_the_order_in_which_they_went_in() -> None:
    wheel: Wheel[str] = Wheel()
    for item in "cab":
        wheel.schedule(5_000, item)
    assert due_now(wheel, 6_000) == ["c", "a", "b"]


def test_scheduling_an_item_again_moves_it() -> None:
    wheel: Wheel[str] = Wheel()
    wheel.schedule(5_000, "a")
    wheel.schedule(90_000, "a")
    assert len(wheel) == 1
    assert wheel.next_deadline() == 90_000
    assert due_now(wheel, 89_999) == []
    assert due_now(wheel, 90_000) == ["a"]


def test_what_the_caller_did_not_ask_for_stays_in_the_wheel() -> None:
    wheel: Wheel[str] = Wheel()
    for item in "abc":
        wheel.schedule(1, item)
    assert next(wheel.poll(1)) == (1, "a")
    assert len(wheel) == 2
    assert due_now(wheel, 1) == ["b", "c"]


def test_an_item_scheduled_during_the_poll_is_given_by_it_when_due() -> None:
    wheel: Wheel[str] = Wheel()
    wheel.schedule(1, "a")
    got = []
    for _, item in wheel.poll(10):
        got.append(item)
        if item == "a":
            wheel.schedule(2, "b")
    assert got == ["a", "b"]


def test_a_clock_that_was_set_back_gives_nothing_early() -> None:
    wheel: Wheel[str] = Wheel()
    assert due_now(wheel, 10 * HOUR) == []
    wheel.schedule(9 * HOUR, "in the past of the last poll")
    assert due_now(wheel, 8 * HOUR) == []
    assert due_now(wheel, 9 * HOUR) == ["in the past of the last poll"]


@pytest.mark.parametrize("jump", [1_000, 64_000, 64 * 64_000, 30 * 24 * HOUR, 1_740_823_200_000])
def test_a_jump_of_any_length_gives_all_that_it_passed_in_order(jump: int) -> None:
    wheel: Wheel[str] = Wheel()
    wheel.schedule(jump, "last")
    wheel.schedule(jump // 2, "middle")
    wheel.schedule(jump + 1, "not yet")
    wheel.schedule(0, "first")
    assert due_now(wheel, jump) == ["first", "middle", "last"]
    assert wheel.next_deadline() == jump + 1


def test_cancelling_an_item_that_is_not_in_says_so_and_does_nothing() -> None:
    wheel: Wheel[str] = Wheel()
    assert not wheel.cancel("a")
    wheel.schedule(1, "a")
    assert wheel.cancel("a")
    assert not wheel.cancel("a")
    assert wheel.next_deadline() is None


def test_cancelled_items_do_not_pile_up() -> None:
    wheel: Wheel[int] = Wheel()
    for i in range(10_000):
        wheel.schedule(5 * HOUR + i, i)
        wheel.cancel(i)
    assert len(wheel._beyond) <= 65
