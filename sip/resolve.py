"""Where a trunk's host is, and which of our addresses looks that way. Names are resolved here, never in the stack."""

import asyncio
import ipaddress
import socket
from dataclasses import dataclass

from sip.trunk import Target


@dataclass(frozen=True, slots=True)
class Way:
    """The trunk's address, and ours towards it."""

    address: str
    local_address: str


async def find_way(target: Target, bind_host: str) -> Way:
    """Resolve `target` (the hosts file and DNS A/AAAA, IPv4 first). Raises OSError when it has no address or no route.

    A `bind_host` that is one of our own addresses is taken as it is; the wildcard becomes the address that the routing
    table chooses, because Contact and SDP have to name one that the trunk can reach.
    """
    found = await asyncio.get_running_loop().getaddrinfo(target.host, target.port, type=socket.SOCK_DGRAM)
    wildcard = ipaddress.ip_address(bind_host).is_unspecified
    version = None if wildcard else ipaddress.ip_address(bind_host).version
    usable = [entry for entry in found if version is None or (entry[0] is socket.AF_INET) == (version == 4)]
    if not usable:
        raise OSError(f"{target.host} has no address that {bind_host} can reach")
    family, _, _, _, place = min(usable, key=lambda entry: entry[0] is not socket.AF_INET)
    if not wildcard:
        return Way(str(place[0]), bind_host)
    with socket.socket(family, socket.SOCK_DGRAM) as looking:
        looking.connect(place)  # sends nothing: the kernel only chooses the route
        return Way(str(place[0]), str(looking.getsockname()[0]))
