from sip.offer import with_codecs

OFFER = "\r\n".join(
    [
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        "m=audio 4000 RTP/AVP 8 0 9 101",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:9 G722/8000",
        "a=sendrecv",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-16",
        "",
    ]
)


def test_only_the_wanted_codecs_stay_in_their_order_and_telephone_event_with_them() -> None:
    told = with_codecs(OFFER, ["pcmu", "pcma"])
    assert "m=audio 4000 RTP/AVP 0 8 101" in told
    assert "G722" not in told
    assert [line for line in told.split("\r\n") if "101" in line][1:] == [
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-16",
    ]
    assert "a=sendrecv" in told
    assert told.endswith("\r\n")


def test_static_payload_types_need_no_rtpmap() -> None:
    assert "m=audio 1 RTP/AVP 0\r\n" in with_codecs("v=0\r\nm=audio 1 RTP/AVP 0 8\r\n", ["pcmu"])


def test_what_holds_none_of_them_or_no_audio_stays_as_it_is() -> None:
    assert with_codecs(OFFER, ["opus"]) == OFFER
    assert with_codecs("v=0\r\n", ["pcmu"]) == "v=0\r\n"
