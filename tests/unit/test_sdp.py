"""Session descriptions: which stream is taken, and what is answered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.grammar import MalformedMessage
from sip.sdp import (
    MAX_STREAMS,
    AudioTarget,
    Direction,
    Origin,
    choose_audio,
    describe_answer,
    describe_offer,
    parse_streams,
)

HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
OURS = Origin("192.0.2.9", 4000, session=7, version=2)


def chosen(media: str, head: str = HEAD) -> tuple[int, AudioTarget] | None:
    return choose_audio(parse_streams((head + media).encode()))


def test_the_first_g711_payload_type_of_the_offer_counts() -> None:
    found = chosen("m=audio 5000 RTP/AVP 18 101 0 8\r\na=rtpmap:101 telephone-event/8000\r\n")
    assert found == (0, AudioTarget("192.0.2.1", 5000, 0, "PCMU", "sendrecv", 101))


def test_a_dynamic_payload_type_may_be_mapped_to_g711_and_a_static_one_away_from_it() -> None:
    found = chosen(
        "m=audio 5000 RTP/AVP 8 97\r\na=rtpmap:8 opus/48000/2\r\na=rtpmap:8 G729/8000\r\na=rtpmap:97 pcma/8000/1\r\n"
    )
    assert found
    assert (found[1].payload_type, found[1].codec) == (97, "PCMA")


def test_the_stream_s_own_address_and_direction_win_over_the_session_s() -> None:
    media = "m=audio 5000 RTP/AVP 8\r\nc=IN IP6 2001:db8::1\r\na=sendonly\r\n"
    found = chosen(media, HEAD + "a=inactive\r\n")
    assert found
    assert (found[1].host, found[1].direction) == ("2001:db8::1", "sendonly")


@pytest.mark.parametrize(
    ("direction", "host", "listens"),
    [
        ("sendrecv", "192.0.2.1", True),
        ("recvonly", "192.0.2.1", True),
        ("sendonly", "192.0.2.1", False),
        ("inactive", "192.0.2.1", False),
        ("sendrecv", "0.0.0.0", False),
    ],
)
def test_a_held_peer_does_not_listen(direction: Direction, host: str, listens: bool) -> None:
    assert AudioTarget(host, 5000, 8, "PCMA", direction).listens == listens


@pytest.mark.parametrize(
    "media",
    [
        "m=audio 0 RTP/AVP 0 8\r\n",
        "m=audio 5000 RTP/SAVP 0 8\r\n",
        "m=audio 5000 RTP/AVP 18 9\r\n",
        "m=video 5000 RTP/AVP 0\r\n",
        "",
    ],
)
def test_an_offer_without_plain_g711_is_not_taken(media: str) -> None:
    assert chosen(media) is None


@pytest.mark.parametrize(
    "body",
    [
        "",
        "v=1\r\n",
        HEAD + "m=audio\r\n",
        HEAD + "m=audio 65536 RTP/AVP 0\r\n",
        HEAD.replace("192.0.2.1\r\nt", "host.invalid\r\nt") + "m=audio 5000 RTP/AVP 0\r\n",
        HEAD.replace("c=IN IP4", "c=ATM") + "m=audio 5000 RTP/AVP 0\r\n",
        HEAD + "m=audio 5000 RTP/AVP 0\r\n" * (MAX_STREAMS + 1),
    ],
)
def test_what_cannot_be_read_is_malformed(body: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_streams(body.encode())


@given(st.binary(max_size=200))
def test_random_bytes_are_malformed_or_streams_and_nothing_else(data: bytes) -> None:
    try:
        choose_audio(parse_streams(HEAD.encode() + b"m=audio 5000 RTP/AVP 0\r\n" + data))
    except MalformedMessage:
        return


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("sendrecv", "sendrecv"), ("sendonly", "recvonly"), ("recvonly", "sendonly"), ("inactive", "inactive")],
)
def test_the_answer_mirrors_the_direction_and_refuses_other_streams(theirs: str, ours: str) -> None:
    media = f"m=video 6000 RTP/AVP 96\r\nm=audio 5000 RTP/AVP 8 0\r\na={theirs}\r\n"
    streams = parse_streams((HEAD + media).encode())
    found = choose_audio(streams)
    assert found
    body = describe_answer(streams, *found, OURS).decode()
    assert "o=- 7 2 IN IP4 192.0.2.9\r\n" in body
    answered = parse_streams(body.encode())
    assert [(stream.kind, stream.port) for stream in answered] == [("video", 0), ("audio", 4000)]
    assert (answered[1].direction, answered[1].formats) == (ours, ("8",))


def test_our_own_offer_can_be_taken() -> None:
    found = choose_audio(parse_streams(describe_offer(Origin("2001:db8::9", 4000, 7, 1))))
    assert found == (0, AudioTarget("2001:db8::9", 4000, 8, "PCMA", "sendrecv", 101))
