import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.causes import Headers, Verdict, carries_description, read_verdict
from sip.dialog import DialogFacts

INVITE = (
    "INVITE sip:+34600@192.0.2.5:5060 SIP/2.0\r\n"
    "Via: SIP/2.0/TCP 192.0.2.9:5080;rport;branch=z9hG4bK1\r\n"
    "From: <sip:+34910@192.0.2.5>;tag=ours\r\nTo: <sip:+34600@192.0.2.5>\r\nContact: <sip:dialer@192.0.2.9:5080>\r\n"
    "Call-ID: one@here\r\nCSeq: 77 INVITE\r\nRoute: <sip:192.0.2.1;lr>\r\nContent-Length: 0\r\n\r\n"
)


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
        (["SIP/2.0 503 Full", "Retry-After: soon"], Verdict(503, "Full", None, None)),
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
    facts = DialogFacts()
    facts.invite_left(INVITE, "192.0.2.5:5060")
    facts.response_came(text)
    assert json.loads(facts.as_json())["call_id"] == "one@here"


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


def test_a_dialog_is_known_from_the_invite_and_sharpened_by_responses() -> None:
    facts = DialogFacts()
    assert facts.as_json() == ""
    facts.invite_left(INVITE, "192.0.2.5:5060")
    first = json.loads(facts.as_json())
    assert first == {
        "uri": "sip:+34600@192.0.2.5:5060",
        "call_id": "one@here",
        "from": "<sip:+34910@192.0.2.5>;tag=ours",
        "to": "<sip:+34600@192.0.2.5>",
        "via": "SIP/2.0/TCP 192.0.2.9:5080;rport;branch=z9hG4bK1",
        "cseq": 77,
        "contact": "<sip:dialer@192.0.2.9:5080>",
        "invite_routes": ["<sip:192.0.2.1;lr>"],
        "routes": ["<sip:192.0.2.1;lr>"],
        "target": "sip:+34600@192.0.2.5:5060",
        "destination": "192.0.2.5:5060",
        "transport": "tcp",
        "confirmed": False,
    }
    facts.response_came("SIP/2.0 100 Trying\r\nTo: <sip:+34600@192.0.2.5>\r\n\r\n")
    assert json.loads(facts.as_json()) == first
    facts.response_came(
        "SIP/2.0 180 Ringing\r\nTo: <sip:+34600@192.0.2.5>;tag=theirs\r\n"
        'Contact: "A, B" <sip:far@192.0.2.7:5090>;expires=5\r\nRecord-Route: <sip:p2;lr>, <sip:p1;lr>\r\n\r\n'
    )
    second = json.loads(facts.as_json())
    assert (second["to"], second["target"]) == ("<sip:+34600@192.0.2.5>;tag=theirs", "sip:far@192.0.2.7:5090")
    assert second["routes"] == ["<sip:p1;lr>", "<sip:p2;lr>"]
    assert second["invite_routes"] == ["<sip:192.0.2.1;lr>"]
    facts.confirmed()
    assert json.loads(facts.as_json()) == {**second, "confirmed": True}
