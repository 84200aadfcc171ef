"""A hundred calls that all hear audio at once, without gaps."""

import asyncio
from pathlib import Path

import pytest

from dialer.core.events import Answered, LegEnded, PlayEnded
from dialer.core.model import LegId
from sip.lab import Lab
from tests.integration.test_sip_media import crossings, loud_seconds, write_tone
from tests.support.labs import WAITS, async_test
from tests.support.pools import order, pool_to, trunk_to

CALLS, SECONDS, HERTZ = 100, 8.0, 500


@pytest.mark.slow
@async_test
async def test_a_hundred_calls_hear_the_whole_tone_without_a_gap(tmp_path: Path) -> None:
    write_tone(tmp_path / "tone.wav", HERTZ, SECONDS)
    async with (
        Lab(pace=0.05, record=True) as lab,
        pool_to(trunk_to(lab.port), media=tmp_path, max_concurrent_calls=CALLS) as (pool, events),
    ):
        dialed = {LegId(n): order(WAITS) for n in range(CALLS)}
        for leg, one in dialed.items():
            pool.dial(leg, one)
            await asyncio.sleep(0.02)
        for leg in dialed:
            await events.wait(Answered, leg, 60)
        for leg in dialed:
            pool.play(leg, 1, "tone.wav")
        for leg in dialed:
            assert (await events.wait(PlayEnded, leg, 60)).complete
        for leg in dialed:
            pool.hang_up(leg)
        for leg, one in dialed.items():
            assert isinstance(await events.over(leg, 60), LegEnded)
            pcm = lab.recordings[one.sip_call_id].pcm()
            assert loud_seconds(pcm) == pytest.approx(SECONDS, abs=0.05)
            assert crossings(pcm) == pytest.approx(HERTZ * SECONDS, rel=0.01)
        lost = [entry.rtp.lost for entry in lab.log.of("ended") if entry.rtp is not None]
        assert len(lost) == CALLS
        assert sum(lost) == 0
