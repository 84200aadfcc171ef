"""Pairs of legs whose audio is joined in the worker's conference bridge. Lives in a worker process."""

import logging
from collections import deque

import pjsua2 as pj

from dialer.core.model import LegId
from sip.call import Leg

log = logging.getLogger(__name__)


class Bridges:
    """All pairs of a worker. A leg is in one pair at most, and leaves it when it ends or is joined with another.

    The bridge carries sound alone, so keys that come as telephone events (RFC 4733) or INFO are sent on to the other side.
    """

    def __init__(self) -> None:
        self._pairs: dict[LegId, tuple[Leg, Leg]] = {}  # each leg's own, and its partner
        self._pressed: deque[tuple[LegId, str]] = deque()

    def join(self, one: Leg, other: Leg) -> None:
        """From now on, or from when both have audio, each hears the other."""
        for leg in (one, other):
            self.part(leg.leg)
        self._pairs[one.leg], self._pairs[other.leg] = (one, other), (other, one)
        self.media_changed(one.leg)

    def media_changed(self, leg: LegId) -> None:
        """The leg's place in the bridge came up or was replaced: connect it with its partner's, both ways."""
        pair = self._pairs.get(leg)
        if pair is not None:
            ours, theirs = pair[0].audio(), pair[1].audio()
            if ours is not None and theirs is not None:
                ours.startTransmit(theirs)
                theirs.startTransmit(ours)

    def part(self, leg: LegId) -> None:
        """The leg ends, or goes elsewhere: its partner hears it no more."""
        pair = self._pairs.pop(leg, None)
        if pair is None:
            return
        own, partner = pair
        del self._pairs[partner.leg]
        try:
            ours, theirs = own.audio(), partner.audio()
            if ours is not None and theirs is not None:
                ours.stopTransmit(theirs)
                theirs.stopTransmit(ours)
        except pj.Error as fault:  # its place in the bridge went first
            log.debug("leg %s: parted: %s", leg, fault.reason)

    def pressed(self, leg: LegId, digit: str) -> None:
        """A key was pressed on the leg. Inside a callback of the stack: it is sent on by `settle`."""
        if leg in self._pairs:
            self._pressed.append((leg, digit))

    def settle(self) -> None:
        """Send keys on."""
        while self._pressed:
            leg, digit = self._pressed.popleft()
            pair = self._pairs.get(leg)
            if pair is not None:
                try:
                    pair[1].dialDtmf(digit)
                except pj.Error as fault:  # it takes no telephone events
                    log.debug("leg %s: key: %s", pair[1].leg, fault.reason)
