"""How the engine stops, and what the next one makes of what was in flight."""

import asyncio

from dialer.core.model import CallId, Disposition
from dialer.engine import GOODBYE_SECONDS, RESTART_HOLD_SECONDS
from tests.support.engine_bench import TALK, Bench, engine_story
from tests.support.fake_calls import ANSWERS


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
