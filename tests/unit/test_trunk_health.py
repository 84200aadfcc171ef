"""What becomes of calls when a trunk falls ill: failover, waiting, and numbers that are not marked on its word."""

from typing import Any

from dialer.core.breaker import TrunkState
from dialer.core.changes import AttemptEnded, AttemptRetried, CallFinished
from dialer.core.disposition import Disposition
from dialer.core.doubts import IDLE_SECONDS, LONGEST_SECONDS
from dialer.core.model import Campaign, Trunk
from dialer.core.playbook import Playbook
from tests.support.dispatch_judge import Leg
from tests.support.model_dispatch import Rig

MAIN, SPARE = Trunk("main", 10, 20), Trunk("spare", 10, 20)
INVALID, FAILURE = Disposition.INVALID_NUMBER, Disposition.TRUNK_FAILURE


def rig(*trunks: Trunk, **more: Any) -> Rig:
    return Rig(list(trunks or (MAIN, SPARE)), max_concurrent_calls=20, **more)


def submit(bench: Rig, size: int, *trunks: str, first: int = 0, **more: Any) -> Campaign:
    playbook = Playbook(name="any", trunks=list(trunks), ring_timeout_seconds=300)
    phones = [f"+{first + n}" for n in range(size)]
    more.setdefault("launch_at", bench.clock.wall)
    campaign = bench.store.add_campaign(size=size, phones=phones, playbook=playbook, **more)
    bench.submit(campaign)
    return campaign


def legs(bench: Rig, trunk: str | None = None) -> list[Leg]:
    return [leg for leg in bench.judge.legs.values() if trunk in {None, leg.trunk}]


def answer_all(bench: Rig, trunk: str, what: str, seconds: float = 0.3) -> None:
    """For so long, the trunk answers every INVITE like this."""
    for _ in range(round(seconds / 0.01)):
        for leg in legs(bench, trunk):
            bench.happen(leg, "sent")
            bench.happen(leg, what)
        bench.advance(0.01)


def state(bench: Rig, trunk: str = "main") -> TrunkState:
    return bench.dispatch.pacing.breaker(trunk).state


def outcomes(bench: Rig) -> list[Disposition]:
    return [change.disposition for batch in bench.store.commits for change in batch if isinstance(change, CallFinished)]


def test_a_trunk_that_refuses_everything_is_passed_over_within_a_second() -> None:
    bench = rig()
    submit(bench, 30, "main", "spare")
    for _ in range(100):
        for leg in legs(bench):
            bench.happen(leg, "sent")
            bench.happen(leg, "final 503" if leg.trunk == "main" else "final 486")
        bench.advance(0.01)
    assert state(bench) is TrunkState.DOWN
    assert len(bench.judge.departures["main"]) <= 6
    bench.advance(1)
    for _ in range(100):
        for leg in legs(bench):
            bench.happen(leg, "sent")
            bench.happen(leg, "final 486")
        bench.advance(0.01)
    assert outcomes(bench) == [Disposition.BUSY] * 30


def test_silent_legs_open_the_breaker_while_they_still_hold_their_channels() -> None:
    bench = rig()
    submit(bench, 5, "main")
    submit(bench, 5, "main", "spare", first=50, scheduled=True, launch_at=bench.clock.wall + 6000)
    bench.advance(4)
    for leg in legs(bench, "main"):
        bench.happen(leg, "sent")
        bench.happen(leg, "unheard")
    assert state(bench) is TrunkState.DOWN
    bench.options_reason = "no answer"
    bench.advance(1.9)
    assert len(legs(bench, "main")) == 5
    bench.advance(1)
    assert len(legs(bench, "spare")) >= 4


def test_when_every_trunk_is_down_calls_wait_and_none_is_lost() -> None:
    bench = rig(MAIN)
    submit(bench, 20, "main")
    answer_all(bench, "main", "final 503")
    assert state(bench) is TrunkState.DOWN
    assert not outcomes(bench)
    for _ in range(3000):
        for leg in legs(bench):
            bench.happen(leg, "sent")
            bench.happen(leg, "final 486")
        if not bench.advance_to_next_turn():
            break
    assert outcomes(bench) == [Disposition.BUSY] * 20
    assert state(bench) is TrunkState.UP


def test_a_technical_retry_that_waits_for_a_dead_trunk_goes_to_the_one_that_comes_back() -> None:
    bench = rig()
    submit(bench, 8, "main", "spare")
    answer_all(bench, "main", "final 503")
    answer_all(bench, "spare", "final 503")
    assert {state(bench, name) for name in ("main", "spare")} == {TrunkState.DOWN}
    bench.advance(20)
    assert len(legs(bench)) <= 2, "one trial on each"
    retried = [c.trunk for batch in bench.store.commits for c in batch if isinstance(c, AttemptRetried)]
    assert "spare" in retried


