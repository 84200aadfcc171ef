"""From the host of a URL to the addresses that may be connected to."""

import asyncio
import socket

from dialer.core.targets import ForbiddenTarget, Reach


async def addresses(host: str, port: int, reach: Reach) -> list[str]:
    """The addresses of a host. Raises `ForbiddenTarget` where one of them may not be reached, or there is none.

    Connect to one of these, not to the name: a name that answers differently a moment later (DNS rebinding) gains nothing.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ForbiddenTarget(f"the host {host} cannot be resolved: {error}") from None
    texts = [str(entry[4][0]).partition("%")[0] for entry in found]
    reach.check(host, texts)
    return list(dict.fromkeys(texts))
