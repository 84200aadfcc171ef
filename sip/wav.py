"""WAV files as people have them, into WAV files that the stack plays: 16-bit, one channel, 20 ms in whole samples.

Pure. The stack itself takes 16-bit PCM, A-law and mu-law of any rate that has whole samples in 20 ms, and resamples it; of
two channels it makes the sum, which clips. All else (8, 24 and 32 bits, floating point, more channels, 11,025 Hz) is
turned into 16-bit PCM of one channel here.
"""

import struct
from array import array
from dataclasses import dataclass
from typing import Final

from dialer.core.amounts import amount
from sip.g711 import decode

_PCM, _FLOAT, _A_LAW, _MU_LAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_FORMAT: Final = struct.Struct("<HHIIHH")
_CHUNK: Final = struct.Struct("<4sI")
STACK_RATES: Final = (8_000, 16_000, 24_000, 32_000, 48_000)
MAX_CHANNELS: Final = 8
HEADER_BYTES: Final = 65_536  # a file whose samples begin later is not worth reading


class NotPlayable(ValueError):
    """Not a WAV file, or of a kind that cannot be played; the text says which."""


@dataclass(frozen=True, slots=True)
class Wave:
    """What a file holds: `bits` of one sample, and where its samples lie."""

    kind: int
    channels: int
    rate: int
    bits: int
    start: int
    size: int

    @property
    def fits_the_stack(self) -> bool:
        """Whether the stack plays it as it is, and right."""
        plain = (self.kind == _PCM and self.bits == 16) or (self.kind in {_A_LAW, _MU_LAW} and self.bits == 8)
        return plain and self.channels == 1 and self.rate % 50 == 0 and 8_000 <= self.rate <= 96_000

    @property
    def seconds(self) -> float:
        """How long it plays."""
        return self.size / (self.rate * self.channels * self.bits // 8)


def read_header(data: bytes) -> Wave:
    """What the file is that begins with `data` (`HEADER_BYTES` are enough). Raises NotPlayable."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise NotPlayable("is not a WAV file")
    at, form = 12, None
    while at + 8 <= len(data):
        name, size = _CHUNK.unpack_from(data, at)
        at += 8
        if name == b"fmt " and at + 16 <= len(data):
            form = _FORMAT.unpack_from(data, at)
            if form[0] == _EXTENSIBLE and size >= 26:
                form = (int.from_bytes(data[at + 24 : at + 26], "little"), *form[1:])
        elif name == b"data":
            if form is None:
                break
            return _checked(Wave(form[0], form[1], form[2], form[5], at, size))
        at += size + size % 2
    raise NotPlayable("is a WAV file without samples")


def _checked(wave: Wave) -> Wave:
    known = {_PCM: {8, 16, 24, 32}, _FLOAT: {32, 64}, _A_LAW: {8}, _MU_LAW: {8}}
    if wave.bits not in known.get(wave.kind, set()):
        raise NotPlayable(f"holds audio of a kind that cannot be played (format {wave.kind}, {wave.bits} bits)")
    if not 1 <= wave.channels <= MAX_CHANNELS or not 4_000 <= wave.rate <= 192_000:
        raise NotPlayable(f"has {amount(wave.channels, 'channel')} at {wave.rate} Hz")
    if wave.size == 0:
        raise NotPlayable("is a WAV file without samples")
    return wave


def playable(data: bytes) -> bytes:
    """The whole file `data` as a WAV file of 16-bit PCM, one channel. Raises NotPlayable."""
    wave = read_header(data)
    samples = _mixed(_sixteen_bits(wave, data[wave.start : wave.start + wave.size]), wave.channels)
    if wave.rate % 50 == 0 and 8_000 <= wave.rate <= 96_000:
        return write_wav(samples, wave.rate)
    rate = next((rate for rate in STACK_RATES if rate >= wave.rate), STACK_RATES[-1])
    return write_wav(_at_rate(samples, wave.rate, rate), rate)


def write_wav(samples: "array[int]", rate: int) -> bytes:
    """A WAV file of 16-bit samples, one channel."""
    body = samples.tobytes()  # every machine that this runs on is little-endian, as WAV is
    form = _FORMAT.pack(_PCM, 1, rate, 2 * rate, 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(body))
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + _CHUNK.pack(b"data", len(body))
        + body
    )


def _sixteen_bits(wave: Wave, data: bytes) -> "array[int]":
    width = wave.bits // 8
    data = data[: len(data) - len(data) % (width * wave.channels)]
    samples = array("h")
    if wave.kind in {_A_LAW, _MU_LAW}:
        samples.frombytes(decode(data, "PCMA" if wave.kind == _A_LAW else "PCMU"))
    elif wave.kind == _FLOAT:
        values = array("f" if width == 4 else "d")
        values.frombytes(data)
        samples.extend(max(-32_768, min(32_767, round(32_767 * value))) for value in values)
    elif width == 1:
        samples.extend((octet - 128) << 8 for octet in data)
    else:
        upper = bytearray(len(data) // width * 2)
        upper[0::2], upper[1::2] = data[width - 2 :: width], data[width - 1 :: width]
        samples.frombytes(upper)
    return samples


def _mixed(samples: "array[int]", channels: int) -> "array[int]":
    """The mean of the channels."""
    if channels == 1:
        return samples
    return array("h", (sum(frame) // channels for frame in zip(*[iter(samples)] * channels, strict=True)))


def _at_rate(samples: "array[int]", have: int, want: int) -> "array[int]":
    """By straight lines between samples: good enough upwards, where what it adds lies above speech."""
    count = len(samples) * want // have
    last = len(samples) - 1
    made = array("h")
    for n in range(count):
        at, rest = divmod(n * have, want)
        here = samples[at]
        made.append(here + (samples[min(at + 1, last)] - here) * rest // want)
    return made
