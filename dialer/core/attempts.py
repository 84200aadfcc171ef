"""The attempts under way: their timers, their legs' news, their ends. Transitions are those of `dialer.core.attempt`."""

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

from dialer.core.acts import ScriptEvent, TimeUp
from dialer.core.agent_legs import AgentLeg, AgentLegs
from dialer.core.attempt import Event, State
from dialer.core.breaker import TrunkState
from dialer.core.changes import AttemptAnswered, AttemptDialed, AttemptRetried, AttemptRinging
from dialer.core.channels import Channels, Outgoing
from dialer.core.disposition import Verdict, Why, classify
from dialer.core.doubts import LOOK_AGAIN_SECONDS, Doubt
from dialer.core.effects import Dial, HangUp, TrunkMoved
from dialer.core.events import (
    Answered,
    InviteSent,
    LegEnded,
    LegEvent,
    LegLost,
    LegRefused,
    NoReply,
    Rang,
    RecordEnded,
)
from dialer.core.live import NO_PLACE_RETRY_SECONDS, LiveAttempt, Timer, Told
from dialer.core.model import CallId, CampaignId, CampaignStatus, Disposition, LegId, Mono, Now, WallMs
from dialer.core.pacing import Pacing
from dialer.core.playbook import NOTHING, Machine
from dialer.core.talk import Hands, Talk

# Timers of ended attempts (a long max_call_seconds) stay in the heap until there are so many more than of live ones.
TIMERS_KEPT = 1000
# A ring timeout that is carried out later than this was missed by a loop that stood still, and the answer may lie unread. So
# long it is waited for.
LATE_SECONDS = 0.1
UNREAD_SECONDS = 0.02
_RINGS = {State.DIALING, State.RINGING}
# What an attempt that has no leg came to when we end it; anything else interrupts it.
_WITHOUT_LEG = {
    Why.CANCELLED: Disposition.CANCELLED,
    Why.CLOSED: Disposition.TRUNK_FAILURE,
    Why.SUPPRESSED: Disposition.SUPPRESSED,
}


