"""What the called side saw: the judge of tests, the news of `dialer lab`, and a file of JSON lines."""

import asyncio
import json
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self

_logger: Final = logging.getLogger(__name__)

Event = Literal[
    "invite",  # a new call
    "challenged",  # an INVITE that got 401 or 407
    "refused",  # an INVITE that made no call: 415, 416, 420, 481, 482...
    "retransmission",  # an INVITE, byte for byte the same transaction, once more
    "ringing",
    "early_media",
    "answered",
    "ack",
    "reinvite",
    "cancel",
    "bye_received",
    "bye_sent",
    "refer",
    "notified",  # by a NOTIFY, how the call of a REFER goes: its status
    "ended",  # the call holds no channel any more; carries reason and RTP counts
]
Reason = Literal["refused", "cancelled", "caller_hung_up", "called_hung_up", "no_ack", "rang_out", "lab_stopped"]


class Instant(NamedTuple):
    """One moment on both clocks, in seconds: `monotonic` never steps, `wall` is Unix time."""

    monotonic: float
    wall: float

    @classmethod
    def now(cls) -> Self:
        """This moment."""
        return cls(time.monotonic(), time.time())


@dataclass(frozen=True, slots=True)
class RtpCounts:
    """What a call's RTP came to. `lost` counts gaps in sequence numbers that nothing filled later.

    `longest_gap_ms` is the longest time between two packets received one after the other, 0 with fewer than two.
    """

    sent: int = 0
    received: int = 0
    lost: int = 0
    longest_gap_ms: float = 0.0


class Subject(NamedTuple):
    """Whom an entry is about, as text, "" where absent.

    `number` is the user part of the Request-URI, `caller` that of From, `asserted` that of P-Asserted-Identity, `source`
    the caller's host:port.
    """

    number: str
    call_id: str
    caller: str
    asserted: str
    source: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing seen. `at` is Unix time in seconds, `monotonic_at` seconds of time.monotonic().

    For what was received, both are the kernel's receive time of the datagram. `number` to `source` are as in `Subject`.
    `status` is the SIP status that was sent (of `ack`: the one acknowledged; of `ended`: the INVITE's final one), None
    where there is none. `rtp` and `reason` stand in `ended` only.
    """

    event: Event
    at: float
    monotonic_at: float
    number: str
    call_id: str
    caller: str
    asserted: str
    source: str
    status: int | None = None
    reason: Reason | None = None
    rtp: RtpCounts | None = None

    def as_json(self) -> str:
        """One line of the log file: `at` as UTC with microseconds, fields without a value left out."""
        fields = {name: value for name, value in asdict(self).items() if value not in (None, "")}
        fields["at"] = datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return json.dumps(fields)


class LabLog:
    """The entries in the order seen: the newest `max_entries` in memory (`dropped` counts the others), all in the file.

    The file is appended to, one JSON object a line, each line written out at once.
    """

    def __init__(
        self, max_entries: int | None = None, file: Path | None = None, on_entry: Callable[[Entry], None] | None = None
    ) -> None:
        self._entries: deque[Entry] = deque(maxlen=max_entries)
        self._file = file.open("a", buffering=1, encoding="ascii") if file else None
        self._on_entry = on_entry
        self._waiting: list[tuple[Callable[[LabLog], bool], asyncio.Future[None]]] = []
        self._counts: Counter[Event] = Counter()
        self.dropped = 0

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def of(self, *events: Event) -> list[Entry]:
        """The entries of these kinds, oldest first."""
        return [entry for entry in self._entries if entry.event in events]

    def count(self, event: Event) -> int:
        """How many of this kind there were, dropped ones too."""
        return self._counts[event]

    def add(self, entry: Entry) -> None:
        """Take an entry in, and wake those whose condition it fulfils."""
        self.dropped += len(self._entries) == self._entries.maxlen
        self._entries.append(entry)
        self._counts[entry.event] += 1
        if self._file:
            try:
                self._file.write(entry.as_json() + "\n")
            except OSError as error:
                _logger.error("the log file of the lab ends here: %s", error)  # noqa: TRY400 - a full disk, not a bug
                self._file = None
        if self._on_entry:
            self._on_entry(entry)
        for condition, future in self._waiting:
            if not future.done() and condition(self):
                future.set_result(None)

    async def wait_until(self, condition: Callable[["LabLog"], bool], seconds: float) -> None:
        """Return as soon as `condition(log)` is true, tried now and after each entry; TimeoutError after `seconds`."""
        if condition(self):
            return
        waiting = (condition, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        try:
            await asyncio.wait_for(waiting[1], seconds)
        except TimeoutError:
            raise TimeoutError(f"not seen by the lab within {seconds:g} s; it saw {dict(self._counts)}") from None
        finally:
            self._waiting.remove(waiting)

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
            self._file = None
