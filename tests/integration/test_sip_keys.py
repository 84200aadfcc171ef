"""Keys that the callee presses, and what it says: from the wire to events and files."""

import wave
from dataclasses import replace
from pathlib import Path

import pytest

from dialer.core.events import Answered, DigitPressed, Heard, LegEnded, PlayEnded, RecordEnded
from dialer.core.model import LegId
from sip.lab import Lab
from sip.wire_requests import called_dialog, dialog_request
from tests.integration.test_sip_media import crossings, loud_seconds, write_tone
from tests.support.far_end import FarEnd
from tests.support.labs import ANSWERS, FAST, WAITS, async_test
from tests.support.pools import Events, order, pool_to, trunk_to

ONE = LegId(1)


def pressed(events: Events) -> str:
    return "".join(event.digit for event in events.of(ONE) if isinstance(event, DigitPressed))


@async_test
async def test_each_key_is_told_once() -> None:
    async with Lab(pace=FAST) as lab, pool_to(trunk_to(lab.port)) as (pool, events):
        pool.dial(ONE, order("34600000033"))
        await events.until(lambda: len(pressed(events)) == 5)
        pool.hang_up(ONE)
        await events.over(ONE)
        assert pressed(events) == "1234#"


@async_test
async def test_a_key_may_come_by_info() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.talking()
        await events.wait(Answered, ONE)
        info = dialog_request("INFO", called_dialog(invite, "far"), sent_by=f"127.0.0.1:{far.port}", token="info1")
        far.send(
            replace(
                info,
                headers=(*info.headers, ("Content-Type", "application/dtmf-relay")),
                body=b"Signal=5\r\nDuration=160",
            )
        )
        assert (await events.wait(DigitPressed, ONE)).digit == "5"
        await far.response(200)
        pool.hang_up(ONE)
        far.reply(await far.request("BYE"), 200)
        await events.over(ONE)
        assert pressed(events) == "5"


@async_test
async def test_audio_can_be_stopped(tmp_path: Path) -> None:
    write_tone(tmp_path / "long.wav", 500, 20)
    async with Lab(pace=FAST, record=True) as lab, pool_to(trunk_to(lab.port), media=tmp_path) as (pool, events):
        dialed = order(WAITS)
        pool.dial(ONE, dialed)
        await events.wait(Answered, ONE)
        pool.stop_playing(ONE)
        pool.play(ONE, 1, "long.wav")
        pool.stop_playing(ONE)
        ended = await events.wait(PlayEnded, ONE)
        assert (ended.token, ended.complete, ended.leg_over) == (1, False, False)
        pool.hang_up(ONE)
        await events.over(ONE)
        assert loud_seconds(lab.recordings[dialed.sip_call_id].pcm()) < 0.5


@async_test
async def test_what_the_callee_says_becomes_a_file_of_its_own_user_alone(tmp_path: Path) -> None:
    async with Lab(pace=FAST) as lab, pool_to(trunk_to(lab.port), media=tmp_path) as (pool, events):
        pool.dial(ONE, order(WAITS))
        await events.wait(Answered, ONE)
        pool.record(ONE, 4, "call-1", 0.6)
        made = await events.wait(RecordEnded, ONE)
        assert made == RecordEnded(ONE, 4, made.seconds)
        assert made.seconds == pytest.approx(0.6, abs=0.1)
        heard = [level for event in events.of(ONE) if isinstance(event, Heard) for level in event.levels_db]
        assert min(heard) == pytest.approx(25, abs=3)  # the lab's tone: 3,000 of 32,768
        pool.hang_up(ONE)
        await events.over(ONE)
    path = tmp_path / "recordings" / "call-1.wav"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8_000, 1, 2)
        pcm = file.readframes(file.getnframes())
    assert crossings(pcm) == pytest.approx(400 * made.seconds, rel=0.1)


@async_test
async def test_a_recording_that_the_callee_ends_by_hanging_up_is_told_whole_before_the_end(tmp_path: Path) -> None:
    async with Lab(pace=0.2) as lab, pool_to(trunk_to(lab.port), media=tmp_path) as (pool, events):
        pool.dial(ONE, order(ANSWERS))
        await events.wait(Answered, ONE)
        pool.record(ONE, 1, "call-1", 60)
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        made = await events.wait(RecordEnded, ONE)
        assert made.leg_over
        assert 0.3 < made.seconds < 1
        assert events.of(ONE).index(made) < events.of(ONE).index(end)


@async_test
async def test_our_own_hang_up_ends_a_recording_too(tmp_path: Path) -> None:
    async with Lab(pace=FAST) as lab, pool_to(trunk_to(lab.port), media=tmp_path) as (pool, events):
        pool.dial(ONE, order(WAITS))
        await events.wait(Answered, ONE)
        pool.record(ONE, 1, "call-1", 60)
        await events.wait(Heard, ONE)
        pool.stop_recording(ONE)
        assert not (await events.wait(RecordEnded, ONE)).leg_over
        pool.record(ONE, 2, "call-2", 60)
        await events.until(lambda: len([e for e in events.of(ONE) if isinstance(e, Heard)]) > 2)
        pool.hang_up(ONE)
        await events.over(ONE)
        assert [(e.token, e.leg_over) for e in events.of(ONE) if isinstance(e, RecordEnded)] == [(1, False), (2, True)]


@async_test
async def test_a_recording_that_cannot_be_made_is_told_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "recordings").write_text("not a folder")
    async with Lab(pace=FAST) as lab, pool_to(trunk_to(lab.port), media=tmp_path) as (pool, events):
        pool.dial(ONE, order(WAITS))
        await events.wait(Answered, ONE)
        pool.record(ONE, 1, "call-1", 60)
        failed = await events.wait(RecordEnded, ONE)
        assert failed.seconds == 0
        assert failed.reason
        pool.hang_up(ONE)
        await events.over(ONE)
        pool.record(ONE, 2, "call-1", 60)
        await events.until(lambda: RecordEnded(ONE, 2, 0.0, "the call is over", leg_over=True) in events.all)
