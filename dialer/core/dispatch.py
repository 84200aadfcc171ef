"""The dialing core: told campaigns, due times, leg events and the time, it answers with changes to store and effects.

It is one state machine without I/O. The engine's part is small: after each turn it stores `take_changes()`, says `stored()`,
carries out `take_effects()`, and comes back at `next_wake()`. An INVITE is asked for (`Dial`) only after the change that
records its attempt was stored.
"""

import heapq
import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count

from dialer.core.attempt import Event, State
from dialer.core.changes import (
    AttemptAnswered,
    AttemptArmed,
    AttemptDialed,
    AttemptEnded,
    AttemptRetried,
    AttemptRinging,
    CallFinished,
    CallSnoozed,
    CampaignMoved,
    Change,
    RecallScheduled,
)
from dialer.core.disposition import Verdict, Why, classify
from dialer.core.effects import Dial, Effect, HangUp, PlayAudio
from dialer.core.events import Answered, InviteSent, LegEnded, LegEvent, LegLost, LegRefused, PlayEnded, Rang
from dialer.core.lanes import Lane, Lanes, Pick
from dialer.core.live import NO_PLACE_RETRY_SECONDS, LiveAttempt, Timer
from dialer.core.model import (
    CallId,
    CallRecord,
    Campaign,
    CampaignId,
    CampaignStatus,
    Disposition,
    LegId,
    Mono,
    Now,
    OpenAttempt,
    Trunk,
    WallMs,
)
from dialer.core.pacing import Interval, Pacing
from dialer.core.playbook import Play, Step, Wait
from dialer.core.recall import Ladder, next_recall
from dialer.core.steps import Script

# Attempts are recorded this long before they are due, so that the disk's time is not the callee's. A kill in between leaves
# them `interrupted` though nothing left: the shorter, the fewer.
ARM_AHEAD_SECONDS = 0.010
# Timers of ended attempts (a long max_call_seconds) stay in the heap until there are so many more of them than of live ones.
TIMERS_KEPT = 1000
# A number that is in a call already is looked at again after this.
SNOOZE_MS = 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """The machine's own limits. `hold_seconds`: no INVITE so long after the start, since what left before it is unknown."""

    max_concurrent_calls: int
    min_recall_gap_ms: int
    hold_seconds: float = 0.0


