"""Which addresses account holders may have this server connect to: not into our own network, unless its operator allows it.

Pure: what can be told from the text of a URL, and from the addresses that its host has led to.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

MAX_URL: Final = 2000
_SECURE_PORT, _PLAIN_PORT = 443, 80
# IPv4 addresses dressed as IPv6: NAT64 (RFC 6052) and 6to4 (RFC 3056) lead to what they hold.
_NAT64 = IPv6Network("64:ff9b::/96")


class ForbiddenTarget(ValueError):
    """Nothing may be sent there; the text says why."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far connections of one kind may go. `secure` and `plain` are the schemes of their URLs, with TLS and without.

    `allow_private`: also without TLS, to private networks and to this machine; `setting` is what the operator allows that by.
    """

    secure: str
    plain: str
    setting: str
    allow_private: bool

    def read(self, url: object) -> SplitResult:
        """The parts of a URL that may be connected to, as far as its text tells. Raises `ForbiddenTarget`."""
        if not isinstance(url, str) or not 1 <= len(url) <= MAX_URL or not url.isascii() or not url.isprintable():
            raise ForbiddenTarget(f"must be a URL of 1 to {MAX_URL} printable ASCII characters")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ForbiddenTarget("is not a URL") from None
        if port == 0:
            raise ForbiddenTarget("must not name port 0")
        if parts.scheme not in {self.secure, self.plain} or not host or " " in url:
            raise ForbiddenTarget(f"must look like {self.secure}://HOST/PATH")
        if parts.scheme == self.plain and not self.allow_private:
            raise ForbiddenTarget(f"must begin with {self.secure}://: what is sent there tells of people")
        if parts.username is not None or parts.password is not None:
            raise ForbiddenTarget("must not hold a user or password")
        if parts.fragment:
            raise ForbiddenTarget("must not hold a fragment (#)")
        try:
            ip_address(host)
        except ValueError:  # a name: where it leads is seen later
            return parts
        self.check(host, [host])
        return parts

    def check(self, host: str, addresses: Iterable[str]) -> None:
        """The host has led to these addresses. Raises `ForbiddenTarget` where one of them may not be connected to."""
        for address in () if self.allow_private else addresses:
            if not is_public(address):
                raise ForbiddenTarget(
                    f"the host {host} is {address}, a private address; the setting {self.setting} lets them in"
                )

    def port(self, parts: SplitResult) -> int:
        """The port that the URL names or means."""
        return parts.port or (_SECURE_PORT if parts.scheme == self.secure else _PLAIN_PORT)


def stream_reach(*, allow_private: bool) -> Reach:
    """How far the step `stream` may go. `allow_private` is the setting."""
    return Reach("wss", "ws", "stream.allow_private", allow_private)


def webhook_reach(*, allow_private: bool) -> Reach:
    """How far webhooks may go, and the step `webhook`. `allow_private` is the setting."""
    return Reach("https", "http", "webhooks.allow_private", allow_private)


def is_public(text: str) -> bool:
    """Whether the address is one of the public internet. Raises ValueError for what is no address.

    >>> is_public("8.8.8.8"), is_public("10.0.0.1"), is_public("::ffff:127.0.0.1"), is_public("64:ff9b::7f00:1")
    (True, False, False, False)
    """
    address: IPv4Address | IPv6Address = ip_address(text)
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            address = inner
    return address.is_global and not address.is_multicast
