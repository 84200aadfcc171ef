import math
import struct
from array import array

import pytest

from sip.wav import NotPlayable, playable, read_header, write_wav

RATE = 8_000


def tone(rate: int, hertz: int = 500, seconds: float = 0.5) -> list[float]:
    return [0.5 * math.sin(2 * math.pi * hertz * n / rate) for n in range(round(rate * seconds))]


def file_of(
    kind: int, bits: int, rate: int, channels: int, body: bytes, *, extensible: bool = False, junk: bytes = b""
) -> bytes:
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", 0xFFFE if extensible else kind, channels, rate, rate * block, block, bits)
    if extensible:
        form += struct.pack("<HHI", 22, bits, 0) + struct.pack("<H", kind) + bytes(14)
    chunks = junk + b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def as_bits(samples: list[float], bits: int) -> bytes:
    if bits == 8:
        return bytes(round(127 * s) + 128 for s in samples)
    whole = [round((2 ** (bits - 1) - 1) * s) for s in samples]
    return b"".join(value.to_bytes(bits // 8, "little", signed=True) for value in whole)


def heard(data: bytes) -> tuple[int, list[int]]:
    wave = read_header(data)
    assert wave.fits_the_stack
    assert (wave.kind, wave.bits) == (1, 16)
    samples = array("h")
    samples.frombytes(data[wave.start : wave.start + wave.size])
    return wave.rate, samples.tolist()


def same_tone(data: bytes, seconds: float = 0.5) -> None:
    rate, samples = heard(data)
    assert len(samples) == pytest.approx(rate * seconds, rel=0.01)
    expected = [round(32_767 * s) for s in tone(rate, seconds=seconds)]
    worst = max(abs(a - b) for a, b in zip(samples, expected, strict=False))
    assert worst < 600  # straight lines between samples are 2 % off at most here


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
@pytest.mark.parametrize("extensible", [False, True])
def test_whole_numbers_of_any_width_keep_their_tone(bits: int, extensible: bool) -> None:
    same_tone(playable(file_of(1, bits, RATE, 1, as_bits(tone(RATE), bits), extensible=extensible)))


@pytest.mark.parametrize(("bits", "code"), [(32, "f"), (64, "d")])
def test_floating_point_keeps_its_tone_and_is_clipped(bits: int, code: str) -> None:
    same_tone(playable(file_of(3, bits, RATE, 1, array(code, tone(RATE)).tobytes())))
    _, loud = heard(playable(file_of(3, bits, RATE, 1, array(code, [2.0, -2.0]).tobytes())))
    assert loud == [32_767, -32_768]


def test_of_two_channels_comes_the_mean_and_not_the_sum() -> None:
    stereo = [sample for s in tone(RATE) for sample in (s, s)]
    same_tone(playable(file_of(1, 16, RATE, 2, as_bits(stereo, 16))))


@pytest.mark.parametrize(("rate", "made"), [(11_025, 16_000), (22_050, 22_050), (44_100, 44_100), (176_400, 48_000)])
def test_a_rate_without_whole_samples_in_20_ms_becomes_one_that_has_them(rate: int, made: int) -> None:
    data = playable(file_of(1, 16, rate, 1, as_bits(tone(rate), 16)))
    assert read_header(data).rate == made
    same_tone(data)


def test_companded_audio_of_two_channels_is_turned_into_plain_audio() -> None:
    _, samples = heard(playable(file_of(7, 8, RATE, 2, bytes([0x80, 0xFF]) * 10)))
    assert samples == [32_124 // 2] * 10


@pytest.mark.parametrize(
    ("kind", "bits", "rate", "channels", "fits"),
    [
        (1, 16, 8_000, 1, True),
        (6, 8, 8_000, 1, True),
        (7, 8, 8_000, 1, True),
        (1, 16, 44_100, 1, True),
        (1, 16, 8_000, 2, False),
        (1, 8, 8_000, 1, False),
        (1, 24, 8_000, 1, False),
        (1, 16, 11_025, 1, False),
    ],
)
def test_what_the_stack_plays_right_is_known_by_its_header(
    kind: int, bits: int, rate: int, channels: int, fits: bool
) -> None:
    assert read_header(file_of(kind, bits, rate, channels, bytes(480))).fits_the_stack is fits


def test_other_chunks_are_passed_over() -> None:
    data = file_of(1, 16, RATE, 1, as_bits(tone(RATE), 16), junk=b"LIST" + struct.pack("<I", 3) + b"abc\0")
    assert read_header(data).seconds == 0.5
    same_tone(playable(data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF",
        b"ID3 music",
        b"RIFF1234WAVE",
        file_of(1, 16, RATE, 1, b""),
        file_of(85, 16, RATE, 1, bytes(8)),
        file_of(1, 12, RATE, 1, bytes(8)),
        file_of(1, 16, 0, 1, bytes(8)),
        file_of(1, 16, RATE, 0, bytes(8)),
        b"RIFF\0\0\0\0WAVEdata\4\0\0\0abcd",
        b"RIFF\0\0\0\0WAVEfmt \xff\xff\xff\xff",
    ],
    ids=range(11),
)
def test_what_cannot_be_played_is_refused(data: bytes) -> None:
    with pytest.raises(NotPlayable):
        read_header(data)


def test_what_is_written_can_be_read() -> None:
    data = write_wav(array("h", [1, -1]), 16_000)
    assert heard(data) == (16_000, [1, -1])