class Attempts:
    """Owns every `LiveAttempt`, one for a call and one for a number at most.

    `closed` is called once for each, when it has ended: with the verdict, and the leg's end if there was one. `machine` is
    what steps may ask for that come while a call goes on. The legs of transfers are in `agents`.
    """

    def __init__(
        self,
        pacing: Pacing,
        told: Told,
        closed: Callable[[LiveAttempt, Verdict, LegEnded | None, Now], None],
        machine: Machine = NOTHING,
    ) -> None:
        self._pacing = pacing
        self._told = told
        self._closed = closed
        self._live: dict[CallId, LiveAttempt] = {}
        self._numbers: set[str] = set()
        self.machine = machine
        self._channels = Channels(pacing, self.trunk_learned)
        self.agents = AgentLegs(
            pacing, self._channels, told, alarm=self._set, tell=self._talk_on, learned=self.trunk_learned
        )
        self._talks: dict[LegId, Talk] = {}
        self._timers: list[tuple[Mono, int, Timer, Outgoing, int]] = []
        self._timer_ids = count()
        self._retries: dict[str, deque[LiveAttempt]] = {}
        self._doubts: dict[CallId, Doubt] = {}
        self._states: dict[str, tuple[TrunkState, bool]] = {}
        self._parked: dict[CampaignId, list[LiveAttempt]] = {}
        self._unstored: list[LiveAttempt] = []

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[LiveAttempt]:
        return iter(list(self._live.values()))

    def clock_stepped(self, step_ms: int) -> None:
        """The wall clock was set, and the lanes have followed: so do the times that recalls will be counted from."""
        for attempt in self._live.values():
            campaign = attempt.lane.campaign
            # One that was armed just ahead of its launch has its campaign's time, which may stay.
            moved = WallMs(attempt.anchor + step_ms)
            attempt.anchor = campaign.slot(attempt.id) if campaign.scheduled else moved
            if attempt.asked_at is not None:
                attempt.asked_at = WallMs(attempt.asked_at + step_ms)
        for call, doubt in self._doubts.items():
            self._doubts[call] = replace(doubt, end=replace(doubt.end, at=WallMs(doubt.end.at + step_ms)))

    def get(self, call: CallId) -> LiveAttempt | None:
        """The attempt of a call; None when none is under way."""
        return self._live.get(call)

    def busy(self, phone: str) -> bool:
        """True while the number is in an attempt of any campaign."""
        return phone in self._numbers

    @property
    def armed(self) -> int:
        """Attempts that hold a channel and have no leg yet."""
        return self._channels.armed

    @property
    def unstored(self) -> bool:
        """True while an armed attempt waits for the disk."""
        return bool(self._unstored) or self.agents.unstored

    def begin(self, attempt: LiveAttempt) -> None:
        """An attempt was armed: its INVITE leaves at `fire_at`, once `stored` was said."""
        self._choose_caller_id(attempt)
        self._live[attempt.id] = attempt
        self._numbers.add(attempt.call.phone)
        self._unstored.append(attempt)

    def _choose_caller_id(self, attempt: LiveAttempt) -> None:
        """The playbook's choice, else the trunk's default; "" leaves it to the SIP floor."""
        chosen = attempt.lane.campaign.playbook.caller_id
        attempt.caller_id = chosen or self._pacing.trunk(attempt.trunk).caller_id

    def hold(self, attempt: LiveAttempt, until: Mono) -> None:
        """An attempt of a process that died, whose INVITE may have left or not: it counts until `until`, then it is lost."""
        attempt.advance(Event.CANCEL)
        self._live[attempt.id] = attempt
        self._numbers.add(attempt.call.phone)
        self._set(until, Timer.UNHEARD, attempt, self._channels.hold(attempt))

    def stored(self) -> None:
        """The changes told so far are on disk: the INVITEs they record may leave."""
        for attempt in self._unstored:
            attempt.stored = True
            if attempt.state is State.ARMED:
                self._set(attempt.fire_at, Timer.FIRE, attempt, attempt.invites)
        self._unstored.clear()
        self.agents.stored()

    def next_timer(self) -> Mono | None:
        """When `poll` has something to do."""
        return self._timers[0][0] if self._timers else None

    def next_retry(self, now: Now) -> Mono | None:
        """When a technical retry or a leg to an agent may leave; None: none waits, or for a channel."""
        times = [at] if (at := self.agents.next_dial(now)) is not None else []
        for trunk, waiting in self._retries.items():
            admission = self._pacing.next_dial_time((trunk,), now.mono) if waiting else None
            if admission is not None:
                times.append(admission.at)
        return min(times, default=None)

    def poll(self, now: Now) -> None:
        """Carry out everything whose time has come: INVITEs, ring timeouts, limits, waits."""
        if len(self._timers) > TIMERS_KEPT + 8 * len(self._live):
            self._timers = [t for t in self._timers if t[3].state is not State.ENDED]
            heapq.heapify(self._timers)
        while self._timers and self._timers[0][0] <= now.mono:
            at, _, timer, out, key = heapq.heappop(self._timers)
            if isinstance(out, AgentLeg):
                self.agents.time_came(timer, out, key, at, now)
            elif isinstance(out, LiveAttempt):
                self._time_came(timer, out, key, at, now)

    def _time_came(self, timer: Timer, attempt: LiveAttempt, key: int, at: Mono, now: Now) -> None:
        if timer is Timer.FIRE and attempt.state is State.ARMED and key == attempt.invites:
            self._fire(attempt, at, now)
        elif timer is Timer.RETRY and attempt.state is State.WAITING and key == attempt.invites:
            self._queue_retry(attempt)
        elif timer is Timer.UNHEARD:
            self.on_leg(LegLost(LegId(key), now.wall, "the process died"), now)
        elif timer is Timer.DOUBT and attempt.id in self._doubts and key == attempt.invites:
            self._settle(self._doubts[attempt.id], now)
            if attempt.id in self._doubts:
                self._set(Mono(now.mono + LOOK_AGAIN_SECONDS), Timer.DOUBT, attempt, key)
        elif timer in {Timer.RING, Timer.RANG_OUT} and attempt.state in _RINGS and key == attempt.leg:
            if timer is Timer.RING and now.mono - at > LATE_SECONDS:
                self._set(Mono(now.mono + UNREAD_SECONDS), Timer.RANG_OUT, attempt, key)
            else:
                self.end(attempt, Event.RING_TIMEOUT, Why.RING_TIMEOUT, now)
        elif timer is Timer.TALK and attempt.state is State.ANSWERED:
            self.end(attempt, Event.TALK_TIMEOUT, Why.MAX_CALL, now)
        elif timer is Timer.WAIT and attempt.state is State.ANSWERED:
            self._talk_on(attempt, TimeUp(key), now)

    def on_leg(self, event: LegEvent, now: Now) -> None:  # noqa: C901, PLR0912  one arm of the match an event
        """Something happened to a leg. News of legs that are over is ignored."""
        attempt = self._channels.of(event.leg)
        if isinstance(attempt, AgentLeg):
            self.agents.on_leg(attempt, event, now)
        if not isinstance(attempt, LiveAttempt):
            return
        ids = attempt.id, attempt.lane.campaign.id, attempt.number
        match event:
            case InviteSent():
                self._channels.sent(attempt, event, now)
                if attempt.advance(Event.SENT):
                    self._dialed(attempt, event)
            case NoReply():
                self._channels.silent(attempt, now)
            case Rang():
                self._channels.reached(attempt, now)
                attempt.rang = True
                if attempt.advance(Event.RANG):
                    self._told.changes.append(AttemptRinging(*ids, event.at, event.dialog))
            case Answered():
                self._channels.reached(attempt, now)
                if attempt.advance(Event.CONFIRMED):
                    attempt.answered = True
                    self._told.changes.append(AttemptAnswered(*ids, event.at, event.dialog))
                    playbook = attempt.lane.campaign.playbook
                    self._set(Mono(now.mono + playbook.max_call_seconds), Timer.TALK, attempt, event.leg)
                    talk = self._talks[event.leg] = Talk(attempt, event.leg, self.machine)
                    self._end_talk(attempt, talk.begin(event.at, self._hands(attempt, now)), now)
                elif attempt.asked_at is not None and event.at < attempt.asked_at and not attempt.answered:
                    # Somebody has answered before we gave up, and is called no more.
                    attempt.answered = True
                    self._told.changes.append(AttemptAnswered(*ids, event.at, event.dialog))
            case LegEnded():
                self._ended(attempt, event, now)
            case LegRefused():
                self._refused(attempt, event, now)
            case LegLost():
                self._leg_over(attempt, now)
                if attempt.advance(Event.LEG_LOST):
                    self._close(attempt, Verdict(Disposition.INTERRUPTED, event.reason), None, now)
            case _:
                self._talk_on(attempt, event, now)

    def end(self, attempt: LiveAttempt, event: Event, why: Why, now: Now) -> None:
        """A limit of ours or an order: CANCEL or BYE where a leg exists, at once over where none does. Late ones: nothing."""
        before = attempt.state
        if not attempt.advance(event):
            return
        if before in {State.ARMED, State.WAITING}:
            if before is State.ARMED:
                self._channels.give_up(attempt)
            self._close(attempt, Verdict(_WITHOUT_LEG.get(why, Disposition.INTERRUPTED), why.value), None, now)
            return
        attempt.asked, attempt.asked_at = why, now.wall
        if attempt.leg is not None:
            self._told.effects.append(HangUp(attempt.leg))
        self.agents.let_go(attempt, now)

    def arm_retries(self, now: Now, until: Mono, suppressed: Callable[[CallId], bool]) -> None:
        """Arm the legs to agents and the technical retries that may leave at or before `until`.

        `suppressed` tells whether the call's number may not be called any more: since the refusal, the callee may have asked
        for that. What it raises is raised, and that retry waits.
        """
        self.agents.arm(now, until)
        for trunk, waiting in self._retries.items():
            for _ in range(len(waiting)):
                admission = self._pacing.next_dial_time((trunk,), now.mono)
                if admission is None or admission.at > until:
                    break
                barred = waiting[0].state is State.WAITING and suppressed(waiting[0].id)
                attempt = waiting.popleft()
                if attempt.state is not State.WAITING:
                    continue
                if barred:
                    self.end(attempt, Event.DRAIN, Why.SUPPRESSED, now)
                    continue
                if attempt.lane.status is CampaignStatus.PAUSED:
                    self._queue_retry(attempt)
                    continue
                if attempt.lane.gate.look(attempt.call, now.wall_of(admission.at)) is not None:
                    self.end(attempt, Event.DRAIN, Why.CLOSED, now)
                    continue
                at = max(admission.at, attempt.lane.stagger.earliest()) if attempt.staggered else admission.at
                if at > until:
                    self._set(Mono(at - (until - now.mono)), Timer.RETRY, attempt, attempt.invites)
                    continue
                self._arm_retry(attempt, at, now)

    def trunk_learned(self, trunk: str, now: Now) -> None:
        """What was heard of the trunk may have changed its state: tell it, and look at all that waits because of it."""
        for doubt in [doubt for doubt in self._doubts.values() if doubt.trunk == trunk]:
            self._settle(doubt, now)
        breaker = self._pacing.breaker(trunk)
        before, after = self._states.get(trunk, (TrunkState.UP, True)), (breaker.state, self._usable(trunk))
        if before == after:
            return
        self._states[trunk] = after
        if before[0] is not breaker.state and trunk in self._pacing.channels():
            down = breaker.state is TrunkState.DOWN and breaker.last_failure
            self._told.effects.append(TrunkMoved(trunk, breaker.state, down.reason if down else ""))
        self._queue_all_again()

    def reconfigured(self, now: Now) -> None:
        """Trunks came, went or changed, and lanes have their new routes: all that waits for a trunk finds its way anew."""
        for trunk in self._pacing.known():
            self.trunk_learned(trunk, now)
        self._queue_all_again()
        for campaign in list(self._parked):
            self.unpark(campaign)

    def _queue_all_again(self) -> None:
        waiting = [attempt for queue in self._retries.values() for attempt in queue]
        self._retries.clear()
        for attempt in waiting:
            self._queue_retry(attempt)

    def _usable(self, trunk: str) -> bool:
        return self._pacing.usable(trunk)

    def _queue_retry(self, attempt: LiveAttempt) -> None:
        """The pause is over: it goes when a trunk has a channel. Where the campaign is paused or has no trunk, it waits too."""
        if attempt.lane.status is CampaignStatus.PAUSED or not attempt.lane.route:
            self._parked.setdefault(attempt.lane.campaign.id, []).append(attempt)
        elif attempt.state is State.WAITING:
            attempt.find_trunk(self._usable)
            self._retries.setdefault(attempt.trunk, deque()).append(attempt)

    def _arm_retry(self, attempt: LiveAttempt, fire_at: Mono, now: Now) -> None:
        attempt.advance(Event.RETRY)
        attempt.fire_at = fire_at
        attempt.sent = self._pacing.take(attempt.trunk, fire_at)
        if attempt.staggered:
            attempt.lane.stagger.take(attempt.sent)
        attempt.stored = False
        self._unstored.append(attempt)
        attempt.sip_call_id = f"{attempt.call.uuid}-{attempt.number}.{attempt.invites}"
        self._choose_caller_id(attempt)
        self._told.changes.append(
            AttemptRetried(
                attempt.id,
                attempt.number,
                # The wall clock may have been set back since the attempt fell due.
                max(now.wall_of(fire_at), attempt.due_at),
                attempt.trunk,
                attempt.caller_id,
                attempt.sip_call_id,
                "technical retry",
            )
        )

    def unpark(self, campaign: CampaignId) -> None:
        """The campaign was resumed, or may have a trunk again: its technical retries go on."""
        for attempt in self._parked.pop(campaign, []):
            self._queue_retry(attempt)

    def _set(self, at: Mono, timer: Timer, out: Outgoing, key: int) -> None:
        heapq.heappush(self._timers, (at, next(self._timer_ids), timer, out, key))

    def _fire(self, attempt: LiveAttempt, at: Mono, now: Now) -> None:
        phone = attempt.call.phone
        slipped_to = self._channels.depart(attempt, phone, at, now)
        if slipped_to is not None:
            # Back into the queue even if that is past: one that was planned before this may have slipped too, and goes first.
            self._set(slipped_to, Timer.FIRE, attempt, attempt.invites)
            return
        assert attempt.leg is not None
        order = Dial(attempt.leg, attempt.trunk, phone, attempt.caller_id, attempt.sip_call_id)
        self._told.effects.append(order)
        playbook = attempt.lane.campaign.playbook
        self._set(Mono(now.mono + playbook.ring_timeout_seconds), Timer.RING, attempt, attempt.leg)

    def _dialed(self, attempt: LiveAttempt, event: InviteSent) -> None:
        campaign = attempt.lane.campaign
        if not attempt.dialed and attempt.call.first_dialed_at is None and not campaign.scheduled:
            attempt.anchor = event.at
        attempt.dialed = True
        self._told.changes.append(AttemptDialed(attempt.id, campaign.id, attempt.number, event.at, event.dialog))

    def _hands(self, attempt: LiveAttempt, now: Now) -> Hands:
        def alarm(token: int, seconds: float) -> None:
            self._set(Mono(now.mono + seconds), Timer.WAIT, attempt, token)

        return Hands(self._told, alarm, lambda order: self.agents.call(attempt, order, now))

    def _talk_on(self, attempt: LiveAttempt, event: ScriptEvent, now: Now) -> None:
        """Something happened on an answered call. Once it is being ended, only what was recorded still matters."""
        talk = None if attempt.leg is None else self._talks.get(attempt.leg)
        if talk is None or not (attempt.state is State.ANSWERED or isinstance(event, RecordEnded)):
            return
        self._end_talk(attempt, talk.feed(event, now.wall, self._hands(attempt, now)), now)

    def _end_talk(self, attempt: LiveAttempt, why: Why | None, now: Now) -> None:
        if why is not None:
            self.end(attempt, Event.STEPS_ENDED, why, now)

    def _leg_over(self, attempt: LiveAttempt, now: Now) -> None:
        """The leg has ended, and what was said on it."""
        talk = None if attempt.leg is None else self._talks.pop(attempt.leg, None)
        if talk is not None:
            talk.leg_over(now.wall, self._hands(attempt, now))
        self._channels.over(attempt)
        self.agents.let_go(attempt, now)

    def _ended(self, attempt: LiveAttempt, event: LegEnded, now: Now) -> None:
        trunk = attempt.trunk
        verdict = classify(attempt.evidence(event), self._pacing.trunk(trunk).dispositions)
        self._channels.learn(attempt, attempt.call.phone, event, verdict, now)
        self._leg_over(attempt, now)
        if verdict.disposition is Disposition.INVALID_NUMBER and attempt.may_recall and not attempt.rang:
            doubt = Doubt(attempt, trunk, verdict, event, now.mono, self._pacing.breaker(trunk))
            believed = doubt.settled(self._pacing, now.mono)
            if believed is None:
                self._stand_by(attempt)
                self._doubts[attempt.id] = doubt
                self._set(Mono(now.mono + LOOK_AGAIN_SECONDS), Timer.DOUBT, attempt, attempt.invites)
                return
            verdict = doubt.outcome(believed=believed)
        invite = attempt.next_invite(verdict, event.retry_after_s, self._usable) if attempt.may_recall else None
        if invite is not None:
            attempt.trunk, pause = invite
            self._stand_by(attempt)
            self._set(Mono(now.mono + pause), Timer.RETRY, attempt, attempt.invites)
        elif attempt.advance(Event.LEG_ENDED):
            self._close(attempt, verdict, event, now)
        self.trunk_learned(trunk, now)

    def _settle(self, doubt: Doubt, now: Now) -> None:
        """Decide a doubt, if it can be decided by now."""
        believed, attempt = doubt.settled(self._pacing, now.mono), doubt.attempt
        if believed is None:
            return
        del self._doubts[attempt.id]
        verdict = doubt.outcome(believed=believed)
        invite = attempt.next_invite(verdict, doubt.end.retry_after_s, self._usable)
        if invite is not None:
            attempt.trunk, pause = invite
            self._set(Mono(now.mono + pause), Timer.RETRY, attempt, attempt.invites)
        elif attempt.advance(Event.BELIEVED):
            self._close(attempt, verdict, doubt.end, now)

    def _refused(self, attempt: LiveAttempt, event: LegRefused, now: Now) -> None:
        """Nothing went to the wire: a place that is missing for the moment counts as nothing, else it is the trunk's fault."""
        given_up = attempt.asked is not None and (attempt.asked is not Why.RING_TIMEOUT or not attempt.may_recall)
        if event.transient and not given_up:
            self._leg_over(attempt, now)
            self._stand_by(attempt)
            self._set(Mono(now.mono + NO_PLACE_RETRY_SECONDS), Timer.RETRY, attempt, attempt.invites)
            return
        self._ended(attempt, event.as_end(), now)

    def _stand_by(self, attempt: LiveAttempt) -> None:
        """The leg is over and the attempt is not: it waits for a technical retry, or for what its trunk's word is worth."""
        attempt.advance(Event.LEG_REFUSED_TRUNK)
        attempt.asked = None
        attempt.invites += 1

    def _close(self, attempt: LiveAttempt, verdict: Verdict, end: LegEnded | None, now: Now) -> None:
        del self._live[attempt.id]
        self._doubts.pop(attempt.id, None)
        self._numbers.discard(attempt.call.phone)
        self._closed(attempt, verdict, end, now)
