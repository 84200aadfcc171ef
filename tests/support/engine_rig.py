"""The whole engine in the place of the core: its own loop in virtual time, a database, power cuts; the same judge watches.

What `Rig` does by hand, the engine does here: turns, commits, gathering, clock steps. So a story that is told to `Rig` can be
told to this.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import dialer.engine
from dialer.core.dispatch import ARM_AHEAD_SECONDS, Dispatch, Limits
from dialer.core.effects import Dial
from dialer.core.events import LegEvent
from dialer.core.model import CallId, Campaign, CampaignId, LegId, Now, Trunk, WallMs
from dialer.core.playbook import NOTHING
from dialer.engine import CLOCK_STEP_MS, GOODBYE_SECONDS, STORE_RETRY_SECONDS, Engine
from dialer.ports import DialOrder, StoreUnavailable
from tests.support.both_stores import BothStores, PowerCut
from tests.support.clock import FakeClock, FakeTimeLoop
from tests.support.dispatch_judge import INSTANT, Judge
from tests.support.model_dispatch import Rig

# However quiet it is, the engine looks around each quarter of a second: an hour of a story would be thousands of turns.
LOOK_SECONDS = 20.0


class _Store(BothStores):
    """Tells the judge what was committed, and what was moved with the clock."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.judge: Judge

    def apply(self, changes: Any) -> None:
        try:
            super().apply(changes)
        except PowerCut:
            if self.cut == "after":
                self.judge.committed(list(changes))
            raise
        self.judge.committed(list(changes))

    def clock_stepped(self, step_ms: int, before: WallMs | None) -> None:
        super().clock_stepped(step_ms, before)
        self.judge.clock_stepped(step_ms)


class _Calls:
    """The wire as far as the engine orders it; what comes back is the story's."""

    def __init__(self, rig: "EngineRig") -> None:
        self._rig = rig
        self.receive: Callable[[LegEvent], None] = lambda _: None
        self.asked = 0

    def listen(self, receive: Callable[[LegEvent], None]) -> None:
        self.receive = receive

    def dial(self, leg: LegId, order: DialOrder) -> None:
        self._rig.judge.dial(
            Dial(leg, order.trunk, order.number, order.caller_id, order.sip_call_id, order.uri, order.beside)
        )

    def hang_up(self, leg: LegId) -> None:
        self._rig.judge.hung_up(leg, ordered=self._rig.ordered)

    def play(self, leg: LegId, token: int, audio: str) -> None:
        self._rig.judge.legs[leg].playing = token

    def stop_playing(self, leg: LegId) -> None:
        assert self._rig.judge.legs[leg].playing is not None
        self._rig.judge.legs[leg].playing = None

    def bridge(self, leg: LegId, other: LegId) -> None:
        self._rig.judge.agents.bridge(leg, other)

    def ask(self, trunk: str, ended: Callable[[str | None], None]) -> None:
        def answer() -> None:
            self.asked -= 1
            ended(self._rig.options_reason)

        self.asked += 1
        self._rig.loop.call_soon(answer)

    def free_places(self) -> int:
        return 1000


class _Sounds:
    """A `SoundLibrary` that has everything at hand."""

    beep = ringback = "tone.wav"

    def prepare(self, _: object) -> None:
        return None

    def fetch(self, _: object, ready: Callable[[str | None, str], None]) -> None:
        ready("sound.wav", "")


class _Engine(Engine):
    """Tells the judge what the core has decided before it is on disk."""

    judge: Judge
    turns = 0

    @property
    def core(self) -> Dispatch:
        return self._dispatch

    @property
    def waits_for_the_disk(self) -> float | None:
        return self._pending_since if self._pending else None

    @property
    def fault(self) -> bool:
        return self._store_fault is not None

    @property
    def turns_at(self) -> float:
        return self._timer_at or 0.0

    def _turn(self) -> None:
        self.turns += 1
        super()._turn()

    def _gather(self, now: Now) -> None:
        self.judge.told(list(self._dispatch._told.changes))
        super()._gather(now)


