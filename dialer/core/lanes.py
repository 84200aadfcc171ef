"""Whose call is next: each campaign with work is a lane; lanes sleep until something of theirs is due, then take turns.

First attempts cost no memory: a lane knows the campaign's launch, stagger and cursor, and computes the next slot. Recalls
and snoozed calls that have fallen due wait in the lane as bare numbers.
"""

import heapq
from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from dialer.core.gate import Gate
from dialer.core.model import CallId, Campaign, CampaignId, CampaignStatus, Mono, Now, WallMs
from dialer.core.pacing import Admission, Interval, Pacing
from dialer.core.quota import Quota, first_full
from dialer.core.recall import Ladder
from dialer.core.turns import Turns

Route = tuple[str, ...]


@dataclass(slots=True)
class Lane:
    """One campaign's way through its calls. `cursor` first attempts were picked; `finished` and `live` count calls.

    `route` holds the playbook's trunks that this machine has and that allow its caller id, in order; while there is none the
    campaign waits.
    """

    campaign: Campaign
    status: CampaignStatus
    route: Route
    ladder: Ladder
    stagger: Interval
    cursor: int = 0
    finished: int = 0
    live: int = 0
    quotas: tuple[Quota, ...] = ()
    gate: Gate = field(init=False)
    recalls: list[tuple[WallMs, CallId]] = field(default_factory=list)
    snoozed_firsts: list[tuple[WallMs, CallId]] = field(default_factory=list)
    asleep_until: Mono | None = None

    def __post_init__(self) -> None:
        self.gate = Gate.of(self.campaign)

    @property
    def dialing(self) -> bool:
        """False while a person has stopped it."""
        return self.status in {CampaignStatus.SCHEDULED, CampaignStatus.RUNNING}

    def shift(self, step_ms: int, before: WallMs | None) -> None:
        """The wall clock was set by `step_ms` at `before`. A launch that is still to come keeps its time.

        None: at a time that nobody knows; as long as nothing was begun, it is still to come.
        """
        begun = not self.campaign.scheduled or self.status is CampaignStatus.RUNNING or self.cursor > 0
        if begun if before is None else self.campaign.launch_at <= before:
            self.campaign = replace(self.campaign, launch_at=WallMs(self.campaign.launch_at + step_ms))
        # All move alike, so the heaps stay in order.
        self.recalls = [(WallMs(due + step_ms), call) for due, call in self.recalls]
        self.snoozed_firsts = [(WallMs(due + step_ms), call) for due, call in self.snoozed_firsts]

    def next_first(self) -> tuple[WallMs, CallId] | None:
        """The earliest first attempt that is still to come, with its due time; None when all were picked."""
        slot = self._slot()
        if self.snoozed_firsts and (slot is None or self.snoozed_firsts[0] <= slot):
            return self.snoozed_firsts[0]
        return slot

    def _slot(self) -> tuple[WallMs, CallId] | None:
        if self.cursor >= self.campaign.size:
            return None
        call = CallId(self.campaign.first_call + self.cursor)
        return self.campaign.slot(call), call

    def eligible(self, now: Now) -> tuple[Mono, bool] | None:
        """When the lane's next call may go by its own rules, and whether it is a first attempt; None: nothing waits."""
        first, recall = self.next_first(), self.recalls[0] if self.recalls else None
        best: tuple[Mono, bool] | None = None
        if first is not None:
            best = Mono(max(now.mono_of(first[0]), self.stagger.earliest())), True
        if recall is not None:
            at = now.mono_of(recall[0])
            if best is None or at <= best[0]:
                best = at, False
        return None if best is None else (self._when_open(best[0], now), best[1])

    def _when_open(self, at: Mono, now: Now) -> Mono:
        """`at`, or when the campaign's gate opens after it."""
        due = now.wall if at <= now.mono else now.wall_of(at)
        opens = self.gate.opens_at(due)
        return at if opens == due else now.mono_of(opens)

    def take(self, *, first: bool) -> tuple[WallMs, CallId]:
        """Remove the next first attempt or recall from the lane, as (due, call)."""
        if not first:
            return heapq.heappop(self.recalls)
        taken = self.next_first()
        if taken is None:
            raise ValueError("all first attempts were picked")
        if self.snoozed_firsts and taken == self.snoozed_firsts[0]:
            return heapq.heappop(self.snoozed_firsts)
        self.cursor += 1
        return taken


@dataclass(frozen=True, slots=True)
class Pick:
    """The next call to be made: not before `fire_at`, on `trunk`."""

    lane: Lane
    call: CallId
    due_at: WallMs
    first: bool
    trunk: str
    fire_at: Mono


