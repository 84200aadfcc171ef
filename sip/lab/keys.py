"""Keys pressed on a phone, as packets of telephone events (RFC 4733): one key lasts 100 ms, with 80 ms to the next."""

import struct
from collections import deque
from collections.abc import Iterator
from typing import Final

KEYS: Final = "0123456789*#ABCD"  # the place of each is its event code, RFC 4733 section 3.2
PACKET_SAMPLES: Final = 160
PACKETS: Final = 5
END_PACKETS: Final = 3  # 2.5.1.4: the end is said three times, lest it be lost
PAUSE_PACKETS: Final = 4
_EVENT: Final = struct.Struct("!BBH")
_END, _VOLUME = 0x80, 10


class KeyPresses:
    """Keys that wait to be sent. `packet` is asked once every 20 ms."""

    def __init__(self) -> None:
        self._steps: deque[tuple[bytes, bool] | None] = deque()

    def press(self, keys: str) -> None:
        """Press these keys, one after the other. Raises ValueError for what is no key."""
        for key in keys:
            self._steps.extend(_packets(KEYS.index(key)))

    def packet(self) -> tuple[bytes, bool] | None:
        """The payload to send now, and whether it begins a key (marker bit, new timestamp); None: audio."""
        return self._steps.popleft() if self._steps else None


def _packets(event: int) -> Iterator[tuple[bytes, bool] | None]:
    for n in range(1, PACKETS + END_PACKETS):
        over = n >= PACKETS
        duration = min(n, PACKETS) * PACKET_SAMPLES
        yield _EVENT.pack(event, (_END if over else 0) | _VOLUME, duration), n == 1
    yield from [None] * PAUSE_PACKETS
