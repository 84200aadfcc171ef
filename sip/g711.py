"""G.711: PCMU and PCMA octets to and from 16-bit linear samples at 8 kHz (ITU-T G.711, RFC 3551 section 4.5.14).

Pure. Tables are built once at import from the standard's formulas.
"""

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from sip.sdp import Codec

RATE_HZ: Final = 8_000
SILENCE: Final[dict[Codec, int]] = {"PCMU": 0xFF, "PCMA": 0xD5}  # the octet nearest to zero


def _mu_law_sample(octet: int) -> int:
    inverted = ~octet & 0xFF  # all bits travel inverted
    magnitude = (((inverted & 0x0F) << 3) + 0x84 << (inverted >> 4 & 7)) - 0x84
    return -magnitude if inverted & 0x80 else magnitude


def _a_law_sample(octet: int) -> int:
    toggled = octet ^ 0x55  # even bits travel inverted
    exponent, mantissa = toggled >> 4 & 7, (toggled & 0x0F) << 4
    magnitude = mantissa + 8 if exponent == 0 else mantissa + 0x108 << exponent - 1
    return magnitude if toggled & 0x80 else -magnitude


_DECODED: Final[dict[Codec, tuple[int, ...]]] = {
    "PCMU": tuple(_mu_law_sample(octet) for octet in range(256)),
    "PCMA": tuple(_a_law_sample(octet) for octet in range(256)),
}


def decode(payload: bytes, codec: Codec) -> bytes:
    """G.711 octets as 16-bit samples in the machine's byte order, two bytes for each octet."""
    return array("h", map(_DECODED[codec].__getitem__, payload)).tobytes()


_ORDERED: Final[dict[Codec, list[tuple[int, int]]]] = {
    codec: sorted((value, octet) for octet, value in enumerate(values)) for codec, values in _DECODED.items()
}
_BORDERS: Final[dict[Codec, list[float]]] = {
    codec: [(low + high) / 2 for (low, _), (high, _) in pairwise(ordered)] for codec, ordered in _ORDERED.items()
}


def encode(samples: Iterable[int], codec: Codec) -> bytes:
    """The octet nearest to each sample (clipped to 16 bits). About a microsecond a sample."""
    borders, ordered = _BORDERS[codec], _ORDERED[codec]
    return bytes(ordered[bisect_left(borders, sample)][1] for sample in samples)


def tone(codec: Codec, *frequencies_hz: int, amplitude: int = 3_000, samples: int = 160) -> bytes:
    """`samples` octets of the sum of sine waves, each of `amplitude` (peak, of 32,767).

    With frequencies that are multiples of RATE_HZ / samples (50 Hz for 20 ms) the piece repeats without a click.
    """
    angles = [[2 * math.pi * hertz * n / RATE_HZ for hertz in frequencies_hz] for n in range(samples)]
    return encode((round(amplitude * sum(map(math.sin, angle))) for angle in angles), codec)
