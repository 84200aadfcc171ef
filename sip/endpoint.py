"""The SIP stack of one worker process: pjsua2's endpoint, its transports, and an account for each trunk."""

import logging
import os
import random
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import pjsua2 as pj

from dialer.ports import WireMessage
from sip.call import contained
from sip.messages import Begin, RegistrationChanged, SetTrunk
from sip.names import Names
from sip.stack_log import StackLog
from sip.trunk import Target, TrunkProfile

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
STACK_BUSY: Final = 171_001  # PJSIP_EBUSY
GOODBYE_SECONDS: Final = 5.0  # for the answer to an un-REGISTER, which may be a challenge
STRANGERS: Final = 16  # places beside our legs, for incoming calls until they are rejected
REGISTER_SECONDS: Final = 300
REGISTER_AGAIN_SECONDS: Final = (2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 120.0, 300.0)
REJECTED: Final = frozenset({401, 403, 404, 407})  # the same again would be answered the same, and may lock the account
_SRTP: Final = {
    "off": pj.PJMEDIA_SRTP_DISABLED,
    "optional": pj.PJMEDIA_SRTP_OPTIONAL,
    "mandatory": pj.PJMEDIA_SRTP_MANDATORY,
}


def _mark(config: Any, dscp: int) -> None:  # noqa: ANN401 - several of the stack's classes have these fields
    config.qosParams.flags = pj.PJ_QOS_PARAM_HAS_DSCP
    config.qosParams.dscp_val = dscp


@dataclass(slots=True)
class Registering:
    """How a trunk's registration goes: `failures` in a row, and when to try again (None: not by ourselves)."""

    failures: int = 0
    again_at: float | None = None

    def ended(self, sip_status: int, now: float, *, registered: bool) -> None:
        """The registrar's answer, or its absence (408), or the end of a transport. Rejected credentials are final."""
        if registered:
            self.failures, self.again_at = 0, None
            return
        if sip_status in REJECTED:
            self.again_at = None
            return
        pause = REGISTER_AGAIN_SECONDS[min(self.failures, len(REGISTER_AGAIN_SECONDS) - 1)]
        self.failures += 1
        self.again_at = now + pause * random.uniform(1.0, 1.25)  # noqa: S311 - so that a restart brings no wave