class Lanes:
    """All campaigns with work. `pick` gives one call at a time, fairly; nothing is given before it is due."""

    def __init__(self) -> None:
        self._lanes: dict[CampaignId, Lane] = {}
        self._starts: list[tuple[CallId, CampaignId]] = []
        self._sleeping: list[tuple[Mono, CampaignId]] = []
        self._awake: OrderedDict[Route, Turns] = OrderedDict()
        self._over_quota: set[CampaignId] = set()

    def __iter__(self) -> Iterator[Lane]:
        return iter(list(self._lanes.values()))

    def __len__(self) -> int:
        return len(self._lanes)

    def get(self, campaign: CampaignId) -> Lane | None:
        """The lane of a campaign; None when it has no work (any more)."""
        return self._lanes.get(campaign)

    def of_call(self, call: CallId) -> Lane | None:
        """The lane that the call belongs to."""
        index = bisect_right(self._starts, (call, CampaignId(1 << 62))) - 1
        if index < 0:
            return None
        lane = self._lanes[self._starts[index][1]]
        return lane if call < lane.campaign.first_call + lane.campaign.size else None

    def add(self, lane: Lane, now: Now) -> None:
        """A campaign begins, or is found again after a restart."""
        campaign = lane.campaign
        if campaign.id in self._lanes:
            raise ValueError(f"campaign {campaign.id} is there already")
        self._lanes[campaign.id] = lane
        insort(self._starts, (campaign.first_call, campaign.id))
        self.rouse(lane, now)

    def remove(self, lane: Lane) -> None:
        """The campaign is over."""
        campaign = lane.campaign
        del self._lanes[campaign.id]
        del self._starts[bisect_right(self._starts, (campaign.first_call, campaign.id)) - 1]
        self._stand_aside(lane)
        lane.stagger.settle()

    def rouse(self, lane: Lane, now: Now) -> None:
        """Something of the lane changed (a recall fell due, it was resumed, the clock was stepped): look at it again."""
        if not lane.dialing:
            self._stand_aside(lane)
            return
        eligible = lane.eligible(now)
        if eligible is None:
            self._stand_aside(lane)
        elif not self._is_awake(lane):
            self._sleep(lane, eligible[0])

    def reroute(self, lane: Lane, route: Route, now: Now) -> None:
        """The lane's trunks are these from now on."""
        if route != lane.route:
            self._stand_aside(lane)
            lane.route = route
            self.rouse(lane, now)

    def rouse_all(self, now: Now) -> None:
        """The relation of the two clocks changed: every wake-up time is computed anew."""
        self._sleeping.clear()
        for lane in self._lanes.values():
            lane.asleep_until = None
            self.rouse(lane, now)

    def released(self, now: Now) -> None:
        """A call has ended: lanes that waited for their account's or token's quota may go on."""
        for campaign in sorted(self._over_quota):
            lane = self._lanes.get(campaign)
            if lane is None or first_full(lane.quotas) is None:
                self._over_quota.discard(campaign)
                if lane is not None:
                    self.rouse(lane, now)

    def pick(self, now: Now, until: Mono, pacing: Pacing) -> Pick | None:
        """The next call that may leave at or before `until`; None when there is none."""
        self._wake(now, until)
        for route in list(self._awake):
            picked = self._pick_on(route, now, until, pacing)
            if picked is not None:
                return picked
        return None

    def next_wake(self, now: Now, pacing: Pacing) -> Mono | None:
        """When `pick` may have something to give; None when only an event can help (a channel released, a new campaign)."""
        times = [self._sleeping[0][0]] if self._sleeping else []
        for route in self._awake:
            admission = pacing.next_dial_time(route, now.mono)
            if admission is not None:
                times.append(admission.at)
        return min(times, default=None)

    def _pick_on(self, route: Route, now: Now, until: Mono, pacing: Pacing) -> Pick | None:
        turns = self._awake[route]
        admission: Admission | None = pacing.next_dial_time(route, now.mono)
        if admission is None or admission.at > until:
            return None
        while (head := turns.head()) is not None:
            account, campaign = head
            lane = self._lanes[campaign]
            eligible = lane.eligible(now)
            if eligible is None or eligible[0] > until:
                turns.leave(account, campaign)
                if eligible is not None:
                    self._sleep(lane, eligible[0])
                continue
            if first_full(lane.quotas) is not None:
                turns.leave(account, campaign)
                self._over_quota.add(campaign)
                continue
            turns.served(account, campaign)
            self._awake.move_to_end(route)
            at, first = eligible
            due_at, call = lane.take(first=first)
            return Pick(lane, call, due_at, first, admission.trunk, Mono(max(at, admission.at)))
        del self._awake[route]
        return None

    def _wake(self, now: Now, until: Mono) -> None:
        while self._sleeping and self._sleeping[0][0] <= until:
            at, campaign = heapq.heappop(self._sleeping)
            lane = self._lanes.get(campaign)
            if lane is None or lane.asleep_until != at:
                continue
            lane.asleep_until = None
            if lane.dialing and lane.eligible(now) is not None:
                self._awake.setdefault(lane.route, Turns()).join(lane.campaign.account, campaign)

    def _sleep(self, lane: Lane, at: Mono) -> None:
        if lane.asleep_until is None or at < lane.asleep_until:
            lane.asleep_until = at
            heapq.heappush(self._sleeping, (at, lane.campaign.id))

    def _is_awake(self, lane: Lane) -> bool:
        return (lane.campaign.account, lane.campaign.id) in self._awake.get(lane.route, Turns())

    def _stand_aside(self, lane: Lane) -> None:
        lane.asleep_until = None
        turns = self._awake.get(lane.route)
        if turns is not None:
            turns.leave(lane.campaign.account, lane.campaign.id)
            if not turns:
                del self._awake[lane.route]
