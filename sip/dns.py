"""What of DNS the SIP stack is told: the system's nameservers, and what the pool has found already as a response of one. Pure,
but for the look at resolv.conf(5).
"""

import ipaddress
import struct
from pathlib import Path
from typing import Final

RESOLV_CONF: Final = Path("/etc/resolv.conf")
PORT: Final = 53
MOST_NAMESERVERS: Final = 3  # as resolv.conf(5) has it
_A, _AAAA, _IN = 1, 28, 1  # RFC 1035 3.2, RFC 3596 2.1
_RESPONSE: Final = 0x8180


def system_nameservers() -> list[tuple[str, int]]:
    """Address and port of the system's nameservers; none: this host's own, as resolv.conf(5) has it."""
    try:
        text = RESOLV_CONF.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return nameservers_in(text) or [("127.0.0.1", PORT)]


def nameservers_in(resolv_conf: str) -> list[tuple[str, int]]:
    """Those that the file names and the stack can ask: it knows no interfaces, as in fe80::1%eth0.

    >>> nameservers_in("search example.org\\nnameserver 10.0.0.1\\nnameserver fe80::1%eth0\\n")
    [('10.0.0.1', 53)]
    """
    found = []
    for line in resolv_conf.splitlines():
        word, _, rest = line.strip().partition(" ")
        address = rest.strip()
        if word == "nameserver" and "%" not in address:
            try:
                found.append((str(ipaddress.ip_address(address)), PORT))
            except ValueError:
                continue
    return found[:MOST_NAMESERVERS]


def responses(name: str, address: str) -> list[bytes]:
    """A and AAAA responses that say that this name has this one address. Raises ValueError for what is no DNS name."""
    where = ipaddress.ip_address(address)
    question = b"".join(_label(label) for label in name.split(".")) + b"\0"
    if len(question) > 255:
        raise ValueError(f"{name} is too long for DNS")
    return [
        _response(question, kind, where.packed if where.version == version else b"")
        for kind, version in ((_A, 4), (_AAAA, 6))
    ]


def _label(label: str) -> bytes:
    text = label.encode("ascii")
    if not 0 < len(text) < 64:
        raise ValueError(f"{label!r} is no label of a DNS name")
    return bytes([len(text)]) + text


def _response(question: bytes, kind: int, address: bytes) -> bytes:
    head = struct.pack("!6H", 1, _RESPONSE, 1, 1 if address else 0, 0, 0) + question + struct.pack("!2H", kind, _IN)
    record = question + struct.pack("!2HIH", kind, _IN, 0xFFFF, len(address)) + address
    return head + record if address else head
