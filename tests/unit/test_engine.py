"""The engine's loop against a store in memory, calls that follow a script, and a clock that moves only where it waits."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest

from dialer.core.changes import AttemptArmed, AttemptRetried
from dialer.core.dispatch import Limits
from dialer.core.explain import Rule
from dialer.core.model import CallId, CampaignId, CampaignStatus, Disposition, LegId, Trunk, WallMs
from dialer.core.playbook import Playbook
from dialer.engine import GOODBYE_SECONDS, LOOK_SECONDS, RESTART_HOLD_SECONDS, Engine
from dialer.ports import DialOrder, StoreUnavailable
from tests.support.clock import FakeClock, run_in_fake_time
from tests.support.fake_calls import ANSWERS, RINGS, FakeCallControl
from tests.support.fake_store import FakeStore

PBX = Trunk("pbx", 20, 50)
BUSY = ("486",)
RING = Playbook(name="Ring", trunks=["pbx"], ring_timeout_seconds=1)
TALK = Playbook.model_validate(
    {"name": "Talk", "trunks": ["pbx"], "steps": [{"do": "play", "audio": "hello.wav"}, {"do": "wait", "seconds": 60}]}
)


class WatchedCalls(FakeCallControl):
    """Knows when each INVITE left, and that its attempt was on disk by then.

    `deaf`: no hang-up is ever confirmed. `stamped_ms`: how far the clock of its reports is ahead of the one that was set.
    """

    def __init__(self, clock: FakeClock, store: FakeStore) -> None:
        super().__init__(places=100, trunks=("pbx",), audio={"hello.wav": 2.0})
        self._clock = clock
        self._store = store
        self.deaf = False
        self.stamped_ms = 0
        self.mono: list[float] = []
        self.wall: list[WallMs] = []

    def dial(self, leg: LegId, order: DialOrder) -> None:
        stored = {
            change.sip_call_id
            for batch in self._store.commits
            for change in batch
            if isinstance(change, AttemptArmed | AttemptRetried)
        }
        assert order.sip_call_id in stored, "an INVITE left before its attempt was on disk"
        self.mono.append(self._clock.mono)
        self.wall.append(self._clock.wall)
        super().dial(leg, order)

    def hang_up(self, leg: LegId) -> None:
        if not self.deaf:
            super().hang_up(leg)

    def _now(self) -> WallMs:
        return WallMs(self._clock.wall + self.stamped_ms)

    def have_places(self, places: int) -> None:
        self._places = places


class CountingEngine(Engine):
    turns = 0

    def _turn(self) -> None:
        self.turns += 1
        super()._turn()


class Bench:
    """A machine to try the engine on. Every number rings until the ring timeout, unless `ends` says otherwise."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.store = FakeStore()
        self.calls = WatchedCalls(clock, self.store)
        self.start()

    def die(self) -> None:
        """The process ends; the store is as the next one will find it."""
        self.engine.stop()
        self.store.reopen()
        self.calls.legs.clear()

    def start(self) -> None:
        self.engine = CountingEngine(
            clock=self.clock, store=self.store, control=self.calls, trunks=[PBX], limits=Limits(20, 100)
        )
        self.engine.start()

    def submit(self, size: int = 1, ends: tuple[str, ...] = (), **more: Any) -> CampaignId:
        first = len(self.store.calls) + 1
        ends += (RINGS,) * (size - len(ends))
        more.setdefault("launch_at", self.clock.wall)
        more.setdefault("playbook", RING)
        campaign = self.store.add_campaign(
            size=size, phones=[f"+349{first + i:05}{end}" for i, end in enumerate(ends)], **more
        )
        self.engine.submitted(campaign.id)
        return campaign.id

    @property
    def dialed(self) -> list[int]:
        """The calls that were dialed, in order."""
        return [int(order.number[4:9]) for order in self.calls.dialed]

    def status(self, campaign: CampaignId) -> CampaignStatus:
        return self.store.campaigns[campaign].status

    def outcome(self, call: int = 1) -> Disposition | None:
        return self.store.calls[CallId(call)].finished

    async def until(self, holds: Callable[[], bool], seconds: float = 60) -> None:
        """Wait for a state, with a deadline."""
        deadline = self.clock.mono + seconds
        while not holds():
            assert self.clock.mono < deadline, "it never came to that"
            await asyncio.sleep(0.001)


