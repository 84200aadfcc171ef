"""A called side of all sorts, as cheap as `benchmarks.far_end`: what a number does follows its last two digits.

Run as `python -m benchmarks.mixture LOG`. LOG gets a line for each INVITE that is no retransmission (its Via branch is new):
Call-ID, when the kernel took it in, number.
"""

import heapq
import selectors
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import monotonic
from typing import IO, Final

from benchmarks.far_end import Address, answer, description, listener, take_all

_TAG: Final = b";tag=far"
_START_LINES: Final = {
    180: b"SIP/2.0 180 Ringing",
    200: b"SIP/2.0 200 OK",
    404: b"SIP/2.0 404 Not Found",
    486: b"SIP/2.0 486 Busy Here",
    487: b"SIP/2.0 487 Request Terminated",
    503: b"SIP/2.0 503 Service Unavailable",
    603: b"SIP/2.0 603 Decline",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a call comes to. `rings`: seconds of 180 before the answer or refusal; 0: none of it. `status` None: rings on.

    `talks`: seconds until the called side hangs up; None: it leaves that to the caller. `silent`: it says nothing at all.
    """

    rings: float = 0.0
    status: int | None = 486
    talks: float | None = None
    silent: bool = False


BUSY, ANSWERS = Plan(), Plan(rings=0.4, status=200)


@dataclass(frozen=True, slots=True)
class Sort:
    """Some of the numbers: of a hundred those whose place is below `below`, and that are of no sort before.

    `plans` are for the first INVITE to a number, the second, ..; the last one for all that follow. A call of theirs that is
    not interrupted comes to `disposition`.
    """

    below: int
    disposition: str
    plans: tuple[Plan, ...]

    @property
    def retried(self) -> bool:
        """Whether an attempt may take more than one INVITE."""
        return self.plans[0].silent or self.plans[0].status == 503


SORTS: Final = (
    Sort(38, "busy", (BUSY,)),
    Sort(45, "busy", (Plan(rings=0.5),)),
    Sort(65, "answered", (Plan(rings=0.4, status=200, talks=0.7),)),
    Sort(80, "answered", (ANSWERS,)),
    Sort(86, "invalid_number", (Plan(status=404),)),
    Sort(89, "declined", (Plan(rings=0.3, status=603),)),
    Sort(95, "no_answer", (Plan(rings=1.0, status=None),)),
    # More than one in a hundred, and the trunk is given fewer calls a second.
    Sort(96, "answered", (Plan(status=503), ANSWERS)),
    Sort(98, "busy", (Plan(silent=True), BUSY)),
    Sort(100, "busy", (BUSY,)),
)


def sort_of(number: str) -> Sort:
    """What kind of number it is. Neighbours are different: five invalid ones in a row are taken for a trunk without routes."""
    place = int(number[-2:]) * 37 % 100
    return next(sort for sort in SORTS if place < sort.below)


@dataclass(slots=True)
class Call:
    """A call that is not over. `final`: it was answered or refused."""

    invite: bytes
    peer: Address
    plan: Plan
    final: bool = False


class Mixture:
    """The called side itself."""

    def __init__(self, log: IO[str]) -> None:
        self._log = log
        self._sip = listener(8 << 20)
        self.port: int = self._sip.getsockname()[1]
        self._deaf = listener(4096)
        self._calls: dict[bytes, Call] = {}
        self._seen: set[bytes] = set()
        self._invites: defaultdict[str, int] = defaultdict(int)
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def serve(self) -> None:
        """Answer until killed."""
        with selectors.DefaultSelector() as selector:
            self._sip.setblocking(False)
            selector.register(self._sip, selectors.EVENT_READ)
            while True:
                if selector.select(self._wait()):
                    take_all(self._sip, self._request)
                while self._timers and self._timers[0][0] <= monotonic():
                    heapq.heappop(self._timers)[2]()

    def _wait(self) -> float | None:
        return max(0.0, self._timers[0][0] - monotonic()) if self._timers else None

    def _in(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (monotonic() + seconds, next(self._numbers), act))

    def _request(self, request: bytes, at_ns: int, peer: Address) -> None:
        method, _, rest = request.partition(b" ")
        if method == b"INVITE":
            self._invited(request, rest, at_ns, peer)
        elif method in {b"BYE", b"CANCEL", b"OPTIONS"}:
            call_id, response = answer(request, _START_LINES[200])
            call = self._calls.get(call_id)
            if call is not None and call.plan.silent:
                return
            self._sip.sendto(response, peer)
            if call is None:
                return
            if method == b"BYE":
                del self._calls[call_id]
            elif method == b"CANCEL" and not call.final:
                self._finish(call_id, 487)

    def _invited(self, invite: bytes, rest: bytes, at_ns: int, peer: Address) -> None:
        call_id, ringing = answer(invite, _START_LINES[180])
        branch = _between(invite, b"branch=", b";\r")
        if branch in self._seen:
            return
        self._seen.add(branch)
        number = rest[4 : rest.index(b"@")].decode()
        plans = sort_of(number).plans
        plan = plans[min(self._invites[number], len(plans) - 1)]
        self._invites[number] += 1
        self._log.write(f"{call_id.decode()} {at_ns} {number}\n")
        self._calls[call_id] = Call(invite, peer, plan)
        if plan.silent:
            self._in(40.0, lambda: self._forget(call_id, invite))
            return
        if plan.rings:
            self._sip.sendto(ringing, peer)
        if plan.status is not None:
            status = plan.status
            self._in(plan.rings, lambda: self._finish(call_id, status))

    def _finish(self, call_id: bytes, status: int) -> None:
        call = self._calls.get(call_id)
        if call is None or call.final:
            return
        call.final = True
        if status != 200:
            del self._calls[call_id]
            self._sip.sendto(answer(call.invite, _START_LINES[status])[1], call.peer)
            return
        contact = b"Contact: <sip:far@127.0.0.1:%d>" % self.port
        rest = (contact, *description(self._deaf.getsockname()[1]))
        self._sip.sendto(answer(call.invite, _START_LINES[200], *rest)[1], call.peer)
        if call.plan.talks is not None:
            self._in(call.plan.talks, lambda: self._hang_up(call_id))
        # A caller that has died, and nobody else, leaves it at that.
        self._in(60.0, lambda: self._forget(call_id, call.invite))

    def _hang_up(self, call_id: bytes) -> None:
        """BYE, as the called side (RFC 3261 section 15.1.1)."""
        call = self._calls.pop(call_id, None)
        if call is None:
            return
        lines = dict(_headers(call.invite))
        to, caller = lines[b"to"] + _TAG, lines[b"from"]
        target = _between(lines[b"contact"], b"<", b">")
        request = [
            b"BYE %s SIP/2.0" % target,
            b"Via: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bKfar%d" % (self.port, next(self._numbers)),
            b"Max-Forwards: 70",
            b"From: " + to,
            b"To: " + caller,
            b"Call-ID: " + call_id,
            b"CSeq: 1 BYE",
            b"Content-Length: 0",
            b"",
            b"",
        ]
        self._sip.sendto(b"\r\n".join(request), call.peer)

    def _forget(self, call_id: bytes, invite: bytes) -> None:
        call = self._calls.get(call_id)
        if call is not None and call.invite is invite:
            del self._calls[call_id]


def _headers(request: bytes) -> Iterator[tuple[bytes, bytes]]:
    for line in request.split(b"\r\n\r\n", 1)[0].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        yield name.strip().lower(), value.strip()


def _between(text: bytes, start: bytes, ends: bytes) -> bytes:
    begin = text.index(start) + len(start)
    return text[begin : min(at for end in ends if (at := text.find(end, begin)) >= 0)]


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with Path(sys.argv[1]).open("w", buffering=1 << 16) as lines:
        party = Mixture(lines)
        sys.stdout.write(f"{party.port}\n")
        sys.stdout.flush()
        party.serve()
