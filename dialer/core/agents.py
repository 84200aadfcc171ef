"""Whom calls may be handed over to: numbers that this server may dial, and `sip:` URIs that its trunks lead to.

A playbook, a contact's field or a program's answer names the agent, so whatever it says is read as a stranger's: what is not
of these two forms never gets near a SIP header, and a URI is no way around the operator's destinations.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dialer.core.destinations import DestinationRules
from dialer.core.phone import PhoneRules, normalize

_URI = re.compile(
    r"sip:(?P<user>[A-Za-z0-9._+*-]{1,64})@(?P<host>[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?P<port>:[0-9]{1,5})?",
    re.IGNORECASE | re.ASCII,
)
_NUMBER_LIKE = re.compile(r"[0-9.+*-]+")
# Such schemes are told apart from numbers, to be refused as what they are.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


@dataclass(frozen=True, slots=True)
class Agent:
    """Whom a call is handed over to, by a `number` that the trunk's rules shape, or by a `uri` that is used as it stands.

    The other is "". `trunks` lead there, in order of preference; never empty.
    """

    number: str
    uri: str
    trunks: tuple[str, ...]

    @property
    def shown(self) -> str:
        """The number or the URI, for people."""
        return self.uri or self.number


@dataclass(frozen=True, slots=True)
class AgentRules:
    """The operator's settings. `domains` are the hosts, in lower case and with their port where that was given, that URIs may
    name, with the trunks that lead there.
    """

    phone: PhoneRules = field(default_factory=PhoneRules)
    destinations: DestinationRules = field(default_factory=DestinationRules)
    domains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def read(self, written: str, trunks: Sequence[str], *, strictly: bool = False) -> Agent:
        """The agent that was written. `trunks` are preferred for a URI; `strictly`: no other may be used.

        Raises ValueError with the reason, to be read after what was written.

        >>> rules = AgentRules(domains={"pbx.example": ("pbx",)})
        >>> rules.read("sip:sales@pbx.example", ["carrier"])
        Agent(number='', uri='sip:sales@pbx.example', trunks=('pbx',))
        >>> rules.read("+34 910 000 000", ["carrier"])
        Agent(number='+34910000000', uri='', trunks=('carrier',))
        """
        written = written.strip()
        if not written:
            raise ValueError("is empty")
        if _SCHEME.match(written):
            return self._at_uri(written, trunks, strictly=strictly)
        return Agent(self._allowed(normalize(written, self.phone)), "", tuple(trunks))

    def _at_uri(self, uri: str, trunks: Sequence[str], *, strictly: bool) -> Agent:
        found = _URI.fullmatch(uri)
        if found is None:
            raise ValueError("is neither a number nor a URI such as sip:sales@pbx.example")
        domain = (found["host"] + (found["port"] or "")).lower()
        leading = self.domains.get(domain, ())
        if not leading:
            raise ValueError(f"names {domain}, which is the host of no trunk here, nor among a trunk's `domains`")
        ways = tuple(trunk for trunk in trunks if trunk in leading) or (() if strictly else leading)
        if not ways:
            raise ValueError(f"names {domain}, where none of these trunks leads: {', '.join(trunks)}")
        user = found["user"]
        if self.destinations.active and _NUMBER_LIKE.fullmatch(user):
            self._allowed(normalize(user, self.phone))
        return Agent("", f"sip:{user}@{domain}", ways)

    def _allowed(self, number: str) -> str:
        for _, reason in self.destinations.refused([number]):
            raise ValueError(reason)
        return number
