"""What the service manager is told (sd_notify(3)), and for how long it may wait for us: a few datagrams, no library.

Without `$NOTIFY_SOCKET` nobody is there to be told, and nothing is said.
"""

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Final

_MICROSECONDS: Final = 1_000_000


class ServiceManager:
    """systemd, as it has introduced itself in the environment; the variables are taken out, for no child speaks for us.

    `watchdog_seconds`: so long it waits for `alive` before it ends this process; None: it does not watch.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        meant = environment.pop("WATCHDOG_PID", "")
        watches = self._address and microseconds.isdecimal() and meant in {"", str(os.getpid())}
        self.watchdog_seconds = int(microseconds) / _MICROSECONDS if watches else None

    @property
    def listens(self) -> bool:
        """Whether anything that is said here is heard."""
        return bool(self._address)

    def ready(self, status: str) -> None:
        """The start, or a reload, is over."""
        self._tell("READY=1", f"STATUS={status}")

    def status(self, text: str) -> None:
        """What `systemctl status` shows."""
        self._tell(f"STATUS={text}")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._tell("WATCHDOG=1")

    def reloading(self) -> None:
        """A reload begins: `ready` ends it. The time tells which signal it belongs to (Type=notify-reload)."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, within_seconds: float) -> None:
        """The server drains; it asks not to be killed before it has had so long."""
        self._tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={round(within_seconds * _MICROSECONDS)}", "STATUS=draining")

    def _tell(self, *words: str) -> None:
        if not self._address:
            return
        # An address that begins with @ is an abstract one (unix(7)).
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        # Whoever listens may be gone, or not read; calls are not made to wait for that.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
            channel.sendto("\n".join(words).encode(), address)
