"""Messages that are sent again until they are answered (RFC 3261 section 17, 13.3.1.4, RFC 6026)."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from sip.lab.flows import Flow
from sip.lab.log import Subject
from sip.wire import BRANCH_COOKIE, Message, Request, Response

T2_SECONDS: Final = 4.0
MAX_LINGERING: Final = 200_000

Key = tuple[str, ...]


class Repeater:
    """Sends a message, again after T1, doubling up to T2, until `stop`; `give_up` is called when 64*T1 have passed.

    With `again` False it is sent once only, and still given up.
    """

    def __init__(
        self, flow: Flow, message: Message, t1: float, give_up: Callable[[], None], *, again: bool = True
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._flow, self._message, self._give_up = flow, message, give_up
        self._interval = t1 if again else 64 * t1
        self._until = self._loop.time() + 64 * t1
        flow.send(message)
        self._timer = self._loop.call_later(self._interval, self._fire)

    def stop(self) -> None:
        """No more sending, no giving up."""
        self._timer.cancel()

    def _fire(self) -> None:
        now = self._loop.time()
        if now >= self._until:
            self._give_up()
            return
        self._flow.send(self._message)
        self._interval = min(2 * self._interval, T2_SECONDS)
        self._timer = self._loop.call_at(min(now + self._interval, self._until), self._fire)


class InviteReplies:
    """The server side of one INVITE: its last reply, given again for each retransmission; a final one until its ACK.

    `unacknowledged` is called when a 2xx got no ACK within 64*T1. `local_tag` and `subject` are kept for those who find this by
    its key after the call is gone.
    """

    def __init__(
        self, subject: Subject, local_tag: str, flow: Flow, t1: float, unacknowledged: Callable[[], None]
    ) -> None:
        self.subject, self.local_tag = subject, local_tag
        self._flow, self._t1 = flow, t1
        self._unacknowledged: Callable[[], None] | None = unacknowledged
        self._last: Response | None = None
        self._repeater: Repeater | None = None

    @property
    def status(self) -> int:
        """The status of the last reply, 0 before the first."""
        return self._last.status if self._last else 0

    def reply(self, response: Response) -> None:
        """Send a reply; none may follow a final one."""
        assert self.status < 200
        self._last = response
        if response.status < 200:
            self._flow.send(response)
            return
        # 13.3.1.4: a 2xx is repeated over TCP too, for a proxy behind it may use UDP.
        again = response.status < 300 or not self._flow.reliable
        self._repeater = Repeater(self._flow, response, self._t1, self._give_up, again=again)

    def repeat(self) -> None:
        """The INVITE came again: so does the last reply, unless it was acknowledged."""
        if self._last and (self.status < 200 or self._repeater):
            self._flow.send(self._last)

    def acknowledge(self) -> bool:
        """The ACK came. False when none was awaited."""
        awaited = self._repeater is not None
        self.stop()
        return awaited

    def stop(self) -> None:
        """Repeat nothing more, and let go of the call."""
        if self._repeater:
            self._repeater.stop()
        self._repeater = self._unacknowledged = None

    def _give_up(self) -> None:
        unacknowledged = self._unacknowledged
        self.stop()
        if unacknowledged and self.status < 300:  # the ACK of a failure can be missed without harm (17.2.1)
            unacknowledged()


def transaction_key(request: Request, method: str | None = None) -> Key:
    """What makes two requests one transaction (17.2.3). For ACK and CANCEL, method "INVITE" finds what they are about."""
    via = request.via
    method = method or request.method
    if via.branch.startswith(BRANCH_COOKIE):
        return method, via.branch, via.host, str(via.port)
    # A peer of RFC 2543.
    return method, request.call_id, str(request.cseq[0]), request.from_.tag, request.uri, via.host, str(via.port)


Value = TypeVar("Value")


class Lingering(Generic[Value]):
    """Values by key, each forgotten `seconds` after it was retired; at most `MAX_LINGERING` retired ones."""

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._values: dict[Key, Value] = {}
        self._retired: deque[tuple[float, Key]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Key) -> Value | None:
        """The value, None when it was never there or is forgotten."""
        return self._values.get(key)

    def put(self, key: Key, value: Value) -> None:
        """Keep `value` until some time after `retire(key)`."""
        self._values[key] = value

    def retire(self, key: Key) -> None:
        """Start the time after which `key` is forgotten. Once for each key."""
        self._retired.append((self._loop.time() + self._seconds, key))
        if len(self._retired) > MAX_LINGERING:
            self._values.pop(self._retired.popleft()[1], None)
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._forget)

    def close(self) -> list[Value]:
        """Forget everything; the values that were there."""
        if self._timer:
            self._timer.cancel()
        values = list(self._values.values())
        self._values.clear()
        self._retired.clear()
        return values

    def _forget(self) -> None:
        now = self._loop.time()
        while self._retired and self._retired[0][0] <= now:
            self._values.pop(self._retired.popleft()[1], None)
        # Once a second at most: exactness is worth nothing here, a timer for each transaction would cost.
        wait = max(self._retired[0][0] - now, 1.0) if self._retired else 0.0
        self._timer = self._loop.call_later(wait, self._forget) if self._retired else None
