"""The audio of the called party: what it sends, what it counts, what it keeps."""

import asyncio
import math
import struct
import time
import wave
from array import array
from itertools import pairwise
from pathlib import Path

import pytest

from dialer.core.model import Disposition
from sip.g711 import decode, tone
from sip.lab import Behaviour, Plan
from tests.support.caller import Caller, Talk, offer
from tests.support.labs import ANSWERS, AT_ONCE, SOUNDLESS, WAITS, async_test, ended, lab_and_caller


def level(samples: "array[int]", hertz: float) -> float:
    """Amplitude of one frequency (Goertzel's sum, written out)."""
    angles = [2 * math.pi * hertz * n / 8_000 for n in range(len(samples))]
    real = sum(sample * math.cos(angle) for sample, angle in zip(samples, angles, strict=True))
    imaginary = sum(sample * math.sin(angle) for sample, angle in zip(samples, angles, strict=True))
    return 2 * math.hypot(real, imaginary) / len(samples)


def samples_of(packets: list[bytes], codec: str) -> "array[int]":
    samples = array("h")
    for packet in packets:
        samples.frombytes(decode(packet[12:], codec))  # type: ignore[arg-type]
    return samples


@pytest.mark.parametrize(("codecs", "payload_type", "codec"), [("8 0", 8, "PCMA"), ("18 0 8", 0, "PCMU")])
@async_test
async def test_the_answer_brings_a_400_hz_tone_in_packets_of_20_ms(codecs: str, payload_type: int, codec: str) -> None:
    async with lab_and_caller() as (_, caller):
        talk = await caller.answered(WAITS, body=offer(caller.rtp.port, codecs=codecs))
        assert f"m=audio {talk.lab_rtp_port} RTP/AVP {payload_type}\r\n" in talk.answer.body.decode()
        assert talk.lab_rtp_port % 2 == 0
        started = time.monotonic()
        packets = [await caller.rtp.receive() for _ in range(16)]
        assert time.monotonic() - started > 0.25  # 15 spaces of 20 ms
        heads = [struct.unpack("!BBHII", packet[:12]) for packet in packets]
        assert {len(packet) for packet in packets} == {172}
        assert [head[1] for head in heads] == [payload_type | 0x80, *[payload_type] * 15]
        assert {(after[2] - before[2], after[3] - before[3]) for before, after in pairwise(heads)} == {(1, 160)}
        samples = samples_of(packets, codec)
        assert 2_700 < level(samples, 400) < 3_300
        assert level(samples, 700) < 100
        talk.hang_up()


@async_test
async def test_early_media_is_heard_before_the_answer() -> None:
    async with lab_and_caller() as (lab, caller):
        invite = caller.invite("34600000005")
        await caller.response(100)
        progress = await caller.response(183)
        assert b"m=audio" in progress.body
        samples = samples_of([await caller.rtp.receive() for _ in range(2)], "PCMA")
        assert level(samples, 450) > 2_000
        answer = await caller.response(200)
        assert answer.body == progress.body
        assert answer.call_id == invite.call_id
        assert [entry.event for entry in lab.log] == ["invite", "early_media", "answered"]


@async_test
async def test_a_silent_leg_is_described_and_sends_nothing() -> None:
    async with lab_and_caller() as (lab, caller):
        talk = await caller.answered(SOUNDLESS)
        assert talk.lab_rtp_port
        await talk.hung_up()
        assert caller.rtp.waiting() == 0
        end = await ended(lab)
        assert end.rtp is not None
        assert end.rtp.sent == 0


@async_test
async def test_what_was_received_is_counted_with_losses_and_gaps_and_recorded(tmp_path: Path) -> None:
    async with lab_and_caller(record=True) as (lab, caller):
        talk = await caller.answered(WAITS)
        port, sound = talk.lab_rtp_port, tone("PCMA", 500)
        for sequence in (65_534, 65_535, 0, 1, 4, 3):  # 2 is lost, 3 is late
            caller.rtp.send(port, sequence, sound)
        started = time.monotonic()
        await asyncio.sleep(0.15)  # the gap to be measured
        spent_ms = (time.monotonic() - started) * 1000
        caller.rtp.send(port, 5, sound)
        caller.rtp.send(port, 6, b"\x01\x02", payload_type=101)  # counted, no audio
        for garbage in (b"", b"\x80", b"\x00" * 12, b"\xbf" + b"\xff" * 11, b"\x9f" + b"\xff" * 15, b"\xff" * 40):
            caller.rtp._socket.sendto(garbage, ("127.0.0.1", port))
        talk.hang_up()
        await caller.response(200, "BYE")
        counts = (await ended(lab)).rtp
        assert counts is not None
        assert (counts.lost, counts.received) == (1, 8 + 2)  # two of the garbled ones pass for RTP
        assert counts.longest_gap_ms == pytest.approx(spent_ms, abs=20)
        recording = lab.recordings[talk.invite.call_id]
        samples = array("h", recording.pcm())
        assert len(samples) == 160 * 8  # six heard in order, two of silence for 2 and 3
        assert not any(samples[640:960])
        assert 2_700 < level(samples[:640], 500) < 3_300
        recording.save(tmp_path / "heard.wav")
        with wave.open(str(tmp_path / "heard.wav")) as file:
            assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (8_000, 1, len(samples))


