"""A rig that drives a `Dispatch` as the engine does: disk, wire, clock, turns, crashes; `Judge` watches it."""

from collections.abc import Collection
from random import Random

from dialer.core.changes import (
    AttemptArmed,
    Change,
)
from dialer.core.dispatch import ARM_AHEAD_SECONDS, Dispatch, Limits
from dialer.core.effects import AskTrunk, Bridge, Dial, HangUp, PlayAudio, RingBack, Speak, StopAudio
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
from dialer.core.model import CallId, Campaign, CampaignId, CampaignStatus, Trunk, WallMs
from dialer.ports import StoreUnavailable
from tests.support.clock import FakeClock
from tests.support.dispatch_judge import HOLD_SECONDS, INSTANT, Judge, Leg
from tests.support.fake_store import FakeStore


class Rig:
    """A `Dispatch` with everything around it that the engine would be: disk, wire, clock, turns, crashes."""

    def __init__(
        self,
        trunks: list[Trunk],
        *,
        max_concurrent_calls: int,
        min_recall_gap_ms: int = 0,
        clock: FakeClock | None = None,
    ) -> None:
        self.clock = clock or FakeClock()
        self.store = FakeStore()
        self.trunks = self._first_trunks = trunks
        self.limits = Limits(max_concurrent_calls, min_recall_gap_ms)
        self.judge = Judge(
            self.store, self.clock, {trunk.name: trunk for trunk in trunks}, max_concurrent_calls, min_recall_gap_ms
        )
        self.fault = False
        self.turns = 0
        self.arm_order: list[tuple[CampaignId, CallId]] = []
        self._pending: list[Change] = []
        self._pending_since = 0.0
        self._known_offset = 0.0
        self._tried_at = 0.0
        self._ordered = False
        self._asked: list[str] = []
        self.options_reason: str | None = None
        self.dispatch = Dispatch(trunks, self.limits, self.clock.now())
        self.judge.pacing = lambda: self.dispatch.pacing

    # Orders

    def submit(self, campaign: Campaign) -> None:
        now = self.clock.now()
        self.dispatch.add(campaign, now, status=CampaignStatus.SCHEDULED)
        self.turn()

    def pause(self, campaign: CampaignId) -> None:
        self.dispatch.pause(campaign, self.clock.now())
        self.turn()

    def resume(self, campaign: CampaignId) -> None:
        self.dispatch.resume(campaign, self.clock.now())
        self.turn()

    def cancel(self, campaign: CampaignId) -> None:
        self.dispatch.cancel(campaign, self.clock.now())
        self._ordered = True
        self.turn()
        self._ordered = False

    def cancel_call(self, call: CallId) -> None:
        """As the engine does it: on disk before and after, so that the record and the core agree."""
        self._gather()
        self._commit()
        if self.fault:
            return
        record = self.store.call(call)
        if not record.finished:
            self.judge.cancelled_calls.add(call)
        self.dispatch.cancel_call(record, self.clock.now())
        self._gather()
        self._commit()
        self._ordered = True
        self.turn()
        self._ordered = False

    def reconfigure(
        self,
        trunks: list[Trunk],
        max_concurrent_calls: int,
        min_recall_gap_ms: int,
        *,
        renewed: Collection[str] = (),
        **quotas: int | None,
    ) -> None:
        self._gather()
        self.trunks, self.limits = trunks, Limits(max_concurrent_calls, min_recall_gap_ms, **quotas)  # type: ignore[arg-type]
        self.judge.reconfigured(trunks, max_concurrent_calls, min_recall_gap_ms)
        self.dispatch.reconfigure(trunks, self.limits, self.clock.now(), renewed)
        self.turn()

    # Time

    def turn(self) -> None:
        self.turns += 1
        now = self.clock.now()
        offset = now.wall - now.mono * 1000
        if abs(offset - self._known_offset) > 5:
            self._known_offset = offset
            self.dispatch.clock_stepped(now)
        self.dispatch.poll(now)
        if not self.fault:
            for due_at, call in list(self.store.due_timers(WallMs(now.wall + round(ARM_AHEAD_SECONDS * 1000)))):
                self.dispatch.due(due_at, call, now)
            for _ in range(100):
                pick = self.dispatch.pick(
                    now, together=self.dispatch.unstored, suppressed=lambda call: self.store.call(call).suppressed
                )
                if pick is None:
                    break
                self.dispatch.arm(pick, self.store.call(pick.call), now)
        self._carry_out()
        self._gather()
        self._commit()
        self.dispatch.poll(self.clock.now())
        self._carry_out()
        while self._asked:
            self.dispatch.options_ended(self._asked.pop(), self.options_reason, self.clock.now())
            self._carry_out()
        self.judge.waiting.look_at_trunks()

    def next_turn(self) -> float | None:
        """When the engine would come back."""
        now = self.clock.now()
        times: list[float | None] = [self.dispatch.next_wake(now, dialing=not self.fault)]
        timer = self.store.next_timer()
        if self.fault:
            times.append(self._tried_at + 0.25)
        else:
            times.append(None if timer is None else now.mono_of(timer) - ARM_AHEAD_SECONDS)
            times.append(self._pending_since + 0.01 if self._pending else None)
        return min((at for at in times if at is not None), default=None)

    def advance(self, seconds: float) -> None:
        """Let time pass, with a turn at each time that the core asked for."""
        target, turns, told = self.clock.mono + seconds, self.turns, len(self.judge.invites)
        while (at := self.next_turn()) is not None and at <= target:
            self.clock.advance_to(max(at, self.clock.mono) + INSTANT)
            self.turn()
            news = len(self.judge.invites) - told
            assert self.turns - turns < 300 + 40 * news + 20 * seconds, "the core keeps waking for nothing"
        self.clock.advance_to(target)
        self._expect_nothing_left_behind()

    def advance_to_next_turn(self, off: float = 0.0) -> bool:
        at = self.next_turn()
        if at is None:
            return False
        self.advance(max(0.0, at - self.clock.mono + off))
        return True

    def be_late(self, seconds: float) -> None:
        """Nobody takes a turn in all this time."""
        self.clock.advance(seconds)
        self.judge.late_at = self.clock.mono
        self.turn()

    def step_wall(self, ms: int) -> None:
        self.clock.step_wall(ms)
        self.judge.clock_was_set(ms)
        self.turn()

    # The far side

    def news(self, event: LegEvent) -> None:
        self.judge.news(event)
        self.dispatch.on_leg(event, self.clock.now())
        self._carry_out()
        self._gather()
        self.judge.waiting.look_at_trunks()

    def happen(self, leg: Leg, what: str) -> None:
        """Let the far side of `leg` do `what` (one of `possible`)."""
        at, id_ = self.clock.wall, leg.id
        by = EndedBy.US if leg.hung_up else EndedBy.FAR
        match what.split():
            case ["sent"]:
                self.news(InviteSent(id_, leg.dialed_at, "dialog"))
            case ["unheard"]:
                self.news(NoReply(id_, at))
            case ["rang"]:
                self.news(Rang(id_, at, 180, dialog="dialog"))
            case ["answered"]:
                self.news(Answered(id_, at, "dialog"))
            case ["answered", "unread"] if leg.hung_up_at is not None:
                self.news(Answered(id_, WallMs(leg.hung_up_at - 1), "dialog"))
            case ["played"]:
                token, leg.playing = leg.playing, None
                assert token is not None
                self.news(PlayEnded(id_, token, complete=True))
            case ["lost"]:
                self.news(LegLost(id_, at, "the worker died"))
            case ["refused", transient]:
                self.news(LegRefused(id_, at, "no place", transient == "transient"))
            case ["bye"]:
                self.news(LegEnded(id_, at, by, 200 if leg.answered else 180))
            case ["silence", status]:
                self.news(LegEnded(id_, at, EndedBy.US if leg.hung_up else EndedBy.STACK, int(status)))
            case ["final", status]:
                self.news(LegEnded(id_, at, EndedBy.FAR, int(status), retry_after_s=20 if status == "503" else None))
            case _:
                raise ValueError(what)

    @staticmethod
    def possible(leg: Leg) -> list[str]:
        """What may happen to this leg next, in a real network."""
        if not leg.sent:
            return ["sent", "sent", "sent", "refused transient", "refused fatal", "lost"]
        if leg.answered:
            return ["bye", "lost", "silence 200", *(["played"] if leg.playing is not None else [])]
        after = ["rang", "answered", "lost", "final 486", "final 404", "final 480", "final 503", "final 603"]
        if leg.hung_up:
            after += ["final 487", "final 487", "answered unread"]
        if leg.rang:
            return [*after, "bye", "silence 180"]
        return [*after, "silence 0", "silence 100", "unheard"]

    # Faults

    def crash(self) -> None:
        """kill -9, and a new process that finds what was stored."""
        self._pending = []
        self.fault = False
        self.judge.crashed()
        self.store.reopen()
        self._boot()

    def restore(self) -> None:
        """A crash, and a new process on a database of which nobody knows whether what is due was dialed."""
        self._pending = []
        self.fault = False
        self.judge.crashed()
        self.store.hold(self.clock.wall)
        self._boot()

    def release(self, most: int) -> None:
        """A person lets calls under review go on."""
        self._gather()
        self._commit()
        if not self.fault:
            self.dispatch.release(self.store.under_review(CallId(0), CallId(1 << 40), most))
            self.turn()

    def drain(self) -> None:
        """The server is stopping."""
        self.dispatch.drain(self.clock.now())
        self._ordered = True
        self._carry_out()
        self._ordered = False
        self._gather()

    def drain_and_restart(self) -> None:
        self.drain()
        self.dispatch.hang_up_all(self.clock.now())
        self._ordered = True
        self._carry_out()
        self._ordered = False
        self._gather()
        for leg in list(self.judge.legs.values()):
            assert leg.hung_up, "draining forgot a leg"
            self.happen(leg, "bye" if leg.answered else "final 487")
        self._commit()
        # What a process before this one left behind counts on, and over the next start too.
        assert self.dispatch.live == len(self.judge.unheard)
        assert {opened.call for opened in self.store.open_attempts()} == set(self.judge.unheard)
        self.crash()

    def _boot(self) -> None:
        now = self.clock.now()
        limits = Limits(self.limits.max_concurrent_calls, self.limits.min_recall_gap_ms, HOLD_SECONDS)
        self.dispatch = Dispatch(self.trunks, limits, now)
        for stored in self.store.active_campaigns():
            self.dispatch.add(
                stored.campaign,
                now,
                status=stored.status,
                cursor=stored.cursor,
                finished=stored.finished,
                live=stored.live,
                last_first_attempt_at=stored.last_first_attempt_at,
            )
        for opened in self.store.open_attempts():
            self.dispatch.recover(opened, self.store.call(opened.call), now)
        for agent_leg in self.store.open_agent_legs():
            self.dispatch.recover_agent(agent_leg, now)
        self.turn()

    # To the end

    def run_to_the_end(self, seed: int, patience: int = 4000) -> None:
        """Let everything happen that is under way or due; every call must come to its final state."""
        dice = Random(seed)
        self.store.refuse = self.options_reason = None
        self.turn()
        if self.trunks is not self._first_trunks:
            self.reconfigure(self._first_trunks, self.limits.max_concurrent_calls, self.limits.min_recall_gap_ms)
        for held in list(self.store.campaigns.values()):
            if held.status is CampaignStatus.PAUSED:
                self.resume(held.campaign.id)
        self.release(1 << 40)
        for _ in range(patience):
            if self.judge.legs:
                leg = dice.choice(list(self.judge.legs.values()))
                self.happen(leg, dice.choice([what for what in self.possible(leg) if what != "refused transient"]))
                self.advance(dice.choice([0.0, 0.001, 0.05]))
            elif not self.advance_to_next_turn():
                break
        ended = {CampaignStatus.COMPLETED, CampaignStatus.CANCELLED}
        waiting = [call for call, row in self.store.calls.items() if row.finished is None]
        assert not waiting, f"calls {waiting} never reached a final state"
        assert all(held.status in ended for held in self.store.campaigns.values())
        assert self.dispatch.live == 0
        assert self.dispatch.pacing.taken == 0
        assert not self.store.open_agent_legs(), "a leg to an agent has no end"
        assert len(self.dispatch._lanes) == 0, "a campaign that is over still takes memory"

    def check(self) -> None:
        """What holds between any two things that happen."""
        taken = self.judge.taken
        channels = self.dispatch.pacing.channels()
        assert {name: used for name, (used, _) in channels.items()} == {name: taken.count(name) for name in channels}
        assert self.dispatch.pacing.taken == len(taken)
        callees = sum(leg.beside is None for leg in self.judge.legs.values())
        assert self.dispatch.live >= callees + len(self.judge.armed) + len(self.judge.unheard)
        assert not self.dispatch.idle or not taken

    # Inside

    def _expect_nothing_left_behind(self) -> None:
        assert not self.judge.overdue(), "a leg rings or talks for longer than its playbook allows"
        if not self.fault and not self._pending:
            behind = self.judge.waiting.left_behind()
            assert not behind, f"calls {behind} are due, nothing stands in their way, and nobody is going to dial them"

    def _gather(self) -> None:
        taken = self.dispatch.take_changes()
        if taken and not self._pending:
            self._pending_since = self.clock.mono
        self.judge.told(taken)
        self.arm_order += [(change.campaign, change.call) for change in taken if isinstance(change, AttemptArmed)]
        self._pending += taken

    def _commit(self) -> None:
        batch = self._pending
        self._tried_at = self.clock.mono
        try:
            self.store.apply(batch)
        except StoreUnavailable:
            self.fault = True
            return
        self.fault = False
        self._pending = []
        self.judge.committed(batch)
        self.dispatch.stored()

    def _carry_out(self) -> None:
        for effect in self.dispatch.take_effects():
            match effect:
                case Dial():
                    self.judge.dial(effect)
                case HangUp(leg):
                    self.judge.hung_up(leg, ordered=self._ordered)
                case PlayAudio(leg, token) | Speak(leg, token) | RingBack(leg, token):
                    self.judge.legs[leg].playing = token
                case StopAudio(leg):
                    assert self.judge.legs[leg].playing is not None
                    self.judge.legs[leg].playing = None
                case Bridge(leg, other):
                    self.judge.agents.bridge(leg, other)
                case AskTrunk(trunk):
                    self._asked.append(trunk)
