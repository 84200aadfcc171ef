"""Where webhooks may go: not into our own network, unless the operator allows it, whatever a name says or resolves to.

A name is resolved once for each connection, and the connection goes to the address that was looked at: one that answers
differently a moment later (DNS rebinding) gains nothing.
"""

import asyncio
import socket
import ssl
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

import httpx

_MAX_URL = 2000
# IPv4 addresses dressed as IPv6: NAT64 (RFC 6052) and 6to4 (RFC 3056) lead to what they hold.
_NAT64, _SIX_TO_FOUR = IPv6Network("64:ff9b::/96"), IPv6Network("2002::/16")


class ForbiddenTarget(ValueError):
    """Nothing may be sent there; the text says why."""


async def check_url(url: object, *, allow_private: bool) -> str:
    """The URL, if webhooks may go there now. Raises `ForbiddenTarget` with the reason."""
    if not isinstance(url, str) or not 1 <= len(url) <= _MAX_URL or not url.isascii() or not url.isprintable():
        raise ForbiddenTarget(f"must be a URL of 1 to {_MAX_URL} printable ASCII characters")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        raise ForbiddenTarget("is not a URL") from None
    if parts.scheme not in {"http", "https"} or not host or " " in url:
        raise ForbiddenTarget("must look like https://HOST/PATH")
    if parts.scheme == "http" and not allow_private:
        raise ForbiddenTarget("must begin with https://: events hold people's numbers")
    if parts.username is not None or parts.password is not None:
        raise ForbiddenTarget("must not hold a user or password")
    if parts.fragment:
        raise ForbiddenTarget("must not hold a fragment (#)")
    await addresses(host, port or (443 if parts.scheme == "https" else 80), allow_private=allow_private)
    return url


async def addresses(host: str, port: int, *, allow_private: bool) -> list[str]:
    """The addresses of a host. Raises `ForbiddenTarget` where one of them may not be reached, or there is none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ForbiddenTarget(f"the host {host} cannot be resolved: {error}") from None
    texts = [str(entry[4][0]).partition("%")[0] for entry in found]
    if not allow_private:
        for text in texts:
            if not is_public(text):
                raise ForbiddenTarget(
                    f"the host {host} is {text}, a private address; the setting webhooks.allow_private lets them in"
                )
    return list(dict.fromkeys(texts))


def is_public(text: str) -> bool:
    """Whether the address is one of the public internet.

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


class CheckedTransport(httpx.AsyncHTTPTransport):
    """Connects only to addresses that were looked at. Certificates are checked against the name, as always.

    To be used for one host only: connections are kept by address.
    """

    def __init__(self, context: ssl.SSLContext, *, allow_private: bool, connections: int) -> None:
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        super().__init__(verify=context, limits=limits, trust_env=False)
        self._allow_private = allow_private

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request to the first of the host's addresses. Raises `ForbiddenTarget` and what httpx raises."""
        host = request.url.host
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        found = await addresses(host, port, allow_private=self._allow_private)
        request.extensions = {**request.extensions, "sni_hostname": host}
        request.url = request.url.copy_with(host=found[0])
        return await super().handle_async_request(request)
