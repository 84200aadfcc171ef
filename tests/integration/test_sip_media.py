"""Audio to the callee, judged by what the called party recorded."""

import itertools
import math
import struct
import wave
from pathlib import Path

import pytest

from dialer.core.events import Answered, LegEnded, PlayEnded
from dialer.core.model import LegId
from sip.lab import Lab
from tests.support.far_end import FarEnd
from tests.support.labs import FAST, WAITS, async_test
from tests.support.pools import Events, order, pool_to, trunk_to

ONE = LegId(1)


def write_tone(path: Path, hertz: int, seconds: float, *, rate: int = 8_000) -> Path:
    count = round(rate * seconds)
    samples = [round(8_000 * math.sin(2 * math.pi * hertz * n / rate)) for n in range(count)]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(struct.pack(f"<{count}h", *samples))
    return path


def loud_seconds(pcm: bytes) -> float:
    samples = struct.unpack(f"<{len(pcm) // 2}h", pcm)
    frames = [samples[at : at + 80] for at in range(0, len(samples), 80)]
    return sum(max(map(abs, frame)) > 1_000 for frame in frames) / 100


def crossings(pcm: bytes) -> int:
    samples = [sample for sample in struct.unpack(f"<{len(pcm) // 2}h", pcm) if abs(sample) > 200]
    return sum(a < 0 < b for a, b in itertools.pairwise(samples))


@pytest.mark.parametrize("rate", [8_000, 16_000])
@async_test
async def test_a_file_is_heard_whole_and_then_its_end_is_told(tmp_path: Path, rate: int) -> None:
    write_tone(tmp_path / "hello.wav", 500, 1.2, rate=rate)
    async with Lab(pace=FAST, record=True) as lab, pool_to(trunk_to(lab.port), media=tmp_path) as (pool, events):
        dialed = order(WAITS)
        pool.dial(ONE, dialed)
        answered = await events.wait(Answered, ONE)
        pool.play(ONE, 7, "hello.wav")
        assert await events.wait(PlayEnded, ONE) == PlayEnded(ONE, 7, complete=True)
        pool.hang_up(ONE)
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert 1_200 <= end.at - answered.at < 2_500
        assert end.rtp is not None
        assert end.rtp["packets_received"] > 40
        heard = lab.recordings[dialed.sip_call_id].pcm()
        assert loud_seconds(heard) == pytest.approx(1.2, abs=0.05)
        assert crossings(heard) == pytest.approx(600, abs=12)


@async_test
async def test_audio_that_is_ordered_before_the_media_is_up_waits_for_it(tmp_path: Path) -> None:
    write_tone(tmp_path / "hello.wav", 500, 0.4)
    async with FarEnd() as far, pool_to(trunk_to(far.port), media=tmp_path) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.ringing()
        pool.play(ONE, 1, "hello.wav")
        pool.play(ONE, 2, "hello.wav")
        cut_off = await events.wait(PlayEnded, ONE)
        assert (cut_off.token, cut_off.complete) == (1, False)
        far.reply(invite, 200, sdp=True)
        await far.request("ACK")
        await events.until(lambda: PlayEnded(ONE, 2, complete=True) in events.all)
        far.hang_up(invite)
        await events.over(ONE)


@pytest.mark.parametrize("audio", ["missing.wav", "broken.wav", "empty.wav", "../outside.wav", "", "nul\0.wav"])
@async_test
async def test_a_file_that_cannot_be_played_is_told_with_a_reason_and_the_leg_lives(tmp_path: Path, audio: str) -> None:
    media = tmp_path / "media"
    media.mkdir()
    write_tone(tmp_path / "outside.wav", 500, 0.2)
    (media / "broken.wav").write_bytes(b"RIFF not quite" * 100)
    (media / "empty.wav").touch()
    async with FarEnd() as far, pool_to(trunk_to(far.port), media=media) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.talking()
        pool.play(ONE, 3, audio)
        failed = await events.wait(PlayEnded, ONE)
        assert (failed.token, failed.complete) == (3, False)
        assert failed.reason
        assert "LegEnded" not in events.kinds(ONE)
        far.hang_up(invite)
        await events.over(ONE)


async def _ended_while_playing(events: Events) -> None:
    await events.over(ONE)
    last_two = events.of(ONE)[-2:]
    assert isinstance(last_two[0], PlayEnded)
    assert not last_two[0].complete
    assert isinstance(last_two[1], LegEnded)


@async_test
async def test_a_leg_that_ends_while_audio_plays_tells_that_first(tmp_path: Path) -> None:
    write_tone(tmp_path / "long.wav", 500, 20)
    async with FarEnd() as far, pool_to(trunk_to(far.port), media=tmp_path) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.talking()
        await events.wait(Answered, ONE)
        pool.play(ONE, 1, "long.wav")
        await far.rtp.receive()
        far.hang_up(invite)
        await _ended_while_playing(events)


@async_test
async def test_hanging_up_while_audio_plays_is_fine(tmp_path: Path) -> None:
    write_tone(tmp_path / "long.wav", 500, 20)
    async with FarEnd() as far, pool_to(trunk_to(far.port), media=tmp_path) as (pool, events):
        pool.dial(ONE, order())
        await far.talking()
        await events.wait(Answered, ONE)
        pool.play(ONE, 1, "long.wav")
        await far.rtp.receive()
        pool.hang_up(ONE)
        far.reply(await far.request("BYE"), 200)
        await _ended_while_playing(events)


@async_test
async def test_audio_for_a_leg_that_is_over_is_answered_all_the_same() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.play(LegId(99), 5, "hello.wav")
        assert not (await events.wait(PlayEnded, LegId(99))).complete
