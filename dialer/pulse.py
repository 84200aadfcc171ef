"""The server's pulse: it feeds the watchdog of the service manager while the server does its work, and tells how it stands.

What stops it, and with it the server, which is started anew:

- the event loop stands still (a defect, or a disk that does not answer): then this task does not run either;
- the engine takes no turns: its wheel is lost;
- no SIP worker has answered for two minutes, though one that is dead is replaced within seconds, and again each half a minute.

What does not: a disk that refuses (the engine turns, and tries again), trunks that are down, a broker that is away, a worker
that hangs (it is killed and replaced). Waiting for the world is work.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NoReturn

import structlog

from dialer.systemd import ServiceManager

log = structlog.get_logger(__name__)

# The engine looks around four times a second, whatever happens.
TURNS_MISSED_SECONDS: Final = 10.0
WORKERS_MISSED_SECONDS: Final = 120.0
LONGEST_PAUSE_SECONDS: Final = 10.0
# So many times in each period of the watchdog.
BEATS: Final = 4


class Pulse:
    """`turned_at` and `answered_at` give the loop's time of the engine's last turn and of a worker's last answer.

    `standing` is one line for people.
    """

    def __init__(
        self,
        manager: ServiceManager,
        *,
        turned_at: Callable[[], float],
        answered_at: Callable[[], float],
        standing: Callable[[], str],
    ) -> None:
        self._manager = manager
        self._turned_at = turned_at
        self._answered_at = answered_at
        self._standing = standing
        self._told = ""
        self._fault: str | None = None

    async def run(self) -> NoReturn:
        """Until cancelled."""
        watched = self._manager.watchdog_seconds
        pause = LONGEST_PAUSE_SECONDS if watched is None else min(LONGEST_PAUSE_SECONDS, watched / BEATS)
        while True:
            self.beat(asyncio.get_running_loop().time())
            await asyncio.sleep(pause)

    def beat(self, now: float) -> None:
        """Feed the watchdog, unless something has stopped."""
        fault = self.fault(now)
        if fault is None:
            self._manager.alive()
        elif fault != self._fault:
            log.error("the watchdog is not fed any more", fault=fault)
        self._fault = fault
        standing = fault or self._standing()
        if standing != self._told:
            self._told = standing
            self._manager.status(standing)

    def fault(self, now: float) -> str | None:
        """What has stopped; None: nothing."""
        if now - self._turned_at() > TURNS_MISSED_SECONDS:
            return "the engine takes no turns"
        if now - self._answered_at() > WORKERS_MISSED_SECONDS:
            return "no SIP worker answers"
        return None
