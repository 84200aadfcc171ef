import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialer.core.events import EndedBy, LegEnded, PlayEnded
from dialer.core.model import LegId, WallMs
from sip.messages import _KINDS, Dial, Ping, SetTrunk, decode, encode
from sip.packets import MAX_PACKET, BadMessage, lines_of, packet_of
from sip.trunk import TrunkProfile

texts = st.text(max_size=40)
floats = st.floats(allow_nan=False, allow_infinity=False)
st.register_type_strategy(float, floats)
messages = st.one_of([st.builds(kind) if not kind.__annotations__ else st.from_type(kind) for kind in _KINDS])


@given(messages)
def test_every_message_comes_out_as_it_went_in(message: Any) -> None:
    line = encode(message)
    assert b"\n" not in line
    assert decode(line) == message
    assert type(decode(line)) is type(message)


def test_a_line_is_the_messages_name_and_its_fields() -> None:
    fields = b'"leg":7,"trunk":"pbx","number":"+34600","caller_id":"","sip_call_id":"id","ordered_at":5000.25'
    dial = b'Dial {%b,"uri":"","beside":null}' % fields
    assert encode(Dial(LegId(7), "pbx", "+34600", "", "id", 5000.25)) == dial
    end = LegEnded(LegId(7), WallMs(5), EndedBy.FAR, 486, 17, None, "Busy", {"jitter_ms": 0.5})
    name, _, told = encode(end).partition(b" ")
    assert name == b"LegEnded"
    assert json.loads(told)["by"] == "far"


def test_what_a_peer_wrote_in_another_encoding_is_told_as_far_as_it_can_be_read() -> None:
    end = LegEnded(
        LegId(7), WallMs(5), EndedBy.FAR, 486, reason=b"Occup\xe9 \xc3\xa9".decode("utf-8", "surrogateescape")
    )
    told = decode(encode(end))
    assert isinstance(told, LegEnded)
    assert (told.sip_status, told.reason) == (486, "Occup? é")


@given(st.lists(messages, min_size=1, max_size=30))
def test_a_packet_holds_many_lines_in_order(several: list[Any]) -> None:
    packet, lines = packet_of(map(encode, several))
    assert lines == len(several)
    assert list(map(decode, lines_of(packet))) == several


def test_a_packet_holds_no_more_than_a_receiver_takes() -> None:
    lines = [b"x" * 30_000] * 5
    packet, taken = packet_of(lines)
    assert taken == 2
    assert len(packet) <= MAX_PACKET
    assert packet_of([b"x" * (MAX_PACKET + 1), b"y"])[1] == 1


def test_a_trunk_travels_inside_its_message() -> None:
    order = SetTrunk(
        TrunkProfile("pbx", "sip:pbx.example", "me", "pässword", register=True), "192.0.2.1", "192.0.2.9", False
    )
    assert decode(encode(order)) == order


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff\xfe",
        b"{}",
        b"[]",
        b"Unheard {}",
        b"Ping",
        b"Ping {}",
        b"Ping 1",
        b"Ping [1]",
        b'Ping {"number":"1"}',
        b'Ping {"number":true}',
        b'Ping {"number":null}',
        b'Retire {"hang_up":1}',
        b'SetTrunk {"trunk":{"name":"pbx"},"address":"a","local_address":"b","registers":true}',
        b'LegEnded {"leg":1,"at":1,"by":"nobody"}',
        b'LegEnded {"leg":1,"at":1,"by":"far","rtp":{"loss":"much"}}',
        b'LegEnded {"leg":1,"at":1,"by":"far","rtp":[]}',
    ],
)
def test_what_no_worker_wrote_is_refused(line: bytes) -> None:
    with pytest.raises(BadMessage):
        decode(line)


def test_the_longest_dialog_fits_a_packet() -> None:
    assert len(encode(PlayEnded(LegId(1), 1, complete=False, reason="x" * 4_000))) < MAX_PACKET
    assert decode(encode(Ping(2**53))) == Ping(2**53)
