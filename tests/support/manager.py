"""A service manager's end of sd_notify(3): what the server tells, as it comes."""

import socket
import threading
import time
from pathlib import Path
from typing import Self

from tests.support.dialer_process import eventually


class Manager:
    """`with Manager(folder) as manager:` listens at `address` until the block ends; `told` may be read at any time."""

    def __init__(self, folder: Path, watchdog_seconds: float | None = None) -> None:
        self.address = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._thread = threading.Thread(target=self._listen, name="manager", daemon=True)
        self.told: list[tuple[float, dict[str, str]]] = []
        self.environment = {"NOTIFY_SOCKET": self.address}
        if watchdog_seconds is not None:
            self.environment["WATCHDOG_USEC"] = str(round(watchdog_seconds * 1_000_000))

    def _listen(self) -> None:
        while data := self._socket.recv(65_536):
            words = dict(line.split("=", 1) for line in data.decode().splitlines())
            self.told.append((time.monotonic(), words))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as farewell:
            farewell.sendto(b"", self.address)
        self._thread.join(10)
        self._socket.close()

    def of(self, word: str, since: float = 0.0) -> list[dict[str, str]]:
        """What was told with this word since then."""
        return [words for at, words in list(self.told) if word in words and at >= since]

    def wait_for(self, word: str, count: int = 1, since: float = 0.0, seconds: float = 30) -> list[dict[str, str]]:
        """The same, once there is so much of it."""
        return eventually(
            lambda: found if len(found := self.of(word, since)) >= count else None,
            seconds,
            f"{count} x {word} told to the service manager (told: {self.told[-5:]})",
        )
