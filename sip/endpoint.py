"""The SIP stack of one worker process: pjsua2's endpoint, its transports, and an account for each trunk."""

import logging
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

import pjsua2 as pj

from sip.call import contained
from sip.messages import Begin, RegistrationChanged, SetTrunk
from sip.trunk import Target

log = logging.getLogger(__name__)

CODECS: Final = ("PCMA/8000", "PCMU/8000", "G722/16000")  # telephone-event is always offered
BRIDGE_HZ: Final = 8_000  # the line's own rate: G.711 needs no resampling
_TRANSPORTS: Final = {  # by the word in the URI and whether the address is IPv6
    ("udp", False): pj.PJSIP_TRANSPORT_UDP,
    ("tcp", False): pj.PJSIP_TRANSPORT_TCP,
    ("tls", False): pj.PJSIP_TRANSPORT_TLS,
    ("udp", True): pj.PJSIP_TRANSPORT_UDP6,
    ("tcp", True): pj.PJSIP_TRANSPORT_TCP6,
    ("tls", True): pj.PJSIP_TRANSPORT_TLS6,
}
STRANGERS: Final = 16  # places beside our legs, for incoming calls until they are rejected
REGISTER_SECONDS: Final = 300
REGISTER_RETRY_SECONDS: Final = 30


class StackLog(pj.LogWriter):  # type: ignore[misc]
    """The stack's own errors, into this process's log."""

    @contained
    def write(self, entry: pj.LogEntry) -> None:
        """One line."""
        log.warning("pjsip: %s", entry.msg.strip())


class Account(pj.Account):  # type: ignore[misc]
    """A trunk's account. Nobody calls us: what arrives from outside a dialog is refused."""

    def __init__(self, trunk: str, strangers: list[pj.Call], report: Callable[[RegistrationChanged], None]) -> None:
        super().__init__()
        self.trunk = trunk
        self._strangers = strangers
        self._report = report

    @contained
    def onIncomingCall(self, prm: pj.OnIncomingCallParam) -> None:  # noqa: N802
        """Take the call over, else pjsua2 rejects it here, and that ends a process whose build has asserts."""
        self._strangers.append(pj.Call(self, prm.callId))

    @contained
    def onIncomingSubscribe(self, prm: Any) -> None:  # noqa: N802, ANN401
        """There is nothing to subscribe to."""
        prm.code = pj.PJSIP_SC_FORBIDDEN

    @contained
    def onRegState(self, prm: Any) -> None:  # noqa: N802, ANN401
        """The registrar's word."""
        registered = prm.status == 0 and prm.code // 100 == 2 and prm.expiration > 0
        self._report(RegistrationChanged(self.trunk, registered, prm.code, prm.reason))


