"""Two legs in one worker whose people hear each other, judged by what each called party recorded."""

import os
import signal
from array import array
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest

from dialer.core.events import Answered, DigitPressed, LegLost, LegRefused, PlayEnded, Rang, RecordEnded
from dialer.core.model import Disposition, LegId
from sip.lab import Behaviour, Lab
from sip.lab.behaviours import Plan
from sip.levels import measure
from sip.pool import WorkerPool
from sip.wire import respond
from sip.wire_requests import ack_for_answer, called_dialog, dialog_request
from tests.integration.test_sip_media import crossings, loud_seconds, write_tone
from tests.integration.test_sip_workers import _pid_of, _until_up
from tests.support.caller import RtpEnd
from tests.support.far_end import FarEnd
from tests.support.greetings import frames
from tests.support.labs import FAST, async_test
from tests.support.pools import Events, order, pool_to, trunk_to

CALLEE, AGENT = LegId(1), LegId(2)
LOW, HIGH, RINGS = "+34600000041", "+34600000042", "+34600000010"


def speaks(ending: str, hertz: int) -> Behaviour:
    plan = Plan(alert_seconds=0.1, talk_seconds=None, tone_hz=hertz)
    return Behaviour(ending, "stays in the call", (plan,), (Disposition.ANSWERED,))


PEOPLE = [
    Behaviour("", "rings out", (Plan(alert_seconds=None),), (Disposition.NO_ANSWER,)),
    speaks("41", 400),
    speaks("42", 1_000),
    replace(speaks("43", 1_000), plans=(Plan(alert_seconds=0.1, talk_seconds=None, tone_hz=1_000, presses="78"),)),
]


def pitch(pcm: bytes) -> float:
    """The frequency of the tone in it, in Hz."""
    return crossings(pcm) / loud_seconds(pcm)


def tones(pcm: bytes) -> list[int]:
    """The pure tones in it, in the order in which they were heard, in steps of 50 Hz. Shorter than 100 ms is none."""
    heard = (round(measure(frame)[1] / 50) * 50 for frame in frames(array("h", pcm)))
    lasting = [hertz for hertz, run in groupby(heard) if hertz and len(list(run)) >= 5]
    return [hertz for hertz, _ in groupby(lasting)]


async def joined(pool: WorkerPool, events: Events, trunk: str = "far") -> tuple[str, str]:
    """The callee is called, the agent beside, and both are bridged; the SIP Call-IDs of the two."""
    first = order(LOW)
    pool.dial(CALLEE, first)
    await events.wait(Answered, CALLEE)
    second = order(HIGH, trunk=trunk, beside=CALLEE)
    pool.dial(AGENT, second)
    await events.wait(Answered, AGENT)
    pool.bridge(CALLEE, AGENT)
    return first.sip_call_id, second.sip_call_id


async def talked(pool: WorkerPool, events: Events, seconds: float = 1.2) -> None:
    """So much of the callee's voice was recorded."""
    pool.record(CALLEE, 99, "talk", seconds)
    await events.wait(RecordEnded, CALLEE)


async def hung_up(pool: WorkerPool, events: Events, *legs: LegId) -> None:
    for leg in legs:
        pool.hang_up(leg)
        await events.over(leg)


@pytest.mark.parametrize("codec", ["pcma", "pcmu"])
@async_test
async def test_each_of_a_pair_hears_the_other_whatever_codecs_they_speak(tmp_path: Path, codec: str) -> None:
    async with Lab(pace=FAST, record=True, behaviours=PEOPLE) as lab:
        trunks = trunk_to(lab.port, codecs=["pcma"]), trunk_to(lab.port, "agents", codecs=[codec])
        async with pool_to(*trunks, media=tmp_path) as (pool, events):
            callee, agent = await joined(pool, events, "agents")
            await talked(pool, events)
            await hung_up(pool, events, CALLEE, AGENT)
        assert pitch(lab.recordings[callee].pcm()) == pytest.approx(1_000, rel=0.02)
        assert pitch(lab.recordings[agent].pcm()) == pytest.approx(400, rel=0.02)
        assert loud_seconds(lab.recordings[agent].pcm()) > 1


@async_test
async def test_before_they_are_joined_each_hears_only_what_is_played_to_it(tmp_path: Path) -> None:
    write_tone(tmp_path / "music.wav", 600, 0.5)
    write_tone(tmp_path / "whisper.wav", 1_500, 0.5)
    async with (
        Lab(pace=FAST, record=True, behaviours=PEOPLE) as lab,
        pool_to(trunk_to(lab.port), media=tmp_path) as (
            pool,
            events,
        ),
    ):
        first, second = order(LOW), order(HIGH, beside=CALLEE)
        pool.dial(CALLEE, first)
        await events.wait(Answered, CALLEE)
        pool.play(CALLEE, 1, "music.wav")
        pool.dial(AGENT, second)
        await events.wait(Answered, AGENT)
        pool.play(AGENT, 2, "whisper.wav")
        for leg in (CALLEE, AGENT):
            assert (await events.wait(PlayEnded, leg)).complete
        await hung_up(pool, events, AGENT, CALLEE)
        for dialed, hertz in ((first, 600), (second, 1_500)):
            heard = lab.recordings[dialed.sip_call_id].pcm()
            assert pitch(heard) == pytest.approx(hertz, rel=0.03)
            assert loud_seconds(heard) == pytest.approx(0.5, abs=0.05)


