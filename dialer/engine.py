"""The one loop: feed the core, persist, carry out effects, re-arm one timer.

Everything runs on the event loop's thread. A turn takes what fell due, lets the core decide, commits what it decided in
one transaction, and only then lets INVITEs go. News of legs is gathered for a few milliseconds into one commit, unless an
attempt waits to be recorded.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import structlog

from dialer.core.breaker import TrunkState
from dialer.core.changes import CampaignMoved, Change
from dialer.core.dispatch import ARM_AHEAD_SECONDS, Dispatch, Limits
from dialer.core.effects import AskTrunk, TrunkMoved
from dialer.core.events import LegEvent, Stamped
from dialer.core.explain import Hold, Rule
from dialer.core.model import (
    CallId,
    CallRecord,
    Campaign,
    CampaignId,
    CampaignStatus,
    HeldCall,
    Mono,
    Now,
    Trunk,
    WallMs,
)
from dialer.core.pacing import TrunkView
from dialer.core.playbook import NOTHING, Machine
from dialer.core.sounds import Unready
from dialer.performer import Performer
from dialer.ports import CallControl, Clock, Programs, SoundLibrary, Store, StoredCampaign, StoreUnavailable
from dialer.sound_check import SoundCheck
from dialer.tally import Tally

log = structlog.get_logger(__name__)

ENDED = frozenset({CampaignStatus.COMPLETED, CampaignStatus.CANCELLED})

# News of legs waits at most so long for company before it is committed.
GATHER_SECONDS = 0.010
# How often a disk that refused is tried again.
STORE_RETRY_SECONDS = 0.25
# A disk that nobody writes to is tried so often, so that a full one is known before the next campaign finds out.
STORE_PROOF_SECONDS = 2.0
# One turn arms at most so many attempts, so that no backlog holds the loop up.
PICKS_PER_TURN = 100
# And takes so many timers, about 2 ms: after a long outage a million may be due at once.
DUE_PER_TURN = 500
# Wake-up times are computed anew when the wall clock has moved so far against the monotonic one.
CLOCK_DRIFT_MS = 5
# A jump beyond this is somebody setting the clock; less is slewing, or two readings with a pause in between.
CLOCK_STEP_MS = 100
# What the next process is to know of the clock is noted again when it has slewed so far: each few minutes at the most.
CLOCK_NOTE_MS = 50
# What a worker reports so soon after a step may bear the time of the clock as it was: then it counts from when it was read.
STAMPS_SECONDS = 2.0
# However quiet it is, the loop looks around so often: nobody tells it that the wall clock was set, that the machine slept,
# or that a worker is up again.
LOOK_SECONDS = 0.25
# What may have left in the last second before a crash is unknown, so the first INVITE waits that long.
RESTART_HOLD_SECONDS = 1.01
# A peer that does not answer our BYE is not waited for much longer than this at the end.
GOODBYE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class EngineState:
    """For readiness, metrics and operators. `store_fault` is None while the disk accepts writes.

    `tally` is what was done since the start.
    """

    live: int
    talking: int
    trunks: tuple[TrunkView, ...]
    store_fault: str | None
    draining: bool
    tally: Tally


class Engine:
    """Drives one `Dispatch` from clock, store and legs.

    `library` None: playbooks play files as they lie, and cannot speak; `programs` None: they ask nobody. `machine` is what
    steps may ask for while a call goes on. `on_stored` is given what the disk has taken, a little later, on the loop.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        store: Store,
        control: CallControl,
        trunks: Iterable[Trunk],
        limits: Limits,
        library: SoundLibrary | None = None,
        programs: Programs | None = None,
        on_stored: Callable[[Sequence[Change]], None] = lambda _: None,
        machine: Machine = NOTHING,
    ) -> None:
        self._clock = clock
        self._store = store
        self._control = control
        self._on_stored = on_stored
        self._trunks = tuple(trunks)
        self._limits = limits
        self._machine = machine
        self._loop = asyncio.get_running_loop()
        # What the performer has to tell comes as any other event: on a later turn of the loop.
        self._performer = Performer(control, library, programs, self._on_leg_later)
        self._sound_check = None if library is None else SoundCheck(store, library)
        self._dispatch: Dispatch
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: Mono | None = None
        self._pending: list[Change] = []
        self._pending_since: Mono | None = None
        self._store_fault: str | None = None
        self._store_retry_at = Mono(0)
        self._store_proved_at = self._loop.time()
        self._clock_relation = 0.0
        self._clock_offset = clock.now_and_offset_ms()[1]
        self._noted_offset: float | None = None
        self._clock_step_ms = 0
        # Part of the step was made while nobody ran.
        self._clock_met = False
        self._stamps_hold_from = Mono(0)
        self._draining = False
        self._idle = asyncio.Event()
        self._hurry = asyncio.Event()
        self._started = False
        self.failed: asyncio.Future[None] = self._loop.create_future()
        """Done, with the exception, once a defect has ended the engine."""
        self._tally = Tally()
        self.turned_at = self._loop.time()
        """When the last turn ended, by the loop's clock: some are taken each second, whatever happens."""

    def start(self) -> None:
        """Take up what the store holds, close attempts that a crash left open, and begin. Raises `StoreUnavailable`."""
        now = self._meet_clock()
        stored = self._store.active_campaigns()
        opened, agent_legs = self._store.open_attempts(), self._store.open_agent_legs()
        hold = RESTART_HOLD_SECONDS if stored or opened or agent_legs else 0.0
        limits = replace(self._limits, hold_seconds=hold)
        self._dispatch = Dispatch(self._trunks, limits, now, self._machine)
        for campaign in stored:
            self._add(campaign, now)
        for attempt in opened:
            self._dispatch.recover(attempt, self._store.call(attempt.call), now)
        for leg in agent_legs:
            self._dispatch.recover_agent(leg, now)
        if opened:
            log.warning("attempts found in flight are interrupted", attempts=len(opened))
        self._control.listen(self._on_leg)
        self._started = True
        self._turn()

    @property
    def state(self) -> EngineState:
        """A picture of this moment."""
        return EngineState(
            self._dispatch.live,
            self._dispatch.talking,
            tuple(self._dispatch.pacing.views(self._now())),
            self._store_fault,
            self._draining,
            self._tally,
        )

    # Orders from outside. Each is on disk when it returns, or raises StoreUnavailable.

    def submitted(self, campaign: CampaignId) -> None:
        """A campaign has become active in the store: dial it."""
        now = self._look()  # first: a clock that was set moves what is stored
        stored = self._store.campaign(campaign)
        self._add(stored, now)
        if self._sound_check is not None:
            with contextlib.suppress(StoreUnavailable):  # the texts wait for their calls' turn
                self._sound_check.look_ahead(stored.campaign, stored.cursor)
        self._turn()

    def pause(self, campaign: CampaignId) -> None:
        """Stop new attempts of the campaign."""
        self._order(lambda now: self._dispatch.pause(campaign, now))

    def resume(self, campaign: CampaignId) -> None:
        """Let a paused campaign go on."""
        self._order(lambda now: self._dispatch.resume(campaign, now))

    def cancel(self, campaign: CampaignId) -> None:
        """Cancel the campaign for good."""
        self._order(lambda now: self._dispatch.cancel(campaign, now))

    def reconfigure(
        self, trunks: Iterable[Trunk], limits: Limits, machine: Machine, renewed: Collection[str] = ()
    ) -> None:
        """From now on these trunks, limits and machine, as `Dispatch.reconfigure` says. Needs no disk."""
        self._or_fail(lambda: self._dispatch.reconfigure(trunks, limits, self._look(), renewed, machine))
        self._or_fail(self._turn)

    def cancel_call(self, call: CallId) -> None:
        """Cancel a scheduled call or hang a live one up. Raises KeyError for an unknown one."""
        # The record must hold what the core decided already: a call that has just ended is not finished twice.
        self._settle()
        record = self._store.call(call)
        self._carry_order(lambda now: self._dispatch.cancel_call(record, now))

    def release(self, first: CallId, last: CallId, most: int) -> list[CallId]:
        """Let those of the calls `first` to `last` that are under review go on, `most` of them at most; which, by id."""
        held = self._under_review(first, last, most)
        self._carry_order(lambda _: self._dispatch.release(held))
        return [one.id for one in held]

    def cancel_under_review(self, first: CallId, last: CallId, most: int) -> list[CallId]:
        """Cancel those of the calls `first` to `last` that are under review, `most` of them at most; which, by id."""
        records = [self._store.call(held.id) for held in self._under_review(first, last, most)]

        def cancel(now: Now) -> None:
            for record in records:
                self._dispatch.cancel_call(record, now)

        self._carry_order(cancel)
        return [record.id for record in records]

    def _under_review(self, first: CallId, last: CallId, most: int) -> list[HeldCall]:
        # As the core has decided: what still waits for the disk is no longer under review there.
        self._settle()
        return self._store.under_review(first, last, most)

    def explain(self, call: CallId, next_at: WallMs | None) -> Hold:
        """The rule that holds the call back now. Raises KeyError for an unknown call, `StoreUnavailable`."""
        if self._draining:
            return Hold(Rule.SERVER, "the server is stopping")
        hold = self._dispatch.explain(self._store.call(call), next_at, self._now())
        if hold.rule in {Rule.FINISHED, Rule.LIVE, Rule.REVIEW, Rule.PAUSED}:
            return hold
        if self._store_fault is not None:
            return Hold(Rule.SERVER, f"the database refuses: {self._store_fault}")
        if hold.rule in {Rule.TURN, Rule.STAGGER, Rule.CPS} and self._control.free_places() == 0:
            return Hold(Rule.SERVER, "no SIP worker has a free place")
        return hold

    async def drain(self, seconds: float) -> None:
        """Stop dialing, end legs that ring, let answered calls finish for `seconds`, then hang up; returns when all ended.

        `hurry()` ends the waiting at once.
        """
        self._draining = True
        self._turn()
        if not self._hurry.is_set():
            await self._until_idle(seconds, self._hurry)
        self._dispatch.hang_up_all(self._look())
        self._turn()
        await self._until_idle(GOODBYE_SECONDS, None)
        self._flush(self._now(), force=True)

    def wake(self) -> None:
        """Something outside may have changed (a worker came up, a trunk is back): look now."""
        if self._started:
            self._wake_at(self._now().mono)

    def hurry(self) -> None:
        """A second signal: do not wait for answered calls any longer."""
        self._hurry.set()

    def stop(self) -> None:
        """No turn is taken any more."""
        self._started = False
        if self._timer is not None:
            self._timer.cancel()

    # The loop

    def _now(self) -> Now:
        return self._clock.now()

    def _add(self, stored: StoredCampaign, now: Now) -> None:
        self._dispatch.add(
            stored.campaign,
            now,
            status=stored.status,
            cursor=stored.cursor,
            finished=stored.finished,
            live=stored.live,
            last_first_attempt_at=stored.last_first_attempt_at,
        )

    def _order(self, act: Callable[[Now], None]) -> None:
        self._settle()
        self._carry_order(act)

    def _settle(self) -> None:
        """What the core has decided is on disk, and the disk takes more. Raises `StoreUnavailable`.

        An order that is refused must not happen later, when the disk works again: so it is tried first. One that the very
        next commit refuses is the exception.
        """
        self._or_fail(lambda: self._flush(self._now(), force=True))
        self._refuse_on_fault()

    def _carry_order(self, act: Callable[[Now], None]) -> None:
        def carry() -> None:
            now = self._look()
            act(now)
            # On disk before the turn reads records and picks: a call that was just cancelled is not dialed.
            self._gather(now)
            self._flush(now, force=True)
            self._turn()

        self._or_fail(carry)
        self._refuse_on_fault()

    def _refuse_on_fault(self) -> None:
        if self._store_fault is not None:
            raise StoreUnavailable(self._store_fault)

    def _on_leg_later(self, event: LegEvent) -> None:
        self._loop.call_soon(self._on_leg, event)

    def _on_leg(self, event: LegEvent) -> None:
        if self._started:
            self._or_fail(lambda: self._hear(event))

    def _hear(self, event: LegEvent) -> None:
        now = self._look()
        if now.mono < self._stamps_hold_from and isinstance(event, Stamped):
            event = replace(event, at=now.wall)
        self._dispatch.on_leg(event, now)
        self._carry_out()
        self._gather(now)
        if self._draining:
            self._turn()
            return
        # A channel may be free again, or a ring timer be set: the turn that commits looks, once for all that is gathered.
        since = self._pending_since
        self._wake_at(self._next_turn(now) if since is None else Mono(since + GATHER_SECONDS))

    def _options_ended(self, trunk: str, reason: str | None) -> None:
        if self._started:
            self._or_fail(lambda: self._hear_trunk(trunk, reason))

    def _hear_trunk(self, trunk: str, reason: str | None) -> None:
        now = self._look()
        self._dispatch.options_ended(trunk, reason, now)
        self._carry_out()
        self._gather(now)
        self._wake_at(self._next_turn(now))

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = None
        if self._started:
            self._or_fail(self._turn)

    def _or_fail(self, act: Callable[[], None]) -> None:
        """Do it, or end for good: after a defect of ours the decisions in memory and the disk may disagree.

        A new process decides from the disk alone, and interrupts what was in flight.
        """
        try:
            act()
        except StoreUnavailable:
            raise
        except Exception as defect:
            self.stop()
            if not self.failed.done():
                self.failed.set_exception(defect)
            raise

    def _turn(self) -> None:
        now = self._look()
        self._dispatch.poll(now)
        if self._draining:
            self._dispatch.drain(now)
        elif self._store_fault is None:
            self._take_due(now)
            self._pick(now)
        self._carry_out()
        self._gather(now)
        self._flush(now)
        now = self._look()
        self._dispatch.poll(now)
        self._carry_out()
        self._note_offset(now)
        self._wake_at(self._next_turn(now))
        self.turned_at = self._loop.time()
        if self._dispatch.idle:
            self._idle.set()
        else:
            self._idle.clear()

    def _look(self) -> Now:
        """This instant, for what is decided now: what counts elapsed time is on the same clock.

        Follows the wall clock where it slews; where it was set, moves what counts elapsed time, on disk first.
        """
        now, offset = self._clock.now_and_offset_ms()
        if abs(offset - self._clock_offset) > CLOCK_STEP_MS:
            self._clock_step_ms += round(offset - self._clock_offset)
        self._clock_offset = offset
        if self._clock_step_ms:
            self._follow_step(now)
        relation = now.wall - now.mono * 1000
        if abs(relation - self._clock_relation) > CLOCK_DRIFT_MS:
            self._clock_relation = relation
            self._dispatch.clock_stepped(now)
        return now

    def _meet_clock(self) -> Now:
        """This instant by the clock that the process before this one knew: what it left is taken up by that.

        Where the clock was set since, the first turn follows, as it would at any other time.
        """
        now, self._clock_offset = self._clock.now_and_offset_ms()
        self._noted_offset = self._store.noted_offset_ms(self._clock.boot)
        step = 0 if self._noted_offset is None else round(self._clock_offset - self._noted_offset)
        if abs(step) <= CLOCK_STEP_MS:
            return now
        self._clock_step_ms, self._clock_met = step, True
        return replace(now, wall=WallMs(now.wall - step))

    def _note_offset(self, now: Now) -> None:
        """Keep for the next process how the clock stands, where it has slewed since it was told last."""
        slewed = self._noted_offset is None or abs(self._clock_offset - self._noted_offset) > CLOCK_NOTE_MS
        if not slewed or self._clock_step_ms or self._store_fault is not None:
            return
        try:
            self._store.note_offset(self._clock.boot, self._clock_offset)
        except StoreUnavailable as fault:
            self._store_failed(fault, now)
            return
        self._noted_offset = self._clock_offset

    def _follow_step(self, now: Now) -> None:
        step = self._clock_step_ms
        before = None if self._clock_met else WallMs(now.wall - step)
        self._gather(now)
        self._flush(now, force=True)
        if self._store_fault is not None:
            return  # nothing is dialed meanwhile, and the next turn tries again
        try:
            self._store.clock_stepped(step, before)
        except StoreUnavailable as fault:
            self._store_failed(fault, now)
            return
        log.warning("the wall clock was set: recalls and running campaigns keep their distances", step_ms=step)
        self._clock_step_ms, self._clock_met = 0, False
        if self._noted_offset is not None:
            self._noted_offset += step
        self._stamps_hold_from = Mono(now.mono + STAMPS_SECONDS)
        self._dispatch.clock_stepped(now, step, before)

    def _take_due(self, now: Now) -> None:
        try:
            due = self._store.due_timers(WallMs(now.wall + int(ARM_AHEAD_SECONDS * 1000)))
            for due_at, call in islice(due, DUE_PER_TURN):
                self._dispatch.due(due_at, call, now)
        except StoreUnavailable as fault:
            self._store_failed(fault, now)

    def _pick(self, now: Now) -> None:
        # Armed attempts have no leg yet, but each will need a place.
        for _ in range(min(PICKS_PER_TURN, self._control.free_places() - self._dispatch.armed)):
            try:
                pick = self._dispatch.pick(now, together=self._dispatch.unstored, suppressed=self._suppressed)
            except StoreUnavailable as fault:
                self._store_failed(fault, now)
                return
            if pick is None:
                return
            try:
                record = self._store.call(pick.call)
                unready = self._unready(pick.lane.campaign, record)
            except StoreUnavailable as fault:
                self._dispatch.put_back(pick, now)
                self._store_failed(fault, now)
                return
            self._dispatch.arm(pick, record, now, unready)

    def _suppressed(self, call: CallId) -> bool:
        return self._store.call(call).suppressed

    def _unready(self, campaign: Campaign, record: CallRecord) -> Unready | None:
        """What the call will play and is not at hand; texts of the calls behind it are begun on the way."""
        if self._sound_check is None or record.finished or record.suppressed:
            return None
        unready = self._sound_check.fault(campaign, record)
        self._sound_check.look_ahead(campaign, record.id - campaign.first_call)
        return unready

    def _gather(self, now: Now) -> None:
        changes = self._dispatch.take_changes()
        if changes:
            if self._pending_since is None:
                self._pending_since = now.mono
            self._pending += changes
            for change in changes:
                self._tally.take(change)
                if isinstance(change, CampaignMoved) and change.status in ENDED and self._sound_check is not None:
                    self._sound_check.forget(change.campaign)

    def _flush(self, now: Now, *, force: bool = False) -> None:
        """Commit what is pending, if an attempt waits for it or it has waited long enough. `force`: now, be it nothing."""
        refused = self._store_fault is not None
        if refused and now.mono < self._store_retry_at and not force:
            return
        unproved = force or now.mono - self._store_proved_at >= STORE_PROOF_SECONDS
        if not self._pending and not refused and not unproved:
            return
        urgent = refused or unproved or self._dispatch.unstored
        # The sum that `_next_turn` names: the difference rounds otherwise, and a turn at its time could find itself too early.
        if not urgent and self._pending_since is not None and now.mono < self._pending_since + GATHER_SECONDS:
            return
        began = self._loop.time()
        try:
            self._store.apply(self._pending)
        except StoreUnavailable as fault:
            self._store_failed(fault, now)
            return
        self._tally.commit.add(self._loop.time() - began)
        if self._pending:
            # Later: nothing of it is to keep the INVITEs that this commit lets go.
            self._loop.call_soon(self._on_stored, self._pending)
        self._pending = []
        self._pending_since = None
        self._store_proved_at = now.mono
        if refused:
            log.warning("the database accepts writes again")
            self._store_fault = None
        self._dispatch.stored()

    def _store_failed(self, fault: StoreUnavailable, now: Now) -> None:
        if self._store_fault is None:
            log.error("the database refuses: dialing stops until it accepts writes again", fault=str(fault))
        self._store_fault = str(fault) or "the database cannot be written"
        self._store_retry_at = Mono(now.mono + STORE_RETRY_SECONDS)

    def _carry_out(self) -> None:
        for effect in self._dispatch.take_effects():
            match effect:
                case AskTrunk(trunk):
                    self._control.ask(trunk, partial(self._options_ended, trunk))
                case TrunkMoved(trunk, state, reason):
                    tell = log.warning if state is TrunkState.DOWN else log.info
                    tell(f"a trunk is {state}", trunk=trunk, **({"reason": reason} if reason else {}))
                case _:
                    self._performer.do(effect)

    def _wake_at(self, at: Mono) -> None:
        """Take a turn at `at`, or before."""
        if self._timer_at is not None and self._timer_at <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._on_timer)

    def _next_turn(self, now: Now) -> Mono:
        places = self._control.free_places() - self._dispatch.armed
        dialing = not self._draining and self._store_fault is None and places > 0
        times = [Mono(now.mono + LOOK_SECONDS), self._dispatch.next_wake(now, dialing=dialing)]
        if not self._draining and self._store_fault is None:
            times.append(self._next_due(now))
        if self._store_fault is not None:
            times.append(self._store_retry_at)
        elif self._pending_since is not None:
            times.append(Mono(self._pending_since + GATHER_SECONDS))
        return min(at for at in times if at is not None)

    def _next_due(self, now: Now) -> Mono | None:
        try:
            due = self._store.next_timer()
        except StoreUnavailable as fault:
            self._store_failed(fault, now)
            return None
        return None if due is None else Mono(now.mono_of(due) - ARM_AHEAD_SECONDS)

    async def _until_idle(self, seconds: float, cut_short: asyncio.Event | None) -> None:
        """Wait until no attempt is under way, at most so long, or until `cut_short` is set."""
        waits = [asyncio.ensure_future(self._idle.wait())]
        if cut_short is not None:
            waits.append(asyncio.ensure_future(cut_short.wait()))
        _, rest = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in rest:
            wait.cancel()
