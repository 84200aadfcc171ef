import math
import random
from array import array

import pytest

from dialer.core.frames import SILENT_DB
from sip.g711 import decode, encode
from sip.levels import measure, tone_hz


def sine(*hertz: int, amplitude: int = 6_000, phase: float = 1.0) -> array:
    return array(
        "h",
        (round(sum(amplitude * math.sin(2 * math.pi * one * n / 8_000 + phase) for one in hertz)) for n in range(160)),
    )


def noise(amplitude: int, seed: int = 1) -> array:
    dice = random.Random(seed)
    return array("h", (round(dice.gauss(0, amplitude)) for _ in range(160)))


def mixed(one: array, other: array) -> array:
    return array("h", map(sum, zip(one, other, strict=True)))


@pytest.mark.parametrize(("amplitude", "level"), [(32_000, 4), (6_000, 19), (600, 39), (60, 59)])
def test_the_level_is_the_mean_amplitude_below_full_scale(amplitude: int, level: int) -> None:
    assert measure(sine(1_000, amplitude=amplitude))[0] == level


def test_nothing_is_silent() -> None:
    assert measure(array("h")) == (SILENT_DB, 0)
    assert measure(array("h", [0] * 160)) == (SILENT_DB, 0)


@pytest.mark.parametrize("hertz", [425, 440, 620, 850, 1_000, 1_400, 2_100, 2_900])
@pytest.mark.parametrize("phase", [0.0, 0.7, 2.0])
def test_a_pure_tone_is_found_through_g711(hertz: int, phase: float) -> None:
    heard = array("h", decode(encode(sine(hertz, phase=phase), "PCMA"), "PCMA"))
    assert tone_hz(heard) == pytest.approx(hertz, rel=0.02)


def test_a_tone_20_db_above_noise_is_found_and_one_12_db_above_is_not() -> None:
    found = [tone_hz(mixed(sine(1_000), noise(424, seed))) for seed in range(50)]
    assert sum(hertz == pytest.approx(1_000, rel=0.03) for hertz in found) >= 45
    assert not any(tone_hz(mixed(sine(1_000), noise(1_070, seed))) for seed in range(50))


@pytest.mark.parametrize("samples", [noise(3_000), sine(697, 1_209), sine(200)], ids=range(3))
def test_noise_keys_and_hum_are_no_tone(samples: array) -> None:
    assert tone_hz(samples) == 0


def test_what_is_faint_is_not_looked_at() -> None:
    assert measure(sine(1_000, amplitude=100))[1] == 0
    assert tone_hz(sine(1_000, amplitude=100)) == 1_000
