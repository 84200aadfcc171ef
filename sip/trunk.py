"""What a worker must know of a trunk to address it: its URI in parts, and the URIs of one call. Pure."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

_URI: Final = re.compile(
    r"(?P<scheme>sips?):(?:(?P<user>[^@;?\s]+)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<parameters>(?:;[A-Za-z0-9.=_!~*'()+%-]+)*)",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"\+?[0-9*#]{1,32}")
_USER: Final = re.compile(r"[A-Za-z0-9.!~*'()&=+$,_-]{1,64}")  # RFC 3261 `unreserved` and user-unreserved, no escapes
_TRANSPORTS: Final = ("udp", "tcp", "tls")


class UnfitForSip(ValueError):
    """A number, caller id or URI that must not get near a SIP header; the message says which and why."""


@dataclass(frozen=True, slots=True)
class TrunkProfile:
    """One trunk as configured.

    `uri` is `sip:host[:port][;transport=udp|tcp|tls]`. `username` "" means no credentials (the peer knows our address).
    `caller_id` is the From user of calls whose order names none; "" falls back to the username. `from_user`, where not
    "", is the From user of every call, for peers that know us by it; the caller id then goes into P-Asserted-Identity
    (RFC 3325). `register` keeps a registration with the host.
    """

    name: str
    uri: str
    username: str = ""
    password: str = ""
    caller_id: str = ""
    from_user: str = ""
    register: bool = False

    @property
    def target(self) -> "Target":
        """The URI in parts. Raises UnfitForSip."""
        return Target.parse(self.uri)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a trunk's requests go. `host` has no brackets; `parameters`, the transport among them, begin with ";"."""

    host: str
    port: int
    transport: str
    parameters: str
    explicit_port: bool

    @classmethod
    def parse(cls, uri: str) -> "Target":
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
        return cls(found["host"].strip("[]"), port, transport, parameters, found["port"] is not None)

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

    def route_to(self, address: str) -> str:
        """A route that leads to the resolved `address` and stays off the wire: `hide` is pjsip's word for that."""
        return f"sip:{_bracketed(address)}:{self.port};transport={self.transport};lr;hide"


def request_user(number: str) -> str:
    """`number` as the user part of a URI. Raises UnfitForSip.

    "#" is escaped, as RFC 3261's user part does not allow it; "+" and "*" stay as they are.
    """
    if not _NUMBER.fullmatch(number):
        raise UnfitForSip(f"{number!r} is not a number that can be dialed")
    return number.replace("#", "%23")


def from_uri(trunk: TrunkProfile, caller_id: str) -> str:
    """The From URI of a call: the trunk's host, and the user that the trunk's profile chooses. Raises UnfitForSip."""
    asserted = checked_caller_id(caller_id or trunk.caller_id)
    user = trunk.from_user or asserted or trunk.username or "anonymous"
    if not _USER.fullmatch(user) and user != asserted:
        raise UnfitForSip(f"trunk {trunk.name}: {user!r} cannot be the user of a From URI")
    return f"sip:{user}@{_bracketed(trunk.target.host)}"


def asserted_identity(trunk: TrunkProfile, caller_id: str) -> str | None:
    """The value of P-Asserted-Identity, or None where From already says it. Raises UnfitForSip."""
    asserted = checked_caller_id(caller_id or trunk.caller_id)
    return f"<sip:{asserted}@{_bracketed(trunk.target.host)}>" if trunk.from_user and asserted else None


def checked_caller_id(caller_id: str) -> str:
    """`caller_id` as a user part, "" for none. Raises UnfitForSip."""
    return request_user(caller_id) if caller_id else ""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
