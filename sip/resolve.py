"""Where a trunk's host is, and which of our addresses looks that way. Names are resolved here, never in the stack."""

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from typing import Any

from sip.trunk import Target


@dataclass(frozen=True, slots=True)
class Way:
    """An address of the trunk, and ours towards it."""

    address: str
    local_address: str


async def find_ways(target: Target, bind_host: str) -> list[Way]:
    """Every way to `target` (the hosts file and DNS A/AAAA), IPv4 first. Raises OSError when it has no address or no route.

    A `bind_host` that is one of our own addresses is taken as it is; the wildcard becomes the address that the routing
    table chooses, because Contact and SDP have to name one that the trunk can reach.
    """
    found = await asyncio.get_running_loop().getaddrinfo(target.host, target.port, type=socket.SOCK_DGRAM)
    bound = ipaddress.ip_address(bind_host)
    families = [socket.AF_INET, socket.AF_INET6]
    if not bound.is_unspecified:
        families = families[:1] if bound.version == 4 else families[1:]
    ways, fault = [], OSError(f"{target.host} has no address that {bind_host} can reach")
    for family in families:
        for place in dict.fromkeys(entry[4] for entry in found if entry[0] is family):
            try:
                ways.append(Way(str(place[0]), _towards(family, place) if bound.is_unspecified else bind_host))
            except OSError as error:
                fault = error
    if not ways:
        raise fault
    return ways


def _towards(family: socket.AddressFamily, place: tuple[Any, ...]) -> str:
    with socket.socket(family, socket.SOCK_DGRAM) as looking:
        looking.connect(place)  # sends nothing: the kernel only chooses the route
        return str(looking.getsockname()[0])