@async_test
async def test_who_is_left_of_a_pair_hears_nobody_and_can_be_joined_anew(tmp_path: Path) -> None:
    async with (
        Lab(pace=FAST, record=True, behaviours=PEOPLE) as lab,
        pool_to(trunk_to(lab.port), media=tmp_path) as (
            pool,
            events,
        ),
    ):
        _, agent = await joined(pool, events)
        await hung_up(pool, events, AGENT)
        assert "LegEnded" not in events.kinds(CALLEE)
        second, third = order(HIGH, beside=CALLEE), LegId(3)
        pool.dial(third, second)
        await events.wait(Answered, third)
        pool.bridge(CALLEE, third)
        await talked(pool, events)
        await hung_up(pool, events, CALLEE, third)
        assert pitch(lab.recordings[second.sip_call_id].pcm()) == pytest.approx(400, rel=0.02)
        assert loud_seconds(lab.recordings[agent].pcm()) < loud_seconds(lab.recordings[second.sip_call_id].pcm())


DESCRIBED = (
    "v=0\r\no=- {n} {n} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 8 101\r\n"
)
DESCRIBED += "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n"
SDP = ("Content-Type", "application/sdp")


@async_test
async def test_keys_of_one_side_reach_the_other_and_a_side_that_moves_its_audio_is_followed(tmp_path: Path) -> None:
    async with (
        Lab(pace=FAST, behaviours=PEOPLE) as lab,
        FarEnd() as far,
        pool_to(trunk_to(far.port), trunk_to(lab.port, "agents"), media=tmp_path) as (pool, events),
    ):
        pool.dial(CALLEE, order())
        invite = await far.ringing()
        body = DESCRIBED.format(n=1, port=far.rtp.port).encode()
        far.send(respond(invite, 200, to_tag="far", headers=(far.contact, SDP), body=body))
        await far.request("ACK")
        pool.dial(AGENT, order("+34600000043", trunk="agents", beside=CALLEE))
        await events.wait(Answered, AGENT)
        pool.bridge(CALLEE, AGENT)
        pressed: list[int] = []
        while len(pressed) < 2:  # the agent's phone presses 7 and 8
            packet = await far.rtp.receive()
            if packet[1] & 0x7F == 101 and packet[12] not in pressed:
                pressed.append(packet[12])
        assert pressed == [7, 8]
        assert [event.digit for event in events.of(AGENT) if isinstance(event, DigitPressed)] == ["7", "8"]
        # The far side moves its audio to another port: the agent is heard there.
        elsewhere = RtpEnd()
        dialog = called_dialog(invite, "far")
        moved = dialog_request("INVITE", dialog, sent_by=f"127.0.0.1:{far.port}", token="moved")
        body = DESCRIBED.format(n=2, port=elsewhere.port).encode()
        far.send(replace(moved, headers=(*moved.headers, far.contact, SDP), body=body))
        answer = await far.response(200)
        far.send(ack_for_answer(moved, dialog, sent_by=f"127.0.0.1:{far.port}", token="moved-ack"))
        assert answer.body
        loud = b"\xd5" * 160
        while (await elsewhere.receive())[12:] == loud:  # silence in A-law, until the two are connected again
            pass
        elsewhere.close()
        pool.hang_up(CALLEE)
        far.reply(await far.request("BYE"), 200)
        await events.over(CALLEE)
        await hung_up(pool, events, AGENT)


@async_test
async def test_a_worker_that_retires_still_takes_the_leg_of_an_agent_for_a_call_that_it_carries(tmp_path: Path) -> None:
    async with (
        Lab(pace=FAST, behaviours=PEOPLE) as lab,
        pool_to(trunk_to(lab.port), media=tmp_path, max_concurrent_calls=8, workers=2) as (pool, events),
    ):
        await _until_up(pool, 2)
        pool.dial(CALLEE, order(LOW))
        await events.wait(Answered, CALLEE)
        worker = pool._carriers[CALLEE]
        pool._running.retire(worker)
        pool.dial(AGENT, order(HIGH, beside=CALLEE))
        await events.wait(Answered, AGENT)
        assert pool._carriers[AGENT] is worker
        third = LegId(3)
        pool.dial(third, order(LOW))
        await events.wait(Answered, third)
        assert pool._carriers[third] is not worker
        await hung_up(pool, events, CALLEE, AGENT, third)


@async_test
async def test_a_pair_always_shares_a_worker_and_one_without_room_takes_no_agent(tmp_path: Path) -> None:
    async with (
        Lab(pace=FAST, behaviours=PEOPLE) as lab,
        pool_to(trunk_to(lab.port), media=tmp_path, max_concurrent_calls=4, workers=2) as (pool, events),
    ):
        await _until_up(pool, 2)
        pool.dial(CALLEE, order(LOW))
        await events.wait(Answered, CALLEE)
        for n in range(3):
            pool.dial(LegId(10 + n), order(RINGS, beside=CALLEE))
            await events.wait(Rang, LegId(10 + n))
            assert _pid_of(pool, LegId(10 + n)) == _pid_of(pool, CALLEE)
        pool.dial(AGENT, order(HIGH, beside=CALLEE))
        refused = await events.over(AGENT)
        assert isinstance(refused, LegRefused)
        assert refused.transient
        await hung_up(pool, events, CALLEE, *(LegId(10 + n) for n in range(3)))


@async_test
async def test_both_legs_of_a_pair_are_ended_on_the_wire_when_their_worker_dies(tmp_path: Path) -> None:
    async with Lab(pace=FAST, behaviours=PEOPLE) as lab, pool_to(trunk_to(lab.port), media=tmp_path) as (pool, events):
        await joined(pool, events)
        os.kill(_pid_of(pool, CALLEE), signal.SIGKILL)
        for leg in (CALLEE, AGENT):
            assert isinstance(await events.over(leg), LegLost)
        await lab.log.wait_until(lambda log: log.count("bye_received") == 2, seconds=10)
        assert lab.calls_now == 0
