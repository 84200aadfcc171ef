"""The store on SQLite and the one in memory, held side by side: whoever uses them sees one store, and they must agree."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dialer.core.changes import Change
from dialer.core.model import CallId, CallRecord, Campaign, CampaignId, OpenAgentLeg, OpenAttempt, WallMs
from dialer.ports import StoredCampaign, StoreUnavailable
from tests.support.fake_store import ENDED, FakeStore
from tests.support.sqlite_world import SqliteWorld


class PowerCut(KeyboardInterrupt):
    """The process is gone. No `Exception`: nothing in the product may catch it and go on."""


class BothStores(FakeStore):
    """A `FakeStore` with a database beside it, which answers. `cut` "before" or "after": the next commit kills the process."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._world = SqliteWorld(path)
        self._hurry()
        self.cut: str | None = None

    def close(self) -> None:
        self._world.close()

    def _hurry(self) -> None:
        # What survives a power failure is another test's business: here thousands of commits need no fsync.
        for connection in (self._world.connection, self._world.store._connection):
            connection.execute("PRAGMA synchronous = OFF")
        self._world.store._turn._durable = True

    def add_campaign(self, **asked: Any) -> Campaign:
        one, other = super().add_campaign(**asked), self._world.add_campaign(**asked)
        assert one == other
        return one

    def forbid(self, phone: str) -> None:
        super().forbid(phone)
        self._world.forbid(phone)

    def reopen(self) -> None:
        super().reopen()
        self._world.reopen()
        self._hurry()

    def hold(self, until: int) -> None:
        super().hold(until)
        self._world.hold(until)
        self._hurry()

    def apply(self, changes: Sequence[Change]) -> None:
        if self.cut == "before":
            raise PowerCut
        if self.refuse is not None:
            self._refused(lambda: self._world.store.apply(changes))
        super().apply(changes)
        self._world.store.apply(changes)
        if self.cut == "after":
            raise PowerCut

    def call(self, call: CallId) -> CallRecord:
        one, other = super().call(call), self._world.store.call(call)
        assert replace(one, uuid=other.uuid) == other, (one, other)
        return other

    def active_campaigns(self) -> list[StoredCampaign]:
        one, other = super().active_campaigns(), self._world.store.active_campaigns()
        assert _telling(one) == _telling(other)
        return other

    def campaign(self, campaign: CampaignId) -> StoredCampaign:
        other = self._world.store.campaign(campaign)
        assert _telling([super().campaign(campaign)]) == _telling([other])
        return other

    def open_attempts(self) -> list[OpenAttempt]:
        one, other = super().open_attempts(), self._world.store.open_attempts()
        assert one == other
        return other

    def open_agent_legs(self) -> list[OpenAgentLeg]:
        one, other = super().open_agent_legs(), self._world.store.open_agent_legs()
        assert one == other
        return other

    def due_timers(self, until: WallMs) -> Iterator[tuple[WallMs, CallId]]:
        # Of those that are due at the same time, any may come first.
        for due_at, call in self._world.store.due_timers(until):
            assert super().next_timer() == due_at
            assert self.calls[call].next_at == due_at
            assert (due_at, call) not in self._given
            self._given.add((due_at, call))
            yield due_at, call
        assert (super().next_timer() or until + 1) > until

    def noted_offset_ms(self, boot: str) -> float | None:
        one, other = super().noted_offset_ms(boot), self._world.store.noted_offset_ms(boot)
        assert one == other
        return other

    def note_offset(self, boot: str, offset_ms: float) -> None:
        if self.refuse is not None:
            self._refused(lambda: self._world.store.note_offset(boot, offset_ms))
        super().note_offset(boot, offset_ms)
        self._world.store.note_offset(boot, offset_ms)

    def clock_stepped(self, step_ms: int, before: WallMs | None) -> None:
        if self.refuse is not None:
            self._refused(lambda: self._world.store.clock_stepped(step_ms, before))
        super().clock_stepped(step_ms, before)
        self._world.store.clock_stepped(step_ms, before)

    def next_timer(self) -> WallMs | None:
        one, other = super().next_timer(), self._world.store.next_timer()
        # Timers of cancelled campaigns stay in the table until their time.
        assert one is None or (other is not None and other <= one)
        return other

    def _refused(self, write: Callable[[], None]) -> None:
        """The real store finds out in the middle of its transaction."""
        connection = self._world.store._connection
        connection.execute("PRAGMA query_only = ON")
        with pytest.raises(StoreUnavailable):
            write()
        connection.execute("PRAGMA query_only = OFF")

    def agree(self) -> None:
        """Both hold the same of everything."""
        self.active_campaigns()
        self.open_attempts()
        self.open_agent_legs()
        self.next_timer()
        for campaign in self.campaigns:
            assert self.counts(campaign) == self._world.counts(campaign)
            self.campaign(campaign)
        for call in self.calls:
            self.call(call)


def _telling(stored: list[StoredCampaign]) -> list[StoredCampaign]:
    """Without what means nothing: the stagger of a campaign that dials no more."""
    return [replace(one, last_first_attempt_at=None) if one.status in ENDED else one for one in stored]
