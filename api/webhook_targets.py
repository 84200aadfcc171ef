"""Where webhooks may go: not into our own network, unless the operator allows it, whatever a name says or resolves to.

A name is resolved once for each connection, and the connection goes to the address that was looked at: one that answers
differently a moment later (DNS rebinding) gains nothing.
"""

import ssl

import httpx

from dialer.core.targets import ForbiddenTarget, webhook_reach
from dialer.resolving import addresses


async def check_url(url: object, *, allow_private: bool) -> str:
    """The URL, if webhooks may go there now. Raises `ForbiddenTarget` with the reason."""
    reach = webhook_reach(allow_private=allow_private)
    parts = reach.read(url)
    try:
        httpx.URL(str(url))
    except httpx.InvalidURL:
        raise ForbiddenTarget("is not a URL") from None
    await addresses(parts.hostname or "", reach.port(parts), reach)
    return str(url)


class CheckedTransport(httpx.AsyncHTTPTransport):
    """Connects only to addresses that were looked at. Certificates are checked against the name, as always.

    To be used for one host only: connections are kept by address. `connections` None: as many as are asked for.
    """

    def __init__(
        self, context: ssl.SSLContext, *, allow_private: bool, connections: int | None = None, idle_seconds: float = 5.0
    ) -> None:
        limits = httpx.Limits(
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=idle_seconds
        )
        super().__init__(verify=context, limits=limits, trust_env=False)
        self._reach = webhook_reach(allow_private=allow_private)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request to the first of the host's addresses. Raises `ForbiddenTarget` and what httpx raises."""
        host = request.url.host
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        found = await addresses(host, port, self._reach)
        request.extensions = {**request.extensions, "sni_hostname": host}
        request.url = request.url.copy_with(host=found[0])
        return await super().handle_async_request(request)
