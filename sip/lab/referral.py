"""What the called party does with a REFER (RFC 3515): it takes it, and tells by NOTIFY how the call to the other number goes.

That call is not made. How it would go is what the lab would do if it were that number, by the same table.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from sip.grammar import Address
from sip.lab.behaviours import Plan
from sip.lab.flows import Flow
from sip.lab.transactions import Repeater
from sip.wire import REASONS, Request
from sip.wire_requests import Dialog, dialog_request, next_hop

SIPFRAG: Final = "message/sipfrag;version=2.0"


class Way(Protocol):
    """How requests leave: our host:port towards the peer, and SIP's T1 and the lab's pace."""

    t1: float
    pace: float

    def sent_by(self, flow: Flow) -> str:
        """Our host:port towards the peer of `flow`."""


def referred_number(request: Request) -> str:
    """The user that the Refer-To names, "" without one. Raises MalformedMessage when it cannot be read."""
    targets = request.lines("Refer-To")
    return Address.parse(targets[0]).user if len(targets) == 1 else ""


class Referral:
    """One REFER under way. `dialog` gives the next request's dialog, and counts it; `told` is given each status.

    `sent` is given each NOTIFY's branch, with what to call when the final response to it comes.
    """

    def __init__(
        self,
        way: Way,
        flow: Flow,
        plan: Plan,
        *,
        dialog: Callable[[], Dialog],
        told: Callable[[int], None],
        sent: Callable[[str, Callable[[], None]], None],
    ) -> None:
        self._way, self._flow, self._plan = way, flow, plan
        self._dialog, self._told, self._sent = dialog, told, sent
        self._repeaters: list[Repeater] = []
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Tell that it is tried, and that it rings; and then the end, if there is one."""
        plan = self._plan
        self._notify(100)
        if plan.alert is not None:
            self._notify(plan.alert)
        if plan.alert_seconds is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(plan.alert_seconds * self._way.pace, self._notify, plan.status)

    def stop(self) -> None:
        """The call is over: nothing more is told, and nothing repeated."""
        if self._timer is not None:
            self._timer.cancel()
        for repeater in self._repeaters:
            repeater.stop()

    def _notify(self, status: int) -> None:
        last = status >= 200
        way, token = self._way, secrets.token_hex(12)
        request = dialog_request(
            "NOTIFY", self._dialog(), sent_by=way.sent_by(self._flow), token=token, transport=self._flow.transport
        )
        headers = (
            ("Contact", f"<sip:lab@{way.sent_by(self._flow)}>"),
            ("Event", "refer"),
            ("Subscription-State", "terminated;reason=noresource" if last else "active;expires=60"),
            ("Content-Type", SIPFRAG),
        )
        body = f"SIP/2.0 {status} {REASONS[status]}\r\n".encode()
        notify = replace(request, headers=(*request.headers, *headers), body=body)
        flow = self._flow.towards(next_hop(notify))
        self._told(status)
        repeater = Repeater(flow, notify, way.t1, lambda: None, again=not flow.reliable)
        self._repeaters.append(repeater)
        self._sent(notify.via.branch, repeater.stop)
