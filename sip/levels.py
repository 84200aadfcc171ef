"""What one frame of audio holds: how loud it is, and whether it is a pure tone. Pure.

A sine wave is the one signal in which each sample's neighbours add up to the same multiple of it: x[n-1] + x[n+1] =
2 cos(w) x[n]. So the multiple that fits best tells the frequency, and what it leaves over tells how much else there is, at
the price of three sums over the frame. White noise of the energy s leaves (2 + multiple^2) s, by which its share is known.
"""

import math
from array import array
from operator import mul
from typing import Final

from dialer.core.frames import SILENT_DB

RATE_HZ: Final = 8_000
# No tone is sought in what is no louder: the steps of G.711 would be as large.
FAINT_DB: Final = 50
# The share of noise that a tone may have: 18 dB below it. In speech 1 % of the frames are as pure, below 400 Hz more.
PURE: Final = 0.015
_TONES_HZ: Final = range(400, 3_000)


def measure(samples: "array[int]") -> tuple[int, int]:
    """The frame's level, the mean amplitude in dB below full scale (0: the loudest), and its tone's frequency; 0: none.

    >>> measure(array("h", [round(8_000 * math.sin(math.pi * n / 4)) for n in range(160)]))
    (17, 1000)
    """
    amplitude = sum(map(abs, samples)) / len(samples) if samples else 0
    level = SILENT_DB if amplitude < 1 else round(20 * math.log10(32_768 / amplitude))
    return level, tone_hz(samples) if level <= FAINT_DB else 0


def tone_hz(samples: "array[int]") -> int:
    """The frequency of the pure tone that the frame is, in Hz; 0: it is none."""
    if len(samples) < 3:
        return 0
    first, second, before_last, last = samples[0], samples[1], samples[-2], samples[-1]
    energy = sum(map(mul, samples, samples))
    by_one = sum(map(mul, samples[1:], samples))
    by_two = sum(map(mul, samples[2:], samples))
    # Of the samples that have two neighbours: their energy, that of the neighbours' sums, and the product of both.
    own = energy - first * first - last * last
    sums = 2 * (energy + by_two) - first * first - second * second - before_last * before_last - last * last
    both = 2 * by_one - first * second - before_last * last
    multiple = both / own if own else 2.0
    if abs(multiple) >= 2 or sums - multiple * both > PURE * (2 + multiple * multiple) * own:
        return 0
    hertz = round(math.acos(multiple / 2) * RATE_HZ / (2 * math.pi))
    return hertz if hertz in _TONES_HZ else 0