class Account(pj.Account):  # type: ignore[misc]
    """A trunk's account. Nobody calls us: what arrives from outside a dialog is refused."""

    def __init__(
        self,
        trunk: str,
        strangers: list[pj.Call],
        report: Callable[[RegistrationChanged], None],
        registering: Registering,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self._strangers = strangers
        self.report = report
        self._registering = registering
        self.says_good_bye = False

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
        self.says_good_bye = False
        registered = prm.status == 0 and prm.code // 100 == 2 and prm.expiration > 0
        if prm.code // 100 != 2 or registered:  # else it is our own good-bye
            self._registering.ended(prm.code, time.monotonic(), registered=registered)
        self.report(RegistrationChanged(self.trunk, registered, prm.code, prm.reason))


class Endpoint:
    """pjsua2, started as this process can bear it: one thread polls, no sound device, no names resolved.

    `wait_descriptor` is the stack's epoll descriptor, readable when `handle_events` has work; None in a build that uses
    select(), which has to be polled. `strangers` collects incoming calls, to be rejected outside callbacks.
    """

    def __init__(self, begin: Begin, report: Callable[[RegistrationChanged], None]) -> None:
        self._begin = begin
        self._report = report
        self._accounts: dict[str, tuple[Account, Target, SetTrunk]] = {}
        self._transports: dict[tuple[str, str, str, bool], int] = {}
        self._registering: dict[str, Registering] = {}
        self._leaving: deque[tuple[float, Account]] = deque()
        self._good_byes: list[Account] = []  # that could not be said yet
        self.strangers: list[pj.Call] = []
        self._log = StackLog()
        self._stack = pj.Endpoint()

    @property
    def rtp_ports(self) -> int:
        """How many RTP ports are this worker's."""
        return self._begin.rtp_ports

    def start(self) -> Self:
        """Bring the stack up. Raises pj.Error."""
        known = epoll_descriptors()
        self._stack.libCreate()
        found = epoll_descriptors() - known
        self.wait_descriptor = found.pop() if len(found) == 1 else None
        self._stack.libInit(self._configuration())
        self._names = Names(self._begin.nameservers)
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
        # A call, its player, its recorder, who listens or speaks; and some that are about to go.
        config.medConfig.maxMediaPorts = 4 * self._begin.max_legs + 64
        self._log.configure(config.logConfig)
        return config

    def _transport(self, trunk: TrunkProfile, local_address: str) -> int:
        """The transport that the trunk wants, bound to that address; made on its first use."""
        kind = trunk.hop.transport
        tls = (trunk.ca_file, trunk.verify) if kind == "tls" else ("", True)
        key = (kind, local_address, *tls)
        if key not in self._transports:
            config = pj.TransportConfig()
            config.boundAddress = local_address
            config.port = 0 if kind == "tls" else self._begin.sip_port
            _mark(config, self._begin.signalling_dscp)
            if kind == "tls":
                _mark(config.tlsConfig, self._begin.signalling_dscp)
                config.tlsConfig.verifyServer = trunk.verify
                config.tlsConfig.CaListFile = trunk.ca_file or ssl.get_default_verify_paths().cafile or ""
            self._transports[key] = self._stack.transportCreate(_TRANSPORTS[kind, ":" in local_address], config)
        return self._transports[key]

    def set_trunk(self, order: SetTrunk) -> None:
        """Make or change a trunk's account. Raises pj.Error and UnfitForSip."""
        target, name = order.trunk.target, order.trunk.name
        if order.trunk.hop.is_name:
            self._names.know(order.trunk.hop.host, order.address)
        config = self._account_configuration(order, target)
        known = self._accounts.get(name)
        if known is not None and not _keeps_registration(known[2]):
            known[0].modify(config)
            self._accounts[name] = (known[0], target, order)
            return
        registering = Registering()
        if known is not None and known[2] != order:
            # The stack cannot change a registration that is being made or ended just now. Its successor waits for the good-bye,
            # else that could take the new binding away.
            config.regConfig.registerOnAdd = False
            self.drop_trunk(name, registering if _keeps_registration(order) else None)
        if name not in self._accounts:
            account = Account(name, self.strangers, self._report, registering)
            account.create(config)
            self._registering[name] = registering
            self._accounts[name] = (account, target, order)

    def drop_trunk(self, name: str, successor: Registering | None = None) -> None:
        """Forget a trunk. Its account leaves the registrar, and is deleted after that and its last leg, which holds it.

        `successor` is a registration that is to begin then.
        """
        self._registering.pop(name, None)
        known = self._accounts.pop(name, None)
        if known is None:
            return
        leaving, now = self._leave_registrar(known[0], known[2]), time.monotonic()
        if successor is not None:
            successor.again_at = now + GOODBYE_SECONDS * leaving
        if leaving:

            def gone(_: RegistrationChanged) -> None:
                if successor is not None and not successor.failures:
                    successor.again_at = time.monotonic()

            known[0].report = gone
            self._leaving.append((now + GOODBYE_SECONDS, known[0]))

    def _account_configuration(self, order: SetTrunk, target: Target) -> pj.AccountConfig:
        trunk, config = order.trunk, pj.AccountConfig()
        config.idUri = f"sip:{trunk.username or 'dialer'}@{target.host_port}"
        if hasattr(config.sipConfig, "autoRespondSipMessage"):
            config.sipConfig.autoRespondSipMessage = False  # else strangers' MESSAGEs are answered with 200
        config.sipConfig.transportId = self._transport(trunk, order.local_address)
        if trunk.username:
            config.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", trunk.username, 0, trunk.password))
        hop = trunk.hop
        if trunk.outbound_proxy or hop.is_name or trunk.domains:
            # By the address and the port that the pool has found. Over TLS by name: the stack checks the certificate against
            # the host of the route, and knows where that is.
            host = hop.host if hop.transport == "tls" else order.address
            config.sipConfig.proxies.append(hop.route_to(host, shown=bool(trunk.outbound_proxy)))
        four = ":" not in order.address
        for part in (config.sipConfig, config.mediaConfig):
            # With IPv6 in the build and not switched off here, 1,000 calls a second fall to 2.6.
            part.ipv6Use = pj.PJSUA_IPV6_DISABLED if four else pj.PJSUA_IPV6_ENABLED_USE_IPV6_ONLY
        config.regConfig.registrarUri = target.uri_of("") if _keeps_registration(order) else ""
        config.regConfig.timeoutSec = REGISTER_SECONDS
        config.regConfig.retryIntervalSec = config.regConfig.firstRetryIntervalSec = 0  # `Registering` decides
        config.mediaConfig.transportConfig.port = self._begin.rtp_port
        config.mediaConfig.transportConfig.portRange = self._begin.rtp_ports
        config.mediaConfig.transportConfig.boundAddress = order.local_address
        _mark(config.mediaConfig.transportConfig, self._begin.media_dscp)
        config.mediaConfig.srtpUse = _SRTP[trunk.srtp]
        config.mediaConfig.srtpSecureSignaling = int(hop.transport == "tls")
        config.mediaConfig.lockCodecEnabled = False  # it would re-INVITE every peer that answers with two codecs
        config.natConfig.iceEnabled = False
        config.natConfig.contactRewriteUse = config.natConfig.viaRewriteUse = config.natConfig.sdpNatRewriteUse = 0
        # Contact is where we listen, so that a peer whose connection has closed reaches us by a new one. Over TLS nobody could:
        # we have no certificate. There its requests have to come on the connection that we opened.
        config.natConfig.contactUseSrcPort = int(hop.transport == "tls")
        return config

    @property
    def sink(self) -> pj.AudioMedia:
        """Where audio goes that nobody hears."""
        return self._stack.audDevManager().getPlaybackDevMedia()

    def account(self, trunk: str) -> tuple[Account, Target, SetTrunk]:
        """The trunk's account, where it leads, and the order that made it. Raises KeyError."""
        return self._accounts[trunk]

    def trace(self, call_ids: list[str], report: Callable[[WireMessage], None]) -> None:
        """Report the messages of calls whose Call-ID begins with one of these; none: no more."""
        self._log.trace(call_ids, report)

    def handle_events(self, milliseconds: int) -> None:
        """Let the stack do what is due, waiting at most so long for something to come."""
        self._stack.libHandleEvents(milliseconds)

    def register_again(self) -> None:
        """Try registrations that failed once more, those whose pause is over; let go accounts that have said good-bye."""
        now = time.monotonic()
        while self._leaving and self._leaving[0][0] <= now:
            self._leaving.popleft()
        if self._good_byes:
            unsaid, self._good_byes = self._good_byes, []
            for account in unsaid:
                self._say_good_bye(account)
        for name, registering in self._registering.items():
            if registering.again_at is not None and registering.again_at <= now:
                registering.again_at = None
                try:
                    self._accounts[name][0].setRegistration(True)
                except pj.Error as fault:  # nothing left: no transport
                    registering.ended(0, now, registered=False)
                    log.debug("trunk %s: %s", name, fault.reason)

    def unregister(self) -> None:
        """Tell the registrars that we leave; the answers come with later `handle_events`."""
        self._registering.clear()
        for account, _, order in self._accounts.values():
            self._leave_registrar(account, order)

    @property
    def says_good_bye(self) -> bool:
        """Whether a registrar has not answered `unregister` yet."""
        return any(account.says_good_bye for account, _, _ in self._accounts.values())

    def _leave_registrar(self, account: Account, order: SetTrunk) -> bool:
        """Whether there is an answer to be waited for."""
        return _keeps_registration(order) and self._say_good_bye(account)

    def _say_good_bye(self, account: Account) -> bool:
        try:
            account.setRegistration(False)
        except pj.Error as fault:
            if fault.status != STACK_BUSY:  # it was not registered
                log.debug("trunk %s: %s", account.trunk, fault.reason)
                return False
            self._good_byes.append(account)  # a REGISTER is under way
        account.says_good_bye = True
        return True


def _keeps_registration(order: SetTrunk) -> bool:
    return order.trunk.register and order.registers


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
