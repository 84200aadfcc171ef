"""A judge that knows the promises of the dialing core, and nothing of how it keeps them.

The store is `FakeStore`, which refuses whatever cannot follow. The judge knows the promises only: it is told what was
committed, what was ordered on the wire and what the far side did, and raises AssertionError when a promise is broken.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from dialer.core.attempts import UNREAD_SECONDS
from dialer.core.changes import (
    AttemptAnswered,
    AttemptArmed,
    AttemptDialed,
    AttemptEnded,
    AttemptRetried,
    CallFinished,
    CallSnoozed,
    CampaignMoved,
    Change,
    RecallScheduled,
)
from dialer.core.dispatch import ARM_AHEAD_SECONDS
from dialer.core.effects import Dial
from dialer.core.events import (
    Answered,
    InviteSent,
    LegEnded,
    LegEvent,
    LegLost,
    LegRefused,
    Rang,
)
from dialer.core.gate import Gate
from dialer.core.model import CallId, Campaign, CampaignId, CampaignStatus, Disposition, LegId, Trunk, WallMs
from dialer.core.pacing import Pacing, tolerance_of
from dialer.engine import CLOCK_NOTE_MS
from tests.support.agent_judge import AgentJudge
from tests.support.clock import FakeClock
from tests.support.fake_store import FakeStore
from tests.support.waiting_judge import WaitingJudge

NEVER_AGAIN = {Disposition.ANSWERED, Disposition.INVALID_NUMBER, Disposition.SUPPRESSED, Disposition.CANCELLED}
HOLD_SECONDS = 1.01
PAUSES = (5, 15, 45)
FINAL = {
    (486, False): Disposition.BUSY,
    (486, True): Disposition.BUSY,
    (404, False): Disposition.INVALID_NUMBER,
    (404, True): Disposition.INVALID_NUMBER,
    (603, False): Disposition.DECLINED,
    (603, True): Disposition.DECLINED,
    (480, False): Disposition.UNREACHABLE,
    (480, True): Disposition.NO_ANSWER,
}
DOUBTED = frozenset(
    {Disposition.INVALID_NUMBER, Disposition.TRUNK_FAILURE, Disposition.CANCELLED, Disposition.INTERRUPTED}
)
INSTANT = 1e-6
# What a process may know the clock of the one before it amiss by: what it slewed since that was noted, and a rounding.
SLEWED_SECONDS = (CLOCK_NOTE_MS + 1) / 1000


def slack(interval: float) -> float:
    """How much closer than `interval` two departures may come."""
    return tolerance_of(interval) + INSTANT


@dataclass(slots=True)
class Leg:
    """One INVITE on the wire, as the far side sees it. `first`: unless it is refused, none of the attempt has left before."""

    id: LegId
    call: CallId
    phone: str
    trunk: str
    dialed_at: WallMs
    since: float
    sent: bool = False
    rang: bool = False
    answered: bool = False
    hung_up: bool = False
    hung_up_at: WallMs | None = None
    ordered: bool = False
    first: bool = False
    playing: int | None = None
    # Of a leg to an agent: the callee's leg, the leg's record, and until when it may ring.
    beside: LegId | None = None
    agent: tuple[CallId, int, int] | None = None
    gives_up_at: float = 0.0


@dataclass(slots=True)
class Line:
    """What the judge knows of a call's attempt under way. `invite` is the one on disk that may leave, as `configuration` said.

    `retry` is the trunk and the time of the technical retry that follows, if one does; `verdict` the only words for it.
    `doubted`: its trunk says that the number does not exist, and it may take some time before that is believed, or retried.
    """

    number: int
    due_at: WallMs
    fires: list[WallMs]
    decided_at: float
    configuration: int
    invite: str
    trunk: str
    rounds: int = 0
    retry: tuple[str, float] | None = None
    retry_since: float = 0.0
    doubted: bool = False
    detoured: bool = False
    retry_after: int = 0
    verdict: frozenset[Disposition] | None = None
    rang: bool = False
    answered: bool = False
    lost: bool = False
    # It crossed our hanging up, and the wall clock had been set: the core may take it for later than it was.
    crossed: bool = False
    left: bool = False


@dataclass
class Judge:
    """Holds the promises against everything that happens, from outside."""

    store: FakeStore
    clock: FakeClock
    trunks: dict[str, Trunk]
    max_concurrent_calls: int
    min_recall_gap_ms: int
    legs: dict[LegId, Leg] = field(default_factory=dict)
    armed: dict[CallId, str] = field(default_factory=dict)
    lines: dict[CallId, Line] = field(default_factory=dict)
    # Attempts of a process that died of which nobody knows whether the INVITE left: the trunk, and until when they count.
    unheard: dict[CallId, tuple[str, float]] = field(default_factory=dict)
    departures: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    first_departure: dict[CampaignId, tuple[float, float]] = field(default_factory=dict)
    finished: dict[CallId, int] = field(default_factory=lambda: defaultdict(int))
    closed: Callable[[WallMs], bool] = lambda _: False
    status: dict[CampaignId, CampaignStatus] = field(default_factory=dict)
    cancelled_calls: set[CallId] = field(default_factory=set)
    due: dict[CallId, WallMs] = field(default_factory=dict)
    invites: set[str] = field(default_factory=set)
    stepped_at: float = float("-inf")
    stepped_back_at: float = float("-inf")
    booted_at: float = float("-inf")
    # When the loop had not looked for some time.
    late_at: float = float("-inf")
    unsure_at: float = float("-inf")
    reconfigured_at: float = float("-inf")
    configuration: int = 0
    verdicts_known: bool = True
    pacing: Callable[[], Pacing] = lambda: Pacing((), 0)
    agents: AgentJudge = field(init=False)
    waiting: WaitingJudge = field(init=False)
    # When, and under which configuration.
    _decided: dict[tuple[CallId, int], tuple[float, int]] = field(default_factory=dict)
    _ended: dict[CallId, tuple[AttemptEnded, Line]] = field(default_factory=dict)
    _gaps: dict[tuple[CallId, int], int] = field(default_factory=dict)

    def reconfigured(self, trunks: list[Trunk], max_concurrent_calls: int, min_recall_gap_ms: int) -> None:
        """What is decided from now on keeps these limits; what was decided before may leave by those of before."""
        self.trunks = {trunk.name: trunk for trunk in trunks}
        self.max_concurrent_calls, self.min_recall_gap_ms = max_concurrent_calls, min_recall_gap_ms
        self.reconfigured_at = self.clock.mono
        self.configuration += 1
        for line in self.lines.values():
            if line.doubted:
                # Its trunk's word may be worth nothing any more, and another trunk be there to ask in the same round.
                line.rounds -= line.retry is not None and line.retry[1] > line.retry_since
                line.retry_since = self.clock.mono
                line.retry = line.trunk, line.retry_since

    def __post_init__(self) -> None:
        self.agents = AgentJudge(self)
        self.waiting = WaitingJudge(self)

    def campaign_of(self, call: CallId) -> Campaign:
        return next(
            held.campaign
            for held in self.store.campaigns.values()
            if held.campaign.first_call <= call < held.campaign.first_call + held.campaign.size
        )

    # What the core decided, before it is on disk

    def told(self, changes: list[Change]) -> None:
        for change in changes:
            self.agents.told(change)
            if isinstance(change, AttemptEnded):
                self._gaps[change.call, change.number] = self.min_recall_gap_ms
            match change:
                case AttemptArmed() | AttemptRetried():
                    assert change.trunk in self.trunks, "an attempt on a trunk that is configured no more"
                    self.armed[change.call] = change.trunk
                    self._decided[change.call, change.number] = self.clock.mono, self.configuration
                case AttemptEnded() if change.call in self.unheard:
                    early = self.unheard.pop(change.call)[1] - self.clock.mono
                    assert early <= SLEWED_SECONDS, f"a phone that may ring was given up {early} s too early"
                case AttemptEnded() if self.armed.pop(change.call, None) is not None:
                    # Its place in the rate stays taken, though it never left.
                    self.unsure_at = self.clock.mono

    # What is on disk

    def committed(self, changes: list[Change]) -> None:
        for change in changes:
            self._commit(change)
        assert not self._ended, "an attempt ended and nothing says what becomes of its call"
        for campaign in self.store.campaigns:
            counts, size = self.store.counts(campaign), self.store.campaigns[campaign].campaign.size
            assert counts.scheduled >= 0
            assert counts.scheduled + counts.live + counts.finished == size

    def _commit(self, change: Change) -> None:
        self.agents.committed(change)
        match change:
            case AttemptArmed():
                self._commit_armed(change)
            case AttemptRetried():
                line = self.lines[change.call]
                status = self.status[self.campaign_of(change.call).id]
                assert status is CampaignStatus.RUNNING, "a technical retry of a campaign that does not dial"
                assert line.retry is not None
                if self.waiting.detoured(change.call, line):
                    # A trunk may have been passed over, and the round have ended there with all that was asked for.
                    line.retry_after, line.detoured = 0, True
                else:
                    assert change.trunk == line.retry[0], "a technical retry on another trunk than the route says"
                decided_at, line.configuration = self._decided[change.call, change.number]
                assert decided_at >= line.retry[1] - ARM_AHEAD_SECONDS - INSTANT
                line.trunk, line.retry, line.doubted = change.trunk, None, False
                assert self.leg_of(change.call) is None, "a technical retry beside a leg"
                assert not line.rang, "a technical retry for a phone that rang"
                assert not line.answered
                assert line.invite in self.invites, "an INVITE was given up before it left"
                assert change.fire_at >= line.due_at, "the schema refuses a fire_at before the due time"
                line.invite = change.sip_call_id
                line.fires.append(change.fire_at)
            case AttemptDialed():
                self.store.calls[change.call].first_dialed_at = (
                    self.store.calls[change.call].first_dialed_at or change.at
                )
            case AttemptAnswered():
                assert self.lines[change.call].answered
            case AttemptEnded():
                self._commit_ended(change)
            case RecallScheduled() | CallSnoozed():
                self._commit_timer(change)
            case CallFinished():
                self._commit_finished(change)
            case CampaignMoved():
                self.status[change.campaign] = change.status
                if change.status is CampaignStatus.CANCELLED:
                    campaign = self.store.campaigns[change.campaign].campaign
                    for call in range(campaign.first_call, campaign.first_call + campaign.size):
                        self.cancelled_calls.add(CallId(call))

    def _commit_armed(self, change: AttemptArmed) -> None:
        call, campaign = change.call, self.store.campaigns[change.campaign].campaign
        phone = self.store.calls[call].phone
        status = self.status[change.campaign]
        assert status is CampaignStatus.RUNNING, "an attempt of a campaign that does not dial"
        assert call not in self.lines, "two attempts of one call"
        assert not self.finished[call], "an attempt of a call that is finished"
        assert call not in self.cancelled_calls, "an attempt of a cancelled call"
        assert phone not in self.store.forbidden, "an attempt for a number on the do-not-call list"
        assert all(self.store.calls[other].phone != phone for other in self.lines), "two attempts for one number"
        promised = Gate.of(campaign).opens_at(self.due.get(call, campaign.slot(call)))
        assert change.due_at == min(promised, change.fire_at), "due at another time than was promised"
        assert change.fire_at >= change.due_at
        assert change.trunk in campaign.playbook.trunks
        self.lines[call] = Line(
            change.number,
            change.due_at,
            [change.fire_at],
            *self._decided[call, change.number],
            change.sip_call_id,
            change.trunk,
        )

    def _commit_ended(self, change: AttemptEnded) -> None:
        line = self.lines.pop(change.call)
        assert self.leg_of(change.call) is None, "an attempt ended before its leg"
        answered = change.disposition is Disposition.ANSWERED
        assert answered == (line.answered and not line.lost) or (line.crossed and line.answered and not answered)
        assert not line.lost or change.disposition is Disposition.INTERRUPTED
        assert not self.verdicts_known or line.verdict is None or change.disposition in line.verdict
        self._ended[change.call] = change, line

    def _recall_due(self, change: AttemptEnded, line: Line) -> set[WallMs]:
        """The design's formula, written again; empty for no recall.

        Where no INVITE of attempt 1 was seen to leave, the time at which one was to leave stands in for it.
        """
        campaign = self.store.campaigns[change.campaign].campaign
        word = change.disposition.value.replace("trunk_failure", "unreachable")
        allowed = {*campaign.playbook.recall_on, "interrupted"}
        rung = change.number - 1
        if change.disposition in NEVER_AGAIN or word not in allowed or rung >= len(campaign.recall_ms):
            return set()
        first_dialed_at = self.store.calls[change.call].first_dialed_at
        anchors = [first_dialed_at] if first_dialed_at is not None else line.fires
        if campaign.scheduled:
            anchors = [campaign.slot(change.call)]
        gap_ms = self._gaps[change.call, change.number]
        return {WallMs(max(at + campaign.recall_ms[rung], change.at + gap_ms)) for at in anchors}

    def _commit_timer(self, change: RecallScheduled | CallSnoozed) -> None:
        assert change.call not in self.lines
        assert not self.finished[change.call]
        if isinstance(change, RecallScheduled):
            assert change.call not in self.cancelled_calls, "a recall of a cancelled call"
            assert change.due_at in self._recall_due(*self._ended.pop(change.call))
        else:
            assert change.call not in self._ended
        self.due[change.call] = change.due_at

    def _commit_finished(self, change: CallFinished) -> None:
        self.finished[change.call] += 1
        assert self.finished[change.call] == 1, "a call was finished twice"
        assert change.call not in self.lines
        ended = self._ended.pop(change.call, None)
        if ended is not None and change.disposition is not Disposition.EXPIRED:
            assert change.disposition is ended[0].disposition
            cancelled = change.call in self.cancelled_calls
            assert cancelled or not self._recall_due(*ended), "a recall was lost"

    def clock_was_set(self, step_ms: int) -> None:
        """Somebody set the wall clock; what becomes of it is told by `clock_stepped`."""
        self.stepped_at = self.clock.mono
        if step_ms < 0:
            self.stepped_back_at = self.clock.mono

    def clock_stepped(self, step_ms: int) -> None:
        """What counts elapsed time was moved with a clock that was set."""
        self.due = {call: WallMs(at + step_ms) for call, at in self.due.items()}
        for line in self.lines.values():
            line.due_at = WallMs(line.due_at + step_ms)
            line.fires = [WallMs(at + step_ms) for at in line.fires]

    # What happens on the wire

    def leg_of(self, call: CallId) -> Leg | None:
        return next((leg for leg in self.legs.values() if leg.call == call and leg.beside is None), None)

    def dial(self, order: Dial) -> None:
        now, wall = self.clock.mono, self.clock.wall
        if order.beside is not None:
            assert order.sip_call_id not in self.invites, "an INVITE left twice"
            self.invites.add(order.sip_call_id)
            agent = self.agents.dial(order)
            leg = Leg(order.leg, agent[0], order.number, order.trunk, wall, now, beside=order.beside, agent=agent)
            leg.gives_up_at = now + (self.store.calls[agent[0]].agent_legs[agent[1:]].record.until - wall) / 1000
            self.legs[order.leg] = leg
            self._judge_departure(order.trunk, self.agents.configuration_of(agent), now)
            return
        call = next((c for c, line in self.lines.items() if line.invite == order.sip_call_id), None)
        assert call is not None, "an INVITE left that is not on disk"
        line, campaign = self.lines[call], self.campaign_of(call)
        assert order.sip_call_id not in self.invites, "an INVITE left twice"
        self.invites.add(order.sip_call_id)
        assert not line.rang
        assert wall >= line.due_at or self.stepped_back_at >= line.decided_at, "an INVITE left early"
        assert self.leg_of(call) is None, "two legs of one call"
        callees = [leg for leg in self.legs.values() if leg.beside is None]
        assert all(leg.phone != order.number for leg in callees), "two legs to one number"
        assert all(self.store.calls[other].phone != order.number for other in self.unheard), "a number that may ring"
        assert order.number == self.store.calls[call].phone
        leg = self.legs[order.leg] = Leg(order.leg, call, order.number, order.trunk, wall, now, first=not line.left)
        line.left = True
        assert self.armed.pop(call) == order.trunk
        self._judge_departure(order.trunk, line.configuration, now)
        if line.number == 1 and leg.first:
            self._judge_stagger(campaign, line, now)

    def _judge_departure(self, name: str, configuration: int, now: float) -> None:
        """What was decided under a configuration that holds no more may leave by the limits of before."""
        if configuration == self.configuration:
            taken = [leg.trunk for leg in self.legs.values()] + self._held()
            assert taken.count(name) <= self.trunks[name].max_concurrent_calls
            assert len(taken) <= self.max_concurrent_calls
        self._judge_rate(name, configuration, now)

    def _held(self) -> list[str]:
        """The trunks whose channels are taken, as far as anybody knows, by what a process before left behind."""
        return [name for name, _ in [*self.unheard.values(), *self.agents.unheard.values()]]

    @property
    def taken(self) -> list[str]:
        """The trunk of every channel that is taken."""
        return [
            *(leg.trunk for leg in self.legs.values()),
            *self.armed.values(),
            *(trunk for trunk, _ in self.unheard.values()),
            *self.agents.channels,
        ]

    def _judge_rate(self, name: str, configuration: int, now: float) -> None:
        before = self.departures[name]
        before.append(now)
        if configuration < self.configuration:
            return
        per_second = self.trunks[name].calls_per_second
        interval, most = 1 / per_second, max(1, int(per_second))
        if len(before) > 1 and before[-2] >= self.booted_at:
            assert now - before[-2] >= interval - slack(interval), "INVITEs closer together than the CPS allows"
        if len(before) > most:
            assert now - before[-1 - most] > 1, "more INVITEs in a sliding second than the CPS allows"

    def _judge_stagger(self, campaign: Campaign, line: Line, now: float) -> None:
        seconds = campaign.stagger_ms / 1000
        before = self.first_departure.get(campaign.id)
        if before is not None:
            assert now - before[0] >= seconds - slack(seconds) - 0.001 * (before[0] < self.booted_at), "stagger broken"
        self.first_departure[campaign.id] = now, now - (self.clock.wall - line.fires[0]) / 1000

    def news(self, event: LegEvent) -> None:
        leg = self.legs[event.leg]
        if leg.beside is not None:
            self._news_of_agent(leg, event)
            return
        line = self.lines[leg.call]
        match event:
            case InviteSent():
                leg.sent = True
                if self.stepped_at > float("-inf"):
                    # The worker's wall clock says little about when it left: the core may take it for now.
                    self.unsure_at = self.clock.mono
            case Rang():
                leg.rang = line.rang = True
            case Answered():
                if not leg.hung_up:
                    leg.since = self.clock.mono
                leg.answered = True
                line.crossed = not line.answered and leg.hung_up_at is not None and self.stepped_at > float("-inf")
                line.answered = line.answered or leg.hung_up_at is None or event.at < leg.hung_up_at
            case LegLost():
                line.lost = True
        if isinstance(event, LegEnded | LegRefused | LegLost):
            del self.legs[event.leg]
        if isinstance(event, LegEnded | LegRefused):
            self._expect_retry(leg, line, event)
            line.verdict = None
            if isinstance(event, LegEnded) and not leg.answered and not leg.hung_up:
                word = FINAL.get((event.sip_status, leg.rang))
                line.verdict = None if word is None else frozenset({word})
            if isinstance(event, LegEnded) and event.sip_status == 404 and not leg.rang and not leg.answered:
                line.doubted = True
                line.verdict = None if leg.hung_up else DOUBTED

    def _news_of_agent(self, leg: Leg, event: LegEvent) -> None:
        leg.sent = leg.sent or isinstance(event, InviteSent)
        leg.rang = leg.rang or isinstance(event, Rang)
        leg.answered = leg.answered or isinstance(event, Answered)
        if isinstance(event, InviteSent) and self.stepped_at > float("-inf"):
            self.unsure_at = self.clock.mono
        if isinstance(event, LegEnded | LegRefused | LegLost):
            del self.legs[event.leg]

    def _expect_retry(self, leg: Leg, line: Line, event: LegEnded | LegRefused) -> None:
        """Where and when a technical retry would follow, if one does."""
        now = line.retry_since = self.clock.mono
        if isinstance(event, LegRefused):
            line.left = not leg.first
        if isinstance(event, LegRefused) and event.transient and not leg.ordered:
            line.retry = line.trunk, now + 0.5
            return
        order = self.campaign_of(leg.call).playbook.trunks
        route = [name for name in order if name in self.trunks]
        if isinstance(event, LegEnded):
            line.retry_after = max(line.retry_after, event.retry_after_s or 0)
        following = [name for name in route if order.index(name) > order.index(line.trunk)]
        if following:
            line.retry = following[0], now
        elif line.rounds < len(PAUSES):
            line.retry = (route or [line.trunk])[0], now + max(PAUSES[line.rounds], line.retry_after)
            line.rounds += 1
            line.retry_after = 0
        else:
            line.retry = None

    def hung_up(self, id_: LegId, *, ordered: bool) -> None:
        leg = self.legs[id_]
        assert not leg.hung_up, "hung up twice"
        leg.hung_up, leg.hung_up_at, leg.ordered = True, self.clock.wall, ordered
        if leg.beside is not None:
            self.agents.hung_up(leg, ordered=ordered)
            return
        if not leg.answered and not ordered:
            assert self.clock.mono >= self._limit(leg), "CANCEL before the ring timeout"

    def _limit(self, leg: Leg) -> float:
        playbook = self.campaign_of(leg.call).playbook
        return leg.since + (playbook.max_call_seconds if leg.answered else playbook.ring_timeout_seconds)

    def overdue(self) -> list[Leg]:
        """Legs that ring or talk for longer than the playbook allows."""
        assert all(self.clock.mono <= until + 0.001 for _, until in self.unheard.values()), "held for too long"
        callees = [leg for leg in self.legs.values() if leg.beside is None and not leg.hung_up]
        # Where the loop stood still, an answer may lie unread.
        waits_until = self.late_at + UNREAD_SECONDS
        late = [leg for leg in callees if self.clock.mono > max(self._limit(leg), waits_until) + 0.001]
        return late + self.agents.left_alone()

    def crashed(self, wall: WallMs | None = None) -> None:
        """The process is gone, its workers with it: nothing is on the wire, and what was not stored never was.

        `wall` is the time by the clock that what is stored goes by; None: that is the clock as it is.
        """
        wall = self.clock.wall if wall is None else wall
        self.legs.clear()
        self.armed.clear()
        self.agents.crashed(wall)
        self._decided.clear()
        self.unheard = {call: held for call in self.lines if (held := self._unheard(call, wall)) is not None}
        for line in self.lines.values():
            line.lost, line.verdict = True, None
        # An order that did not get onto the disk was not given; who gave it was told so, or never got an answer.
        self.cancelled_calls = {call for call in self.cancelled_calls if self._cancelled_on_disk(call)}
        for campaign, (departed, planned) in list(self.first_departure.items()):
            if self.stepped_at >= departed:
                del self.first_departure[campaign]
            else:
                self.first_departure[campaign] = min(departed, planned), planned
        self.booted_at = self.clock.mono

    def _cancelled_on_disk(self, call: CallId) -> bool:
        row = self.store.calls[call]
        withdrawn = row.open is not None and row.open.record.withdrawn
        status = self.store.campaigns[self.campaign_of(call).id].status
        return withdrawn or row.finished is not None or status is CampaignStatus.CANCELLED

    def _unheard(self, call: CallId, wall: WallMs) -> tuple[str, float] | None:
        attempt = self.store.calls[call].open
        ring_seconds = self.campaign_of(call).playbook.ring_timeout_seconds
        if attempt is None or attempt.record.dialog:
            return None
        rings_seconds = min(ring_seconds, ring_seconds + (attempt.record.fire_at - wall) / 1000)
        return (attempt.record.trunk, self.clock.mono + rings_seconds) if rings_seconds > 0 else None
