"""What the called party says where a tone would not do: sounds that a listener takes for speech, and an answering machine.

Nobody's voice: vowels without words. A buzz of falling pitch is made louder and softer four times a second, and its
overtones come and go as they do when a mouth moves. The same every time.
"""

import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from sip.g711 import RATE_HZ

_PEAK: Final = 30_000
_SYLLABLE_SECONDS: Final = 0.25
_PITCH_HZ: Final = 130.0
_OVERTONES: Final = 20
_STEPS: Final = 512
# The first two formants of five vowels, in Hz.
_VOWELS: Final = ((730, 1_090), (530, 1_840), (270, 2_290), (570, 840), (440, 1_020))
_FORMANT_WIDTH_HZ: Final = 300
_BUZZ: Final = 0.6  # of all overtones, beside the formants
_FALL: Final = 0.2  # of the pitch, in one syllable


@dataclass(frozen=True, slots=True)
class Speech:
    """What is said once: `words` for people; `render` makes its samples of 16 bits at 8 kHz, in the machine's byte order."""

    words: str
    render: Callable[[], bytes] = field(repr=False)


def speak(syllables: int) -> bytes:
    """So many syllables, each a quarter of a second."""
    return b"".join(_syllable(_VOWELS[n % len(_VOWELS)], n) for n in range(syllables))


def _syllable(formants: Sequence[int], number: int) -> bytes:
    count = round(_SYLLABLE_SECONDS * RATE_HZ)
    pitch = _PITCH_HZ * (1 - 0.02 * (number % 5))
    period = _period(formants, pitch)
    made, turns = array("h"), 0.0
    for n in range(count):
        # The lips are closed for the last fifth.
        loud = max(0.0, math.sin(math.pi * n / (0.8 * count)))
        turns += pitch * (1 - _FALL * n / count) / RATE_HZ
        made.append(round(loud * period[int(turns * _STEPS) % _STEPS]))
    return made.tobytes()


def _period(formants: Sequence[int], pitch: float) -> list[float]:
    """One turn of the buzz, in `_STEPS`. All overtones summed for each sample would keep it busy for a third of a second."""
    strengths = [
        sum(1 / (1 + ((k * pitch - formant) / _FORMANT_WIDTH_HZ) ** 2) for formant in formants) + _BUZZ / k
        for k in range(1, _OVERTONES + 1)
    ]
    scale = _PEAK / sum(strengths)
    return [
        scale * sum(strength * math.sin(2 * math.pi * k * n / _STEPS) for k, strength in enumerate(strengths, 1))
        for n in range(_STEPS)
    ]


def beep(hertz: int, seconds: float) -> bytes:
    """A steady tone."""
    angle = 2 * math.pi * hertz / RATE_HZ
    return array("h", (round(6_000 * math.sin(angle * n)) for n in range(round(seconds * RATE_HZ)))).tobytes()


def pause(seconds: float) -> bytes:
    """Silence."""
    return bytes(2 * round(seconds * RATE_HZ))


def _hello() -> bytes:
    return pause(0.3) + speak(2)


def _greeting() -> bytes:
    return b"".join((pause(0.3), speak(9), pause(0.3), speak(6), pause(0.5), beep(1_000, 0.4)))


HELLO: Final = Speech("says hello", _hello)
GREETING: Final = Speech("greets for 4 s, beeps", _greeting)
