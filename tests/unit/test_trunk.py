import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.trunk import (
    Target,
    TrunkProfile,
    UnfitForSip,
    asserted_identity,
    from_uri,
    refer_to,
    request_uri,
    request_user,
)


@pytest.mark.parametrize(
    ("uri", "host", "port", "transport", "request_uri"),
    [
        ("sip:10.0.0.5:5060", "10.0.0.5", 5060, "udp", "sip:+34600@10.0.0.5:5060"),
        ("sip:10.0.0.5", "10.0.0.5", 5060, "udp", "sip:+34600@10.0.0.5"),
        ("SIP:pbx.example;transport=TCP", "pbx.example", 5060, "tcp", "sip:+34600@pbx.example;transport=TCP"),
        ("sip:pbx.example;transport=tls", "pbx.example", 5061, "tls", "sip:+34600@pbx.example;transport=tls"),
        ("sips:pbx.example", "pbx.example", 5061, "tls", "sip:+34600@pbx.example;transport=tls"),
        ("sip:[2001:db8::5]:5070", "2001:db8::5", 5070, "udp", "sip:+34600@[2001:db8::5]:5070"),
        ("sip:pbx_1;user=phone", "pbx_1", 5060, "udp", "sip:+34600@pbx_1;user=phone"),
    ],
)
def test_a_trunks_uri_becomes_its_calls_request_uri(
    uri: str, host: str, port: int, transport: str, request_uri: str
) -> None:
    target = Target.parse(uri)
    assert (target.host, target.port, target.transport) == (host, port, transport)
    assert target.uri_of("+34600") == request_uri
    assert target.uri_of("") == request_uri.replace("+34600@", "")


@pytest.mark.parametrize(
    "uri",
    ["", "10.0.0.5", "tel:+34600", "sip:", "sip:a b", "sip:pbx:0", "sip:pbx:99999", "sip:pbx;transport=ws", "sip:p\r\nx",
     "sip:pbx;a=<b>", "sip:pbx?subject=x", "http://pbx"],
)  # fmt: skip
def test_what_is_no_trunk_uri_is_refused_by_its_text(uri: str) -> None:
    with pytest.raises(UnfitForSip, match=r"is not a SIP URI|out of range|the transport must be"):
        Target.parse(uri)


def test_the_hidden_route_names_the_resolved_address() -> None:
    target = Target.parse("sip:pbx.example:5070;transport=tcp")
    assert target.is_name
    assert target.route_to("192.0.2.1") == "sip:192.0.2.1:5070;transport=tcp;lr;hide"
    assert target.route_to("2001:db8::1") == "sip:[2001:db8::1]:5070;transport=tcp;lr;hide"
    assert not Target.parse("sip:[2001:db8::1]").is_name


@given(st.text(max_size=40))
def test_only_dialable_characters_reach_a_uri(text: str) -> None:
    try:
        user = request_user(text)
    except UnfitForSip:
        return
    assert user.isascii()
    assert set(user) <= set("+0123456789*%23")


def test_the_caller_id_goes_where_the_profile_says() -> None:
    plain = TrunkProfile("pbx", "sip:pbx.example:5070", username="acct", caller_id="+34910")
    assert from_uri(plain, "") == "sip:+34910@pbx.example"
    assert from_uri(plain, "+34911") == "sip:+34911@pbx.example"
    assert asserted_identity(plain, "+34911") is None
    known = TrunkProfile("pbx", "sip:pbx.example", from_user="acct", caller_id="+34910")
    assert from_uri(known, "+34911") == "sip:acct@pbx.example"
    assert asserted_identity(known, "+34911") == "<sip:+34911@pbx.example>"
    assert asserted_identity(TrunkProfile("pbx", "sip:pbx.example", from_user="acct"), "") is None


@pytest.mark.parametrize("profile", [{"username": "a b"}, {"from_user": "x>y"}, {"username": "a\r\nb"}])
def test_a_user_that_would_break_the_header_is_refused(profile: dict[str, str]) -> None:
    with pytest.raises(UnfitForSip, match="From URI"):
        from_uri(TrunkProfile("pbx", "sip:pbx.example", **profile), "")  # type: ignore[arg-type]


PBX = TrunkProfile("pbx", "sip:10.0.0.5:5070;transport=tcp", strip_digits=2, prefix="0", domains=["sales.example"])


@pytest.mark.parametrize(
    ("number", "uri", "request_to", "refer"),
    [
        ("+34600000001", "", "sip:0600000001@10.0.0.5:5070;transport=tcp", "<sip:0600000001@10.0.0.5:5070>"),
        ("", "sip:ana@10.0.0.5", "sip:ana@10.0.0.5:5070;transport=tcp", "<sip:ana@10.0.0.5:5070>"),
        (
            "",
            "sip:+34600000001@10.0.0.5:5070",
            "sip:+34600000001@10.0.0.5:5070;transport=tcp",
            "<sip:+34600000001@10.0.0.5:5070>",
        ),
        ("", "sip:ana@Sales.Example", "sip:ana@sales.example", "<sip:ana@sales.example>"),
    ],
)
def test_an_agents_number_takes_the_trunks_form_and_a_uri_stays_as_it_is(
    number: str, uri: str, request_to: str, refer: str
) -> None:
    assert request_uri(PBX, number, uri) == request_to
    assert refer_to(PBX, number, uri) == refer


@pytest.mark.parametrize(
    "uri",
    ["sip:ana@elsewhere.example", "sip:ana@10.0.0.5:5060", "sip:ana", "sip:ana@10.0.0.5>;x", "sip:a\r\nb@10.0.0.5",
     "sip:ana@sales.example?Subject=x", "tel:+34600000001", "sip:<ana>@10.0.0.5"],
)  # fmt: skip
def test_a_uri_that_the_trunk_does_not_lead_to_or_that_is_none_never_gets_near_a_header(uri: str) -> None:
    for read in (request_uri, refer_to):
        with pytest.raises(UnfitForSip):
            read(PBX, "", uri)
