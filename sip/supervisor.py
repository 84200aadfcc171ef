"""Keeps the pool's worker processes alive: starts them on demand, watches, replaces and recycles them."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from dialer.core.model import LegId
from sip.facts import BuildFacts
from sip.messages import Begin, Command, Failed, Message, Pong, Retire
from sip.plan import PoolPlan
from sip.process import WorkerProcess

log = logging.getLogger(__name__)

TICK_SECONDS: Final = 1.0
PINGS_MISSED: Final = 5  # then a worker counts as stuck
START_TICKS: Final = 15  # for a worker that has not come up yet
STEADY_SECONDS: Final = 10.0  # a worker that lived so long ends the back-off
FIRST_BACK_OFF_SECONDS: Final = 0.25
LONGEST_BACK_OFF_SECONDS: Final = 5.0  # as long as all dialing may wait where one call kills each worker
SPARE_PLACES: Final = 16  # fewer free ones, counting those that are coming, start the next worker
# The stack's memory grows with failed calls: 27 to 87 MB over 3,500 of them on the select() build.
RECYCLE_CALLS: Final = {True: 200_000, False: 3_000}  # by BuildFacts.waits_by_epoll
RECYCLE_RESIDENT_KB: Final = {True: 600_000, False: 150_000}
# A select() build aborts on the 33rd media setup within 500 ms; live legs and the ends of the last 0.6 s together below
# 28 kept it alive.
SELECT_BUILD_SETUPS: Final = 27
SELECT_BUILD_REST_SECONDS: Final = 0.6


class Supervisor:
    """The workers, by slot.

    A worker that ends without being told to is replaced: after 0.25, 0.5, 1 ... 5 s, counted anew once one has lived for
    10 s. One that leaves 5 pings unanswered is killed. One that has carried many calls, or grown, takes no more and
    leaves after its last; another takes its place at once.

    `receive` gets every message but pongs, `lost` each worker that is gone with the reason, and its slot is not used again
    before `lost` is done; `changed` is called after any change of what the workers can carry.
    """

    def __init__(
        self,
        plan: PoolPlan,
        facts: BuildFacts,
        begin: Callable[[int], Begin],
        orders: Callable[[], list[Command]],
        *,
        receive: Callable[[WorkerProcess, Message], None],
        lost: Callable[[WorkerProcess, str], Awaitable[None]],
        changed: Callable[[], None],
    ) -> None:
        self.plan = plan
        self.workers: dict[int, WorkerProcess] = {}
        self.last_fault = ""
        # Workers that were lost, and replaced, since the start.
        self.restarts = 0
        # The loop's time of a worker's last answer.
        self.answered_at = asyncio.get_running_loop().time()
        self._facts = facts
        self._begin, self._orders = begin, orders
        self._receive, self._lost, self._changed = receive, lost, changed
        self._failures = 0
        self._pending: set[asyncio.Task[None]] = set()
        self._burials: set[asyncio.Task[None]] = set()
        self._without_slot = 0
        self._stopping = False
        self._launching = 0  # decided, not in `workers` yet
        self._one_gone = asyncio.Event()
        self._ticking = asyncio.create_task(self._tick())

    # What they can carry

    def places_of(self, worker: WorkerProcess) -> int:
        """How many more legs a worker can take now."""
        return 0 if worker.retiring else self.room_beside(worker)

    def room_beside(self, worker: WorkerProcess) -> int:
        """How many more legs a worker can take beside those that it carries, also when it takes no others any more."""
        if not worker.up or worker.silent:
            return 0
        free = worker.begin.max_legs - len(worker.legs)
        if self._facts.waits_by_epoll:
            return max(0, free)
        horizon = asyncio.get_running_loop().time() - SELECT_BUILD_REST_SECONDS
        while worker.ended_at and worker.ended_at[0] < horizon:
            worker.ended_at.popleft()
        return max(0, min(free, SELECT_BUILD_SETUPS - len(worker.legs) - len(worker.ended_at)))

    def free_places(self) -> int:
        """How many more legs all of them can take now."""
        return sum(self.places_of(worker) for worker in self.workers.values())

    def leg_ended(self, worker: WorkerProcess, leg: LegId) -> None:
        """The leg's place is free; in a select() build only after its sockets have rested, and `changed` says so then."""
        worker.legs.discard(leg)
        if not self._facts.waits_by_epoll:
            loop = asyncio.get_running_loop()
            worker.ended_at.append(loop.time())
            loop.call_later(SELECT_BUILD_REST_SECONDS, self._changed)

    def most_free(self) -> WorkerProcess | None:
        """The worker with the most room, None when there is none."""
        best = max(self.workers.values(), key=self.places_of, default=None)
        return best if best is not None and self.places_of(best) > 0 else None

    def taking(self) -> list[WorkerProcess]:
        """Those that take legs, or will once they are up."""
        return [worker for worker in self.workers.values() if not worker.dead and not worker.retiring]

    def up(self) -> list[WorkerProcess]:
        """Those that answer."""
        return [worker for worker in self.workers.values() if worker.up and not worker.retiring]

    # Starting

    def grow(self) -> None:
        """Start workers, as far as the plan allows, until those up and those coming have room to spare."""
        living = [worker for worker in self.workers.values() if not worker.dead]
        starting = sum(not worker.up for worker in living)
        staying = sum(not worker.retiring for worker in living) + self._launching
        room = self.free_places() + (starting + self._launching) * self.plan.places
        while not self._stopping and staying < self.plan.workers and room < SPARE_PLACES:
            self._launch(0.0)
            staying += 1
            room += self.plan.places

    def follow(self, plan: PoolPlan) -> None:
        """From now on workers begin by this plan. Those that began by another one leave when one by this is up."""
        if plan != self.plan:
            self.plan = plan
            self._launch(0.0)

    def _launch(self, after_seconds: float) -> None:
        self._launching += 1
        task = asyncio.create_task(self._start_worker(after_seconds))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _start_worker(self, after_seconds: float) -> None:
        try:
            await asyncio.sleep(after_seconds)
        finally:
            self._launching -= 1
        slot = next((slot for slot in range(self.plan.slots) if slot not in self.workers), None)
        if self._stopping:
            return
        if slot is None:
            self._without_slot += 1
            return
        worker = WorkerProcess(slot, self._begin(slot), self._received, self._gone)
        self.workers[slot] = worker
        try:
            await worker.start()
        except OSError as fault:
            self._gone(worker, f"cannot be started: {fault}")
            return
        worker.send(worker.begin)
        for order in self._orders():
            worker.send(order)
        worker.ping()  # its answer says that all of the above is done

    # Watching

    def _received(self, worker: WorkerProcess, message: Message) -> None:
        if isinstance(message, Failed):
            self.last_fault = message.reason
            log.error("worker %d: %s", worker.pid, message.reason)
            if not worker.up:
                worker.kill()
        elif isinstance(message, Pong):
            self.answered_at = asyncio.get_running_loop().time()
            if not worker.up:
                worker.up = True
                log.info("worker %d is up in slot %d", worker.pid, worker.slot)
                self._changed()
                self.grow()
        else:
            self._receive(worker, message)

    def _gone(self, worker: WorkerProcess, reason: str) -> None:
        worker.dead = True
        lived = asyncio.get_running_loop().time() - worker.started_at if worker.started_at else 0.0
        expected = worker.retiring and not worker.legs
        if not expected:
            self._failures = 1 if lived > STEADY_SECONDS else self._failures + 1
            self.restarts += 1
            log.error("worker %d: %s, with %d legs", worker.pid, reason, len(worker.legs))
            if worker.up or not self.last_fault:
                self.last_fault = f"a worker ended: {reason}"
        worker.up = False
        self._changed()
        if not self._stopping and not expected:
            back_off = min(LONGEST_BACK_OFF_SECONDS, FIRST_BACK_OFF_SECONDS * 2 ** min(self._failures - 1, 10))
            self._launch(back_off)
        burial = asyncio.create_task(self._bury(worker, reason))
        self._burials.add(burial)
        burial.add_done_callback(self._burials.discard)

    async def _bury(self, worker: WorkerProcess, reason: str) -> None:
        """Let the pool end what the worker left behind; its slot, and with it a fixed SIP port, is free then."""
        try:
            await self._lost(worker, reason)
        finally:
            self.workers.pop(worker.slot, None)
            self._one_gone.set()
            self._changed()
            if self._without_slot and not self._stopping:
                self._without_slot -= 1
                self._launch(0.0)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for worker in [worker for worker in self.workers.values() if not worker.dead]:
                if worker.ping() >= (PINGS_MISSED if worker.up else START_TICKS):
                    log.error("worker %d does not answer: it is killed", worker.pid)
                    worker.kill()
                elif worker.up and asyncio.get_running_loop().time() - worker.started_at > STEADY_SECONDS:
                    self._failures = 0
                    self.last_fault = ""
            self._recycle()
            self.grow()

    def _recycle(self) -> None:
        """Retire a worker that has done its share or began by another plan: one at a time, while another can take its place."""
        if any(worker.retiring for worker in self.workers.values()):
            return
        up = self.up()
        old = [worker for worker in up if worker.begin != self._begin(worker.slot)]
        if old and len(old) < len(up):
            log.info("worker %d retires: it began by other settings", old[0].pid)
            self.retire(old[0])
            return
        for worker in up:
            pong, kind = worker.last_pong, self._facts.waits_by_epoll
            if pong and (pong.dialed >= RECYCLE_CALLS[kind] or pong.resident_kb >= RECYCLE_RESIDENT_KB[kind]):
                log.info("worker %d retires: %d calls, %d MB", worker.pid, pong.dialed, pong.resident_kb // 1024)
                self.retire(worker)
                return

    def retire(self, worker: WorkerProcess, *, hang_up: bool = False) -> None:
        """Give a worker no more legs; it leaves after the last one, or ends them all now."""
        worker.retiring = True
        worker.send(Retire(hang_up))
        self._changed()
        self.grow()

    # Stopping

    async def stop(self, drain_seconds: float, farewell_seconds: float) -> None:
        """Let live legs end for so long, then end them, then give their peers time to confirm."""
        self._stopping = True
        self._ticking.cancel()
        for task in list(self._pending):
            task.cancel()
        for seconds, hang_up in ((drain_seconds, False), (farewell_seconds, True)):
            for worker in list(self.workers.values()):
                self.retire(worker, hang_up=hang_up)
            await self._all_gone(seconds)
        for worker in list(self.workers.values()):
            log.error("worker %d did not leave: it is killed", worker.pid)
            worker.kill()
        await self._all_gone(TICK_SECONDS * PINGS_MISSED)

    async def _all_gone(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self.workers and loop.time() < deadline:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._one_gone.wait()
            self._one_gone.clear()