class Endpoint:
    """pjsua2, started as this process can bear it: one thread polls, no sound device, no names resolved.

    `wait_descriptor` is the stack's epoll descriptor, readable when `handle_events` has work; None in a build that uses
    select(), which has to be polled. `strangers` collects incoming calls, to be rejected outside callbacks.
    """

    def __init__(self, begin: Begin, report: Callable[[RegistrationChanged], None]) -> None:
        self._begin = begin
        self._report = report
        self._accounts: dict[str, tuple[Account, Target, SetTrunk]] = {}
        self._transports: dict[tuple[str, str], int] = {}
        self.strangers: list[pj.Call] = []
        self._log = StackLog()
        self._stack = pj.Endpoint()

    def start(self) -> Self:
        """Bring the stack up. Raises pj.Error."""
        known = epoll_descriptors()
        self._stack.libCreate()
        found = epoll_descriptors() - known
        self.wait_descriptor = found.pop() if len(found) == 1 else None
        self._stack.libInit(self._configuration())
        self._stack.libStart()
        self._stack.audDevManager().setNullDev()  # setNoDev leaks conference ports
        for codec in self._stack.codecEnum2():
            wanted = next((rank for rank, name in enumerate(CODECS) if codec.codecId.startswith(name)), None)
            self._stack.codecSetPriority(codec.codecId, 0 if wanted is None else 255 - wanted)
        return self

    def _configuration(self) -> pj.EpConfig:
        config = pj.EpConfig()
        config.uaConfig.threadCnt = 0
        config.uaConfig.mainThreadOnly = True
        config.uaConfig.maxCalls = min(config.uaConfig.maxCalls, self._begin.max_legs + STRANGERS)
        config.uaConfig.userAgent = "dialer"
        config.uaConfig.natTypeInSdp = 0
        config.uaConfig.mwiUnsolicitedEnabled = False
        config.medConfig.clockRate = config.medConfig.sndClockRate = BRIDGE_HZ
        config.medConfig.ecTailLen = 0
        config.medConfig.noVad = True
        config.medConfig.sndAutoCloseTime = -1  # else libHandleEvents stalls for 20 ms now and then
        config.medConfig.maxMediaPorts = 3 * self._begin.max_legs + 8  # stream, player, recorder
        config.logConfig.level = 1
        config.logConfig.consoleLevel = 0
        config.logConfig.writer = self._log
        return config

    def _transport(self, kind: str, local_address: str) -> int:
        """The transport of that kind bound to that address; made on its first use."""
        key = (kind, local_address)
        if key not in self._transports:
            config = pj.TransportConfig()
            config.boundAddress = local_address
            config.port = 0 if kind == "tls" else self._begin.sip_port
            config.qosType = pj.PJ_QOS_TYPE_SIGNALLING
            if kind == "tls":
                config.tlsConfig.verifyServer = True
                config.tlsConfig.CaListFile = ssl.get_default_verify_paths().cafile or ""
            self._transports[key] = self._stack.transportCreate(_TRANSPORTS[kind, ":" in local_address], config)
        return self._transports[key]

    def set_trunk(self, order: SetTrunk) -> None:
        """Make or change a trunk's account. Raises pj.Error and UnfitForSip."""
        target = order.trunk.target
        config = self._account_configuration(order, target)
        known = self._accounts.get(order.trunk.name)
        if known is not None:
            known[0].modify(config)
            self._accounts[order.trunk.name] = (known[0], target, order)
            return
        account = Account(order.trunk.name, self.strangers, self._report)
        account.create(config)
        self._accounts[order.trunk.name] = (account, target, order)

    def _account_configuration(self, order: SetTrunk, target: Target) -> pj.AccountConfig:
        trunk, config = order.trunk, pj.AccountConfig()
        config.idUri = f"sip:{trunk.username or 'dialer'}@{target.host_port}"
        config.sipConfig.transportId = self._transport(target.transport, order.local_address)
        if trunk.username:
            config.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", trunk.username, 0, trunk.password))
        if target.is_name:  # resolved already: the stack's own resolver would block this thread
            config.sipConfig.proxies.append(target.route_to(order.address))
        four = ":" not in order.address
        for part in (config.sipConfig, config.mediaConfig):
            # With IPv6 in the build and not switched off here, 1,000 calls a second fall to 2.6.
            part.ipv6Use = pj.PJSUA_IPV6_DISABLED if four else pj.PJSUA_IPV6_ENABLED_USE_IPV6_ONLY
        config.regConfig.registrarUri = target.uri_of("") if trunk.register and order.registers else ""
        config.regConfig.timeoutSec = REGISTER_SECONDS
        config.regConfig.retryIntervalSec = config.regConfig.firstRetryIntervalSec = REGISTER_RETRY_SECONDS
        config.mediaConfig.transportConfig.port = self._begin.rtp_port
        config.mediaConfig.transportConfig.portRange = self._begin.rtp_ports
        config.mediaConfig.transportConfig.boundAddress = order.local_address
        config.mediaConfig.transportConfig.qosType = pj.PJ_QOS_TYPE_VOICE
        config.mediaConfig.srtpUse = pj.PJMEDIA_SRTP_DISABLED
        config.mediaConfig.lockCodecEnabled = False  # it would re-INVITE every peer that answers with two codecs
        config.natConfig.iceEnabled = False
        config.natConfig.contactRewriteUse = config.natConfig.viaRewriteUse = config.natConfig.sdpNatRewriteUse = 0
        return config

    def account(self, trunk: str) -> tuple[Account, Target, SetTrunk]:
        """The trunk's account, where it leads, and the order that made it. Raises KeyError."""
        return self._accounts[trunk]

    def handle_events(self, milliseconds: int) -> None:
        """Let the stack do what is due, waiting at most so long for something to come."""
        self._stack.libHandleEvents(milliseconds)

    def unregister(self) -> bool:
        """Tell the registrars that we leave; the answers come with later `handle_events`. Whether there are any."""
        left = False
        for account, _, order in self._accounts.values():
            if order.trunk.register and order.registers:
                try:
                    account.setRegistration(False)
                    left = True
                except pj.Error as fault:  # it was not registered
                    log.debug("trunk %s: %s", order.trunk.name, fault.reason)
        return left


def epoll_descriptors() -> set[int]:
    """This process's epoll descriptors; the stack opens one when it starts, unless its build uses select()."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if os.readlink(entry) == "anon_inode:[eventpoll]":  # noqa: PTH115 - the text, not a path
                found.add(int(entry.name))
        except OSError:  # the descriptor of this very listing
            continue
    return found
