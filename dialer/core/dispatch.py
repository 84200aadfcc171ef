"""The dialing core: told campaigns, due times, leg events and the time, it answers with changes to store and effects.

It is one state machine without I/O. The engine's part is small: after each turn it stores `take_changes()`, says
`stored()`, carries out `take_effects()`, and comes back at `next_wake()`. An INVITE is asked for (`Dial`) only after the
change that records its attempt was stored.
"""

import heapq
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

from dialer.core.attempt import Event, State
from dialer.core.attempts import Attempts
from dialer.core.changes import (
    AttemptArmed,
    AttemptEnded,
    AttemptWithdrawn,
    CallFinished,
    CallSnoozed,
    CampaignMoved,
    Change,
    RecallScheduled,
)
from dialer.core.disposition import Verdict, Why
from dialer.core.effects import AskTrunk, Effect
from dialer.core.events import EndedBy, LegEnded, LegEvent
from dialer.core.explain import Hold, explain
from dialer.core.gate import Later, Never
from dialer.core.lanes import Lane, Lanes, Pick, Route
from dialer.core.live import LiveAttempt, Told
from dialer.core.model import (
    CallId,
    CallRecord,
    Campaign,
    CampaignId,
    CampaignStatus,
    Disposition,
    HeldCall,
    Mono,
    Now,
    OpenAgentLeg,
    OpenAttempt,
    Trunk,
    WallMs,
)
from dialer.core.pacing import Interval, Pacing
from dialer.core.playbook import NOTHING, Machine
from dialer.core.quota import Quota
from dialer.core.recall import Ladder, next_recall
from dialer.core.sounds import Unready

# Attempts are recorded this long before they are due, so that the disk's time is not the callee's. A kill in between
# leaves them `interrupted` though nothing left: the shorter, the fewer.
ARM_AHEAD_SECONDS = 0.010
# Where one is to be recorded now, those that are due so long behind it are too: one commit for many.
ARM_TOGETHER_SECONDS = 0.015
RELEASED = "released from review"
# A number that is in a call already is looked at again after this.
SNOOZE_MS = 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """The machine's own limits. `hold_seconds`: no INVITE so long after the start; what left before it is unknown.

    `max_per_account` and `max_per_token` are calls at once of each (None: no limit of their own).
    """

    max_concurrent_calls: int
    min_recall_gap_ms: int
    hold_seconds: float = 0.0
    max_per_account: int | None = None
    max_per_token: int | None = None


