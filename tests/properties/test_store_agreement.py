"""The store on SQLite and the fake that counts from scratch agree after any changes, allowed or not, reopened at any time."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dialer.core.changes import (
    AttemptArmed,
    AttemptDialed,
    AttemptEnded,
    CallFinished,
    CallSnoozed,
    CampaignMoved,
    Change,
    RecallScheduled,
)
from dialer.core.model import CallId, CampaignStatus, Disposition, WallMs
from tests.support.fake_store import FakeStore
from tests.support.sqlite_world import SqliteWorld

T0 = 1_740_823_200_000
SIZES = (1, 3, 4)
CALLS = sum(SIZES)

calls = st.integers(1, CALLS)
# The near level reads 64 s ahead: times around that edge, and far beyond it.
times = st.one_of(st.integers(0, 70_000), st.sampled_from([63_999, 64_000, 64_001, 128_000, 7_200_000]))
dispositions = st.sampled_from([Disposition.BUSY, Disposition.ANSWERED, Disposition.CANCELLED])


class StoresAgree(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.sqlite = SqliteWorld(Path(self.folder.name) / "dialer.db")
        # What survives a power failure is another test's business: here thousands of commits need no fsync.
        self.sqlite.store._connection.execute("PRAGMA synchronous = OFF")
        self.fake = FakeStore()
        self.now = T0
        self.batch: list[Change] = []
        for size in SIZES:
            one, other = (world.add_campaign(size=size, launch_at=T0) for world in (self.sqlite, self.fake))
            assert one == other

    def teardown(self) -> None:
        self.sqlite.close()
        self.folder.cleanup()

    def of(self, call: int) -> tuple[CallId, Any]:
        campaign = next(c.campaign for c in reversed(self.fake.campaigns.values()) if c.campaign.first_call <= call)
        return CallId(call), campaign.id

    def number(self, call: int) -> int:
        """Of the attempt that is open or, as far as this batch is concerned, comes next."""
        row = self.fake.calls[CallId(call)]
        armed = sum(isinstance(change, AttemptArmed) and change.call == call for change in self.batch)
        return len(row.attempts) + armed

    @initialize()
    def begin(self) -> None:
        self.see_timers(0)

    @rule(call=calls, after=times, again=st.booleans())
    def let_the_call_live_on(self, call: int, after: int, again: bool) -> None:
        """Store what may happen next; the other rules mostly find out what may not."""
        self.batch = []
        row, held = self.fake.calls[CallId(call)], self.fake.campaigns[self.of(call)[1]]
        if row.open is not None and again and held.status is not CampaignStatus.CANCELLED:
            self.end_with_a_recall(call, after, Disposition.BUSY)
        elif row.open is not None:
            self.end_for_good(call, Disposition.ANSWERED)
        elif row.finished is None and (row.attempts or row.next_at is not None):
            self.arm(call)
        elif held.cursor < held.campaign.size:
            first = held.campaign.first_call + held.cursor
            if again:
                self.snooze(first, after)
            else:
                self.arm(first)
                self.dial(first)
        self.commit()

    @rule(call=calls)
    def arm(self, call: int) -> None:
        at = WallMs(self.now)
        self.batch.append(AttemptArmed(*self.of(call), self.number(call) + 1, at, at, "pbx", "", f"{call}@x"))

    @rule(call=calls)
    def dial(self, call: int) -> None:
        self.batch.append(AttemptDialed(*self.of(call), max(1, self.number(call)), WallMs(self.now), ""))

    @rule(call=calls, after=times, disposition=dispositions)
    def end_with_a_recall(self, call: int, after: int, disposition: Disposition) -> None:
        number = max(1, self.number(call))
        end = AttemptEnded(*self.of(call), number, WallMs(self.now), disposition, "", None, None, "far")
        self.batch += [end, RecallScheduled(*self.of(call), number + 1, WallMs(self.now + after))]

    @rule(call=calls, disposition=dispositions)
    def end_for_good(self, call: int, disposition: Disposition) -> None:
        number = max(1, self.number(call))
        end = AttemptEnded(*self.of(call), number, WallMs(self.now), disposition, "", None, None, "far")
        self.batch += [end, CallFinished(*self.of(call), WallMs(self.now), disposition, "", True)]

    @rule(call=calls, after=times)
    def snooze(self, call: int, after: int) -> None:
        if not self.given_a_timer(CallId(call)):
            self.batch.append(CallSnoozed(*self.of(call), self.number(call) + 1, WallMs(self.now + after), "later"))

    def given_a_timer(self, call: CallId) -> bool:
        """The core gives a call one timer at a time."""
        return any(isinstance(c, CallSnoozed | RecallScheduled) and c.call == call for c in self.batch)

    @rule(call=calls)
    def finish_without_an_attempt(self, call: int) -> None:
        row = self.fake.calls[CallId(call)]
        if row.open is None and not any(isinstance(c, AttemptArmed) and c.call == call for c in self.batch):
            self.batch.append(CallFinished(*self.of(call), WallMs(self.now), Disposition.SUPPRESSED, "", False))

    @rule(call=calls, status=st.sampled_from(CampaignStatus))
    def move(self, call: int, status: CampaignStatus) -> None:
        self.batch.append(CampaignMoved(self.of(call)[1], WallMs(self.now), status))

    @rule()
    def commit(self) -> None:
        refusals = []
        for store in (self.sqlite.store, self.fake):
            try:
                store.apply(self.batch)
            except ValueError as refusal:
                refusals.append(refusal)
        assert len(refusals) in {0, 2}, (self.batch, refusals)
        self.batch = []

    @rule(after=times)
    def see_timers(self, after: int) -> None:
        self.now += after // 4
        until = WallMs(self.now + after)
        assert list(self.sqlite.store.due_timers(until)) == list(self.fake.due_timers(until))

    @rule(after=times)
    def see_one_timer(self, after: int) -> None:
        until = WallMs(self.now + after)
        assert next(iter(self.sqlite.store.due_timers(until)), None) == next(self.fake.due_timers(until), None)

    @rule(after=times)
    def hold(self, after: int) -> None:
        """A backup is restored, and what was due comes under review."""
        self.batch = []
        for world in (self.sqlite, self.fake):
            world.hold(self.now + after - 10_000)
        self.sqlite.store._connection.execute("PRAGMA synchronous = OFF")

    @rule(call=calls)
    def release(self, call: int) -> None:
        for held in self.fake.under_review(CallId(1), CallId(call), 2):
            if not self.given_a_timer(held.id):
                self.batch.append(CallSnoozed(*self.of(held.id), held.number, held.due_at, "released"))

    @rule()
    def reopen(self) -> None:
        self.batch = []
        self.sqlite.reopen()
        self.sqlite.store._connection.execute("PRAGMA synchronous = OFF")
        self.fake.reopen()

    @invariant()
    def both_hold_the_same(self) -> None:
        one, other = self.sqlite.store, self.fake
        assert one.next_timer() == other.next_timer()
        assert one.open_attempts() == other.open_attempts()
        assert one.active_campaigns() == other.active_campaigns()
        for campaign in other.campaigns:
            counts = self.sqlite.counts(campaign)
            assert counts == other.counts(campaign)
            assert min(counts.scheduled, counts.live, counts.finished) >= 0
            assert one.campaign(campaign) == other.campaign(campaign)
        for call in other.calls:
            read, wanted = one.call(call), other.call(call)
            assert (read.attempts, read.first_dialed_at, read.finished, read.under_review) == (
                wanted.attempts,
                wanted.first_dialed_at,
                wanted.finished,
                wanted.under_review,
            )
        held = other.under_review(CallId(1), CallId(CALLS), CALLS)
        assert one.under_review(CallId(1), CallId(CALLS), CALLS) == held
        assert one.under_review(CallId(2), CallId(4), 2) == other.under_review(CallId(2), CallId(4), 2)


StoresAgree.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestStoresAgree = StoresAgree.TestCase
