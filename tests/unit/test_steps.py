from dialer.core.playbook import Hangup, Play, Wait
from dialer.core.steps import Script

HELLO, PAUSE = Play(do="play", audio="hello.wav"), Wait(do="wait", seconds=1)


def test_steps_come_in_order_and_the_end_hangs_up() -> None:
    script = Script([HELLO, PAUSE])
    assert script.begin() == HELLO
    assert script.over(script.token) == PAUSE
    assert script.over(script.token) == Hangup(do="hangup")


def test_no_steps_hang_up_at_the_answer() -> None:
    assert Script([]).begin() == Hangup(do="hangup")


def test_a_report_of_another_step_than_the_one_under_way_is_late() -> None:
    script = Script([HELLO, PAUSE])
    script.begin()
    played = script.token
    script.over(played)
    assert script.over(played) is None
    assert script.over(played + 5) is None
    assert script.token == played + 1


def test_what_stands_behind_a_hangup_is_still_given_in_order() -> None:
    script = Script([Hangup(do="hangup"), HELLO])
    assert script.begin() == Hangup(do="hangup")
    assert script.over(script.token) == HELLO
