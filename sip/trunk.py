"""What a worker must know of a trunk to address it: its URI in parts, and the URIs of one call. Pure."""

import ipaddress
import re
import ssl
from dataclasses import dataclass, field
from functools import cache
from typing import Final

_URI: Final = re.compile(
    r"(?P<scheme>sips?):(?:(?P<user>[^@;?\s]+)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<parameters>(?:;[A-Za-z0-9.=_!~*'()+%-]+)*)",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"\+?[0-9*#]{1,32}")
_USER: Final = re.compile(r"[A-Za-z0-9.!~*'()&=+$,_-]{1,64}")  # RFC 3261 `unreserved` and user-unreserved, no escapes
_AGENT: Final = re.compile(r"sip:([A-Za-z0-9._+*-]{1,64})@([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
_TRANSPORTS: Final = ("udp", "tcp", "tls")


class UnfitForSip(ValueError):
    """A number, caller id or URI that must not get near a SIP header; the message says which and why."""


@dataclass(frozen=True, slots=True)
class TrunkProfile:
    """One trunk as configured.

    Numbers in E.164 lose their first `strip_digits` digits, then get `prefix` before them; "+" is sent with those that were
    left alone, unless `send_plus` is False. Internal numbers are sent as they are.

    `uri` is `sip:host[:port][;transport=udp|tcp|tls]`. `username` "" means no credentials (the peer knows our address).
    `caller_id` is the From user of calls whose order names none; "" falls back to the username. `from_user`, where not
    "", is the From user of every call, for peers that know us by it; the caller id then goes into P-Asserted-Identity
    (RFC 3325), as it also does with `assert_identity`. `anonymous` hides it from the callee (RFC 3323): From says nothing, and
    P-Asserted-Identity tells the trunk. `register` keeps a registration with the host. `outbound_proxy` "" or a URI like `uri`
    that all requests go to. `codecs` in order of preference; none: those of this machine. `ca_file` "" is the system's list.
    `srtp` is off, optional or mandatory. `domains` are further hosts that URIs may name, in lower case: they are reached over
    this trunk.
    """

    name: str
    uri: str
    username: str = ""
    password: str = ""
    caller_id: str = ""
    from_user: str = ""
    register: bool = False
    assert_identity: bool = False
    anonymous: bool = False
    strip_digits: int = 0
    prefix: str = ""
    send_plus: bool = True
    outbound_proxy: str = ""
    codecs: list[str] = field(default_factory=list)
    ca_file: str = ""
    verify: bool = True
    srtp: str = "off"
    domains: list[str] = field(default_factory=list)

    @property
    def target(self) -> "Target":
        """The URI in parts. Raises UnfitForSip."""
        return Target.parse(self.uri)

    @property
    def hop(self) -> "Target":
        """Where requests go first: the outbound proxy, or the trunk itself. Raises UnfitForSip."""
        return Target.parse(self.outbound_proxy or self.uri)

    @property
    def own_domains(self) -> frozenset[str]:
        """Its host as a URI may name it, with and without the port, in lower case."""
        host = _bracketed(self.target.host).lower()
        return frozenset({host, f"{host}:{self.target.port}"})

    def tls_context(self) -> ssl.SSLContext:
        """How this process checks the trunk's certificate. Raises OSError (ssl.SSLError is one) for a file that is no list."""
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


@dataclass(frozen=True, slots=True)
class Target:
    """Where a trunk's requests go. `host` has no brackets; `parameters`, the transport among them, begin with ";"."""

    host: str
    port: int
    transport: str
    parameters: str
    explicit_port: bool

    @staticmethod
    @cache
    def parse(uri: str) -> "Target":
        """The target in `uri`. Raises UnfitForSip for what is no SIP URI or names a transport that we do not speak."""
        found = _URI.fullmatch(uri)
        if found is None:
            raise UnfitForSip(f"{uri!r} is not a SIP URI such as sip:10.0.0.5:5060")
        parameters = found["parameters"]
        chosen = re.search(r";transport=([^;]+)", parameters, re.IGNORECASE)
        transport = chosen[1].lower() if chosen else ("tls" if found["scheme"].lower() == "sips" else "udp")
        if transport not in _TRANSPORTS:
            raise UnfitForSip(f"{uri!r}: the transport must be one of {', '.join(_TRANSPORTS)}")
        if found["scheme"].lower() == "sips" and not chosen:
            parameters += ";transport=tls"
        port = int(found["port"] or (5061 if transport == "tls" else 5060))
        if not 0 < port <= 65_535:
            raise UnfitForSip(f"{uri!r}: port {port} is out of range")
        return Target(found["host"].strip("[]"), port, transport, parameters, found["port"] is not None)

    @property
    def is_name(self) -> bool:
        """Whether the host has to be resolved."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False

    @property
    def host_port(self) -> str:
        """As it stands in a URI: IPv6 in brackets, the port where the configuration gave one."""
        return _bracketed(self.host) + (f":{self.port}" if self.explicit_port else "")

    def uri_of(self, user: str) -> str:
        """The Request-URI for `user` ("" for the host itself, as a registrar is addressed)."""
        return f"sip:{user}@{self.host_port}{self.parameters}" if user else f"sip:{self.host_port}{self.parameters}"

    def route_to(self, address: str, *, shown: bool = False) -> str:
        """A route that leads to the resolved `address`. Unless `shown` it stays off the wire: `hide` is pjsip's word."""
        route = f"sip:{_bracketed(address)}:{self.port};transport={self.transport};lr"
        return route if shown else f"{route};hide"


def dialed_number(trunk: TrunkProfile, number: str) -> str:
    """`number` as this trunk wants it. Raises UnfitForSip when nothing would be left of it.

    >>> dialed_number(TrunkProfile("t", "sip:h", strip_digits=2, prefix="0"), "+34600000001")
    '0600000001'
    """
    digits = number.removeprefix("+")
    if digits == number:
        return number
    if len(digits) <= trunk.strip_digits:
        raise UnfitForSip(f"trunk {trunk.name}: nothing is left of {number!r} without {trunk.strip_digits} digits")
    if not trunk.strip_digits and not trunk.prefix and trunk.send_plus:
        return number
    return trunk.prefix + digits[trunk.strip_digits :]


def request_uri(trunk: TrunkProfile, number: str, uri: str = "") -> str:
    """The Request-URI of a call over this trunk: to `number`, or to the agent's `uri` where that is not "".

    Raises UnfitForSip for what is neither, and for a URI that the trunk does not lead to.
    """
    user, domain = _whom(trunk, number, uri)
    return trunk.target.uri_of(user) if domain is None else f"sip:{user}@{domain}"


def refer_to(trunk: TrunkProfile, number: str, uri: str) -> str:
    """The Refer-To of a REFER on a leg of this trunk, for the same as `request_uri`. Its way there is the far side's own.

    >>> refer_to(TrunkProfile("t", "sip:10.0.0.5:5070;transport=tcp"), "1001", "")
    '<sip:1001@10.0.0.5:5070>'
    """
    user, domain = _whom(trunk, number, uri)
    return f"<sip:{user}@{trunk.target.host_port if domain is None else domain}>"


def _whom(trunk: TrunkProfile, number: str, uri: str) -> tuple[str, str | None]:
    """The user and the domain that are called; None: the trunk's own."""
    if not uri:
        return request_user(dialed_number(trunk, number)), None
    found = _AGENT.fullmatch(uri)
    if found is None:
        raise UnfitForSip(f"{uri!r} is not the URI of an agent, such as sip:sales@pbx.example")
    domain = (found[2] + (found[3] or "")).lower()
    if domain in trunk.own_domains:
        return found[1], None
    if domain in trunk.domains:
        return found[1], domain
    raise UnfitForSip(f"trunk {trunk.name} does not lead to {domain}")


def request_user(number: str) -> str:
    """`number` as the user part of a URI. Raises UnfitForSip.

    "#" is escaped, as RFC 3261's user part does not allow it; "+" and "*" stay as they are.
    """
    if not _NUMBER.fullmatch(number):
        raise UnfitForSip(f"{number!r} is not a number that can be dialed")
    return number.replace("#", "%23")


def from_uri(trunk: TrunkProfile, caller_id: str) -> str:
    """The From URI of a call: the trunk's host, and the user that the trunk's profile chooses. Raises UnfitForSip.

    An anonymous one is RFC 3323's (4.1.1.3), with its display name; where the trunk knows us by `from_user`, that stays.
    """
    if trunk.anonymous and not trunk.from_user:
        return '"Anonymous" <sip:anonymous@anonymous.invalid>'
    asserted = checked_caller_id(caller_id or trunk.caller_id)
    user = trunk.from_user or asserted or trunk.username or "anonymous"
    if not _USER.fullmatch(user) and user != asserted:
        raise UnfitForSip(f"trunk {trunk.name}: {user!r} cannot be the user of a From URI")
    return f"sip:{user}@{_bracketed(trunk.target.host)}"


def asserted_identity(trunk: TrunkProfile, caller_id: str) -> str | None:
    """The value of P-Asserted-Identity, or None where From already says it. Raises UnfitForSip."""
    asserted = checked_caller_id(caller_id or trunk.caller_id)
    tells = trunk.from_user or trunk.assert_identity or trunk.anonymous
    return f"<sip:{asserted}@{_bracketed(trunk.target.host)}>" if tells and asserted else None


def checked_caller_id(caller_id: str) -> str:
    """`caller_id` as a user part, "" for none. Raises UnfitForSip."""
    return request_user(caller_id) if caller_id else ""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