def test_the_worked_example_a_trunk_that_answers_404_to_everything_marks_no_number() -> None:
    bench = rig(MAIN, Trunk("spare", 20, 100))
    submit(bench, 12, "main", "spare", stagger_ms=200)
    began = bench.clock.mono
    for _ in range(400):
        for leg in legs(bench):
            bench.happen(leg, "sent")
            bench.happen(leg, "final 404" if leg.trunk == "main" else "final 486")
        bench.advance(0.01)
        if state(bench) is TrunkState.DOWN:
            break
    assert 0.7 < bench.clock.mono - began < 0.9, "the fifth opens it"
    assert not outcomes(bench)
    for _ in range(600):
        for leg in legs(bench):
            bench.happen(leg, "sent")
            bench.happen(leg, "final 404" if leg.trunk == "main" else "final 486")
        bench.advance(0.01)
    assert outcomes(bench) == [Disposition.BUSY] * 12
    assert len(bench.judge.departures["main"]) <= 7, "five, and trials"


def test_without_another_trunk_404_to_everything_ends_as_a_trunk_failure() -> None:
    bench = rig(MAIN)
    submit(bench, 6, "main")
    for _ in range(3000):
        for leg in legs(bench):
            bench.happen(leg, "sent")
            bench.happen(leg, "final 404")
        if not bench.advance_to_next_turn():
            break
    assert outcomes(bench) == [FAILURE] * 6
    ended = [c.reason for batch in bench.store.commits for c in batch if isinstance(c, AttemptEnded)]
    assert all("as this trunk says of every number now" in reason for reason in ended)


def test_a_lone_404_is_believed_as_soon_as_a_call_that_left_after_it_rings() -> None:
    bench = rig(MAIN)
    submit(bench, 2, "main")
    bench.advance(0.2)
    first, second = legs(bench)
    for leg in (first, second):
        bench.happen(leg, "sent")
    bench.happen(first, "final 404")
    bench.advance(1)
    assert not outcomes(bench)
    bench.happen(second, "rang")
    bench.advance(0.02)
    assert outcomes(bench) == [INVALID]


def test_a_call_that_left_before_the_404_proves_nothing_about_it() -> None:
    bench = rig(MAIN)
    submit(bench, 2, "main")
    bench.advance(0.2)
    first, second = legs(bench)
    for leg in (first, second):
        bench.happen(leg, "sent")
    bench.happen(second, "final 404")
    bench.happen(first, "rang")
    bench.advance(1)
    assert not outcomes(bench)
    bench.advance(IDLE_SECONDS)
    assert outcomes(bench) == [INVALID]


def test_a_404_of_a_trunk_that_nobody_else_calls_over_is_believed_after_five_seconds() -> None:
    bench = rig(MAIN)
    submit(bench, 1, "main")
    bench.advance(0.1)
    (leg,) = legs(bench)
    bench.happen(leg, "sent")
    bench.happen(leg, "final 404")
    bench.advance(IDLE_SECONDS - 0.5)
    assert not outcomes(bench)
    assert bench.dispatch.pacing.taken == 0, "a doubt takes no channel"
    bench.advance(1.5)
    assert outcomes(bench) == [INVALID]


def test_a_404_is_not_doubted_for_longer_than_half_a_minute() -> None:
    bench = rig(MAIN)
    submit(bench, 2, "main")
    bench.advance(0.2)
    first, second = legs(bench)
    for leg in (first, second):
        bench.happen(leg, "sent")
    bench.happen(first, "final 404")
    bench.advance(LONGEST_SECONDS - 2)
    assert not outcomes(bench), "the other call is still under way"
    bench.advance(3)
    assert outcomes(bench) == [INVALID]


def test_a_404_after_ringing_is_the_callees_network_and_is_not_doubted() -> None:
    bench = rig(MAIN)
    submit(bench, 1, "main")
    bench.advance(0.1)
    (leg,) = legs(bench)
    for what in ("sent", "rang", "final 404"):
        bench.happen(leg, what)
    bench.advance(0.02)
    assert outcomes(bench) == [INVALID]


def test_a_doubted_call_can_be_cancelled_and_a_crash_leaves_it_interrupted() -> None:
    bench = rig(MAIN)
    submit(bench, 1, "main")
    submit(bench, 1, "main", first=9)
    bench.advance(0.2)
    for leg in legs(bench):
        bench.happen(leg, "sent")
        bench.happen(leg, "final 404")
    bench.cancel_call(next(iter(bench.store.calls)))
    assert outcomes(bench) == [Disposition.CANCELLED]
    bench.crash()
    assert outcomes(bench) == [Disposition.CANCELLED, Disposition.INTERRUPTED]


def test_a_trunk_reads_statuses_its_own_way() -> None:
    odd = Trunk("odd", 5, 20, dispositions={480: Disposition.NO_ANSWER, 486: FAILURE, 503: Disposition.DECLINED})
    bench = rig(odd, SPARE)
    submit(bench, 3, "odd", "spare")
    bench.judge.verdicts_known = False
    bench.advance(0.3)
    for leg, status in zip(legs(bench, "odd"), (480, 486, 503), strict=True):
        bench.happen(leg, "sent")
        bench.happen(leg, f"final {status}")
    bench.advance(0.1)
    assert outcomes(bench) == [Disposition.NO_ANSWER, Disposition.DECLINED]
    assert [leg.trunk for leg in legs(bench)] == ["spare"]
