"""A store in memory that keeps the same contract as the one on SQLite (`tests/contract/test_store*.py` hold both to it).

It counts nothing as it goes: every count is taken from its calls when it is asked for, which makes it an oracle.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

from dialer.core.changes import (
    AgentArmed,
    AgentEnded,
    AgentMoved,
    AttemptAnswered,
    AttemptArmed,
    AttemptDialed,
    AttemptEnded,
    AttemptRetried,
    AttemptRinging,
    AttemptWithdrawn,
    CallFinished,
    CallSnoozed,
    CampaignMoved,
    Change,
    ContactWritten,
    RecallScheduled,
    StepTaken,
    TransferMoved,
)
from dialer.core.model import (
    AccountId,
    CallId,
    CallRecord,
    Campaign,
    CampaignId,
    CampaignStatus,
    Disposition,
    HeldCall,
    OpenAgentLeg,
    OpenAttempt,
    WallMs,
)
from dialer.core.playbook import Playbook
from dialer.ports import StoredCampaign, StoreUnavailable

ENDED = {CampaignStatus.COMPLETED, CampaignStatus.CANCELLED}
PLAYBOOK = Playbook(name="Renewal", trunks=["pbx"])


@dataclass(frozen=True)
class Counts:
    """A campaign's counts as a test compares them; `outcomes` is of finished calls, without zeros."""

    scheduled: int
    live: int
    finished: int
    attempts: int
    outcomes: dict[str, int]


@dataclass
class FakeAttempt:
    record: OpenAttempt
    ended: AttemptEnded | None = None
    lines: list[str] = field(default_factory=list)


@dataclass
class FakeAgentLeg:
    record: OpenAgentLeg
    ended: AgentEnded | None = None


@dataclass
class FakeCall:
    phone: str
    contact: dict[str, Any]
    attempts: list[FakeAttempt] = field(default_factory=list)
    first_dialed_at: WallMs | None = None
    next_at: WallMs | None = None
    put_off: str | None = None
    finished: Disposition | None = None
    agent_legs: dict[tuple[int, int], FakeAgentLeg] = field(default_factory=dict)

    @property
    def open(self) -> FakeAttempt | None:
        return self.attempts[-1] if self.attempts and self.attempts[-1].ended is None else None


@dataclass
class FakeCampaign:
    campaign: Campaign
    status: CampaignStatus
    cursor: int = 0
    last_first_attempt_at: WallMs | None = None


