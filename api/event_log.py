"""What those who tell programs of events need of the database, as Protocols; the roof gives the parts that keep them.

Methods touch the database: they are called in worker threads, but for `EventLog.after`, which the loop calls for a few
events at a time.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from dialer.core.model import WallMs
from dialer.ports import RecordedEvent, WebhookTarget

Record = dict[str, Any]


class EventLog(Protocol):
    """The outbox: all events in one order. A position is that of an event; a sink has been given all up to its own."""

    def open(self, sink: str) -> int:
        """Where the sink goes on; a new one begins at the end. While there is no sink, no event is recorded."""
        ...

    def close(self, sink: str) -> None:
        """Forget the sink."""
        ...

    def positions(self) -> dict[str, int]:
        """All sinks, and how far each is."""
        ...

    def keep(self, positions: Mapping[str, int]) -> None:
        """Store how far sinks are."""
        ...

    def end(self) -> int:
        """The position of the newest event."""
        ...

    def removed(self) -> int:
        """Events at or below this position may be gone."""
        ...

    def after(self, position: int, limit: int) -> list[RecordedEvent]:
        """The events after a position, in order."""
        ...

    def states(self, after: int, limit: int) -> list[RecordedEvent]:
        """The newest event of each campaign that goes on, by position."""
        ...

    def position_of(self, event_id: str) -> int | None:
        """The position of an event by its public id; None for an id that is not ours."""
        ...

    def stream_listened(self, *, listening: bool, keep_ms: int) -> bool:
        """Keep events for GET /events while somebody listens and `keep_ms` beyond; whether they are kept now."""
        ...

    def remove(self, *, stream_ms: int, longest_ms: int, most: int) -> tuple[int, int]:
        """Remove some of what nobody needs any more: how many, and how many of them were not given to all."""
        ...

    def spread(self) -> int:
        """Tell some more calls what happened to all of their campaign; 0: nothing is left to tell."""
        ...


class Webhooks(Protocol):
    """The accounts' addresses for events. Records are as the API shows them."""

    def create(self, account_id: int, url: str, types: Sequence[str]) -> Record | None:
        """Register an address; the record has its `secret` this once. None: the account has too many."""
        ...

    def get(self, account_id: int, webhook: str) -> Record | None:
        """One webhook."""
        ...

    def delete(self, account_id: int, webhook: str) -> bool:
        """Whether there was one to delete."""
        ...

    def targets(self) -> list[WebhookTarget]:
        """Where to deliver now, of all accounts."""
        ...

    def delivered(self, number: int, events: int) -> None:
        """So many more events were taken."""
        ...

    def failed(self, number: int, error: str, retry_at: WallMs) -> None:
        """A delivery failed, and is tried again at `retry_at`."""
        ...

    def died(self, number: int, events: int) -> None:
        """So many events were given up."""
        ...

    def gone(self, number: int, error: str) -> None:
        """The address wants no more events."""
        ...

    def list(self, account_id: int) -> list[Record]:
        """The account's webhooks, oldest first."""
        ...