@async_test
async def test_hold_stops_the_audio_and_resuming_brings_it_back_elsewhere() -> None:
    async with lab_and_caller() as (lab, caller), Caller(0) as other:
        talk = await caller.answered(WAITS)
        await caller.rtp.receive()
        hold = talk.request("INVITE", offer(caller.rtp.port, direction="sendonly"))
        held = await caller.response(200)
        assert b"a=recvonly" in held.body
        assert f"m=audio {talk.lab_rtp_port} ".encode() in held.body
        talk.acknowledge(of=hold)
        await lab.log.wait_until(lambda log: log.count("ack") == 2, seconds=5)
        caller.rtp.waiting()
        await asyncio.sleep(0.1)
        assert caller.rtp.waiting() == 0
        talk.request("INVITE", offer(other.rtp.port))
        assert b"a=sendrecv" in (await caller.response(200)).body
        await other.rtp.receive()
        assert caller.rtp.waiting() == 0
        talk.request("INVITE", offer(0))
        await caller.response(488)
        assert [entry.status for entry in lab.log.of("reinvite")] == [200, 200, 488]


@async_test
async def test_an_invite_without_offer_gets_one_and_its_answer_is_taken_from_the_ack() -> None:
    async with lab_and_caller() as (_, caller):
        invite = caller.invite(AT_ONCE, body="")
        answer = await caller.final(invite)
        assert b"RTP/AVP 8 0" in answer.body
        talk = Talk(caller, invite, answer)
        talk.acknowledge(offer(caller.rtp.port, codecs="0"))
        assert (await caller.rtp.receive())[1] & 0x7F == 0


@pytest.mark.parametrize(
    "body",
    [
        offer(4000, codecs="18 101"),
        offer(0),
        offer(4000).replace("c=IN IP4 127.0.0.1\r\n", ""),
        offer(4000).replace("RTP/AVP", "RTP/SAVP"),
        offer(4000).replace("127.0.0.1", "caller.invalid"),
        offer(4000).replace("m=audio 4000", "m=audio 99999"),
        "nonsense",
    ],
)
@async_test
async def test_an_offer_that_cannot_be_carried_gets_488(body: str) -> None:
    async with lab_and_caller() as (lab, caller):
        assert (await caller.final(caller.invite(ANSWERS, body=body))).status == 488
        assert (await ended(lab)).status == 488


@async_test
async def test_other_streams_of_an_offer_are_refused_by_port_0() -> None:
    async with lab_and_caller() as (_, caller):
        body = offer(caller.rtp.port) + "m=video 5000 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
        lines = (await caller.answered(AT_ONCE, body=body)).answer.body.decode().splitlines()
        assert [line.split()[:2] for line in lines if line.startswith("m=")][1] == ["m=video", "0"]


@async_test
async def test_a_hundred_calls_hear_their_tone_without_a_gap() -> None:
    waits_at_once = Plan(alert=None, alert_seconds=0, talk_seconds=None)
    everyone = Behaviour("", "answers at once and waits", (waits_at_once,), (Disposition.ANSWERED,))
    async with lab_and_caller(behaviours=[everyone]) as (lab, caller):
        talks = [await caller.answered("1") for _ in range(100)]
        assert lab.calls_now == lab.peak_calls == 100
        caller.rtp.waiting()
        started = time.monotonic()
        heard = 0
        while (spent := time.monotonic() - started) < 1.0:
            heard += caller.rtp.waiting()
            await asyncio.sleep(0.005)
        assert heard == pytest.approx(spent * 50 * 100, rel=0.1)
        for talk in talks:
            talk.hang_up()
        await ended(lab, 100)
