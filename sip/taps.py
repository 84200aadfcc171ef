"""Who looks at the SIP messages of which calls: nobody, as a rule, and then they cost nothing."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from dialer.ports import WireMessage

# Messages that a watcher has not taken yet; more are dropped.
MOST_WAITING: Final = 2000


class Tap:
    """Implements `api.backend.Tap`: messages whose Call-ID begins with `call`."""

    def __init__(self, call: str, changed: Callable[[], None]) -> None:
        self.call = call
        self.messages: asyncio.Queue[WireMessage] = asyncio.Queue(MOST_WAITING)
        self._changed = changed

    def narrow(self, call: str) -> None:
        """From now on only those of one call."""
        self.call = call
        self._changed()


class Taps:
    """`changed` is called with the beginnings of the Call-IDs that workers are to capture, whenever they are others."""

    def __init__(self, changed: Callable[[list[str]], None]) -> None:
        self._changed = changed
        self._taps: list[Tap] = []
        self._told: list[str] = []

    def __len__(self) -> int:
        """How many look."""
        return len(self._taps)

    @property
    def wanted(self) -> list[str]:
        """What workers are to capture now."""
        return sorted({tap.call for tap in self._taps})

    @contextmanager
    def tap(self, call: str) -> Iterator[Tap]:
        """Let somebody look at a call's messages, of "" all, from now on for as long as the block lasts."""
        tap = Tap(call, self._tell)
        self._taps.append(tap)
        self._tell()
        try:
            yield tap
        finally:
            self._taps.remove(tap)
            self._tell()

    def came(self, message: WireMessage) -> None:
        """Give a captured message to those who look at its call."""
        for tap in self._taps:
            if message.sip_call_id.startswith(tap.call) and not tap.messages.full():
                tap.messages.put_nowait(message)

    def _tell(self) -> None:
        if self.wanted != self._told:
            self._told = self.wanted
            self._changed(self._told)
