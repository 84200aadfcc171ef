"""G.711 against the standard's own figures."""

from array import array

import pytest

from sip.g711 import SILENCE, decode, encode, tone
from sip.sdp import Codec


def linear(octets: bytes, codec: Codec) -> list[int]:
    return list(array("h", decode(octets, codec)))


def test_known_octets_have_the_values_of_the_standard() -> None:
    assert linear(bytes([0x00, 0x80, 0x7F, 0xFF, 0x3F, 0xBF]), "PCMU") == [-32124, 32124, 0, 0, -1980, 1980]
    assert linear(bytes([0x2A, 0xAA, 0x55, 0xD5, 0x15, 0x95]), "PCMA") == [-32256, 32256, -8, 8, -2112, 2112]


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
def test_every_octet_s_value_is_encoded_as_an_octet_of_that_value(codec: Codec) -> None:
    octets = bytes(range(256))
    values = linear(octets, codec)
    assert linear(encode(values, codec), codec) == values
    assert abs(linear(bytes([SILENCE[codec]]), codec)[0]) <= 8


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
def test_a_tone_of_a_multiple_of_50_hz_repeats_without_a_click(codec: Codec) -> None:
    octets = tone(codec, 400, amplitude=3_000)
    assert len(octets) == 160
    assert octets[:20] == octets[140:160]
    samples = linear(octets, codec)
    assert 2_900 < max(samples) < 3_100
    assert -3_100 < min(samples) < -2_900