class FakeStore:
    """`dialer.ports.Store` without a disk. `refuse` set to a text makes every write fail with it until it is None again.

    `commits` holds every batch that was stored.
    """

    def __init__(self) -> None:
        self.campaigns: dict[CampaignId, FakeCampaign] = {}
        self.calls: dict[CallId, FakeCall] = {}
        self.forbidden: set[str] = set()
        self.reviewed: set[CallId] = set()
        self.refuse: str | None = None
        self.commits: list[list[Change]] = []
        self.written: dict[str, dict[str, str]] = {}
        self._claims: list[tuple[AttemptArmed | RecallScheduled | CallSnoozed, int]] = []
        self._given: set[tuple[WallMs, CallId]] = set()
        self._noted: tuple[str, float] | None = None

    # What tests do to it

    def add_campaign(
        self,
        *,
        size: int = 1,
        launch_at: int = 0,
        stagger_ms: int = 0,
        recall_ms: tuple[int, ...] = (),
        scheduled: bool = False,
        account: int = 1,
        playbook: Playbook = PLAYBOOK,
        phones: Sequence[str] | None = None,
        token: int | None = None,
    ) -> Campaign:
        first = CallId(max(self.calls, default=0) + 1)
        campaign = Campaign(
            CampaignId(len(self.campaigns) + 1),
            AccountId(account),
            WallMs(launch_at),
            stagger_ms,
            first,
            size,
            recall_ms,
            scheduled,
            playbook,
            token=token,
            uuid=f"{first:032x}",
        )
        self.campaigns[campaign.id] = FakeCampaign(campaign, CampaignStatus.SCHEDULED)
        for i in range(size):
            phone = phones[i] if phones else f"+3491{first + i:07}"
            self.calls[CallId(first + i)] = FakeCall(phone, {"first_name": f"No {first + i}"})
        return campaign

    def forbid(self, phone: str) -> None:
        self.forbidden.add(phone)

    def hold(self, until: int) -> None:
        """What restoring does: all that is due by then comes under review."""
        for held in self.campaigns.values():
            campaign = held.campaign
            if held.status in ENDED:
                continue
            for position in range(campaign.size):
                call = CallId(campaign.first_call + position)
                row = self.calls[call]
                due_at = campaign.slot(call) if row.next_at is None else row.next_at
                if row.finished is None and row.open is None and call not in self.reviewed and due_at <= until:
                    self.reviewed.add(call)
            held.cursor = max(held.cursor, campaign.due_by(WallMs(until)))
        self.reopen()

    def counts(self, campaign: CampaignId) -> Counts:
        calls = self._calls_of(campaign)
        live = sum(call.open is not None for call in calls)
        outcomes = Counter(call.finished.value for call in calls if call.finished is not None)
        finished = sum(outcomes.values())
        attempts = sum(len(call.attempts) for call in calls)
        return Counts(len(calls) - live - finished, live, finished, attempts, dict(outcomes))

    def reopen(self) -> None:
        """What a new process finds: all that was stored, and no memory of which timers were given."""
        self._given.clear()

    # What the engine does with it

    def apply(self, changes: Sequence[Change]) -> None:
        if self.refuse is not None:
            raise StoreUnavailable(self.refuse)
        before, reviewed = self._touched(changes), set(self.reviewed)
        self._claims.clear()
        try:
            for change in changes:
                self._take(change)
            self._settle(changes)
        except BaseException:
            self.calls.update(before[0])
            self.campaigns.update(before[1])
            self.reviewed = reviewed
            raise
        for change in changes:
            if isinstance(change, RecallScheduled | CallSnoozed):
                self._given.discard((change.due_at, change.call))
        if changes:
            self.commits.append(list(changes))

    def call(self, call: CallId) -> CallRecord:
        row = self.calls[call]
        return CallRecord(
            id=call,
            uuid=f"00000000-0000-8000-8000-{call:012x}",
            phone=row.phone,
            contact=dict(row.contact),
            attempts=len(row.attempts) - (row.open is not None),
            first_dialed_at=row.first_dialed_at,
            suppressed=row.phone in self.forbidden,
            finished=row.finished is not None,
            under_review=call in self.reviewed,
            put_off=row.put_off if row.finished is None else None,
        )

    def under_review(self, first: CallId, last: CallId, limit: int) -> list[HeldCall]:
        held = []
        for call in sorted(call for call in self.reviewed if first <= call <= last):
            row = self.calls[call]
            slot = next(c.campaign for c in reversed(self.campaigns.values()) if c.campaign.first_call <= call).slot
            held.append(HeldCall(call, len(row.attempts) + 1, slot(call) if row.next_at is None else row.next_at))
        return held[:limit]

    def active_campaigns(self) -> list[StoredCampaign]:
        stored = [self.campaign(campaign) for campaign in sorted(self.campaigns)]
        return [one for one in stored if one.status not in ENDED or one.live]

    def campaign(self, campaign: CampaignId) -> StoredCampaign:
        held, counts = self.campaigns[campaign], self.counts(campaign)
        return StoredCampaign(
            campaign=held.campaign,
            status=held.status,
            cursor=held.cursor,
            finished=counts.finished,
            live=counts.live,
            last_first_attempt_at=held.last_first_attempt_at,
        )

    def open_attempts(self) -> list[OpenAttempt]:
        return [call.open.record for _, call in sorted(self.calls.items()) if call.open is not None]

    def open_agent_legs(self) -> list[OpenAgentLeg]:
        rows = [row for _, row in sorted(self.calls.items())]
        return [leg.record for row in rows for _, leg in sorted(row.agent_legs.items()) if leg.ended is None]

    def due_timers(self, until: WallMs) -> Iterator[tuple[WallMs, CallId]]:
        while (first := self._first_timer()) is not None and first[0] <= until:
            self._given.add(first)
            yield first

    def noted_offset_ms(self, boot: str) -> float | None:
        return None if self._noted is None or self._noted[0] != boot else self._noted[1]

    def note_offset(self, boot: str, offset_ms: float) -> None:
        if self.refuse is not None:
            raise StoreUnavailable(self.refuse)
        self._noted = boot, offset_ms

    def clock_stepped(self, step_ms: int, before: WallMs | None) -> None:
        if self.refuse is not None:
            raise StoreUnavailable(self.refuse)
        if self._noted is not None:
            self._noted = self._noted[0], self._noted[1] + step_ms
        for held in self.campaigns.values():
            if held.status not in ENDED and _was_launched(held, before):
                held.campaign = replace(held.campaign, launch_at=WallMs(held.campaign.launch_at + step_ms))
            if held.status not in ENDED and held.last_first_attempt_at is not None:
                held.last_first_attempt_at = WallMs(held.last_first_attempt_at + step_ms)
        for row in self.calls.values():
            if row.first_dialed_at is not None and (row.next_at is not None or row.open is not None):
                row.first_dialed_at = WallMs(row.first_dialed_at + step_ms)
            if row.next_at is not None:
                row.next_at = WallMs(row.next_at + step_ms)
            if row.open is not None:
                row.open.record = _moved(row.open.record, step_ms)
            for leg in row.agent_legs.values():
                leg.record = replace(leg.record, until=WallMs(leg.record.until + step_ms))
        self._given = {(WallMs(due + step_ms), call) for due, call in self._given}

    def next_timer(self) -> WallMs | None:
        first = self._first_timer()
        return None if first is None else first[0]

    # Inside

    def _first_timer(self) -> tuple[WallMs, CallId] | None:
        timers = {
            (row.next_at, call)
            for call, row in self.calls.items()
            if row.next_at is not None and call not in self.reviewed
        }
        return min(timers - self._given, default=None)

    def _calls_of(self, campaign: CampaignId) -> list[FakeCall]:
        c = self.campaigns[campaign].campaign
        return [self.calls[CallId(i)] for i in range(c.first_call, c.first_call + c.size)]

    def _touched(self, changes: Sequence[Change]) -> tuple[dict[CallId, FakeCall], dict[CampaignId, FakeCampaign]]:
        calls = {change.call for change in changes if not isinstance(change, CampaignMoved)}
        campaigns = {change.campaign for change in changes if not isinstance(change, AttemptRetried | AttemptWithdrawn)}
        for change in changes:
            if isinstance(change, CampaignMoved) and change.campaign in self.campaigns:
                c = self.campaigns[change.campaign].campaign
                calls.update(CallId(i) for i in range(c.first_call, c.first_call + c.size))
        return (
            {call: deepcopy(self.calls[call]) for call in calls if call in self.calls},
            {c: replace(self.campaigns[c]) for c in campaigns if c in self.campaigns},
        )

    def _take(self, change: Change) -> None:
        if isinstance(change, CampaignMoved):
            self._move(change)
            return
        row = self.calls.get(change.call)
        if isinstance(change, AgentMoved | AgentEnded):
            self._of_agent_leg(change, row)
            return
        _demand(row is not None and row.finished is None, change)
        assert row is not None
        match change:
            case AttemptArmed():
                _demand(row.open is None and change.number == len(row.attempts) + 1, change)
                _demand(change.call not in self.reviewed, change)
                held = self._claim(change, change.number)
                if change.number == 1:
                    held.last_first_attempt_at = WallMs(max(held.last_first_attempt_at or 0, change.fire_at))
                row.next_at, row.put_off = None, None
                opened = OpenAttempt(
                    change.call, change.number, change.due_at, change.fire_at, None, None, change.trunk
                )
                row.attempts.append(FakeAttempt(opened))
            case RecallScheduled() | CallSnoozed():
                _demand(row.open is None, change)
                self._claim(change, 1)
                row.next_at = change.due_at
                row.put_off = change.reason if isinstance(change, CallSnoozed) else None
                self.reviewed.discard(change.call)
            case CallFinished():
                _demand(row.open is None, change)
                row.finished, row.next_at = change.disposition, None
                self.reviewed.discard(change.call)
            case TransferMoved():
                pass
            case _:
                self._of_attempt(change, row)

    def _of_agent_leg(self, change: AgentMoved | AgentEnded, row: FakeCall | None) -> None:
        leg = None if row is None else row.agent_legs.get((change.number, change.position))
        _demand(leg is not None and leg.ended is None, change)
        assert leg is not None
        if isinstance(change, AgentMoved):
            leg.record = replace(leg.record, dialog=change.dialog)
        else:
            leg.ended = change

    def _of_attempt(self, change: Change, row: FakeCall) -> None:
        attempt = row.open
        assert not isinstance(
            change, CampaignMoved | CallFinished | CallSnoozed | AgentMoved | AgentEnded | TransferMoved
        )
        _demand(attempt is not None and attempt.record.number == change.number, change)
        assert attempt is not None
        match change:
            case AttemptRetried():
                attempt.record = replace(attempt.record, fire_at=change.fire_at, trunk=change.trunk, dialog="")
            case AttemptDialed():
                attempt.record = replace(
                    attempt.record, dialed_at=attempt.record.dialed_at or change.at, dialog=change.dialog
                )
                if row.first_dialed_at is None:
                    row.first_dialed_at = change.at
            case AttemptAnswered():
                attempt.record = replace(
                    attempt.record, answered_at=attempt.record.answered_at or change.at, dialog=change.dialog
                )
            case AttemptEnded():
                attempt.ended = change
            case StepTaken():
                _demand(change.position == len(attempt.lines) + 1, change)
                attempt.lines.append(change.line)
            case ContactWritten():
                self.written[change.phone] = {**self.written.get(change.phone, {}), **json.loads(change.custom_fields)}
            case AttemptRinging():
                attempt.record = replace(attempt.record, dialog=change.dialog)
            case AttemptWithdrawn():
                attempt.record = replace(attempt.record, withdrawn=True)
            case AgentArmed():
                key = change.number, change.position
                _demand(key not in row.agent_legs, change)
                row.agent_legs[key] = FakeAgentLeg(
                    OpenAgentLeg(change.call, change.campaign, *key, change.trunk, change.until)
                )

    def _claim(self, change: AttemptArmed | RecallScheduled | CallSnoozed, number: int) -> FakeCampaign:
        held = self.campaigns[change.campaign]
        _demand(held.status not in ENDED, change)
        position = change.call - held.campaign.first_call
        _demand(0 <= position < held.campaign.size, change)
        if number == 1 and position >= held.cursor:
            self._claims.append((change, position))
        return held

    def _move(self, change: CampaignMoved) -> None:
        held = self.campaigns[change.campaign]
        if held.status == change.status:
            return
        _demand(held.status not in ENDED, change)
        calls = self._calls_of(change.campaign)
        if change.status is CampaignStatus.COMPLETED:
            _demand(all(call.finished for call in calls), change)
        if change.status is CampaignStatus.CANCELLED:
            self._settle_claims()
            for call in calls:
                if call.open is None and call.finished is None:
                    call.finished, call.next_at = Disposition.CANCELLED, None
            c = held.campaign
            self.reviewed -= set(map(CallId, range(c.first_call, c.first_call + c.size)))
        held.status = change.status

    def _settle_claims(self) -> None:
        for claim, position in sorted(self._claims, key=itemgetter(1)):
            held = self.campaigns[claim.campaign]
            jumped = self._calls_of(claim.campaign)[held.cursor : position]
            _demand(all(call.finished for call in jumped), claim)
            held.cursor = max(held.cursor, position + 1)
        self._claims.clear()

    def _settle(self, changes: Sequence[Change]) -> None:
        self._settle_claims()
        for change in changes:
            if isinstance(change, AttemptEnded):
                row = self.calls[change.call]
                _demand(row.finished is not None or row.next_at is not None or row.open is not None, change)


def _was_launched(held: FakeCampaign, before: WallMs | None) -> bool:
    if before is not None:
        return held.campaign.launch_at <= before
    return not held.campaign.scheduled or held.status is CampaignStatus.RUNNING or held.cursor > 0


def _moved(opened: OpenAttempt, step_ms: int) -> OpenAttempt:
    times = {name: getattr(opened, name) for name in ("due_at", "fire_at", "dialed_at", "answered_at")}
    return replace(opened, **{name: WallMs(at + step_ms) for name, at in times.items() if at is not None})


def _demand(holds: bool, change: Change) -> None:
    if not holds:
        raise ValueError(f"cannot follow what is stored: {change}")