def engine_story(story: Callable[[Bench], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run an async test on a started bench, in fake time. Reading the clock costs 20 us, so that no turn is free."""

    def test() -> None:
        # The far side's fake tells time by the event loop: here both clocks show the same.
        clock = FakeClock(wall=WallMs(5_000_000), mono=5_000.0, cost=20e-6)

        async def main() -> None:
            bench = Bench(clock)
            await story(bench)
            bench.engine.stop()

        run_in_fake_time(clock, main())

    return test


@engine_story
async def test_a_submitted_campaign_is_dialed_at_once_and_completed(bench: Bench) -> None:
    before = bench.clock.mono
    campaign = bench.submit()
    await bench.until(lambda: len(bench.dialed) == 1)
    assert bench.calls.mono[0] - before < 0.003
    await bench.until(lambda: bench.status(campaign) is CampaignStatus.COMPLETED)
    assert bench.outcome() is Disposition.NO_ANSWER


@engine_story
async def test_nothing_is_early_and_nothing_more_than_three_milliseconds_late(bench: Bench) -> None:
    launch = bench.clock.wall + 5_000
    bench.submit(150, BUSY * 150, launch_at=launch, stagger_ms=40, scheduled=True, recall_ms=(20_000,))
    await bench.until(lambda: len(bench.dialed) == 300)
    first, recalls = bench.calls.wall[:150], bench.calls.wall[150:]
    for at, slot in zip(first, range(launch, launch + 150 * 40, 40), strict=True):
        assert 0 <= at - slot <= 3
    for at, slot in zip(recalls, range(launch + 20_000, launch + 20_000 + 150 * 40, 40), strict=True):
        assert 0 <= at - slot <= 3


@engine_story
async def test_turns_follow_what_happens_and_an_idle_engine_hardly_wakes(bench: Bench) -> None:
    bench.submit(100, stagger_ms=50)
    await bench.until(lambda: bench.engine.state.live == 0 and len(bench.dialed) == 100)
    assert bench.engine.turns < 100 * 8
    await asyncio.sleep(2)
    turns = bench.engine.turns
    bench.submit(1, launch_at=bench.clock.wall + 3_600_000, scheduled=True)
    await asyncio.sleep(60)
    assert bench.engine.turns - turns <= 60 / LOOK_SECONDS + 5


@engine_story
async def test_a_disk_that_refuses_stops_dialing_and_keeps_what_happened_until_it_works_again(bench: Bench) -> None:
    bench.submit(10, stagger_ms=200)
    await bench.until(lambda: len(bench.dialed) == 3)
    bench.store.refuse = "database or disk is full"
    await asyncio.sleep(5)
    assert len(bench.dialed) == 3
    assert bench.engine.state.live <= 1, "more than the attempt whose record was refused"
    assert bench.engine.state.store_fault == "database or disk is full"
    assert [bench.outcome(call) for call in (1, 2, 3)] == [None, None, None]
    bench.store.refuse = None
    began = bench.clock.mono
    await bench.until(lambda: len(bench.dialed) > 3)
    assert bench.clock.mono - began < 0.5
    assert [bench.outcome(call) for call in (1, 2, 3)] == [Disposition.NO_ANSWER] * 3
    await bench.until(lambda: len(bench.dialed) == 10)
    assert all(later - sooner >= 0.197 for sooner, later in pairwise(bench.calls.mono))
    assert bench.engine.state.store_fault is None


@engine_story
async def test_an_attempt_whose_record_was_refused_leaves_only_after_it_was_stored(bench: Bench) -> None:
    bench.store.refuse = "no"
    bench.submit()
    await asyncio.sleep(3)
    assert bench.dialed == []
    bench.store.refuse = None
    await bench.until(lambda: len(bench.dialed) == 1, 1)


@engine_story
async def test_a_store_that_cannot_be_read_stops_dialing_and_loses_no_call(bench: Bench) -> None:
    def broken(*_: object) -> Any:
        raise StoreUnavailable("I/O error")

    bench.store.call = broken  # type: ignore[method-assign]
    bench.submit(2, stagger_ms=10)
    await asyncio.sleep(1)
    assert bench.engine.state.store_fault == "I/O error"
    bench.store.next_timer = broken  # type: ignore[method-assign]
    await asyncio.sleep(1)
    del bench.store.call, bench.store.next_timer  # type: ignore[attr-defined]
    await bench.until(lambda: len(bench.dialed) == 2, 2)


@engine_story
async def test_pause_resume_and_cancel_are_on_disk_when_they_return(bench: Bench) -> None:
    campaign = bench.submit(20, stagger_ms=100)
    await bench.until(lambda: len(bench.dialed) == 3)
    bench.engine.pause(campaign)
    assert bench.status(campaign) is CampaignStatus.PAUSED
    dialed = len(bench.dialed)
    await asyncio.sleep(5)
    assert len(bench.dialed) == dialed
    bench.engine.resume(campaign)
    assert bench.status(campaign) is CampaignStatus.RUNNING
    await bench.until(lambda: len(bench.dialed) == dialed + 2, 1)
    bench.engine.cancel(campaign)
    assert bench.status(campaign) is CampaignStatus.CANCELLED
    dialed = len(bench.dialed)
    await asyncio.sleep(5)
    assert len(bench.dialed) == dialed
    assert bench.engine.state.live == 0
    assert bench.store.counts(campaign).finished == 20


def refused_orders(bench: Bench, campaign: CampaignId) -> dict[str, Callable[[], object]]:
    return {
        "pause": lambda: bench.engine.pause(campaign),
        "cancel": lambda: bench.engine.cancel(campaign),
        "cancel_call": lambda: bench.engine.cancel_call(CallId(2)),
    }


@pytest.mark.parametrize("order", ["pause", "cancel", "cancel_call"])
def test_an_order_that_the_disk_refuses_says_so_and_does_not_happen_later(order: str) -> None:
    @engine_story
    async def story(bench: Bench) -> None:
        campaign = bench.submit(2, stagger_ms=5_000)
        await bench.until(lambda: len(bench.dialed) == 1)
        bench.store.refuse = "disk full"
        # Nobody has written since: the order is the first to meet the fault.
        assert bench.engine.state.store_fault is None
        with pytest.raises(StoreUnavailable, match="disk full"):
            refused_orders(bench, campaign)[order]()
        bench.store.refuse = None
        await bench.until(lambda: len(bench.dialed) == 2)
        await asyncio.sleep(5)
        assert bench.status(campaign) is CampaignStatus.COMPLETED

    story()


@engine_story
async def test_a_call_that_is_cancelled_while_it_waits_in_the_backlog_is_not_dialed(bench: Bench) -> None:
    bench.submit(30)
    await bench.until(lambda: len(bench.dialed) == 20)
    await asyncio.sleep(0.5)
    bench.calls.lose()
    bench.engine.cancel_call(CallId(21))
    await bench.until(lambda: len(bench.dialed) == 29, 30)
    await asyncio.sleep(1)
    assert bench.outcome(21) is Disposition.CANCELLED
    assert 21 not in bench.dialed


@engine_story
async def test_a_call_that_is_cancelled_in_the_moment_of_its_end_is_finished_once(bench: Bench) -> None:
    bench.submit(2, stagger_ms=60_000)
    await bench.until(lambda: bool(bench.calls.legs))
    await bench.until(lambda: not bench.calls.legs)
    bench.engine.cancel_call(CallId(1))
    assert bench.outcome() is Disposition.NO_ANSWER


@engine_story
async def test_cancelling_a_live_call_hangs_it_up_for_good(bench: Bench) -> None:
    bench.submit(recall_ms=(1000,))
    await bench.until(lambda: bool(bench.calls.legs))
    bench.engine.cancel_call(CallId(1))
    await bench.until(lambda: bench.outcome() is Disposition.CANCELLED, 1)
    with pytest.raises(KeyError):
        bench.engine.cancel_call(CallId(99))


@engine_story
async def test_an_answered_call_goes_through_its_steps(bench: Bench) -> None:
    bench.submit(1, (ANSWERS,), playbook=TALK)
    await bench.until(lambda: any(leg.playing for leg in bench.calls.legs.values()))
    assert bench.engine.state.talking == 1
    answered = bench.clock.mono
    await bench.until(lambda: bench.outcome() is Disposition.ANSWERED, 90)
    assert 62 <= bench.clock.mono - answered < 62.2


@engine_story
async def test_draining_ends_what_rings_lets_answered_calls_finish_and_dials_no_more(bench: Bench) -> None:
    bench.submit(5, (ANSWERS,), stagger_ms=1500, playbook=TALK, recall_ms=(600_000,))
    await bench.until(lambda: bench.engine.state.talking == 1 and len(bench.calls.legs) == 2)
    began = bench.clock.mono
    await bench.engine.drain(300)
    assert 55 < bench.clock.mono - began < 65
    assert len(bench.dialed) == 2
    assert bench.outcome(1) is Disposition.ANSWERED
    assert bench.outcome(2) is None
    assert bench.store.calls[CallId(2)].next_at is not None
    assert bench.store.open_attempts() == []


@engine_story
async def test_draining_hangs_up_answered_calls_when_its_time_is_over(bench: Bench) -> None:
    bench.submit(1, (ANSWERS,), playbook=TALK)
    await bench.until(lambda: bench.engine.state.talking == 1)
    began = bench.clock.mono
    await bench.engine.drain(10)
    assert 10 <= bench.clock.mono - began < 10.5
    assert bench.outcome() is Disposition.ANSWERED


@engine_story
async def test_a_second_signal_ends_the_waiting_at_once(bench: Bench) -> None:
    bench.submit(1, (ANSWERS,), playbook=TALK)
    await bench.until(lambda: bench.engine.state.talking == 1)
    began = bench.clock.mono
    asyncio.get_running_loop().call_later(2, bench.engine.hurry)
    await bench.engine.drain(300)
    assert 2 <= bench.clock.mono - began < 2.5


@engine_story
async def test_a_peer_that_confirms_no_hang_up_does_not_hold_the_stop_for_long(bench: Bench) -> None:
    bench.calls.deaf = True
    bench.submit()
    await bench.until(lambda: bool(bench.calls.legs))
    began = bench.clock.mono
    await bench.engine.drain(1)
    assert bench.clock.mono - began <= 1 + GOODBYE_SECONDS + 0.5


@engine_story
async def test_a_restart_interrupts_what_was_in_flight_and_waits_a_second_before_the_first_invite(bench: Bench) -> None:
    bench.submit(4, stagger_ms=100, recall_ms=(5_000,))
    await bench.until(lambda: sum(opened.dialog != "" for opened in bench.store.open_attempts()) == 2)
    bench.engine.stop()
    bench.calls.legs.clear()
    bench.store.reopen()
    restarted = bench.clock.mono
    bench.start()
    await bench.until(lambda: not bench.store.open_attempts(), 0.1)
    assert [bench.store.calls[CallId(call)].next_at is not None for call in (1, 2, 3, 4)] == [True, True, False, False]
    await bench.until(lambda: len(bench.dialed) > 2)
    assert RESTART_HOLD_SECONDS <= bench.clock.mono - restarted < RESTART_HOLD_SECONDS + 0.05
    assert bench.dialed[2] == 3
    await bench.until(lambda: len(bench.dialed) == 8)
    invites = [order.sip_call_id for order in bench.calls.dialed]
    assert len(set(invites)) == 8


@engine_story
async def test_an_invite_that_nobody_could_record_keeps_its_channel_and_number_for_the_ring_timeout(
    bench: Bench,
) -> None:
    bench.submit(recall_ms=(100,))
    await bench.until(lambda: len(bench.dialed) == 1)
    left = bench.clock.mono
    bench.engine.stop()
    assert [opened.dialog for opened in bench.store.open_attempts()] == [""]
    bench.calls.legs.clear()
    bench.store.reopen()
    bench.start()
    assert bench.engine.state.trunks[0].channels_in_use == 1
    await bench.until(lambda: not bench.store.open_attempts(), 1.1)
    assert 0.99 <= bench.clock.mono - left < 1.1
    assert bench.engine.state.trunks[0].channels_in_use == 0
    await bench.until(lambda: len(bench.dialed) == 2, 2)


@engine_story
async def test_workers_that_come_up_late_find_the_calls_waiting(bench: Bench) -> None:
    bench.calls.have_places(0)
    bench.submit(3, stagger_ms=10)
    await asyncio.sleep(10)
    assert bench.dialed == []
    bench.calls.have_places(2)
    await bench.until(lambda: len(bench.dialed) == 2, LOOK_SECONDS + 0.1)
    await asyncio.sleep(0.5)
    assert len(bench.dialed) == 2
    assert bench.store.calls[CallId(3)].attempts == []


@engine_story
async def test_a_wall_clock_that_is_set_forward_is_noticed_and_one_set_back_makes_nothing_early(bench: Bench) -> None:
    bench.submit(launch_at=bench.clock.wall + 3_600_000, scheduled=True)
    bench.submit(launch_at=bench.clock.wall + 3_700_000, scheduled=True)
    await asyncio.sleep(5)
    bench.clock.step_wall(3_600_000)
    await bench.until(lambda: len(bench.dialed) == 1, LOOK_SECONDS + 0.1)
    bench.clock.step_wall(-600_000)
    await asyncio.sleep(300)
    assert len(bench.dialed) == 1
    await bench.until(lambda: len(bench.dialed) == 2, 600)
    assert 0 <= bench.calls.wall[1] - (bench.store.campaigns[2].campaign.launch_at) <= 3


@pytest.mark.parametrize("step", [-7_200_000, 7_200_000])
def test_recalls_and_slots_keep_their_distance_when_the_wall_clock_is_set(step: int) -> None:
    @engine_story
    async def story(bench: Bench) -> None:
        bench.submit(3, ends=BUSY * 3, stagger_ms=1000, recall_ms=(10_000, 20_000))
        await bench.until(lambda: len(bench.dialed) == 2)
        began = bench.calls.mono[0]
        bench.clock.step_wall(step)
        await bench.until(lambda: len(bench.dialed) == 9, 60)
        times = [mono - began for mono in bench.calls.mono]
        assert times == pytest.approx([0, 1, 2, 10, 11, 12, 20, 21, 22], abs=0.3)
        assert all(sooner >= due - 0.001 for sooner, due in zip(times, [0, 1, 2, 10, 11, 12, 20, 21, 22], strict=True))

    story()


@pytest.mark.parametrize("step", [-7_200_000, 7_200_000])
@pytest.mark.parametrize("readings", range(1, 40))
def test_recalls_keep_their_distance_between_whichever_readings_the_wall_clock_is_set(step: int, readings: int) -> None:
    @engine_story
    async def story(bench: Bench) -> None:
        bench.submit(2, ends=BUSY * 2, stagger_ms=1000, recall_ms=(5_000, 10_000))
        await bench.until(lambda: len(bench.dialed) == 1)
        await asyncio.sleep(0.999)
        bench.clock.step_wall_after(step, readings)
        await bench.until(lambda: len(bench.dialed) == 6, 60)
        times = [mono - bench.calls.mono[0] for mono in bench.calls.mono]
        assert times == pytest.approx([0, 1, 5, 6, 10, 11], abs=0.3)
        assert all(sooner >= due - 0.001 for sooner, due in zip(times, [0, 1, 5, 6, 10, 11], strict=True))

    story()


@pytest.mark.parametrize("step", [-7_200_000, 7_200_000])
def test_recalls_keep_their_distance_though_reports_bear_the_time_of_the_clock_before_it_was_set(step: int) -> None:
    @engine_story
    async def story(bench: Bench) -> None:
        bench.submit(2, ends=BUSY * 2, stagger_ms=1000, recall_ms=(3_000, 3_050))
        await bench.until(lambda: len(bench.dialed) == 1)
        bench.clock.step_wall(step)
        bench.calls.stamped_ms = -step
        await asyncio.sleep(1.5)
        bench.calls.stamped_ms = 0
        await bench.until(lambda: len(bench.dialed) == 6, 60)
        times = sorted(mono - bench.calls.mono[0] for mono in bench.calls.mono)
        # The second recall comes 0.1 s after the end of the first: the least gap.
        due = [0, 1, 3, 3.1, 4, 4.1]
        assert times == pytest.approx(due, abs=0.3)
        assert all(sooner >= at - 0.001 for sooner, at in zip(times, due, strict=True))

    story()


@pytest.mark.parametrize("step", [-7_200_000, 7_200_000])
def test_recalls_and_slots_keep_their_distance_when_the_wall_clock_is_set_while_nobody_runs(step: int) -> None:
    @engine_story
    async def story(bench: Bench) -> None:
        bench.submit(3, ends=BUSY * 3, stagger_ms=2000, recall_ms=(10_000, 20_000))
        ahead = bench.submit(launch_at=bench.clock.wall + 3_600_000, scheduled=True)
        await bench.until(lambda: len(bench.dialed) == 2)
        await asyncio.sleep(0.5)
        began = bench.calls.mono[0]
        bench.die()
        bench.clock.step_wall(step)
        bench.start()
        await bench.until(lambda: bench.dialed.count(3) == 3, 60)
        times = [mono - began for call, mono in zip(bench.dialed, bench.calls.mono, strict=True) if call <= 3]
        due = [0, 2, 4, 10, 12, 14, 20, 22, 24]
        assert times == pytest.approx(due, abs=0.3)
        assert all(sooner >= at - 0.001 for sooner, at in zip(times, due, strict=True))
        # A launch to come was promised by the wall clock: set forward by two hours, it is past.
        assert bench.store.campaigns[ahead].campaign.launch_at == 5_000_000 + 3_600_000
        assert (4 in bench.dialed) is (step > 0)

    story()


@engine_story
async def test_a_clock_set_while_nobody_ran_is_followed_when_the_disk_works(bench: Bench) -> None:
    bench.submit(2, ends=BUSY, stagger_ms=20_000, recall_ms=(10_000,))
    await bench.until(lambda: len(bench.dialed) == 1)
    began = bench.clock.mono
    await asyncio.sleep(1)
    bench.die()
    bench.clock.step_wall(86_400_000)
    bench.store.refuse = "full"
    bench.start()
    await asyncio.sleep(3)
    assert bench.engine.state.store_fault == "full"
    bench.die()
    bench.start()
    await asyncio.sleep(3)
    bench.store.refuse = None
    await bench.until(lambda: bench.dialed == [1, 1])
    assert 10 <= bench.clock.mono - began < 10.5
    await bench.until(lambda: bench.dialed == [1, 1, 2])
    assert 20 <= bench.clock.mono - began < 20.5


@engine_story
async def test_a_clock_that_slewed_is_noted_for_the_next_process_and_after_a_boot_nothing_is_known_of_it(
    bench: Bench,
) -> None:
    bench.submit(ends=BUSY, recall_ms=(10_000,))
    await bench.until(lambda: len(bench.dialed) == 1)
    await asyncio.sleep(1)
    for _ in range(4):
        bench.clock.step_wall(40)
        await asyncio.sleep(0.5)
    bench.die()
    bench.start()
    due = bench.store.calls[CallId(1)].next_at
    assert due is not None
    assert due == pytest.approx(5_010_000, abs=50), "taken for a step"
    bench.die()
    bench.clock.step_wall(-5_000)
    bench.clock.boots += 1
    bench.start()
    assert bench.store.calls[CallId(1)].next_at == due
    bench.die()
    bench.clock.step_wall(-5_000)
    bench.start()
    assert bench.store.calls[CallId(1)].next_at == due - 5_000


@engine_story
async def test_a_wall_clock_that_is_set_ends_no_call_that_speaks(bench: Bench) -> None:
    steps = [{"do": "play", "audio": "hello.wav"}, {"do": "hangup"}]
    playbook = Playbook.model_validate({"name": "Speak", "trunks": ["pbx"], "steps": steps})
    campaign = bench.submit(1, ends=(ANSWERS,), playbook=playbook)
    await bench.until(lambda: bench.engine.state.talking == 1)
    await asyncio.sleep(1)
    bench.clock.step_wall(-3_600_000)
    await bench.until(lambda: bench.status(campaign) is CampaignStatus.COMPLETED)
    assert bench.outcome() is Disposition.ANSWERED


@engine_story
async def test_a_launch_to_come_follows_the_wall_clock_that_was_set(bench: Bench) -> None:
    bench.submit(1, launch_at=bench.clock.wall + 3_600_000, scheduled=True)
    bench.clock.step_wall(3_590_000)
    began = bench.clock.mono
    await bench.until(lambda: len(bench.dialed) == 1)
    assert bench.clock.mono - began == pytest.approx(10, abs=0.1)


@engine_story
async def test_what_falls_due_while_the_machine_sleeps_is_dialed_afterwards_at_the_usual_pace(bench: Bench) -> None:
    bench.submit(6, ends=BUSY * 6, stagger_ms=1000, recall_ms=(10_000,))
    await bench.until(lambda: len(bench.dialed) == 2)
    bench.clock.suspend(3600)
    began = bench.clock.mono
    await bench.until(lambda: len(bench.dialed) == 12)
    left = list(zip(bench.dialed, bench.calls.mono, strict=True))
    recalls = [mono for call, mono in left[2:] if call in {1, 2}]
    firsts = [mono for index, (call, mono) in enumerate(left) if call not in bench.dialed[:index]]
    assert max(recalls) - began < LOOK_SECONDS + 0.1
    assert [later - sooner for sooner, later in pairwise(firsts)] == pytest.approx([1] * 5, abs=0.01)


@engine_story
async def test_a_clock_set_while_the_disk_refuses_is_followed_when_it_works_again(bench: Bench) -> None:
    bench.submit(1, ends=BUSY, recall_ms=(10_000,))
    await bench.until(lambda: len(bench.dialed) == 1)
    began = bench.clock.mono
    await asyncio.sleep(1)
    bench.store.refuse = "full"
    bench.clock.step_wall(86_400_000)
    await asyncio.sleep(2)
    bench.store.refuse = None
    await bench.until(lambda: len(bench.dialed) == 2)
    assert 10 <= bench.clock.mono - began < 10.5


@engine_story
async def test_a_defect_ends_the_engine_instead_of_going_on_with_a_doubtful_memory(bench: Bench) -> None:
    def contradicts(_: object) -> None:
        raise ValueError("the changes contradict what is stored")

    bench.submit(3, stagger_ms=100)
    await bench.until(lambda: len(bench.dialed) == 1)
    bench.store.apply = contradicts  # type: ignore[method-assign]
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    await bench.until(bench.engine.failed.done, 5)
    assert isinstance(bench.engine.failed.exception(), ValueError)
    await asyncio.sleep(2)
    assert len(bench.dialed) == 1


@engine_story
async def test_a_live_call_that_was_cancelled_is_not_recalled_after_a_crash(bench: Bench) -> None:
    bench.submit(1, recall_ms=(5_000,))
    await bench.until(lambda: bench.engine.state.live == 1 and len(bench.dialed) == 1)
    bench.calls.deaf = True
    bench.engine.cancel_call(CallId(1))
    bench.engine.stop()
    bench.store.reopen()
    bench.start()
    await asyncio.sleep(20)
    assert len(bench.dialed) == 1
    assert bench.outcome() is Disposition.INTERRUPTED


@engine_story
async def test_calls_under_review_wait_for_a_person_and_then_take_their_turn(bench: Bench) -> None:
    bench.submit(5, stagger_ms=1000, launch_at=bench.clock.wall + 60_000, scheduled=True)
    bench.engine.stop()
    bench.store.hold(bench.clock.wall + 62_000)
    bench.start()
    await asyncio.sleep(70)
    assert bench.dialed == [4, 5]
    for call in (CallId(1), CallId(3)):
        hold = bench.engine.explain(call, None)
        assert (hold.rule, hold.until) == (Rule.REVIEW, None)
    assert bench.engine.release(CallId(1), CallId(9), 2) == [1, 2]
    assert bench.engine.cancel_under_review(CallId(1), CallId(9), 100) == [3]
    assert bench.engine.release(CallId(1), CallId(9), 100) == []
    released_at = bench.clock.mono
    await bench.until(lambda: bench.dialed == [4, 5, 1, 2])
    assert bench.clock.mono >= released_at + 0.99, "the stagger holds"
    await bench.until(lambda: bench.status(CampaignId(1)) is CampaignStatus.COMPLETED)
    assert bench.outcome(3) is Disposition.CANCELLED


@engine_story
async def test_calls_of_a_paused_campaign_are_released_and_wait_for_it(bench: Bench) -> None:
    campaign = bench.submit(2, launch_at=bench.clock.wall + 60_000, scheduled=True)
    bench.engine.pause(campaign)
    bench.engine.stop()
    bench.store.hold(bench.clock.wall + 60_000)
    bench.start()
    assert bench.engine.explain(CallId(1), None).rule is Rule.REVIEW
    bench.engine.release(CallId(1), CallId(2), 10)
    assert bench.engine.explain(CallId(1), None).rule is Rule.PAUSED
    await asyncio.sleep(70)
    assert bench.dialed == []
    bench.engine.resume(campaign)
    await bench.until(lambda: bench.dialed == [1, 2])


@engine_story
async def test_a_disk_that_refuses_releases_nothing(bench: Bench) -> None:
    bench.submit(2, launch_at=bench.clock.wall + 60_000, scheduled=True)
    bench.engine.stop()
    bench.store.hold(bench.clock.wall + 60_000)
    bench.start()
    bench.store.refuse = "disk full"
    await bench.until(lambda: bench.engine.state.store_fault is not None)
    with pytest.raises(StoreUnavailable):
        bench.engine.release(CallId(1), CallId(2), 10)
    bench.store.refuse = None
    await asyncio.sleep(70)
    assert bench.dialed == []
    assert len(bench.store.reviewed) == 2
