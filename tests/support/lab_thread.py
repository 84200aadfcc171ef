"""A lab in a thread of the test's process: its log is the judge of what the server under test sent."""

import asyncio
import threading
from typing import Any, Self

from sip.lab import Entry, Lab
from tests.support.dialer_process import eventually


class LabThread:
    """`with LabThread(pace=0.2) as lab:` serves until the block ends. `log` may be read at any time."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="lab", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._over: asyncio.Event
        self.lab: Lab

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        async with Lab(**self._options) as self.lab:
            self._up.set()
            await self._over.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(10), "the lab did not come up"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    @property
    def trunk(self) -> dict[str, Any]:
        """A trunk to this lab, for a configuration."""
        return {"uri": f"sip:127.0.0.1:{self.lab.port}", "max_concurrent_calls": 20, "calls_per_second": 100}

    def seen(self, *events: str) -> list[Entry]:
        """The entries of these kinds so far."""
        return [entry for entry in list(self.lab.log) if entry.event in events]

    def invites(self, number: str | None = None) -> list[Entry]:
        """INVITEs that began a call, retransmissions left out; of one number or of all."""
        return [entry for entry in self.seen("invite") if number in (None, entry.number)]

    def wait_for(self, event: str, count: int, seconds: float = 10) -> list[Entry]:
        """The entries of a kind, once there are so many."""
        return eventually(
            lambda: found if len(found := self.seen(event)) >= count else None, seconds, f"{count} x {event} at the lab"
        )
