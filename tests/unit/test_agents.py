"""Whom a playbook may hand calls over to: what is read, and what is refused."""

import re

import pytest

from dialer.core.agents import Agent, AgentRules
from dialer.core.destinations import DestinationRules
from dialer.core.phone import PhoneRules

DOMAINS = {
    "10.0.0.5": ("pbx", "pbx-tls"),
    "10.0.0.5:5060": ("pbx",),
    "sales.example": ("carrier",),
    "[2001:db8::5]": ("six",),
}
RULES = AgentRules(PhoneRules(re.compile("[1-9][0-9]{3}")), domains=DOMAINS)
STRICT = AgentRules(
    PhoneRules(re.compile("[1-9][0-9]{3}"), "ES"), DestinationRules(("+34",), "ES", refuse_premium=True), DOMAINS
)


@pytest.mark.parametrize(
    ("written", "agent"),
    [
        ("+34 910-000.009", Agent("+34910000009", "", ("carrier", "pbx"))),
        ("0034910000009", Agent("+34910000009", "", ("carrier", "pbx"))),
        (" 1001 ", Agent("1001", "", ("carrier", "pbx"))),
        ("sip:1001@10.0.0.5", Agent("", "sip:1001@10.0.0.5", ("pbx",))),
        ("SIP:Ana.Ruiz@10.0.0.5:5060", Agent("", "sip:Ana.Ruiz@10.0.0.5:5060", ("pbx",))),
        ("sip:queue_7@Sales.Example", Agent("", "sip:queue_7@sales.example", ("carrier",))),
        ("sip:7@[2001:DB8::5]", Agent("", "sip:7@[2001:db8::5]", ("six",))),
        ("sip:+19005550100@sales.example", Agent("", "sip:+19005550100@sales.example", ("carrier",))),
    ],
)
def test_numbers_and_uris_are_read(written: str, agent: Agent) -> None:
    assert RULES.read(written, ["carrier", "pbx"]) == agent


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "empty"),
        ("910 000 009", "E.164"),
        ("ana", "E.164"),
        ("sip:ana@elsewhere.example", "host of no trunk"),
        ("sip:ana@10.0.0.5:5080", "host of no trunk"),
        ("sip:ana@10.0.0.5;transport=tcp", "neither a number nor a URI"),
        ("sip:ana@10.0.0.5?Replaces=1", "neither a number nor a URI"),
        ("sip:10.0.0.5", "neither a number nor a URI"),
        ("sips:ana@10.0.0.5", "neither a number nor a URI"),
        ("tel:+34910000009", "neither a number nor a URI"),
        ("sip:a%0d%0ab@10.0.0.5", "neither a number nor a URI"),
        ("sip:ana@10.0.0.5\r\nX-Evil: 1", "neither a number nor a URI"),
        ("sip:ana\r\n@10.0.0.5", "neither a number nor a URI"),
        ("<sip:ana@10.0.0.5>", "E.164"),
        ('sip:"ana"@10.0.0.5', "neither a number nor a URI"),
        ("sip:ана@10.0.0.5", "neither a number nor a URI"),
        (f"sip:{'a' * 65}@10.0.0.5", "neither a number nor a URI"),
    ],
)
def test_whatever_else_is_written_is_refused_with_a_reason(written: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        RULES.read(written, ["pbx"])


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("+441632960961", "limits.destinations"),
        ("+34806123456", "limits.premium"),
        ("sip:+441632960961@10.0.0.5", "limits.destinations"),
        ("sip:00441632960961@10.0.0.5", "limits.destinations"),
        ("sip:0044-1632-960961@10.0.0.5", "limits.destinations"),
        ("sip:9.0044.1632.960961@10.0.0.5", "ES"),
        ("sip:44*1632960961@10.0.0.5", "E.164"),
    ],
)
def test_a_uri_is_no_way_around_the_operators_destinations(written: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        STRICT.read(written, ["pbx"])


@pytest.mark.parametrize("written", ["1001", "sip:1001@10.0.0.5", "sip:sales@10.0.0.5", "910 000 009", "+34910000009"])
def test_internal_numbers_names_and_allowed_numbers_pass(written: str) -> None:
    assert STRICT.read(written, ["pbx"]).trunks == ("pbx",)


def test_a_uri_goes_over_a_trunk_that_leads_there_and_over_the_named_ones_only_where_some_are_named() -> None:
    assert RULES.read("sip:7@10.0.0.5", ["pbx-tls", "carrier"]).trunks == ("pbx-tls",)
    assert RULES.read("sip:7@10.0.0.5", ["carrier"]).trunks == ("pbx", "pbx-tls")
    with pytest.raises(ValueError, match="none of these trunks leads: carrier"):
        RULES.read("sip:7@10.0.0.5", ["carrier"], strictly=True)