class Dispatch:
    """Owns every campaign with work and, in `Attempts`, every attempt under way."""

    def __init__(self, trunks: Iterable[Trunk], limits: Limits, now: Now, machine: Machine = NOTHING) -> None:
        self._limits = limits
        self._pacing = Pacing(trunks, limits.max_concurrent_calls)
        self._pacing.hold_until(Mono(now.mono + limits.hold_seconds))
        self._lanes = Lanes()
        self._quotas: dict[tuple[str, int], Quota] = {}
        self._told = Told()
        self._attempts = Attempts(self._pacing, self._told, self._closed, machine)

    # What the engine asks and takes

    @property
    def pacing(self) -> Pacing:
        """Channels in use, for readiness and metrics."""
        return self._pacing

    @property
    def live(self) -> int:
        """Attempts under way."""
        return len(self._attempts)

    @property
    def idle(self) -> bool:
        """Whether no attempt is under way, nor the last of a leg to an agent."""
        return not self.live and not self._pacing.taken

    @property
    def talking(self) -> int:
        """Attempts that were answered and go on."""
        return sum(a.state is State.ANSWERED for a in self._attempts)

    @property
    def armed(self) -> int:
        """Attempts that are recorded or about to be, and whose INVITE has not left."""
        return self._attempts.armed

    @property
    def unstored(self) -> bool:
        """True while an armed attempt waits for the disk."""
        return self._attempts.unstored

    def take_changes(self) -> list[Change]:
        """What is to be stored, in order; the caller owns it now."""
        taken, self._told.changes = self._told.changes, []
        return taken

    def stored(self) -> None:
        """All changes taken so far are on disk: the INVITEs they record may leave."""
        self._attempts.stored()

    def take_effects(self) -> list[Effect]:
        """What is to be done on the wire, in order."""
        taken, self._told.effects = self._told.effects, []
        return taken

    def next_wake(self, now: Now, *, dialing: bool = True) -> Mono | None:
        """When to come back; None when only an event can change anything. `dialing` False: no new INVITE is wanted."""
        times = [self._attempts.next_timer(), self._pacing.next_poll()]
        if dialing:
            ahead = (self._lanes.next_wake(now, self._pacing), self._attempts.next_retry(now))
            times += [Mono(at - ARM_AHEAD_SECONDS) for at in ahead if at is not None]
        return min((at for at in times if at is not None), default=None)

    # Campaigns and calls

    def add(
        self,
        campaign: Campaign,
        now: Now,
        *,
        status: CampaignStatus,
        cursor: int = 0,
        finished: int = 0,
        live: int = 0,
        last_first_attempt_at: WallMs | None = None,
    ) -> None:
        """Take a campaign up: a new one, or one found in the store with `cursor` first attempts picked."""
        stagger = Interval(campaign.stagger_ms / 1000)
        if last_first_attempt_at is not None:
            # It is past, whatever a wall clock that was set back meanwhile says.
            last = min(now.mono, now.mono_of(last_first_attempt_at))
            stagger.hold_until(Mono(last + stagger.seconds))
        recall_on = frozenset(str(word) for word in campaign.playbook.recall_on)
        ladder = Ladder(campaign.recall_ms, recall_on, self._limits.min_recall_gap_ms)
        lane = Lane(campaign, status, self._route_of(campaign), ladder, stagger, cursor, finished, live)
        self._give_quotas(lane)
        self._lanes.add(lane, now)

    def reconfigure(
        self,
        trunks: Iterable[Trunk],
        limits: Limits,
        now: Now,
        renewed: Collection[str] = (),
        machine: Machine | None = None,
    ) -> None:
        """From now on these trunks, limits (`hold_seconds` is the start's, and means nothing here) and machine.

        `machine` None: it stays as it is.

        Attempts under way go on as they began, on a trunk that is left out too; they count against the new limits. Campaigns
        find their trunks anew. Recalls that are scheduled stay so. For `renewed` see `Pacing.reconfigure`.
        """
        self._limits = limits
        self._pacing.reconfigure(trunks, limits.max_concurrent_calls, renewed)
        self._quotas.clear()
        for lane in self._lanes:
            lane.ladder = replace(lane.ladder, min_gap_ms=limits.min_recall_gap_ms)
            self._give_quotas(lane)
            self._lanes.reroute(lane, self._route_of(lane.campaign), now)
        self._lanes.released(now)
        if machine is not None:
            self._attempts.machine = machine
        self._attempts.reconfigured(now)

    def _route_of(self, campaign: Campaign) -> Route:
        playbook = campaign.playbook
        return tuple(name for name in playbook.trunks if self._pacing.carries(name, playbook.caller_id))

    def _give_quotas(self, lane: Lane) -> None:
        """The lane counts against its account's and its token's quota, with the calls that it has."""
        lane.quotas = self._quotas_of(lane.campaign)
        for quota in lane.quotas:
            quota.live += lane.live

    def _quotas_of(self, campaign: Campaign) -> tuple[Quota, ...]:
        limits = self._limits
        wanted = (
            ("account", campaign.account, limits.max_per_account, "limits.max_concurrent_calls_per_account"),
            ("token", campaign.token, limits.max_per_token, "limits.max_concurrent_calls_per_token"),
        )
        return tuple(
            self._quotas.setdefault((kind, number), Quota(name, most))
            for kind, number, most, name in wanted
            if number is not None and most is not None
        )

    def pause(self, campaign: CampaignId, now: Now) -> None:
        """No new INVITE for the campaign from now on; live calls go on. Nothing if it has no work."""
        lane = self._lanes.get(campaign)
        if lane is not None and lane.dialing:
            self._move(lane, CampaignStatus.PAUSED, now)
            self._lanes.rouse(lane, now)

    def resume(self, campaign: CampaignId, now: Now) -> None:
        """Go on where it was paused; what fell due meanwhile drains at the campaign's pace."""
        lane = self._lanes.get(campaign)
        if lane is not None and lane.status is CampaignStatus.PAUSED:
            waits = lane.cursor == 0 and lane.campaign.scheduled and lane.campaign.launch_at > now.wall
            self._move(lane, CampaignStatus.SCHEDULED if waits else CampaignStatus.RUNNING, now)
            self._lanes.rouse(lane, now)
            self._attempts.unpark(campaign)

    def cancel(self, campaign: CampaignId, now: Now) -> None:
        """Final: pending calls finish as `cancelled`, legs not yet answered are cancelled, answered ones go on."""
        lane = self._lanes.get(campaign)
        if lane is None or lane.status is CampaignStatus.CANCELLED:
            return
        self._move(lane, CampaignStatus.CANCELLED, now)
        self._lanes.rouse(lane, now)
        self._attempts.unpark(campaign)
        for attempt in self._attempts:
            if attempt.lane is lane:
                attempt.may_recall = False
                if attempt.state is not State.ANSWERED:
                    self._attempts.end(attempt, Event.CANCEL, Why.CANCELLED, now)
        self._retire(lane, now)

    def cancel_call(self, record: CallRecord, now: Now) -> None:
        """Cancel a scheduled call, or hang a live one up. Nothing for one that is finished."""
        attempt = self._attempts.get(record.id)
        if attempt is not None:
            if attempt.may_recall:
                attempt.may_recall = False
                self._told.changes.append(AttemptWithdrawn(record.id, attempt.lane.campaign.id, attempt.number))
            self._attempts.end(attempt, Event.CANCEL, Why.CANCELLED, now)
            return
        lane = self._lanes.of_call(record.id)
        if lane is not None and lane.status is not CampaignStatus.CANCELLED and not record.finished:
            self._finish(lane, record.id, Verdict(Disposition.CANCELLED, "cancelled"), now, attempts=record.attempts)

    def release(self, held: Iterable[HeldCall]) -> None:
        """A person lets calls under review go on: each waits for its due time as before, or for its turn if that is past.

        Nothing for a campaign that has no work.
        """
        for one in held:
            lane = self._lanes.of_call(one.id)
            if lane is not None and lane.status is not CampaignStatus.CANCELLED:
                self._told.changes.append(CallSnoozed(one.id, lane.campaign.id, one.number, one.due_at, RELEASED))

    def due(self, due_at: WallMs, call: CallId, now: Now) -> None:
        """The timer of a recall or of a snoozed call came up."""
        lane = self._lanes.of_call(call)
        if lane is None or self._attempts.get(call) is not None:
            return
        heapq.heappush(lane.recalls, (due_at, call))
        self._lanes.rouse(lane, now)

    def recover(self, opened: OpenAttempt, record: CallRecord, now: Now, over: str | None = None) -> None:
        """An attempt was in flight when the process before this one died: it is `interrupted`, and never dialed again.

        One whose dialog is known is over by now: the SIP floor has ended it. Where nobody lived to tell whether the INVITE
        has left, the callee's phone may ring: its channel and its number stay taken for the ring timeout, unless `over` says
        why it is certainly over. The campaign must have been added. Raises ValueError when it was not.
        """
        lane = self._lanes.of_call(opened.call)
        if lane is None:
            raise ValueError(f"call {opened.call} has an open attempt but its campaign has no work")
        anchor = lane.campaign.slot(record.id) if lane.campaign.scheduled else record.first_dialed_at or opened.fire_at
        attempt = LiveAttempt(
            record,
            lane,
            opened.number,
            opened.due_at,
            anchor,
            trunk=opened.trunk,
            fire_at=now.mono,
            sip_call_id="",
            state=State.DIALING,
        )
        attempt.may_recall = not opened.withdrawn and lane.status is not CampaignStatus.CANCELLED
        ring_seconds = lane.campaign.playbook.ring_timeout_seconds
        rings_seconds = min(ring_seconds, ring_seconds + (opened.fire_at - now.wall) / 1000)
        if over is None and not opened.dialog and rings_seconds > 0:
            self._attempts.hold(attempt, Mono(now.mono + rings_seconds))
            return
        attempt.advance(Event.LEG_LOST)
        self._closed(attempt, Verdict(Disposition.INTERRUPTED, over or "the process died"), None, now)

    def recover_agent(self, opened: OpenAgentLeg, now: Now, over: str | None = None) -> None:
        """A leg to an agent was up when the process before this one died: see `AgentLegs.recover`."""
        self._attempts.agents.recover(opened, now, over)

    def clock_stepped(self, now: Now, step_ms: int = 0, before: WallMs | None = None) -> None:
        """The two clocks' relation has changed: due times are looked at anew.

        `step_ms` is how far the wall clock was set, `before` when by the clock as it was (0: it was not, it slews or the
        machine slept). What counts elapsed time moves with it, as `dialer.ports.Store.clock_stepped` says, also of a
        `before` that is None: nothing is early because a clock was put right, nor hours late.
        """
        if step_ms:
            for lane in self._lanes:
                lane.shift(step_ms, before)
            self._attempts.clock_stepped(step_ms)
        self._lanes.rouse_all(now)

    def explain(self, record: CallRecord, next_at: WallMs | None, now: Now) -> Hold:
        """The rule that holds the call back now; see `dialer.core.explain`."""
        return explain(record, next_at, self._lanes.of_call(record.id), self._attempts, self._pacing, now)

    # Attempts

    def pick(
        self, now: Now, *, together: bool = False, suppressed: Callable[[CallId], bool] = lambda _: False
    ) -> Pick | None:
        """The next call whose attempt should be recorded now; give its record to `arm`. None: nothing can leave soon.

        `together`: another one is being recorded, and this one may be due a little later. Legs to agents and technical
        retries that may go are armed on the way, these but for calls that are `suppressed` by now: they end. What that
        raises is raised, and nothing is lost.
        """
        until = Mono(now.mono + ARM_AHEAD_SECONDS)
        self._attempts.arm_retries(now, until, suppressed)
        return self._lanes.pick(now, Mono(until + ARM_TOGETHER_SECONDS) if together else until, self._pacing)

    def put_back(self, pick: Pick, now: Now) -> None:
        """The record of a picked call could not be read now: it waits in its lane as before."""
        heapq.heappush(pick.lane.snoozed_firsts if pick.first else pick.lane.recalls, (pick.due_at, pick.call))
        self._lanes.rouse(pick.lane, now)

    def arm(self, pick: Pick, record: CallRecord, now: Now, unready: Unready | None = None) -> None:
        """Begin the attempt of a picked call, unless the call is over or under review, or its number may not be called or is
        in a call.

        `unready`: something that it will play is not at hand. It is put off, or finished where it never will be.
        """
        lane, call = pick.lane, record.id
        if record.finished or record.under_review or self._attempts.get(call) is not None:
            return
        if lane.status is CampaignStatus.SCHEDULED:
            self._move(lane, CampaignStatus.RUNNING, now)
        if record.suppressed:
            verdict = Verdict(Disposition.SUPPRESSED, Why.SUPPRESSED.value)
            self._finish(lane, call, verdict, now, attempts=record.attempts)
        elif (held := lane.gate.judge(record, self._leaves_at(pick, now))) is not None:
            self._hold(lane, record, held, now)
        elif record.attempts == 0 and not pick.first:
            # A snoozed first attempt came back by its timer: it keeps the campaign's stagger like any other.
            heapq.heappush(lane.snoozed_firsts, (pick.due_at, call))
            self._lanes.rouse(lane, now)
        elif unready is not None and unready.seconds is None:
            verdict = Verdict(Disposition.EXPIRED, unready.reason)
            self._finish(lane, call, verdict, now, attempts=record.attempts)
        elif unready is not None and unready.seconds is not None:
            due_at = WallMs(now.wall + round(unready.seconds * 1000))
            snoozed = CallSnoozed(call, lane.campaign.id, record.attempts + 1, due_at, unready.reason)
            self._told.changes.append(snoozed)
        elif self._attempts.busy(record.phone):
            due_at = WallMs(now.wall + SNOOZE_MS)
            reason = "the number is in another call"
            self._told.changes.append(CallSnoozed(call, lane.campaign.id, record.attempts + 1, due_at, reason))
        else:
            self._begin(pick, record, now)

    def poll(self, now: Now) -> None:
        """Carry out everything whose time has come: INVITEs, ring timeouts, limits, waits, questions to trunks."""
        for trunk in self._pacing.poll(now):
            self._told.effects.append(AskTrunk(trunk))
            self._attempts.trunk_learned(trunk, now)
        self._attempts.poll(now)

    def options_ended(self, trunk: str, reason: str | None, now: Now) -> None:
        """An OPTIONS was answered (None), or why it was not."""
        self._pacing.breaker(trunk).options_ended(now, reason)
        self._attempts.trunk_learned(trunk, now)

    def on_leg(self, event: LegEvent, now: Now) -> None:
        """Something happened to a leg. News of legs that are over is ignored."""
        self._attempts.on_leg(event, now)

    def drain(self, now: Now) -> None:
        """The server is stopping: attempts that were not answered end, answered ones go on. To be repeated till the end."""
        for attempt in self._attempts:
            self._attempts.end(attempt, Event.DRAIN, Why.DRAIN, now)
        self._attempts.agents.drain(now)

    def hang_up_all(self, now: Now) -> None:
        """Drain time is over: BYE to every call that is still answered."""
        for attempt in self._attempts:
            if attempt.state is State.ANSWERED:
                self._attempts.end(attempt, Event.CANCEL, Why.DRAIN, now)

    # Inside

    def _move(self, lane: Lane, status: CampaignStatus, now: Now) -> None:
        lane.status = status
        self._told.changes.append(CampaignMoved(lane.campaign.id, now.wall, status))

    def _hold(self, lane: Lane, record: CallRecord, held: Later | Never, now: Now) -> None:
        """The call may not be made now: it comes back later without having counted, or is finished."""
        if isinstance(held, Never):
            self._finish(lane, record.id, Verdict(held.disposition, held.reason), now, attempts=record.attempts)
        else:
            number = record.attempts + 1
            self._told.changes.append(CallSnoozed(record.id, lane.campaign.id, number, held.due_at, held.reason))

    def _leaves_at(self, pick: Pick, now: Now) -> WallMs:
        return WallMs(max(now.wall_of(pick.fire_at), pick.due_at))

    def _begin(self, pick: Pick, record: CallRecord, now: Now) -> None:
        lane, number = pick.lane, record.attempts + 1
        fire_wall = self._leaves_at(pick, now)
        # Who waited with the whole campaign for its hours was not due before they began.
        due_at = min(lane.gate.opens_at(pick.due_at), fire_wall)
        anchor = lane.campaign.slot(record.id) if lane.campaign.scheduled else record.first_dialed_at or fire_wall
        attempt = LiveAttempt(
            record,
            lane,
            number,
            due_at,
            anchor,
            trunk=pick.trunk,
            fire_at=pick.fire_at,
            sip_call_id=f"{record.uuid}-{number}",
        )
        attempt.sent = self._pacing.take(pick.trunk, pick.fire_at)
        if attempt.staggered:
            lane.stagger.take(attempt.sent)
        lane.live += 1
        for quota in lane.quotas:
            quota.live += 1
        self._attempts.begin(attempt)
        self._told.changes.append(
            AttemptArmed(
                record.id,
                lane.campaign.id,
                number,
                due_at,
                fire_wall,
                pick.trunk,
                attempt.caller_id,
                attempt.sip_call_id,
                record.phone,
                lane.gate.delay(record, pick.due_at, due_at) or record.put_off,
            )
        )

    def _closed(self, attempt: LiveAttempt, verdict: Verdict, end: LegEnded | None, now: Now) -> None:
        """An attempt has ended: record it, and decide between a recall and the call's end."""
        lane, call = attempt.lane, attempt.id
        at = end.at if end is not None else now.wall
        by = end.by if end is not None else EndedBy.US
        lane.live -= 1
        for quota in lane.quotas:
            quota.live -= 1
        self._lanes.released(now)
        self._told.changes.append(
            AttemptEnded(
                call,
                lane.campaign.id,
                attempt.number,
                at,
                verdict.disposition,
                verdict.reason,
                end.final_status if end is not None else None,
                end.q850 if end is not None else None,
                by.value,
                json.dumps(end.rtp) if end is not None and end.rtp else None,
            )
        )
        due_at = None
        if attempt.may_recall:
            due_at = next_recall(
                lane.ladder,
                attempts=attempt.number,
                anchor=attempt.anchor,
                ended_at=at,
                disposition=verdict.disposition,
            )
        expires_at = lane.campaign.expires_at
        if due_at is None:
            self._finish(lane, call, verdict, now, attempts=attempt.number)
        elif expires_at is not None and due_at >= expires_at:
            reason = f"after {verdict.disposition}, the recall would come after expires_at"
            self._finish(lane, call, Verdict(Disposition.EXPIRED, reason), now, attempts=attempt.number)
        else:
            self._told.changes.append(RecallScheduled(call, lane.campaign.id, attempt.number + 1, due_at))

    def _finish(self, lane: Lane, call: CallId, verdict: Verdict, now: Now, *, attempts: int) -> None:
        lane.finished += 1
        self._told.changes.append(
            CallFinished(call, lane.campaign.id, now.wall, verdict.disposition, verdict.reason, attempts > 0)
        )
        self._retire(lane, now)

    def _retire(self, lane: Lane, now: Now) -> None:
        """A campaign without work leaves: all its calls are finished, or it was cancelled and the last leg is down."""
        over = lane.finished == lane.campaign.size
        if over and lane.status is not CampaignStatus.CANCELLED:
            self._move(lane, CampaignStatus.COMPLETED, now)
        if (over or (lane.status is CampaignStatus.CANCELLED and lane.live == 0)) and self._lanes.get(lane.campaign.id):
            self._lanes.remove(lane)
