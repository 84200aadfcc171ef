"""The legs to agents, for transfers: INVITEs like any other, with a channel and a place in their trunk's rate each.

A leg goes by the table of `dialer.core.attempt`, and begins WAITING: for a trunk that leads there, with a free channel, whose
CPS has room. So it is ahead of calls that have not begun: a person waits. It is recorded before its INVITE leaves. A trunk
that refuses without reaching the agent is followed by the next one, as another leg with a record of its own; there are no
rounds, because the callee hears a phone ring all the while.

An attempt has one leg that counts. Once that is let go (the agent is given up, or the callee has left) nobody is told of it
any more, but it keeps its channel until its real end, and is recorded to it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from dialer.core.acts import AgentAnswered, AgentGone, AgentNews, AgentRang, CallAgent
from dialer.core.agents import Agent
from dialer.core.attempt import Event, State
from dialer.core.changes import AgentArmed, AgentEnded, AgentMoved, LegStage, TransferMoved, TransferStage, json_text
from dialer.core.channels import Channels, Outgoing
from dialer.core.disposition import Verdict, Why, classify
from dialer.core.effects import Dial, HangUp
from dialer.core.events import (
    Answered,
    EndedBy,
    InviteSent,
    LegEnded,
    LegEvent,
    LegLost,
    LegRefused,
    NoReply,
    PlayEnded,
    Rang,
)
from dialer.core.live import NO_PLACE_RETRY_SECONDS, LiveAttempt, Timer, Told
from dialer.core.model import CallId, CampaignId, Disposition, LegId, Mono, Now, OpenAgentLeg, WallMs
from dialer.core.pacing import Admission, Pacing

NO_CHANNEL = "no channel was free in time, on the trunks that lead to the agent"
STOPPING = "the server is stopping: it begins no more calls"


@dataclass(slots=True, eq=False, kw_only=True)
class AgentLeg(Outgoing):
    """Mutable, owned by `AgentLegs`. `attempt` None: it has let go of this leg, or died with the process before this one.

    `ids` are call, campaign and attempt; `position` counts the attempt's agent legs, 0 before the first. `ways` are the trunks
    that are still to be tried, `until` is when it is given up. `chosen` is the caller id that the playbook chose, `caller_id`
    what the agent sees.
    """

    attempt: LiveAttempt | None
    ids: tuple[CallId, CampaignId, int]
    agent: Agent
    chosen: str | None = None
    caller_id: str = ""
    ways: tuple[str, ...] = ()
    until: Mono
    position: int = 0


class AgentLegs:
    """Owns every leg to an agent, from the wish to its end. `tell` gives news to whose call it is, later than `call` returns.

    `alarm` has `time_came` called at a time, with the key; `learned` is that of `Channels`.
    """

    def __init__(
        self,
        pacing: Pacing,
        channels: Channels,
        told: Told,
        *,
        alarm: Callable[[Mono, Timer, Outgoing, int], None],
        tell: Callable[[LiveAttempt, AgentNews | PlayEnded, Now], None],
        learned: Callable[[str, Now], None],
    ) -> None:
        self._pacing = pacing
        self._channels = channels
        self._told = told
        self._alarm = alarm
        self._tell = tell
        self._learned = learned
        self._current: dict[CallId, AgentLeg] = {}
        self._waiting: list[AgentLeg] = []
        self._unstored: list[AgentLeg] = []

    @property
    def unstored(self) -> bool:
        """True while an armed leg waits for the disk."""
        return bool(self._unstored)

    # Orders

    def call(self, attempt: LiveAttempt, order: CallAgent, now: Now) -> None:
        """The attempt wants this agent. Raises ValueError while it has another."""
        if attempt.id in self._current:
            raise ValueError(f"call {attempt.id} has a leg to an agent already")
        chosen = attempt.call.phone if order.caller_id == "callee" else order.caller_id
        ways = tuple(trunk for trunk in order.agent.trunks if self._pacing.carries(trunk, chosen))
        until = Mono(now.mono + (order.seconds if ways else 0))
        leg = AgentLeg(
            attempt=attempt,
            ids=(attempt.id, attempt.lane.campaign.id, attempt.number),
            agent=order.agent,
            chosen=chosen,
            ways=ways,
            until=until,
            trunk="",
            fire_at=now.mono,
            sip_call_id="",
            state=State.WAITING,
        )
        self._current[attempt.id] = leg
        self._waiting.append(leg)
        self._alarm(until, Timer.RING, leg, 0)

    def let_go(self, attempt: LiveAttempt, now: Now) -> None:
        """The callee's leg ends, or has: so does the agent's, if there is one."""
        leg = self._current.pop(attempt.id, None)
        if leg is not None:
            self._end(leg, Event.CANCEL, Why.PAIR, now)

    def drain(self, now: Now) -> None:
        """The server is stopping: nothing leaves any more, what has left goes on."""
        for leg in [leg for leg in self._current.values() if leg.state in _NOT_LEFT]:
            self._give_up(leg, Event.CANCEL, Why.DRAIN, Verdict(Disposition.INTERRUPTED, STOPPING), now)

    def recover(self, opened: OpenAgentLeg, now: Now, over: str | None = None) -> None:
        """A leg of the process that died: the SIP floor has ended it, if its dialog is known.

        Else the agent's phone may ring, and its channel stays taken until it would have been given up, unless `over` says why
        it is certainly over.
        """
        leg = AgentLeg(
            attempt=None,
            ids=(opened.call, opened.campaign, opened.number),
            agent=Agent("", "", ()),
            position=opened.position,
            until=now.mono_of(opened.until),
            trunk=opened.trunk,
            fire_at=now.mono,
            sip_call_id="",
            state=State.DIALING,
        )
        if over is None and not opened.dialog and leg.until > now.mono:
            leg.advance(Event.CANCEL)
            self._alarm(leg.until, Timer.UNHEARD, leg, self._channels.hold(leg))
        else:
            self._record_end(leg, None, Verdict(Disposition.INTERRUPTED, over or "the process died"), now)

    # Pacing

    def next_dial(self, now: Now) -> Mono | None:
        """When a leg may leave; None: none waits, or for a channel."""
        admissions = [self._pacing.next_dial_time(leg.ways, now.mono) for leg in self._waiting]
        return min((found.at for found in admissions if found is not None), default=None)

    def arm(self, now: Now, until: Mono) -> None:
        """Arm those that may leave at or before `until`, in the order in which they were wanted."""
        for leg in list(self._waiting):
            admission = self._pacing.next_dial_time(leg.ways, now.mono)
            if admission is not None and admission.at <= until and leg.attempt is not None:
                self._waiting.remove(leg)
                self._arm(leg, leg.attempt, admission, now)

    def _arm(self, leg: AgentLeg, attempt: LiveAttempt, admission: Admission, now: Now) -> None:
        leg.advance(Event.RETRY)
        attempt.agent_legs += 1
        leg.position = attempt.agent_legs
        leg.trunk, leg.fire_at = admission.trunk, admission.at
        leg.sent = self._pacing.take(leg.trunk, leg.fire_at)
        leg.sip_call_id = f"{attempt.sip_call_id}-agent-{leg.position}"
        leg.caller_id = self._shown_to_agent(leg, attempt)
        leg.stored = False
        self._unstored.append(leg)
        self._told.changes.append(
            AgentArmed(
                *leg.ids,
                leg.position,
                now.wall_of(leg.fire_at),
                now.wall_of(leg.until),
                leg.agent.shown,
                leg.trunk,
                leg.caller_id,
                leg.sip_call_id,
            )
        )

    def stored(self) -> None:
        """The changes told so far are on disk: the INVITEs they record may leave."""
        for leg in self._unstored:
            leg.stored = True
            if leg.state is State.ARMED:
                self._alarm(leg.fire_at, Timer.FIRE, leg, leg.position)
        self._unstored.clear()

    def time_came(self, timer: Timer, leg: AgentLeg, key: int, at: Mono, now: Now) -> None:
        """A time that `alarm` was given, which may no longer count."""
        if timer is Timer.UNHEARD:
            self.on_leg(leg, LegLost(LegId(key), now.wall, "the process died"), now)
        elif leg.attempt is None:
            return
        elif timer is Timer.FIRE and leg.state is State.ARMED and key == leg.position:
            self._fire(leg, leg.attempt, at, now)
        elif timer is Timer.RETRY and leg.state is State.WAITING and leg not in self._waiting:
            self._waiting.append(leg)
        elif timer is Timer.RING and leg.state in _NOT_LEFT:
            self._give_up(leg, Event.CANCEL, Why.RING_TIMEOUT, Verdict(Disposition.TRUNK_FAILURE, NO_CHANNEL), now)
        elif timer is Timer.RING and not leg.answered:
            verdict = Verdict(Disposition.NO_ANSWER, Why.RING_TIMEOUT.value)
            self._give_up(leg, Event.RING_TIMEOUT, Why.RING_TIMEOUT, verdict, now)

    def _fire(self, leg: AgentLeg, attempt: LiveAttempt, at: Mono, now: Now) -> None:
        slipped_to = self._channels.depart(leg, leg.agent.shown, at, now)
        if slipped_to is not None:
            self._alarm(slipped_to, Timer.FIRE, leg, leg.position)
            return
        assert leg.leg is not None
        agent = leg.agent
        self._told.effects.append(
            Dial(leg.leg, leg.trunk, agent.number, leg.caller_id, leg.sip_call_id, agent.uri, attempt.leg)
        )

    def _shown_to_agent(self, leg: AgentLeg, attempt: LiveAttempt) -> str:
        """What was chosen, else what calls show on that trunk. The playbook's own caller id is for its own trunks."""
        playbook = attempt.lane.campaign.playbook
        return (
            leg.chosen
            or (leg.trunk in playbook.trunks and playbook.caller_id)
            or self._pacing.trunk(leg.trunk).caller_id
        )

    # What happens to legs

    def on_leg(self, leg: AgentLeg, event: LegEvent, now: Now) -> None:
        """Something happened to the leg."""
        match event:
            case InviteSent():
                self._channels.sent(leg, event, now)
                if leg.advance(Event.SENT):
                    self._moved(leg, LegStage.DIALED, event)
                    self._tell_transferring(leg, event.at)
            case NoReply():
                self._channels.silent(leg, now)
            case Rang():
                self._channels.reached(leg, now)
                leg.rang = True
                if leg.advance(Event.RANG):
                    self._moved(leg, LegStage.RINGING, event)
                    self._news(leg, AgentRang(event.at), now)
            case Answered():
                self._channels.reached(leg, now)
                if leg.advance(Event.CONFIRMED):
                    leg.answered = True
                    self._moved(leg, LegStage.ANSWERED, event)
                    self._news(leg, AgentAnswered(event.at, event.leg), now)
            case LegEnded():
                self._ended(leg, event, now)
            case LegRefused():
                self._refused(leg, event, now)
            case LegLost():
                self._channels.over(leg)
                self._over(leg, Event.LEG_LOST, None, Verdict(Disposition.INTERRUPTED, event.reason), now)
            case PlayEnded():
                self._news(leg, event, now)
            case _:
                pass  # what an agent says, or presses, is not for us

    def _moved(self, leg: AgentLeg, stage: LegStage, event: InviteSent | Rang | Answered) -> None:
        self._told.changes.append(AgentMoved(*leg.ids, leg.position, stage, event.at, event.dialog))

    def _tell_transferring(self, leg: AgentLeg, at: WallMs) -> None:
        if leg.attempt is None:
            return  # the callee was gone before it left
        detail = {"agent": leg.agent.shown, "mode": "bridge", "trunk": leg.trunk, "sip_call_id": leg.sip_call_id}
        self._told.changes.append(TransferMoved(*leg.ids, at, TransferStage.TRANSFERRING, json_text(detail)))

    def _news(self, leg: AgentLeg, news: AgentNews | PlayEnded, now: Now) -> None:
        if leg.attempt is not None:
            self._tell(leg.attempt, news, now)

    def _ended(self, leg: AgentLeg, end: LegEnded, now: Now) -> None:
        trunk = leg.trunk
        verdict = classify(leg.evidence(end), self._pacing.trunk(trunk).dispositions)
        if leg.answered and leg.asked is None:
            verdict = Verdict(Disposition.ANSWERED, "the agent hung up")
        self._channels.learn(leg, leg.agent.shown, end, verdict, now)
        self._channels.over(leg)
        others = tuple(name for name in leg.ways if name != trunk)
        if verdict.another_invite and leg.attempt is not None and others:
            leg.ways = others
            self._stand_by(leg, end, verdict, now)
            self._waiting.append(leg)
        else:
            self._over(leg, Event.LEG_ENDED, end, verdict, now)
        self._learned(trunk, now)

    def _refused(self, leg: AgentLeg, event: LegRefused, now: Now) -> None:
        """Nothing went to the wire. The one worker that can carry it may have a place soon; else it is the trunk's fault."""
        if event.transient and leg.attempt is not None:
            self._channels.over(leg)
            self._stand_by(leg, event.as_end(), Verdict(Disposition.TRUNK_FAILURE, event.reason), now)
            self._alarm(Mono(now.mono + NO_PLACE_RETRY_SECONDS), Timer.RETRY, leg, leg.position)
        else:
            self._ended(leg, event.as_end(), now)

    def _stand_by(self, leg: AgentLeg, end: LegEnded, verdict: Verdict, now: Now) -> None:
        """This leg is over, and another may follow."""
        leg.advance(Event.LEG_REFUSED_TRUNK)
        leg.asked = None
        self._record_end(leg, end, verdict, now)

    def _over(self, leg: AgentLeg, event: Event, end: LegEnded | None, verdict: Verdict, now: Now) -> None:
        leg.advance(event)
        self._record_end(leg, end, verdict, now)
        at, by = (now.wall, EndedBy.STACK) if end is None else (end.at, end.by)
        self._gone(leg, AgentGone(at, verdict.disposition, verdict.reason, by, end.final_status if end else None), now)

    def _give_up(self, leg: AgentLeg, event: Event, why: Why, verdict: Verdict, now: Now) -> None:
        """We want it no more: whose call it is need not wait for its real end."""
        attempt = leg.attempt
        self._end(leg, event, why, now)
        leg.attempt = attempt
        self._gone(leg, AgentGone(now.wall, verdict.disposition, verdict.reason, EndedBy.US), now)

    def _gone(self, leg: AgentLeg, news: AgentGone, now: Now) -> None:
        attempt, leg.attempt = leg.attempt, None
        if attempt is not None:
            del self._current[attempt.id]
            self._tell(attempt, news, now)

    def _end(self, leg: AgentLeg, event: Event, why: Why, now: Now) -> None:
        """CANCEL or BYE where there is a leg; at once over where there is none."""
        leg.attempt = None
        before = leg.state
        if not leg.advance(event):
            return
        if before is State.WAITING:
            if leg in self._waiting:
                self._waiting.remove(leg)
        elif before is State.ARMED:
            self._channels.give_up(leg)
            self._record_end(leg, None, Verdict(Disposition.CANCELLED, why.value), now)
        elif leg.leg is not None:
            leg.asked = why
            self._told.effects.append(HangUp(leg.leg))

    def _record_end(self, leg: AgentLeg, end: LegEnded | None, verdict: Verdict, now: Now) -> None:
        self._told.changes.append(
            AgentEnded(
                *leg.ids,
                leg.position,
                now.wall if end is None else end.at,
                verdict.disposition,
                verdict.reason,
                None if end is None else end.final_status,
                None if end is None else end.q850,
                (EndedBy.US if end is None else end.by).value,
            )
        )


_NOT_LEFT = frozenset({State.WAITING, State.ARMED})
