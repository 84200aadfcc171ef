"""Host names in the SIP stack, so that its one thread never waits for one. Lives in a worker process.

By itself the stack asks the system for a name whenever a request is to be sent, and every call of the worker stands still
until that answers. Here it has a resolver of its own, which knows the trunks' names from the pool, and asks nameservers for
others (in a far end's Contact or Record-Route) while it goes on.
"""

import ctypes
import logging
from collections.abc import Sequence
from typing import Any, Final

from sip.dns import responses
from sip.stack import Pointer, Status, function

log = logging.getLogger(__name__)


class _Text(ctypes.Structure):  # pj_str_t
    _fields_ = (("ptr", ctypes.c_char_p), ("slen", ctypes.c_ssize_t))


_POOL_BYTES: Final = 4_000
_KEPT: Final = 0  # whatever the record's time to live

_endpoint: Final = function("pjsua_get_pjsip_endpt", Pointer)
_create: Final = function("pjsip_endpt_create_resolver", Status, Pointer, ctypes.POINTER(Pointer))
_ask: Final = function(
    "pj_dns_resolver_set_ns", Status, Pointer, ctypes.c_uint, ctypes.POINTER(_Text), ctypes.POINTER(ctypes.c_uint16)
)
_use: Final = function("pjsip_endpt_set_resolver", Status, Pointer, Pointer)
_pool: Final = function("pjsua_pool_create", Pointer, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t)
_release: Final = function("pj_pool_release", None, Pointer)
_parse: Final = function(
    "pj_dns_parse_packet", Status, Pointer, ctypes.c_char_p, ctypes.c_uint, ctypes.POINTER(Pointer)
)
_add: Final = function("pj_dns_resolver_add_entry", Status, Pointer, Pointer, ctypes.c_int)


class Names:
    """The stack's resolver, from its libInit on."""

    def __init__(self, nameservers: Sequence[tuple[str, int]]) -> None:
        self._resolver: Any = None
        created, count = Pointer(), len(nameservers)
        hosts = [host.encode() for host, _ in nameservers]
        texts = (_Text * count)(*(_Text(host, len(host)) for host in hosts))
        ports = (ctypes.c_uint16 * count)(*(port for _, port in nameservers))
        fault = (
            _create(_endpoint(), ctypes.byref(created))
            or _ask(created, count, texts, ports)
            or _use(_endpoint(), created)
        )
        if fault:  # no IPv6 where the kernel says that there is, for one
            log.warning("the SIP stack has no resolver of its own (%d): it waits for the system's", fault)
        else:
            self._resolver = created

    def know(self, name: str, address: str) -> None:
        """From now on the stack finds this name there, and asks nobody."""
        if self._resolver is None:
            return
        pool = _pool(b"names", _POOL_BYTES, _POOL_BYTES)
        try:
            for packet in responses(name, address):
                parsed = Pointer()
                fault = _parse(pool, packet, len(packet), ctypes.byref(parsed)) or _add(self._resolver, parsed, _KEPT)
                if fault:
                    log.warning("the SIP stack does not take %s for %s (%d)", address, name, fault)
        except ValueError as fault:
            log.debug("%s: %s", name, fault)
        finally:
            _release(pool)
