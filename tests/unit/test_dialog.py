from hypothesis import given
from hypothesis import strategies as st

from sip.dialog import DialogFacts
from sip.orphan_dialog import Orphan

INVITE = (
    "INVITE sip:+34600@192.0.2.5:5060 SIP/2.0\r\n"
    "Via: SIP/2.0/TCP 192.0.2.9:5080;rport;branch=z9hG4bK1\r\n"
    "From: <sip:+34910@192.0.2.5>;tag=ours\r\nTo: <sip:+34600@192.0.2.5>\r\nContact: <sip:dialer@192.0.2.9:5080>\r\n"
    "Call-ID: one@here\r\nCSeq: 77 INVITE\r\nRoute: <sip:192.0.2.1;lr>\r\n"
    "Content-Type: application/sdp\r\nContent-Length:     3\r\n\r\nv=0"
)
RINGING = (
    "SIP/2.0 180 Ringing\r\nTo: <sip:+34600@192.0.2.5>;tag=theirs\r\n"
    'Contact: "A, B" <sip:far@192.0.2.7:5090>;expires=5\r\nRecord-Route: <sip:p2;lr>, <sip:p1;lr>\r\n\r\n'
)


def facts_of(*responses: str) -> DialogFacts:
    facts = DialogFacts()
    facts.invite_left(INVITE, "192.0.2.5:5060")
    for response in responses:
        facts.response_came(response)
    return facts


def test_before_the_invite_there_are_no_facts() -> None:
    assert DialogFacts().as_json() == ""


def test_the_invite_alone_says_what_a_cancel_needs() -> None:
    orphan = Orphan(facts_of().as_json())
    assert orphan.invite.uri == "sip:+34600@192.0.2.5:5060"
    assert orphan.invite.values("Via") == ["SIP/2.0/TCP 192.0.2.9:5080;rport;branch=z9hG4bK1"]
    assert orphan.invite.cseq == (77, "INVITE")
    assert (orphan.transport, orphan.local, orphan.invite_at) == ("TCP", ("192.0.2.9", 5080), ("192.0.2.5", 5060))
    assert orphan.dialog.remote == "<sip:+34600@192.0.2.5>"
    assert (orphan.dialog.remote_target, orphan.dialog.route_set) == (orphan.invite.uri, ("<sip:192.0.2.1;lr>",))


def test_a_response_with_a_tag_makes_the_dialog() -> None:
    dialog = Orphan(facts_of(RINGING).as_json()).dialog
    assert (dialog.call_id, dialog.local) == ("one@here", "<sip:+34910@192.0.2.5>;tag=ours")
    assert (dialog.remote, dialog.next_cseq) == ("<sip:+34600@192.0.2.5>;tag=theirs", 78)
    assert dialog.remote_target == "sip:far@192.0.2.7:5090"
    assert dialog.route_set == ("<sip:p1;lr>", "<sip:p2;lr>")


def test_a_later_response_makes_it_anew_and_a_second_invite_begins_again() -> None:
    facts = facts_of(RINGING, "SIP/2.0 200 OK\r\nt: <sip:+34600@192.0.2.5> ; TAG=other\r\nm: sip:b@192.0.2.8;x\r\n\r\n")
    dialog = Orphan(facts.as_json()).dialog
    assert (dialog.remote, dialog.remote_target) == ("<sip:+34600@192.0.2.5> ; TAG=other", "sip:b@192.0.2.8")
    facts.invite_left(INVITE.replace("77", "78"), "192.0.2.6:5060")
    orphan = Orphan(facts.as_json())
    assert (orphan.invite.cseq[0], orphan.invite_at, orphan.dialog.remote) == (
        78,
        ("192.0.2.6", 5060),
        "<sip:+34600@192.0.2.5>",
    )


def test_a_response_in_another_encoding_is_kept_as_far_as_it_can_be_read() -> None:
    facts = facts_of(RINGING.replace("Ringing", b"Sonn\xe9".decode("utf-8", "surrogateescape")))
    assert Orphan(facts.as_json()).dialog.remote.endswith(";tag=theirs")


@given(st.text())
def test_no_response_breaks_the_reading(text: str) -> None:
    assert Orphan(facts_of(text).as_json()).invite.call_id == "one@here"
