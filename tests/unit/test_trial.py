"""Whom a trial calls, by what was said on the command line."""

import pytest

from dialer.core.agents import AgentRules
from dialer.core.destinations import DestinationRules
from dialer.core.playbook import Machine
from dialer.terminal import Refused
from dialer.trial import ELSEWHERE, read_called

MACHINE = Machine(
    {},
    agents=AgentRules(
        destinations=DestinationRules(refuse_premium=True), domains={"pbx.example": ("a", "b"), "other.example": ("c",)}
    ),
)


def test_a_number_is_read_as_a_contacts_phone_is() -> None:
    called = read_called("0034 600-000-001", ["a"], MACHINE)
    assert (called.phone, called.uri, called.trunk, called.direct) == ("+34600000001", "", "", None)


@pytest.mark.parametrize(
    ("uri", "trunks", "trunk"),
    [
        ("sip:1001@pbx.example", ["c", "b"], "b"),
        ("sip:1001@pbx.example", ["c"], "a"),
        ("SIP:1001@PBX.example", ["a"], "a"),
        ("sip:sales@other.example", ["a"], "c"),
    ],
)
def test_a_uri_of_a_trunks_host_goes_over_that_trunk_the_playbooks_first(
    uri: str, trunks: list[str], trunk: str
) -> None:
    called = read_called(uri, trunks, MACHINE)
    assert (called.trunk, called.direct) == (trunk, None)
    assert called.uri.lower() == uri.lower()


@pytest.mark.parametrize(
    ("uri", "called_uri", "transport", "port"),
    [
        ("sip:ana@10.1.2.3", "sip:ana@10.1.2.3", "udp", 5060),
        ("sip:ana@10.1.2.3:5080;transport=tcp", "sip:ana@10.1.2.3:5080", "tcp", 5080),
        ("sips:ana@phone.example", "sip:ana@phone.example", "tls", 5061),
        ("sip:ana@[::1]:5080", "sip:ana@[::1]:5080", "udp", 5080),
        ("sip:1001@pbx.example;transport=tcp", "sip:1001@pbx.example", "tcp", 5060),
    ],
)
def test_a_uri_elsewhere_is_reached_directly(uri: str, called_uri: str, transport: str, port: int) -> None:
    called = read_called(uri, ["a"], MACHINE)
    assert (called.uri, called.trunk) == (called_uri, ELSEWHERE)
    assert called.direct is not None
    assert (called.direct.target.transport, called.direct.target.port) == (transport, port)
    assert called.phone == uri.partition(":")[2].partition("@")[0]


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("", "is empty"),
        ("sip:ana", "is neither a number nor a URI"),
        ("sip:ana@h;transport=carrier-pigeon", "the transport must be one of"),
        ("sip:ana@h:0", "port 0 is out of range"),
        ("+34806123456", "premium"),
        ("sip:+34806123456@pbx.example", "premium"),
        ("sip:+34806123456@elsewhere.example", "premium"),
    ],
)
def test_whom_nobody_may_or_can_call_is_refused(to: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason) as refused:
        read_called(to, ["a"], MACHINE)
    assert str(refused.value).startswith(f"--to {to}: ")