class Dispatch:
    """Owns every campaign with work and every attempt under way."""

    def __init__(self, trunks: Iterable[Trunk], limits: Limits, now: Now) -> None:
        self._limits = limits
        self._pacing = Pacing(trunks, limits.max_concurrent_calls)
        self._pacing.hold_until(Mono(now.mono + limits.hold_seconds))
        self._lanes = Lanes()
        self._live: dict[CallId, LiveAttempt] = {}
        self._numbers: set[str] = set()
        self._legs: dict[LegId, LiveAttempt] = {}
        self._leg_ids = count(1)
        self._timers: list[tuple[Mono, int, Timer, LiveAttempt, int]] = []
        self._timer_ids = count()
        self._retries: dict[str, deque[LiveAttempt]] = {}
        self._parked: dict[CampaignId, list[LiveAttempt]] = {}
        self._unstored: list[LiveAttempt] = []
        self._changes: list[Change] = []
        self._effects: list[Effect] = []

    # What the engine asks and takes

    @property
    def pacing(self) -> Pacing:
        """Channels in use, for readiness and metrics."""
        return self._pacing

    @property
    def live(self) -> int:
        """Attempts under way."""
        return len(self._live)

    @property
    def talking(self) -> int:
        """Attempts that were answered and go on."""
        return sum(a.state is State.ANSWERED for a in self._live.values())

    def take_changes(self) -> list[Change]:
        """What is to be stored, in order; the caller owns it now."""
        taken, self._changes = self._changes, []
        return taken

    def stored(self) -> None:
        """All changes taken so far are on disk: the INVITEs they record may leave."""
        for attempt in self._unstored:
            attempt.stored = True
            if attempt.state is State.ARMED:
                self._set(attempt.fire_at, Timer.FIRE, attempt, attempt.invites)
        self._unstored.clear()

    @property
    def unstored(self) -> bool:
        """True while an armed attempt waits for the disk."""
        return bool(self._unstored)

    def take_effects(self) -> list[Effect]:
        """What is to be done on the wire, in order."""
        taken, self._effects = self._effects, []
        return taken

    def next_wake(self, now: Now, *, dialing: bool = True) -> Mono | None:
        """When to come back; None when only an event can change anything. `dialing` False: no new attempts are wanted."""
        times = [self._timers[0][0]] if self._timers else []
        if dialing:
            ahead = [self._lanes.next_wake(now, self._pacing)]
            for trunk, waiting in self._retries.items():
                admission = self._pacing.next_dial_time((trunk,), now.mono) if waiting else None
                ahead.append(admission.at if admission else None)
            times += [Mono(at - ARM_AHEAD_SECONDS) for at in ahead if at is not None]
        return min(times, default=None)

    # Campaigns

    def add(  # noqa: PLR0913
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
            stagger.hold_until(Mono(now.mono_of(last_first_attempt_at) + stagger.seconds))
        ladder = Ladder(
            campaign.recall_ms, frozenset(str(d) for d in campaign.playbook.recall_on), self._limits.min_recall_gap_ms
        )
        self._lanes.add(Lane(campaign, status, ladder, stagger, cursor, finished, live), now)

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
            for attempt in self._parked.pop(campaign, []):
                self._queue_retry(attempt)

    def cancel(self, campaign: CampaignId, now: Now) -> None:
        """Final: pending calls are finished as `cancelled`, legs not yet answered are cancelled, answered ones go on."""
        lane = self._lanes.get(campaign)
        if lane is None or lane.status is CampaignStatus.CANCELLED:
            return
        self._move(lane, CampaignStatus.CANCELLED, now)
        self._lanes.rouse(lane, now)
        for attempt in [a for a in self._live.values() if a.lane is lane]:
            attempt.may_recall = False
            if attempt.state is not State.ANSWERED:
                self._end_by_order(attempt, Event.CANCEL, Why.CANCELLED, now)
        self._retire(lane, now)

    def cancel_call(self, record: CallRecord, now: Now) -> None:
        """Cancel a scheduled call, or hang a live one up. Nothing for one that is finished."""
        attempt = self._live.get(record.id)
        if attempt is not None:
            attempt.may_recall = False
            self._end_by_order(attempt, Event.CANCEL, Why.CANCELLED, now)
            return
        lane = self._lanes.of_call(record.id)
        if lane is not None and lane.status is not CampaignStatus.CANCELLED and not record.finished:
            self._finish_call(lane, record.id, record.attempts > 0, Disposition.CANCELLED, "cancelled", now)

    def due(self, due_at: WallMs, call: CallId, now: Now) -> None:
        """The timer of a recall or of a snoozed call came up."""
        lane = self._lanes.of_call(call)
        if lane is None or call in self._live:
            return
        heapq.heappush(lane.recalls, (due_at, call))
        self._lanes.rouse(lane, now)

    def recover(self, opened: OpenAttempt, record: CallRecord, now: Now) -> None:
        """An attempt was in flight when the process before this one died: it is `interrupted`, and never dialed again.

        The campaign must have been added; for one that is over, only the attempt is closed.
        """
        lane = self._lanes.of_call(opened.call)
        if lane is None:
            raise ValueError(f"call {opened.call} has an open attempt but its campaign has no work")
        anchor = lane.campaign.slot(record.id) if lane.campaign.scheduled else record.first_dialed_at or opened.fire_at
        attempt = LiveAttempt(
            record, lane, opened.number, opened.due_at, anchor, opened.trunk, now.mono, "", state=State.DIALING
        )
        attempt.may_recall = lane.status is not CampaignStatus.CANCELLED
        attempt.advance(Event.LEG_LOST)
        self._live[record.id] = attempt
        self._close(attempt, Verdict(Disposition.INTERRUPTED, "the process died"), None, now)

    def clock_stepped(self, now: Now) -> None:
        """The wall clock was stepped: due times are looked at anew."""
        self._lanes.rouse_all(now)

    # Attempts: picked, armed, fired

    def pick(self, now: Now) -> Pick | None:
        """The next call whose attempt should be recorded now; give its record to `arm`. None: nothing can leave soon.

        Technical retries that may go are armed on the way.
        """
        until = Mono(now.mono + ARM_AHEAD_SECONDS)
        self._arm_retries(now, until)
        return self._lanes.pick(now, until, self._pacing)

    def put_back(self, pick: Pick, now: Now) -> None:
        """The record of a picked call could not be read now: it waits in its lane as before."""
        heapq.heappush(pick.lane.snoozed_firsts if pick.first else pick.lane.recalls, (pick.due_at, pick.call))
        self._lanes.rouse(pick.lane, now)

    def arm(self, pick: Pick, record: CallRecord, now: Now) -> None:
        """Begin the attempt of a picked call, unless the call is over, its number may not be called, or is in a call."""
        lane = pick.lane
        if record.finished or record.id in self._live:
            return
        if lane.status is CampaignStatus.SCHEDULED:
            self._move(lane, CampaignStatus.RUNNING, now)
        number = record.attempts + 1
        if number == 1 and not pick.first:
            # A snoozed first attempt came back by its timer: it keeps the campaign's stagger like any other.
            heapq.heappush(lane.snoozed_firsts, (pick.due_at, record.id))
            self._lanes.rouse(lane, now)
            return
        if record.suppressed:
            self._finish_call(
                lane, record.id, number > 1, Disposition.SUPPRESSED, "the number is on a do-not-call list", now
            )
            return
        if record.phone in self._numbers:
            due_at = WallMs(now.wall + SNOOZE_MS)
            self._changes.append(
                CallSnoozed(record.id, lane.campaign.id, number, due_at, "the number is in another call")
            )
            self._lanes.rouse(lane, now)
            return
        fire_at = pick.fire_at
        fire_wall = WallMs(max(now.wall_of(fire_at), pick.due_at))
        anchor = lane.campaign.slot(record.id) if lane.campaign.scheduled else record.first_dialed_at or fire_wall
        attempt = LiveAttempt(record, lane, number, pick.due_at, anchor, pick.trunk, fire_at, f"{record.uuid}-{number}")
        attempt.trunk_index = lane.route.index(pick.trunk)
        attempt.sent = self._pacing.take(pick.trunk, fire_at)
        if number == 1:
            lane.stagger.take(attempt.sent)
        lane.live += 1
        self._live[record.id] = attempt
        self._numbers.add(record.phone)
        self._unstored.append(attempt)
        self._changes.append(
            AttemptArmed(
                record.id,
                lane.campaign.id,
                number,
                pick.due_at,
                fire_wall,
                pick.trunk,
                lane.campaign.playbook.caller_id or "",
                attempt.sip_call_id,
            )
        )

    def poll(self, now: Now) -> None:
        """Carry out everything whose time has come: INVITEs, ring timeouts, limits, waits."""
        if len(self._timers) > TIMERS_KEPT + 8 * len(self._live):
            self._timers = [t for t in self._timers if t[3].state is not State.ENDED]
            heapq.heapify(self._timers)
        while self._timers and self._timers[0][0] <= now.mono:
            _, _, timer, attempt, key = heapq.heappop(self._timers)
            if timer is Timer.FIRE and attempt.state is State.ARMED and key == attempt.invites:
                self._fire(attempt, now)
            elif timer is Timer.RETRY and attempt.state is State.WAITING and key == attempt.invites:
                self._queue_retry(attempt)
            elif timer is Timer.RING and attempt.state in {State.DIALING, State.RINGING} and key == attempt.leg:
                self._end_by_order(attempt, Event.RING_TIMEOUT, Why.RING_TIMEOUT, now)
            elif timer is Timer.TALK and attempt.state is State.ANSWERED:
                self._end_by_order(attempt, Event.TALK_TIMEOUT, Why.MAX_CALL, now)
            elif timer is Timer.WAIT and attempt.state is State.ANSWERED:
                self._step_over(attempt, key, now)

    def drain(self, now: Now) -> None:
        """The server is stopping: attempts that were not answered end; answered ones go on. Call it until `live` is small."""
        for attempt in list(self._live.values()):
            self._end_by_order(attempt, Event.DRAIN, Why.DRAIN, now)

    def hang_up_all(self, now: Now) -> None:
        """Drain time is over: BYE to every call that is still answered."""
        for attempt in [a for a in self._live.values() if a.state is State.ANSWERED]:
            self._end_by_order(attempt, Event.CANCEL, Why.DRAIN, now)

    # The leg's news

    def on_leg(self, event: LegEvent, now: Now) -> None:  # noqa: C901, PLR0912  one arm of the match an event
        """Something happened to a leg. News of legs that are over is ignored."""
        attempt = self._legs.get(event.leg)
        if attempt is None:
            return
        ids = attempt.id, attempt.lane.campaign.id, attempt.number
        match event:
            case InviteSent():
                if attempt.sent is not None:
                    attempt.sent.left(Mono(min(now.mono, now.mono_of(event.at))))
                if attempt.advance(Event.SENT):
                    self._dialed(attempt, event)
            case Rang():
                attempt.rang = True
                if attempt.advance(Event.RANG):
                    self._changes.append(AttemptRinging(*ids, event.at, event.dialog))
            case Answered():
                if attempt.advance(Event.CONFIRMED):
                    attempt.answered = True
                    self._changes.append(AttemptAnswered(*ids, event.at, event.dialog))
                    playbook = attempt.lane.campaign.playbook
                    self._set(Mono(now.mono + playbook.max_call_seconds), Timer.TALK, attempt, event.leg)
                    attempt.script = Script(playbook.steps)
                    self._perform(attempt, attempt.script.begin(), now)
            case PlayEnded():
                self._step_over(attempt, event.token, now)
            case LegEnded():
                self._leg_over(attempt)
                self._ended(attempt, event, now)
            case LegRefused():
                self._leg_over(attempt)
                self._refused(attempt, event, now)
            case LegLost():
                self._leg_over(attempt)
                if attempt.advance(Event.LEG_LOST):
                    self._close(attempt, Verdict(Disposition.INTERRUPTED, event.reason), None, now)

    # Inside

    def _set(self, at: Mono, timer: Timer, attempt: LiveAttempt, key: int) -> None:
        heapq.heappush(self._timers, (at, next(self._timer_ids), timer, attempt, key))

    def _move(self, lane: Lane, status: CampaignStatus, now: Now) -> None:
        lane.status = status
        self._changes.append(CampaignMoved(lane.campaign.id, now.wall, status))

    def _fire(self, attempt: LiveAttempt, now: Now) -> None:
        sent = attempt.sent
        if sent is None or not attempt.stored:
            raise ValueError("an attempt fired that was not armed and stored")
        earliest = sent.earliest()
        if earliest > now.mono:
            self._set(earliest, Timer.FIRE, attempt, attempt.invites)
            return
        sent.left(now.mono)
        attempt.advance(Event.FIRE)
        leg = LegId(next(self._leg_ids))
        attempt.leg = leg
        self._legs[leg] = attempt
        playbook = attempt.lane.campaign.playbook
        self._effects.append(
            Dial(leg, attempt.trunk, attempt.call.phone, playbook.caller_id or "", attempt.sip_call_id)
        )
        self._set(Mono(now.mono + playbook.ring_timeout_seconds), Timer.RING, attempt, leg)

    def _arm_retries(self, now: Now, until: Mono) -> None:
        for trunk, waiting in self._retries.items():
            for _ in range(len(waiting)):
                admission = self._pacing.next_dial_time((trunk,), now.mono)
                if admission is None or admission.at > until:
                    break
                attempt = waiting.popleft()
                if attempt.state is not State.WAITING:
                    continue
                if attempt.lane.status is CampaignStatus.PAUSED:
                    self._queue_retry(attempt)
                    continue
                self._arm_retry(attempt, admission.at, now)

    def _queue_retry(self, attempt: LiveAttempt) -> None:
        """The pause is over: it goes when the trunk has a channel. A paused campaign's waits for the campaign."""
        if attempt.lane.status is CampaignStatus.PAUSED:
            self._parked.setdefault(attempt.lane.campaign.id, []).append(attempt)
        elif attempt.state is State.WAITING:
            self._retries.setdefault(attempt.trunk, deque()).append(attempt)

    def _arm_retry(self, attempt: LiveAttempt, fire_at: Mono, now: Now) -> None:
        attempt.advance(Event.RETRY)
        attempt.fire_at = fire_at
        attempt.sent = self._pacing.take(attempt.trunk, fire_at)
        attempt.stored = False
        self._unstored.append(attempt)
        attempt.sip_call_id = f"{attempt.call.uuid}-{attempt.number}.{attempt.invites}"
        playbook = attempt.lane.campaign.playbook
        self._changes.append(
            AttemptRetried(
                attempt.id,
                attempt.number,
                now.wall_of(fire_at),
                attempt.trunk,
                playbook.caller_id or "",
                attempt.sip_call_id,
                "technical retry",
            )
        )

    def _dialed(self, attempt: LiveAttempt, event: InviteSent) -> None:
        campaign = attempt.lane.campaign
        if not attempt.dialed and attempt.number == 1 and not campaign.scheduled:
            attempt.anchor = event.at
        attempt.dialed = True
        self._changes.append(AttemptDialed(attempt.id, campaign.id, attempt.number, event.at, event.dialog))

    def _perform(self, attempt: LiveAttempt, step: Step | None, now: Now) -> None:
        if step is None or attempt.script is None or attempt.leg is None:
            return
        token = attempt.script.token
        if isinstance(step, Play):
            self._effects.append(PlayAudio(attempt.leg, token, step.audio))
        elif isinstance(step, Wait):
            self._set(Mono(now.mono + step.seconds), Timer.WAIT, attempt, token)
        else:
            self._end_by_order(attempt, Event.STEPS_ENDED, Why.STEPS_ENDED, now)

    def _step_over(self, attempt: LiveAttempt, token: int, now: Now) -> None:
        if attempt.state is State.ANSWERED and attempt.script is not None:
            self._perform(attempt, attempt.script.over(token), now)

    def _end_by_order(self, attempt: LiveAttempt, event: Event, why: Why, now: Now) -> None:
        before = attempt.state
        if not attempt.advance(event):
            return
        if before in {State.ARMED, State.WAITING}:
            if before is State.ARMED:
                self._pacing.release(attempt.trunk)
            word = Disposition.CANCELLED if why is Why.CANCELLED else Disposition.INTERRUPTED
            self._close(attempt, Verdict(word, why.value), None, now)
            return
        attempt.asked = why
        if attempt.leg is not None:
            self._effects.append(HangUp(attempt.leg))

    def _leg_over(self, attempt: LiveAttempt) -> None:
        """The one place where a channel is given back by a leg's end."""
        if attempt.leg is not None:
            del self._legs[attempt.leg]
            attempt.leg = None
            self._pacing.release(attempt.trunk)

    def _ended(self, attempt: LiveAttempt, event: LegEnded, now: Now) -> None:
        invite = attempt.next_invite(event) if attempt.may_recall else None
        if invite is None:
            if attempt.advance(Event.LEG_ENDED):
                self._close(attempt, classify(attempt.evidence(event)), event, now)
            return
        attempt.trunk, pause = invite
        self._wait_for_retry(attempt, pause, now)

    def _refused(self, attempt: LiveAttempt, event: LegRefused, now: Now) -> None:
        """Nothing went to the wire: a place that is missing for the moment counts as nothing, else it is the trunk's fault."""
        if event.transient and attempt.asked is None:
            self._wait_for_retry(attempt, NO_PLACE_RETRY_SECONDS, now)
            return
        self._ended(attempt, event.as_end(), now)

    def _wait_for_retry(self, attempt: LiveAttempt, pause: float, now: Now) -> None:
        attempt.advance(Event.LEG_REFUSED_TRUNK)
        attempt.asked = None
        attempt.invites += 1
        self._set(Mono(now.mono + pause), Timer.RETRY, attempt, attempt.invites)

    def _close(self, attempt: LiveAttempt, verdict: Verdict, end: LegEnded | None, now: Now) -> None:
        lane, call = attempt.lane, attempt.id
        at = end.at if end is not None else now.wall
        del self._live[call]
        self._numbers.discard(attempt.call.phone)
        lane.live -= 1
        self._changes.append(
            AttemptEnded(
                call,
                lane.campaign.id,
                attempt.number,
                at,
                verdict.disposition,
                verdict.reason,
                end.final_status if end is not None else None,
                end.q850 if end is not None else None,
                end.by.value if end is not None else "us",
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
        if due_at is not None:
            self._changes.append(RecallScheduled(call, lane.campaign.id, attempt.number + 1, due_at))
        else:
            self._finish_call(lane, call, True, verdict.disposition, verdict.reason, now)

    def _finish_call(  # noqa: PLR0913
        self,
        lane: Lane,
        call: CallId,
        attempted: bool,
        disposition: Disposition,
        reason: str,
        now: Now,  # noqa: FBT001
    ) -> None:
        lane.finished += 1
        self._changes.append(CallFinished(call, lane.campaign.id, now.wall, disposition, reason, attempted))
        self._retire(lane, now)

    def _retire(self, lane: Lane, now: Now) -> None:
        over = lane.finished == lane.campaign.size
        if over and lane.status is not CampaignStatus.CANCELLED:
            self._move(lane, CampaignStatus.COMPLETED, now)
        if (over or (lane.status is CampaignStatus.CANCELLED and lane.live == 0)) and self._lanes.get(lane.campaign.id):
            self._lanes.remove(lane)
