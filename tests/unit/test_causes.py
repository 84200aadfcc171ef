import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.causes import Headers, Verdict, carries_description, read_verdict


@pytest.mark.parametrize(
    ("lines", "verdict"),
    [
        (["SIP/2.0 486 Busy Here"], Verdict(486, "Busy Here", None, None)),
        (["SIP/2.0 486 Busy", "Reason: Q.850;cause=17"], Verdict(486, "Busy", 17, None)),
        (["SIP/2.0 480 ", 'reason: q.850 ; text="x; y" ; cause = 20'], Verdict(480, "", 20, None)),
        (["SIP/2.0 480 Off", 'Reason: SIP;cause=480;text="no",Q.850;cause=19'], Verdict(480, "Off", 19, None)),
        (["SIP/2.0 480 Off", "Reason: SIP;cause=480", "Reason: Q.850;cause=18"], Verdict(480, "Off", 18, None)),
        (["SIP/2.0 480 Off", "Reason: SIP;cause=480"], Verdict(480, "Off", None, None)),
        (["SIP/2.0 480 Off", "Reason: Q.850;cause=0"], Verdict(480, "Off", None, None)),
        (["SIP/2.0 480 Off", "Reason: Q.850;cause=999"], Verdict(480, "Off", None, None)),
        (["SIP/2.0 503 Full", "Retry-After: 120 (lunch)"], Verdict(503, "Full", None, 120)),
        (["SIP/2.0 503 Full", "Retry-After: 5;duration=60"], Verdict(503, "Full", None, 5)),
        (["SIP/2.0 503 Full", "Retry-After: 4294967294"], Verdict(503, "Full", None, 4_294_967_294)),
        (["SIP/2.0 503 Full", "Retry-After: soon"], Verdict(503, "Full", None, None)),
        # Text is text, whatever it quotes, and a parameter belongs to its own reason.
        (["SIP/2.0 480 Off", 'Reason: SIP;cause=480;text="was Q.850;cause=1"'], Verdict(480, "Off", None, None)),
        (["SIP/2.0 480 Off", 'Reason: SIP;text="a, Q.850;cause=1", Q.850;cause=17'], Verdict(480, "Off", 17, None)),
        (["SIP/2.0 480 Off", 'Reason: Q.850;text="cause=1";cause=17'], Verdict(480, "Off", 17, None)),
        (["SIP/2.0 480 Off", 'Reason: Q.850;text="a\\";cause=1";cause=17'], Verdict(480, "Off", 17, None)),
        (["SIP/2.0 480 Off", 'Reason: Q.850;text="x", SIP;cause=1'], Verdict(480, "Off", None, None)),
        (["SIP/2.0 480 Off", "Reason: Q.850;cause=0, Q.850;cause=19"], Verdict(480, "Off", 19, None)),
        (["SIP/2.0 480 Off", "Reason: X-Q.850;cause=1"], Verdict(480, "Off", None, None)),
        (["SIP/2.0 480 Off", 'Reason: Q.850;cause=17;text="never closed'], Verdict(480, "Off", 17, None)),
        (["SIP/2.0 480 Off", "Reason: ,;,", "Reason:"], Verdict(480, "Off", None, None)),
        (["SIP/2.0 503 Full", "Reason: Q.850", " ;cause=34"], Verdict(503, "Full", 34, None)),
        (["BYE sip:x@y SIP/2.0", 'Reason: Q.850;cause=16;text="Bye now"'], Verdict(0, "Bye now", 16, None)),
        (["BYE sip:x@y SIP/2.0"], Verdict(0, "", None, None)),
        (["garbage"], Verdict(0, "", None, None)),
    ],
)
def test_a_messages_verdict(lines: list[str], verdict: Verdict) -> None:
    assert read_verdict("\r\n".join([*lines, "", ""])) == verdict


@given(st.text())
def test_no_text_breaks_the_reading(text: str) -> None:
    read_verdict(text)
    carries_description(text)


def test_a_body_that_looks_like_a_header_is_none() -> None:
    assert read_verdict("SIP/2.0 486 Busy\r\n\r\nReason: Q.850;cause=17\r\n").q850 is None


@pytest.mark.parametrize(
    ("text", "early_media"),
    [
        ("SIP/2.0 183 Progress\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n", True),
        ("SIP/2.0 183 Progress\r\nc: Application/SDP ;x=y\r\n\r\nv=0\r\n", True),
        ("SIP/2.0 183 Progress\r\nContent-Type: application/sdp\r\n\r\n", False),
        ("SIP/2.0 183 Progress\r\nContent-Type: text/plain\r\n\r\nhello\r\n", False),
        ("SIP/2.0 180 Ringing\r\n\r\n", False),
    ],
)
def test_a_description_is_early_media(text: str, early_media: bool) -> None:
    assert carries_description(text) is early_media


def test_headers_are_found_by_full_and_compact_names_folded_or_not() -> None:
    headers = Headers("SIP/2.0 200 OK\r\nt: <sip:a@b>\r\nCALL-ID : x\r\nSubject: one\r\n two\r\nVia: 1\r\nv: 2\r\n\r\n")
    assert (headers.first("to"), headers.first("call-id"), headers.first("subject")) == ("<sip:a@b>", "x", "one two")
    assert headers.all("via") == ["1", "2"]
    assert headers.first("absent") == ""
