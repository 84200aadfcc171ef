"""What is heard of a call, frame by frame: from now on, and nothing of before."""

import asyncio
from pathlib import Path

import pytest

from dialer.core.events import Answered, Heard, LegEnded, PlayEnded
from dialer.core.model import Disposition, LegId
from sip.g711 import tone
from sip.lab import Behaviour, Lab, Plan
from sip.lab.voices import Speech, beep, pause
from sip.sdp import parse_streams
from tests.integration.test_sip_media import write_tone
from tests.support.far_end import FarEnd
from tests.support.labs import FAST, WAITS, async_test
from tests.support.pools import Events, order, pool_to, trunk_to

ONE = LegId(1)
LOUD_DB, SECOND = 40, 50
# A packet or two are on their way, and in the jitter buffer, when the answer comes.
IN_FLIGHT = 6


async def frames(events: Events, count: int) -> list[tuple[int, int]]:
    """The first frames that were told of the leg, once there are so many."""

    def told() -> list[tuple[int, int]]:
        heard = [event for event in events.of(ONE) if isinstance(event, Heard)]
        return [frame for event in heard for frame in zip(event.levels_db, event.tones_hz, strict=True)]

    await events.until(lambda: len(told()) >= count)
    return told()[:count]


@async_test
async def test_every_frame_since_the_answer_has_its_level_and_its_tone_and_none_is_of_before() -> None:
    # It rings on this side, loudly, for a second and a half; then it is silent, and beeps.
    said = Speech("beeps", lambda: pause(0.4) + beep(1_000, 0.4) + pause(0.1))
    plan = Plan(alert=183, alert_seconds=30, says=said, talk_seconds=None)
    everyone = Behaviour("", "answers", (plan,), (Disposition.ANSWERED,))
    async with Lab(pace=FAST, behaviours=[everyone]) as lab, pool_to(trunk_to(lab.port)) as (pool, events):
        pool.dial(ONE, order())
        await events.wait(Answered, ONE)
        pool.listen_to(ONE)
        heard = (await frames(events, 2 * SECOND))[IN_FLIGHT:]
        pool.hang_up(ONE)
        await events.over(ONE)
    loud = [(level, hertz) for level, hertz in heard if level < LOUD_DB]
    assert len(loud) == pytest.approx(0.4 * SECOND, abs=2)
    assert sum(hertz == pytest.approx(1_000, abs=10) and 17 <= level <= 20 for level, hertz in loud) >= len(loud) - 2
    assert all(level > 60 and not hertz for level, hertz in heard if level >= LOUD_DB)


@pytest.mark.parametrize("rounds", [20, pytest.param(1_000, marks=pytest.mark.slow)])
@async_test
async def test_listeners_that_come_and_go_while_the_bridge_turns_cost_no_worker(rounds: int) -> None:
    legs = [LegId(n) for n in range(20)]
    async with Lab(pace=FAST) as lab, pool_to(trunk_to(lab.port), max_concurrent_calls=20) as (pool, events):
        for leg in legs:
            pool.dial(leg, order(WAITS))
        for leg in legs:
            await events.wait(Answered, leg)
        for _ in range(rounds):
            for leg in legs:
                pool.listen_to(leg)
                pool.stop_listening(leg)
            await asyncio.sleep(0.02)
        for leg in legs:
            pool.hang_up(leg)
        ends = [await events.over(leg) for leg in legs]
    assert all(isinstance(end, LegEnded) for end in ends)


@async_test
async def test_who_listens_again_hears_nothing_of_meanwhile(tmp_path: Path) -> None:
    write_tone(tmp_path / "meanwhile.wav", 500, 0.5)
    loud = tone("PCMA", 1_000)
    async with FarEnd() as far, pool_to(trunk_to(far.port), media=tmp_path) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.talking()
        (audio,) = parse_streams(invite.body)
        await events.wait(Answered, ONE)
        pool.listen_to(ONE)
        before = len(await frames(events, 5))
        pool.stop_listening(ONE)
        for sequence in range(SECOND):
            far.rtp.send(audio.port, sequence, loud)
            await asyncio.sleep(0.02)
        pool.play(ONE, 1, "meanwhile.wav")
        await events.wait(PlayEnded, ONE)
        pool.listen_to(ONE)
        heard = (await frames(events, before + 2 * SECOND))[-2 * SECOND :]
        far.hang_up(invite)
        await events.over(ONE)
    assert [level for level, _ in heard if level < LOUD_DB] == []