class EngineRig(Rig):
    """As `Rig`, with an engine. `close` when done."""

    def __init__(self, folder: Path, trunks: list[Trunk], *, max_concurrent_calls: int, min_recall_gap_ms: int) -> None:
        self.clock = FakeClock()
        self.trunks = self._first_trunks = trunks
        self.limits = Limits(max_concurrent_calls, min_recall_gap_ms)
        self.options_reason: str | None = None
        self.ordered = False
        self.store: _Store = _Store(folder / "dialer.db")
        self.judge = Judge(
            self.store, self.clock, {trunk.name: trunk for trunk in trunks}, max_concurrent_calls, min_recall_gap_ms
        )
        self.judge.pacing = lambda: self.dispatch.pacing
        self.store.judge = self.judge
        self.loop = FakeTimeLoop(self.clock)
        self._faults: list[BaseException] = []
        self.loop.set_exception_handler(lambda _, context: self._faults.append(context["exception"]))
        self._look_seconds, dialer.engine.LOOK_SECONDS = dialer.engine.LOOK_SECONDS, LOOK_SECONDS
        self._boot()

    def close(self) -> None:
        dialer.engine.LOOK_SECONDS = self._look_seconds
        self._engine.stop()
        self.loop.close()
        self.store.close()

    @property
    def dispatch(self) -> Dispatch:  # type: ignore[override]
        return self._engine.core

    @property
    def fault(self) -> bool:  # type: ignore[override]
        return self._engine.fault

    @property
    def _pending(self) -> bool:  # type: ignore[override]
        return self._engine.waits_for_the_disk is not None

    # Orders

    def submit(self, campaign: Campaign) -> None:
        with self._alive():
            self._engine.submitted(campaign.id)

    def pause(self, campaign: CampaignId) -> None:
        with self._alive():
            self._engine.pause(campaign)

    def resume(self, campaign: CampaignId) -> None:
        with self._alive():
            self._engine.resume(campaign)

    def cancel(self, campaign: CampaignId) -> None:
        with self._alive(), self._ordering():
            self._engine.cancel(campaign)

    def cancel_call(self, call: CallId) -> None:
        with self._alive(), self._ordering():
            # The record as the engine will find it, when it has written what is decided.
            self._engine._flush(self.clock.now(), force=True)
            if not self.fault and not self.store.call(call).finished:
                self.judge.cancelled_calls.add(call)
            self._engine.cancel_call(call)

    def reconfigure(
        self,
        trunks: list[Trunk],
        max_concurrent_calls: int,
        min_recall_gap_ms: int,
        *,
        renewed: Collection[str] = (),
        **quotas: int | None,
    ) -> None:
        self.trunks, self.limits = trunks, Limits(max_concurrent_calls, min_recall_gap_ms, **quotas)  # type: ignore[arg-type]
        self.judge.reconfigured(trunks, max_concurrent_calls, min_recall_gap_ms)
        with self._alive():
            self._engine.reconfigure(trunks, self.limits, NOTHING, renewed)

    def release(self, most: int) -> None:
        with self._alive():
            self._engine.release(CallId(0), CallId(1 << 40), most)

    # Time

    def turn(self) -> None:
        self._engine.wake()
        self._run(INSTANT)

    def next_turn(self) -> float | None:
        now = self.clock.now()
        times: list[float | None] = [self.dispatch.next_wake(now, dialing=not self.fault)]
        timer = self.store.next_timer()
        if self.fault:
            times.append(self.clock.mono + STORE_RETRY_SECONDS)
        else:
            times.append(None if timer is None else now.mono_of(timer) - ARM_AHEAD_SECONDS)
            since = self._engine.waits_for_the_disk
            times.append(None if since is None else since + 0.01)
        wanted = min((at for at in times if at is not None), default=None)
        # News may have put the turn off for company.
        return None if wanted is None else max(wanted, self._engine.turns_at)

    def advance(self, seconds: float) -> None:
        turns, told = self._engine.turns, len(self.judge.invites)
        self._run(seconds)
        news = len(self.judge.invites) - told
        assert self._engine.turns - turns < 300 + 40 * news + 20 * seconds, "the engine keeps waking for nothing"
        self._expect_nothing_left_behind()

    def _run(self, seconds: float) -> None:
        over = self.loop.call_later(seconds, self.loop.stop)
        with self._alive():
            self.loop.run_forever()
            # What comes of it at the same instant belongs to it.
            # An engine that has found a fault takes no turn any more.
            rounds = count()
            while not self._faults and (self._calls.asked or self._engine.turns_at <= self.clock.mono):
                assert next(rounds) < 10_000, "the engine is never at rest"
                self.loop.call_later(INSTANT, self.loop.stop)
                self.loop.run_forever()
        over.cancel()

    # The far side

    def news(self, event: LegEvent) -> None:
        self.judge.news(event)
        with self._alive():
            self._calls.receive(event)

    # Faults

    def cut_power(self, when: str) -> None:
        """The process dies "before" the next commit, or "after" it, when it has not heard of it."""
        self.store.cut = when

    def crash(self, step_ms: int = 0) -> None:
        """The process dies; `step_ms`: how far the wall clock is set before the next one starts."""
        self._engine.stop()
        self.judge.crashed(self._wall_as_known())
        self.store.reopen()
        if step_ms:
            self.clock.step_wall(step_ms)
            self.judge.clock_was_set(step_ms)
        self._boot()

    def _wall_as_known(self) -> WallMs:
        """The wall clock, where it was set and the disk did not let anybody follow, as it was before."""
        now, offset = self.clock.now_and_offset_ms()
        noted = self.store.noted_offset_ms(self.clock.boot)
        step = 0 if noted is None else round(offset - noted)
        return WallMs(now.wall - step) if abs(step) > CLOCK_STEP_MS else now.wall

    def restore(self) -> None:
        self._engine.stop()
        self.judge.crashed(self._wall_as_known())
        self.store.hold(self.clock.wall)
        self._boot()

    def drain_and_restart(self) -> None:
        self.store.cut = None
        self.ordered = True
        drained = self.loop.create_task(self._engine.drain(0.0))
        self._run(0.001)
        for leg in list(self.judge.legs.values()):
            assert leg.hung_up, "draining forgot a leg"
            self.happen(leg, "bye" if leg.answered else "final 487")
        self._run(GOODBYE_SECONDS + 1)
        self.ordered = False
        assert drained.done()
        drained.result()
        # What a process before this one left behind counts on, and over the next start too.
        assert self.dispatch.live == len(self.judge.unheard)
        assert {opened.call for opened in self.store.open_attempts()} == set(self.judge.unheard)
        self.crash()

    def run_to_the_end(self, seed: int, patience: int = 4000) -> None:
        self.store.cut = self.store.refuse = None
        # Until the disk has been tried again: what is under way by then is known to all.
        self._run(STORE_RETRY_SECONDS)
        super().run_to_the_end(seed, patience)
        self.store.agree()

    def _boot(self) -> None:
        self._calls = _Calls(self)

        async def begin() -> _Engine:
            return _Engine(
                clock=self.clock,
                store=self.store,
                control=self._calls,  # type: ignore[arg-type]  as much of it as the stories use
                trunks=self.trunks,
                limits=self.limits,
                library=_Sounds(),
            )

        self._engine = self.loop.run_until_complete(begin())
        self._engine.judge = self.judge
        with self._alive():
            self._engine.start()

    @contextmanager
    def _alive(self) -> Iterator[None]:
        """Whatever the engine does meanwhile: the process may die at a commit, and may refuse because of its disk."""
        try:
            yield
        except PowerCut:
            self.store.cut = None
            self.crash()
        except StoreUnavailable:
            pass
        if self._faults:
            raise self._faults[0]
        self.judge.waiting.look_at_trunks()

    @contextmanager
    def _ordering(self) -> Iterator[None]:
        self.ordered = True
        try:
            yield
        finally:
            self.ordered = False
