"""All legs of one worker, and the ends that nobody else sees. Lives in a worker process, on its one thread."""

import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pjsua2 as pj

from dialer.core.events import DigitPressed, EndedBy, LegEnded, LegEvent, LegRefused, NoReply, Referred
from dialer.core.model import LegId
from sip.call import STUCK_AFTER_SECONDS, Leg, wall_ms
from sip.endpoint import Account, Endpoint
from sip.leg_media import LegMedia
from sip.messages import Bridge, Dial, MediaOrder, NotJoined, Refer, Unconfirmed
from sip.trunk import TrunkProfile, UnfitForSip, asserted_identity, from_uri, refer_to, request_uri

log = logging.getLogger(__name__)

PJ_ETOOMANY: Final = 70_010
ADDRESS_IN_USE: Final = 120_098  # PJ_STATUS_FROM_OS(EADDRINUSE)
STACK_TRIES_PORTS: Final = 200
# An order to dial that is older comes from a time in which this process did not run. Its INVITE would leave late, with those of
# all that time at once.
HELD_UP_SECONDS: Final = 0.25
SILENCE_SECONDS: Final = 4.0  # over UDP an INVITE was sent at 0, 0.5, 1.5 and 3.5 s by then (RFC 3261 17.1.1.2)


class Legs:
    """Dials, steers and buries legs. After every turn of the stack `settle` must run.

    `report` is given each event once; every leg that was dialed ends in one `LegEnded` or `LegRefused`.
    """

    def __init__(
        self, endpoint: Endpoint, media_directory: Path, report: Callable[[LegEvent | NotJoined | Unconfirmed], None]
    ) -> None:
        self._endpoint = endpoint
        self._report = report
        self._media = LegMedia(media_directory, endpoint.sink, report)
        self._legs: dict[LegId, Leg] = {}
        self._noted: deque[Leg] = deque()
        self._dying: dict[LegId, LegEnded] = {}  # over, but for a recording that is not whole yet
        # By the time at which their silence is told, and at which those that we hung up are given up.
        self._unheard: deque[tuple[float, LegId]] = deque()
        self._leaving: deque[tuple[float, LegId]] = deque()
        self.dialed = 0
        self.accepting = True

    def __len__(self) -> int:
        """Places taken in the stack."""
        return len(self._legs)

    def dial(self, order: Dial) -> None:
        """Send the INVITE, or report why not."""
        try:
            account, _, trunk = self._endpoint.account(order.trunk)
            uri = request_uri(trunk.trunk, order.number, order.uri)
            parameters = _call_parameters(order.sip_call_id, from_uri(trunk.trunk, order.caller_id))
            identity = asserted_identity(trunk.trunk, order.caller_id)
        except KeyError:
            self._refuse(order.leg, f"trunk {order.trunk} is not set up in this worker", transient=False)
            return
        except UnfitForSip as fault:
            self._refuse(order.leg, str(fault), transient=False)
            return
        if not self.accepting and (order.beside is None or self._talking(order.beside) is None):
            self._refuse(order.leg, "the worker is about to leave", transient=True)
            return
        if time.monotonic() - order.ordered_at > HELD_UP_SECONDS:
            self._refuse(order.leg, "the worker was held up", transient=True)
            return
        headers = {"P-Asserted-Identity": identity, "Privacy": "id" if trunk.trunk.anonymous else None}
        for name, value in headers.items():
            if value is not None:
                header = pj.SipHeader()
                header.hName, header.hValue = name, value
                parameters.txOption.headers.append(header)
        self.dialed += 1
        log.debug("INVITE", extra={"sip_call_id": order.sip_call_id, "trunk": order.trunk, "number": order.number})
        leg, failure = self._place(order, account, uri, parameters, trunk.trunk)
        if failure is not None:
            # The stack may have called back with an end, too: one of the two is told.
            if leg.sent:
                self._report(leg.end or LegEnded(order.leg, wall_ms(), EndedBy.STACK, reason=failure.reason))
            else:
                self._refuse(order.leg, failure.reason, transient=failure.status == PJ_ETOOMANY)
            leg.let_go()
            return
        self._legs[order.leg] = leg
        self._unheard.append((time.monotonic() + SILENCE_SECONDS, order.leg))

    def _place(
        self, order: Dial, account: Account, uri: str, parameters: pj.CallOpParam, trunk: TrunkProfile
    ) -> tuple[Leg, pj.Error | None]:
        """A leg whose INVITE leaves, or one that does not and why.

        For RTP the stack tries 100 pairs of ports from where the trunk's last call had its own, and no more: behind as many
        calls that stay, or that another trunk has there, it refuses, and the next call goes on from where it stopped.
        """
        tries = self._endpoint.rtp_ports // STACK_TRIES_PORTS + 2
        while True:
            leg = Leg(account, order.leg, order.sip_call_id, self._reported, self._noted.append, trunk)
            tries -= 1
            try:
                leg.makeCall(uri, parameters)
            except pj.Error as fault:
                if fault.status != ADDRESS_IN_USE or leg.sent or tries == 0:
                    return leg, fault
                leg.let_go()
            else:
                return leg, None

    def _reported(self, event: LegEvent) -> None:
        """A leg's own report, inside a callback."""
        if isinstance(event, DigitPressed):
            self._media.pressed(event.leg, event.digit)
        self._report(event)

    def _refuse(self, leg: LegId, reason: str, *, transient: bool) -> None:
        self._report(LegRefused(leg, wall_ms(), reason, transient))

    def hang_up(self, leg: LegId) -> None:
        """End a leg; its `LegEnded` follows when the far side has confirmed it. Unknown legs are ignored."""
        found = self._legs.get(leg)
        if found is None or found.hung_up or found.end is not None:
            return
        self._media.leg_over(leg, "the call was hung up")
        found.hang_up()
        self._leaving.append((time.monotonic() + STUCK_AFTER_SECONDS, leg))

    def hang_up_all(self) -> None:
        """End every leg."""
        for leg in list(self._legs):
            self.hang_up(leg)

    def _talking(self, leg: LegId) -> Leg | None:
        """The leg, unless it is over or about to be."""
        found = self._legs.get(leg)
        return None if found is None or found.hung_up or found.end is not None else found

    def direct(self, order: MediaOrder | Bridge | Refer, line: socket.socket | None = None) -> None:
        """Play to a leg, record it, listen to it, join it with another or with the stream at the line's other end; REFER."""
        match order:
            case Bridge(leg, other):
                one, two = self._talking(leg), self._talking(other)
                if one is not None and two is not None:
                    self._media.bridge(one, two)
            case Refer():
                self._refer(order)
            case _:
                self._media.obey(order, self._talking(order.leg), line)

    def _refer(self, order: Refer) -> None:
        """`Referred` follows, at once where none can be sent."""
        found, reason = self._talking(order.leg), "the call is over"
        if found is not None:
            try:
                found.refer(order.token, refer_to(found.trunk, order.number, order.uri))
            except pj.Error as fault:
                reason = fault.reason
            except UnfitForSip as fault:
                reason = str(fault)
            else:
                return
        self._report(Referred(order.leg, wall_ms(), order.token, 0, reason, final=True, refused=True))

    def settle(self) -> None:
        """Do what callbacks only noted: report and bury ended legs, connect media, refuse strangers."""
        for _ in range(len(self._noted)):
            leg = self._noted.popleft()
            if self._legs.get(leg.leg) is not leg:
                continue
            if leg.end is not None:
                self._bury(leg, leg.end)
            elif not leg.hung_up:
                self._media.media_changed(leg)
        self._media.settle()
        for dead in [leg for leg in self._dying if not self._media.is_busy(leg)]:
            self._bury(self._legs[dead], self._dying.pop(dead))
        now = time.monotonic()
        for number in _taken(self._unheard, now):
            found = self._legs.get(number)
            if found is not None and found.unheard:
                self._report(NoReply(number, wall_ms()))
        for number in _taken(self._leaving, now):
            found = self._legs.get(number)
            if found is not None and found.end is None:
                log.warning(
                    "the stack holds a call that we ended: it is given up", extra={"sip_call_id": found.sip_call_id}
                )
                found.give_up()
        self._refuse_strangers()

    def _bury(self, leg: Leg, end: LegEnded) -> None:
        self._media.leg_over(leg.leg, "the call ended")
        if self._media.is_busy(leg.leg):
            self._dying.setdefault(leg.leg, end)  # its recording is told of first
            return
        if leg.unconfirmed:
            self._report(Unconfirmed(leg.leg))
        self._report(end)
        leg.let_go()
        del self._legs[leg.leg]

    def _refuse_strangers(self) -> None:
        arrived, self._endpoint.strangers[:] = self._endpoint.strangers[:], []
        for call in arrived:
            parameters = pj.CallOpParam()
            parameters.statusCode = pj.PJSIP_SC_FORBIDDEN
            try:
                call.hangup(parameters)
            except pj.Error as fault:  # cancelled meanwhile
                log.debug("incoming call: %s", fault.reason)


def _taken(waiting: deque[tuple[float, LegId]], now: float) -> Iterator[LegId]:
    """Take out those whose time has come. By their ids: the objects must not outlive their burial."""
    while waiting and waiting[0][0] <= now:
        yield waiting.popleft()[1]


def _call_parameters(sip_call_id: str, local_uri: str) -> pj.CallOpParam:
    parameters = pj.CallOpParam(True)
    parameters.opt.audioCount = 1
    parameters.opt.videoCount = 0
    if hasattr(parameters.opt, "textCount"):
        parameters.opt.textCount = 0  # else each call opens a second pair of sockets
    parameters.opt.customCallId = sip_call_id
    parameters.txOption.localUri = local_uri
    return parameters
