"""The engine's loop against a store in memory, calls that follow a script, and a clock that moves only where it waits."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from dialer.core.changes import AttemptArmed, AttemptRetried
from dialer.core.dispatch import Limits
from dialer.core.model import CallId, CampaignId, CampaignStatus, Disposition, LegId, Trunk, WallMs
from dialer.core.playbook import Playbook
from dialer.engine import Engine
from dialer.ports import DialOrder
from tests.support.clock import FakeClock, run_in_fake_time
from tests.support.fake_calls import RINGS, FakeCallControl
from tests.support.fake_store import FakeStore

PBX = Trunk("pbx", 20, 50)
BUSY = ("486",)
RING = Playbook(name="Ring", trunks=["pbx"], ring_timeout_seconds=1)
TALK = Playbook.model_validate(
    {"name": "Talk", "trunks": ["pbx"], "steps": [{"do": "play", "audio": "hello.wav"}, {"do": "wait", "seconds": 60}]}
)


class WatchedCalls(FakeCallControl):
    """Knows when each INVITE left, and that its attempt was on disk by then.

    `deaf`: no hang-up is ever confirmed. `stamped_ms`: how far the clock of its reports is ahead of the one that was set.
    """

    def __init__(self, clock: FakeClock, store: FakeStore) -> None:
        super().__init__(places=100, trunks=("pbx",), audio={"hello.wav": 2.0})
        self._clock = clock
        self._store = store
        self.deaf = False
        self.stamped_ms = 0
        self.mono: list[float] = []
        self.wall: list[WallMs] = []

    def dial(self, leg: LegId, order: DialOrder) -> None:
        stored = {
            change.sip_call_id
            for batch in self._store.commits
            for change in batch
            if isinstance(change, AttemptArmed | AttemptRetried)
        }
        assert order.sip_call_id in stored, "an INVITE left before its attempt was on disk"
        self.mono.append(self._clock.mono)
        self.wall.append(self._clock.wall)
        super().dial(leg, order)

    def hang_up(self, leg: LegId) -> None:
        if not self.deaf:
            super().hang_up(leg)

    def _now(self) -> WallMs:
        return WallMs(self._clock.wall + self.stamped_ms)

    def have_places(self, places: int) -> None:
        self._places = places


class CountingEngine(Engine):
    turns = 0

    def _turn(self) -> None:
        self.turns += 1
        super()._turn()


class Bench:
    """A machine to try the engine on. Every number rings until the ring timeout, unless `ends` says otherwise."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.store = FakeStore()
        self.calls = WatchedCalls(clock, self.store)
        self.start()

    def die(self) -> None:
        """The process ends; the store is as the next one will find it."""
        self.engine.stop()
        self.store.reopen()
        self.calls.legs.clear()

    def start(self) -> None:
        self.engine = CountingEngine(
            clock=self.clock, store=self.store, control=self.calls, trunks=[PBX], limits=Limits(20, 100)
        )
        self.engine.start()

    def submit(self, size: int = 1, ends: tuple[str, ...] = (), **more: Any) -> CampaignId:
        first = len(self.store.calls) + 1
        ends += (RINGS,) * (size - len(ends))
        more.setdefault("launch_at", self.clock.wall)
        more.setdefault("playbook", RING)
        campaign = self.store.add_campaign(
            size=size, phones=[f"+349{first + i:05}{end}" for i, end in enumerate(ends)], **more
        )
        self.engine.submitted(campaign.id)
        return campaign.id

    @property
    def dialed(self) -> list[int]:
        """The calls that were dialed, in order."""
        return [int(order.number[4:9]) for order in self.calls.dialed]

    def status(self, campaign: CampaignId) -> CampaignStatus:
        return self.store.campaigns[campaign].status

    def outcome(self, call: int = 1) -> Disposition | None:
        return self.store.calls[CallId(call)].finished

    async def until(self, holds: Callable[[], bool], seconds: float = 60) -> None:
        """Wait for a state, with a deadline."""
        deadline = self.clock.mono + seconds
        while not holds():
            assert self.clock.mono < deadline, "it never came to that"
            await asyncio.sleep(0.001)


def engine_story(story: Callable[[Bench], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run an async test on a started bench, in fake time. Reading the clock costs 20 us, so that no turn is free."""

    def test() -> None:
        # The far side's fake tells time by the event loop: here both clocks show the same.
        clock = FakeClock(wall=WallMs(5_000_000), mono=5_000.0, cost=20e-6)

        async def main() -> None:
            bench = Bench(clock)
            await story(bench)
            bench.engine.stop()

        run_in_fake_time(clock, main())

    return test
