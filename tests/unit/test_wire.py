"""SIP messages: what is read, what is refused, what is built."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.grammar import Address, Uri, split_unquoted
from sip.wire import MAX_MESSAGE_BYTES, MalformedMessage, Request, Response, framed, parse, respond
from sip.wire_requests import (
    ack_for,
    ack_for_answer,
    bye_for,
    called_dialog,
    caller_dialog,
    cancel_for,
    next_hop,
    options_request,
)

INVITE = (
    "INVITE sip:+34600000001@10.0.0.5;user=phone SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 10.0.0.9:5062;rport;branch=z9hG4bKabc, SIP/2.0/TCP inner.example;branch=z9hG4bKdef\r\n"
    "Route: <sip:10.0.0.1;lr>,\r\n"
    " <sip:10.0.0.2:5070;lr>\r\n"
    "Max-Forwards: 70\r\n"
    'f: "Smith, \\"J\\" <x>" <sip:+34910000000@10.0.0.9>;tag=1928\r\n'
    "To: sip:+34600000001@10.0.0.5;user=phone\r\n"
    "i: a84b4c76e66710@10.0.0.9\r\n"
    "CSeq: 314159 INVITE\r\n"
    "m: <sip:dialer@10.0.0.9:5062;transport=udp>\r\n"
    "l: 4\r\n"
    "\r\n"
    "body"
)


def request(text: str = INVITE) -> Request:
    message = parse(text.encode())
    assert isinstance(message, Request)
    return message


def answer(invite: Request, *record_routes: str) -> Response:
    routes = [("Record-Route", route) for route in record_routes]
    return respond(invite, 200, to_tag="theirs", headers=[*routes, ("Contact", "<sip:callee@10.0.0.7:5080>")])


# Reading


def test_a_request_is_read_with_compact_names_folded_lines_and_quoted_names() -> None:
    invite = request()
    assert (invite.method, invite.uri, invite.body) == ("INVITE", "sip:+34600000001@10.0.0.5;user=phone", b"body")
    assert invite.from_.display == 'Smith, "J" <x>'
    assert (invite.from_.user, invite.from_.tag) == ("+34910000000", "1928")
    assert (invite.to.uri, invite.to.tag) == ("sip:+34600000001@10.0.0.5", "")  # 20.10: the rest is the header's
    assert invite.cseq == (314159, "INVITE")
    assert (invite.via.transport, invite.via.host, invite.via.port, invite.via.branch) == (
        "UDP",
        "10.0.0.9",
        5062,
        "z9hG4bKabc",
    )
    assert invite.values("Route") == ["<sip:10.0.0.1;lr>", "<sip:10.0.0.2:5070;lr>"]
    assert len(invite.values("Via")) == 2
    assert invite.first("Content-Length") is None


def test_a_response_is_read_with_and_without_reason() -> None:
    head, rest = INVITE.partition("\r\n")[2], "SIP/2.0 486 Busy Here"
    for start, reason in ((rest, "Busy Here"), ("SIP/2.0 486", ""), ("SIP/2.0 486 ", "")):
        message = parse(f"{start}\r\n{head}".encode())
        assert isinstance(message, Response)
        assert (message.status, message.reason) == (486, reason)


def test_bytes_after_the_content_length_are_dropped_and_without_it_the_body_is_the_rest() -> None:
    assert request(INVITE + "more").body == b"body"
    assert request(INVITE.replace("l: 4\r\n", "") + "more").body == b"bodymore"
    assert request("\r\n\r\n" + INVITE).body == b"body"


def test_a_display_name_in_latin_1_is_echoed_as_it_came() -> None:
    data = INVITE.encode().replace(b"Smith", b"Mu\xf1oz")
    message = parse(data)
    assert isinstance(message, Request)
    assert b"Mu\xf1oz" in respond(message, 200).encode()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\r\n\r\n", "\r\n"),
        ("SIP/2.0\r\n", "SIP/3.0\r\n"),
        ("INVITE sip", "INVITE  sip"),
        ("INVITE sip", "IN VITE sip"),
        ("INVITE sip:", "INVITE <sip:"),
        ("CSeq: 314159 INVITE", "CSeq: 314159 BYE"),
        ("CSeq: 314159 INVITE", "CSeq: 2147483648 INVITE"),
        ("CSeq: 314159 INVITE", "CSeq: -1 INVITE"),
        ("CSeq: 314159 INVITE", "CSeq: \u0661 INVITE"),
        ("CSeq: 314159 INVITE\r\n", ""),
        ("CSeq: 314159 INVITE\r\n", "CSeq: 1 INVITE\r\nCSeq: 1 INVITE\r\n"),
        ("To: sip", "T0: sip"),
        ("To: sip:", "To: sip:a b:"),
        ("To: sip:", "To: <sip:"),
        ("i: a84b4c76e66710@10.0.0.9\r\n", "i: \r\n"),
        ("<sip:+34910000000@10.0.0.9>", "sip:+34910000000@10.0.0.9>"),
        ("Via: SIP/2.0/UDP ", "Via: SIP/1.0/UDP "),
        ("10.0.0.9:5062;rport", "10.0.0.9:65536;rport"),
        ("10.0.0.9:5062;rport", "10.0.0.9:0;rport"),
        ("l: 4", "l: 5"),
        ("l: 4", "l: four"),
        ("l: 4", "l: -4"),
        ("l: 4", "l: 4\r\nContent-Length: 3"),
        ("Max-Forwards: 70", "Max-Forwards: 7\x000"),
        ("Max-Forwards: 70", "Max-Forwards: 7\r0"),
        ("Max-Forwards: 70", "Max-Forwards: 7\n0"),
        ("Max-Forwards: 70", "Max Forwards: 70"),
        ("Max-Forwards: 70", "no colon"),
        ("Max-Forwards: 70\r\n", "X: y\r\n" * 200),
        ("Max-Forwards: 70", "Max-Forwards: " + "7" * 10_000),
    ],
)
def test_what_breaks_the_grammar_is_refused(old: str, new: str) -> None:
    assert old in INVITE
    with pytest.raises(MalformedMessage):
        parse(INVITE.replace(old, new, 1).encode())


def test_a_message_above_the_limit_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        parse(INVITE.encode() + b"x" * MAX_MESSAGE_BYTES)


@given(st.binary(max_size=400))
def test_random_bytes_are_malformed_or_a_message_and_nothing_else(data: bytes) -> None:
    try:
        parse(data)
    except MalformedMessage:
        return


@given(st.integers(0, len(INVITE) - 1), st.integers(0, 6), st.binary(max_size=6))
def test_a_mutated_invite_that_is_read_can_be_answered(at: int, cut: int, piece: bytes) -> None:
    data = INVITE.encode()
    try:
        message = parse(data[:at] + piece + data[at + cut :])
    except MalformedMessage:
        return
    assert isinstance(message, Request)
    seen = message.received_from("192.0.2.1", 4000)
    reread = parse(respond(seen, 200, to_tag="x").encode())
    assert reread.via.branch == message.via.branch
    assert reread.cseq == message.cseq


def test_lists_are_split_only_outside_quotes_and_brackets() -> None:
    assert split_unquoted('a, "b, \\"c", <d, e>;f,', ",") == ["a", '"b, \\"c"', "<d, e>;f", ""]


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("sip:10.0.0.5", "", "10.0.0.5", None),
        ("sips:alice:secret@pbx.example:5061;lr?Subject=x", "alice", "pbx.example", 5061),
        ("sip:+34600;phone-context=x@[2001:db8::1]:5060", "+34600;phone-context=x", "[2001:db8::1]", 5060),
        ("sip:%2B34600@host_1", "+34600", "host_1", None),
        ("tel:+34600;ext=1", "+34600", "", None),
    ],
)
def test_uris_are_read(text: str, user: str, host: str, port: int | None) -> None:
    uri = Uri.parse(text)
    assert (uri.user, uri.host, uri.port) == (user, host, port)


@pytest.mark.parametrize(
    "text", ["", "10.0.0.5", "sip:", "sip:a@", "sip:a@b:0", "sip:a@b c", "sip:a@b:99999", "1ip:a@b"]
)
def test_what_is_no_uri_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        Uri.parse(text)


# Streams


def test_a_stream_is_cut_into_messages_wherever_its_pieces_end() -> None:
    stream = (f"\r\n{INVITE}\r\n\r\n{INVITE}").encode()
    for size in (1, 7, 100, len(stream)):
        buffer, messages = bytearray(), []
        for at in range(0, len(stream), size):
            buffer += stream[at : at + size]
            messages += list(framed(buffer))
        assert messages == [INVITE.encode()] * 2


@pytest.mark.parametrize("stream", [INVITE.replace("l: 4\r\n", ""), INVITE.replace("l: 4", "l: 999999"), "x" * 70_000])
def test_a_stream_that_cannot_be_followed_is_refused(stream: str) -> None:
    with pytest.raises(MalformedMessage):
        list(framed(bytearray(stream.encode())))


# Building


def test_a_response_copies_what_makes_the_transaction_and_record_route_only_for_dialogs() -> None:
    invite = request(INVITE.replace("Max-Forwards", "Record-Route: <sip:p;lr>\r\nMax-Forwards"))
    for status, tag, routes in ((100, "", 0), (180, "me", 1), (200, "me", 1), (486, "me", 0)):
        response = parse(respond(invite, status, to_tag=tag).encode())
        assert response.values("Via") == invite.values("Via")
        assert response.lines("From") == invite.lines("From")
        assert (response.call_id, response.cseq, response.to.tag) == (invite.call_id, invite.cseq, tag)
        assert len(response.values("Record-Route")) == routes


@pytest.mark.parametrize(
    ("via", "stamped"),
    [
        ("10.0.0.9:5062;rport;branch=z9hG4bKabc", {"received": "10.0.0.9", "rport": "4000", "branch": "z9hG4bKabc"}),
        ("10.0.0.9:5062;branch=z9hG4bKabc", {"branch": "z9hG4bKabc"}),
        ("private;branch=z9hG4bKabc;received=1.1.1.1", {"branch": "z9hG4bKabc", "received": "10.0.0.9"}),
    ],
)
def test_the_top_via_is_stamped_with_the_source(via: str, stamped: dict[str, str]) -> None:
    invite = request(INVITE.replace("10.0.0.9:5062;rport;branch=z9hG4bKabc", via)).received_from("10.0.0.9", 4000)
    assert invite.via.parameters == stamped
    assert invite.values("Via")[1] == "SIP/2.0/TCP inner.example;branch=z9hG4bKdef"


@pytest.mark.parametrize("value", ["x\r\nRoute: <sip:evil>", "x\ny", "x\0"])
def test_nothing_can_be_injected_through_a_header_value(value: str) -> None:
    with pytest.raises(MalformedMessage):
        respond(request(), 200, headers=[("Contact", value)]).encode()


@pytest.mark.parametrize("uri", ["sip:a@b SIP/2.0\r\nX: y", "sip:a b@c", "sip:<a>@b"])
def test_nothing_can_be_injected_through_a_request_uri(uri: str) -> None:
    with pytest.raises(MalformedMessage):
        options_request(uri, from_uri="sip:d@h", sent_by="h:1", token="t").encode()


def test_options_is_a_whole_request_of_its_own() -> None:
    built = options_request("sip:10.0.0.5:5060", from_uri="sip:dialer@10.0.0.9", sent_by="10.0.0.9:4000", token="t1")
    options = parse(built.encode())
    assert isinstance(options, Request)
    assert (options.method, options.cseq, options.from_.tag, options.to.tag) == ("OPTIONS", (1, "OPTIONS"), "t1", "")
    assert options.via.branch == "z9hG4bKt1"
    assert "rport" in options.via.parameters
    assert next_hop(options).port == 5060


def test_cancel_is_the_invite_s_own_transaction() -> None:
    invite = request()
    cancel = parse(cancel_for(invite).encode())
    assert isinstance(cancel, Request)
    assert (cancel.method, cancel.uri, cancel.cseq) == ("CANCEL", invite.uri, (314159, "CANCEL"))
    assert cancel.values("Via") == invite.values("Via")[:1]
    assert cancel.values("Route") == invite.values("Route")
    assert (cancel.lines("From"), cancel.lines("To"), cancel.call_id) == (
        invite.lines("From"),
        invite.lines("To"),
        invite.call_id,
    )
    assert next_hop(cancel).host == "10.0.0.1"
    assert cancel.body == b""


def test_the_ack_of_a_failure_stays_in_the_transaction_and_takes_the_response_s_to() -> None:
    invite = request()
    ack = ack_for(invite, respond(invite, 486, to_tag="theirs"))
    assert (ack.via.branch, ack.to.tag, ack.cseq, ack.uri) == ("z9hG4bKabc", "theirs", (314159, "ACK"), invite.uri)


def test_bye_and_ack_of_an_answer_follow_the_dialog() -> None:
    invite = request()
    dialog = caller_dialog(invite, answer(invite, "<sip:10.0.0.2;lr>", "<sip:10.0.0.1;lr>, <sip:10.0.0.3;lr>"))
    bye = parse(bye_for(dialog, sent_by="10.0.0.9:5062", token="b1").encode())
    ack = ack_for_answer(invite, dialog, sent_by="10.0.0.9:5062", token="a1")
    assert isinstance(bye, Request)
    assert (bye.uri, bye.cseq, ack.cseq) == ("sip:callee@10.0.0.7:5080", (314160, "BYE"), (314159, "ACK"))
    assert (bye.from_.tag, bye.to.tag) == ("1928", "theirs")
    assert bye.values("Route") == ["<sip:10.0.0.3;lr>", "<sip:10.0.0.1;lr>", "<sip:10.0.0.2;lr>"]
    assert next_hop(bye).host == "10.0.0.3"
    assert ack.via.branch != invite.via.branch


def test_the_called_side_sees_the_dialog_the_other_way_round() -> None:
    invite = request(INVITE.replace("Max-Forwards", "Record-Route: <sip:p1;lr>, <sip:p2;lr>\r\nMax-Forwards"))
    bye = bye_for(called_dialog(invite, "mine"), sent_by="10.0.0.7:5080", token="b1")
    assert (bye.from_.tag, bye.to.tag, bye.cseq) == ("mine", "1928", (1, "BYE"))
    assert bye.uri == "sip:dialer@10.0.0.9:5062;transport=udp"
    assert bye.values("Route") == ["<sip:p1;lr>", "<sip:p2;lr>"]


@pytest.mark.parametrize("line", ["m: *", "m: <nowhere>", "m: <sip:a b@c>", "m: <sip:a@b>\r\nRecord-Route: <p>"])
def test_a_dialog_whose_target_cannot_be_read_is_refused_at_once(line: str) -> None:
    invite = request(INVITE.replace("m: <sip:dialer@10.0.0.9:5062;transport=udp>", line))
    with pytest.raises(MalformedMessage):
        called_dialog(invite, "mine")


def test_an_address_without_readable_uri_has_no_user() -> None:
    assert Address.parse("<nothing>").user == ""
