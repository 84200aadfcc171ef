import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialer.core.events import EndedBy, LegEnded, PlayEnded
from dialer.core.model import LegId, WallMs
from sip.messages import _KINDS, MAX_PACKET, BadMessage, Dial, Ping, SetTrunk, decode, encode
from sip.trunk import TrunkProfile

texts = st.text(max_size=40)
floats = st.floats(allow_nan=False, allow_infinity=False)
st.register_type_strategy(float, floats)
messages = st.one_of([st.builds(kind) if not kind.__annotations__ else st.from_type(kind) for kind in _KINDS])


@given(messages)
def test_every_message_comes_out_as_it_went_in(message: Any) -> None:
    packet = encode(message)
    assert decode(packet) == message
    assert type(decode(packet)) is type(message)


def test_a_message_is_one_short_json_array_that_begins_with_its_name() -> None:
    assert encode(Dial(LegId(7), "pbx", "+34600", "", "id")) == b'["Dial",7,"pbx","+34600","","id"]'
    end = LegEnded(LegId(7), WallMs(5), EndedBy.FAR, 486, 17, None, "Busy", {"jitter_ms": 0.5})
    assert json.loads(encode(end)) == ["LegEnded", 7, 5, "far", 486, 17, None, "Busy", {"jitter_ms": 0.5}]


def test_a_trunk_travels_inside_its_message() -> None:
    order = SetTrunk(
        TrunkProfile("pbx", "sip:pbx.example", "me", "pässword", register=True), "192.0.2.1", "192.0.2.9", False
    )
    assert decode(encode(order)) == order


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\xff\xfe",
        b"{}",
        b"7",
        b"[]",
        b"[[]]",
        b'["Unheard"]',
        b'["Ping"]',
        b'["Ping",1,2]',
        b'["Ping","1"]',
        b'["Ping",true]',
        b'["Ping",null]',
        b'["Retire",1]',
        b'["SetTrunk",["pbx"],"a","b",true]',
        b'["LegEnded",1,1,"nobody",0,null,null,"",null]',
        b'["LegEnded",1,1,"far",0,null,null,"",{"loss":"much"}]',
        b'["LegEnded",1,1,"far",0,null,null,"",[]]',
    ],
)
def test_what_no_worker_wrote_is_refused(packet: bytes) -> None:
    with pytest.raises(BadMessage):
        decode(packet)


def test_the_longest_dialog_fits_a_packet() -> None:
    assert len(encode(PlayEnded(LegId(1), 1, complete=False, reason="x" * 4_000))) < MAX_PACKET
    assert decode(encode(Ping(2**53))) == Ping(2**53)
