"""The SIP floor as the engine sees it: `CallControl` over supervised worker processes."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from dialer.core.events import (
    Answered,
    InviteSent,
    LegEnded,
    LegEvent,
    LegLost,
    LegRefused,
    PlayEnded,
    Rang,
    RecordEnded,
    Referred,
    StreamEnd,
    StreamEnded,
    StreamOpened,
)
from dialer.core.model import LegId, WallMs
from dialer.log_lines import LogStyle
from dialer.ports import DialOrder, StreamOrder, WireMessage
from sip.dns import system_nameservers
from sip.facts import BuildFacts, StackUnusable
from sip.facts import probe as probe_build
from sip.messages import (
    Begin,
    Bridge,
    Command,
    Dial,
    DropTrunk,
    HangUp,
    JoinStream,
    Listen,
    Message,
    NotJoined,
    PartStream,
    Play,
    Record,
    Refer,
    RegistrationChanged,
    SetTrunk,
    Speak,
    StopListening,
    StopPlaying,
    StopRecording,
    Trace,
    TrunkFailed,
    Unconfirmed,
)
from sip.options import NoAnswer, probe
from sip.orphans import end_orphans
from sip.plan import plan_pool
from sip.process import WorkerProcess
from sip.stream.host import StreamHost
from sip.stream.messages import OpenStream, Setup
from sip.supervisor import Supervisor
from sip.taps import Taps
from sip.trunk import TrunkProfile
from sip.trunk_table import TrunkTable

log = logging.getLogger(__name__)

START_SECONDS: Final = 15.0
RESOLVE_SECONDS: Final = 60.0
FAREWELL_SECONDS: Final = 40.0  # 64*T1 for a dead peer, the worker's own linger, and a little


@dataclass(frozen=True, slots=True)
class PoolState:
    """For readiness and metrics. `problems` is empty when new calls can be carried on every trunk.

    `registered` holds the trunks that are to register, and whether the registrar has accepted. `trunk_faults` are those of
    the problems that concern one trunk, by its name. `traces` is how many look at SIP messages.
    """

    workers_up: int
    workers_planned: int
    restarts: int
    free_places: int
    registered: dict[str, bool]
    trunk_faults: dict[str, str]
    problems: tuple[str, ...]
    traces: int = 0


class WorkerPool:
    """Implements `dialer.ports.CallControl`.

    `port` None and `rtp_ports` None choose free ones; with `port`, the worker in slot i listens on `port + i`. `workers`
    None derives the number from `max_concurrent_calls` and the build. `facts` None asks the build at the start. Streams may go
    to private addresses with `private_streams`, and are signed with `stream_secret`, "": not at all. Raises UnfitForSip for a
    trunk whose URI cannot be used.
    """

    def __init__(
        self,
        trunks: Sequence[TrunkProfile],
        *,
        max_concurrent_calls: int,
        media_directory: Path,
        bind_host: str = "0.0.0.0",  # noqa: S104 - PBXs are elsewhere
        port: int | None = None,
        rtp_ports: tuple[int, int] | None = None,
        workers: int | None = None,
        facts: BuildFacts | None = None,
        signalling_dscp: int = 24,
        media_dscp: int = 46,
        log: LogStyle = LogStyle(),  # noqa: B008 - frozen
        private_streams: bool = False,
        stream_secret: str = "",
    ) -> None:
        self._trunks = TrunkTable(trunks, bind_host)
        self._max_calls = max_concurrent_calls
        self._media_directory = media_directory
        self._bind_host = bind_host
        self._port = port
        self._rtp_ports = rtp_ports
        self._wanted_workers = workers
        self.facts = facts
        self._dscp = signalling_dscp, media_dscp
        self._log = log
        self._stream_setup = Setup(private_streams, stream_secret, log)
        self._streams = StreamHost(self._stream_setup, self._stream_told)
        self._supervisor: Supervisor | None = None
        self._registrar: WorkerProcess | None = None
        self._carriers: dict[LegId, WorkerProcess] = {}
        self._dialogs: dict[LegId, str] = {}
        self._untraced: dict[LegId, str] = {}
        self._hung_up: set[LegId] = set()
        self._unconfirmed: set[LegId] = set()
        self._receive: Callable[[LegEvent], None] = lambda _: None
        self._state_changed: Callable[[], None] = lambda: None
        self._first_news = asyncio.Event()
        self._resolving: asyncio.Task[None] | None = None
        self._asking: set[asyncio.Task[None]] = set()
        self._calling_off: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.taps = Taps(self._capture)

    # Life

    async def start(self) -> None:
        """Find out what the build can carry, resolve the trunks, start the first worker.

        Returns when it can dial. Raises StackUnusable with the reason, or PlanImpossible.
        """
        if self.facts is None:
            self.facts = await probe_build()
        _require_tls(self._trunks.profiles.values(), self.facts)
        plan = plan_pool(self.facts, self._max_calls, workers=self._wanted_workers, rtp=self._rtp_ports)
        await self._trunks.resolve()
        self._supervisor = Supervisor(
            plan,
            self.facts,
            self._begin,
            self._orders,
            receive=self._report_came,
            lost=self._worker_lost,
            changed=self._changed,
        )
        self._supervisor.grow()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                await self._first_news.wait()
        if not self._supervisor.up():
            fault = self._supervisor.last_fault or f"no worker is up after {START_SECONDS:g} s"
            await self._supervisor.stop(0, 0)
            raise StackUnusable(fault)
        self._resolving = asyncio.create_task(self._keep_resolving())

    async def stop(self, drain_seconds: float) -> None:
        """Take no more legs, let those that live end for so long, then end them and wait for the proof (at most 40 s).

        A second call shortens the first one's drain to its own. When it returns every leg has had its last event.
        """
        self._stopping = True
        for task in filter(None, (self._resolving, *self._asking)):
            task.cancel()
        if self._supervisor is not None:
            await self._supervisor.stop(drain_seconds, FAREWELL_SECONDS)
        await asyncio.gather(*self._calling_off)
        await self._streams.stop()
        for leg in list(self._untraced):
            self._give_up(leg)

    def speak(self, log: LogStyle) -> None:
        """All workers and stream processes tell the log so, from now on."""
        self._log = log
        for worker in self._running.workers.values():
            worker.begin = replace(worker.begin, log=log)
            worker.send(Speak(log))
        self._stream_by(replace(self._stream_setup, log=log))

    def follow_streams(self, *, private_streams: bool, stream_secret: str) -> None:
        """Streams that begin from now on go by this."""
        self._stream_by(replace(self._stream_setup, allow_private=private_streams, secret=stream_secret))

    def _stream_by(self, setup: Setup) -> None:
        self._stream_setup = setup
        self._streams.follow(setup)

    async def prepare(self, trunks: Sequence[TrunkProfile], max_concurrent_calls: int) -> Callable[[], None]:
        """Look at other trunks and another limit. Nothing has changed before what is returned is called: it puts them in place.

        Legs go on as they were begun, on a trunk that is gone too. Where more calls are allowed than the workers were made
        for, others take their place one by one, and those leave after their last legs. Raises as `start` does.
        """
        if self.facts is None:
            raise RuntimeError("the pool was not started")
        _require_tls(trunks, self.facts)
        supervisor = self._running
        plan = supervisor.plan
        if max_concurrent_calls > self._max_calls:
            plan = plan_pool(
                self.facts, max_concurrent_calls, workers=self._wanted_workers, rtp=self._rtp_ports, beside=plan
            )
        looked = await self._trunks.look(trunks)

        def put_in_place() -> None:
            self._max_calls = max(self._max_calls, max_concurrent_calls)
            changed, gone = self._trunks.put(trunks, looked)
            for worker in supervisor.taking():
                for name in sorted(gone):
                    worker.send(DropTrunk(name))
            self._set_up(changed)
            self._choose_registrar()
            supervisor.follow(plan)
            self._state_changed()

        return put_in_place

    def _begin(self, slot: int) -> Begin:
        plan = self._running.plan
        return Begin(
            sip_port=self._port + slot if self._port else 0,
            rtp_port=plan.rtp_port(slot),
            rtp_ports=plan.rtp_ports,
            max_legs=plan.places,
            media_directory=str(self._media_directory),
            signalling_dscp=self._dscp[0],
            media_dscp=self._dscp[1],
            log=self._log,
            nameservers=system_nameservers(),
        )

    @property
    def _running(self) -> Supervisor:
        if self._supervisor is None:
            raise RuntimeError("the pool was not started")
        return self._supervisor

    # Trunks

    async def _keep_resolving(self) -> None:
        """A trunk's name may move; a numeric one is asked again too, because our own address may."""
        while True:
            await asyncio.sleep(RESOLVE_SECONDS)
            moved = await self._trunks.resolve()
            self._set_up(moved | (self._trunks.failed.keys() & self._trunks.ways.keys()))
            self._state_changed()

    def _set_up(self, names: Iterable[str]) -> None:
        """Tell every worker that takes calls; those that begin are told of all trunks."""
        for name in names:
            self._trunks.failed.pop(name, None)  # where it fails again, that is told again
        for worker in self._running.taking():
            for order in self._orders_for(worker, names):
                worker.send(order)

    def _orders(self) -> list[Command]:
        wanted = self.taps.wanted
        return [*self._orders_for(None, self._trunks.ways), *([Trace(wanted)] if wanted else [])]

    def _capture(self, call_ids: list[str]) -> None:
        for worker in self._running.workers.values():
            worker.send(Trace(call_ids))

    def _orders_for(self, worker: WorkerProcess | None, names: Iterable[str]) -> list[SetTrunk]:
        registers = worker is not None and worker is self._registrar
        return [self._trunks.order(name, registers=registers) for name in names]

    def _choose_registrar(self) -> None:
        """One worker keeps all registrations: two would fight over the binding."""
        registered = self._trunks.registered
        if self._stopping or not registered or self._supervisor is None or self._registrar in self._supervisor.up():
            return
        self._registrar = next(iter(self._supervisor.up()), None)
        if self._registrar is not None:
            for order in self._orders_for(self._registrar, registered.keys() & self._trunks.ways.keys()):
                self._registrar.send(order)

    # CallControl

    def listen(self, receive: Callable[[LegEvent], None]) -> None:
        """See CallControl."""
        self._receive = receive

    def dial(self, leg: LegId, order: DialOrder) -> None:
        """See CallControl. A leg that no worker can take is refused on the loop's next turn."""
        if (reason := self._trunks.why_not(order.trunk)) is not None:
            self._refuse(leg, reason, transient=False)
            return
        worker = self._running.most_free() if order.beside is None else self._worker_beside(order.beside)
        if worker is None:
            beside = (
                "no worker has a free place" if order.beside is None else "the worker of the call has no free place"
            )
            self._refuse(leg, beside, transient=True)
        else:
            worker.legs.add(leg)
            self._carriers[leg] = worker
            where = order.trunk, order.number, order.caller_id, order.sip_call_id
            worker.send(Dial(leg, *where, time.monotonic(), order.uri, order.beside))
        self._running.grow()

    def _worker_beside(self, leg: LegId) -> WorkerProcess | None:
        """The worker that carries the leg, if it has room for another."""
        worker = self._carriers.get(leg)
        return worker if worker is not None and self._running.room_beside(worker) > 0 else None

    def _refuse(self, leg: LegId, reason: str, *, transient: bool) -> None:
        refused = LegRefused(leg, _wall_ms(), reason, transient)
        asyncio.get_running_loop().call_soon(lambda: self._receive(refused))

    def hang_up(self, leg: LegId) -> None:
        """See CallControl."""
        worker = self._carriers.get(leg)
        if worker is not None:
            self._hung_up.add(leg)
            worker.send(HangUp(leg))
        elif leg in self._untraced:
            asyncio.get_running_loop().call_soon(self._give_up, leg)

    def play(self, leg: LegId, token: int, audio: str) -> None:
        """See CallControl."""
        if not self._send(leg, Play(leg, token, audio)):
            over = PlayEnded(leg, token, complete=False, reason="the call is over", leg_over=True)
            asyncio.get_running_loop().call_soon(lambda: self._receive(over))

    def stop_playing(self, leg: LegId) -> None:
        """See CallControl."""
        self._send(leg, StopPlaying(leg))

    def record(self, leg: LegId, token: int, name: str, max_seconds: float) -> None:
        """See CallControl."""
        if not self._send(leg, Record(leg, token, name, max_seconds)):
            over = RecordEnded(leg, token, 0.0, "the call is over", leg_over=True)
            asyncio.get_running_loop().call_soon(lambda: self._receive(over))

    def stop_recording(self, leg: LegId) -> None:
        """See CallControl."""
        self._send(leg, StopRecording(leg))

    def listen_to(self, leg: LegId) -> None:
        """See CallControl."""
        self._send(leg, Listen(leg))

    def stop_listening(self, leg: LegId) -> None:
        """See CallControl."""
        self._send(leg, StopListening(leg))

    def stream(self, leg: LegId, token: int, order: StreamOrder) -> None:
        """See CallControl."""
        worker = self._carriers.get(leg)
        if worker is None:
            over = StreamEnded(leg, token, StreamEnd.STOPPED, leg_over=True)
            asyncio.get_running_loop().call_soon(lambda: self._receive(over))
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        worker.send(JoinStream(leg, order.sample_rate), ours)
        self._streams.open(OpenStream(leg, token, order.url, order.sample_rate, order.start), theirs)

    def press_stream_key(self, leg: LegId, digit: str) -> None:
        """See CallControl."""
        self._streams.press(leg, digit)

    def stop_stream(self, leg: LegId, reason: str) -> None:
        """See CallControl."""
        self._streams.close(leg, reason)

    def _stream_told(self, event: StreamOpened | StreamEnded) -> None:
        if isinstance(event, StreamEnded):
            self._send(event.leg, PartStream(event.leg))
        self._receive(event)

    def bridge(self, leg: LegId, other: LegId) -> None:
        """See CallControl."""
        self._send(leg, Bridge(leg, other))

    def refer(self, leg: LegId, token: int, number: str, uri: str) -> None:
        """See CallControl."""
        if not self._send(leg, Refer(leg, token, number, uri)):
            over = Referred(leg, _wall_ms(), token, 0, "the call is over", final=True, refused=True)
            asyncio.get_running_loop().call_soon(lambda: self._receive(over))

    def _send(self, leg: LegId, order: Command) -> bool:
        """Give the order to the worker that carries the leg. Whether there is one."""
        worker = self._carriers.get(leg)
        if worker is not None:
            worker.send(order)
        return worker is not None

    def ask(self, trunk: str, ended: Callable[[str | None], None]) -> None:
        """See CallControl. The request leaves from this process: a worker that is stuck must not make a trunk look dead.

        Of a host with several addresses another one is used from now on where only that answers.
        """

        profile = self._trunks.profiles[trunk]

        async def ask() -> None:
            ended(await self._why_not(profile))

        task = asyncio.create_task(ask())
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _why_not(self, trunk: TrunkProfile) -> str | None:
        """None when the trunk answers OPTIONS, else why it cannot be used."""
        try:
            seen = await probe(trunk, self._bind_host, order=partial(self._trunks.preferred, trunk.name))
        except NoAnswer as fault:
            return str(fault)
        if seen.unusable:
            return seen.unusable
        if self._trunks.take(trunk.name, seen.way):
            self._set_up([trunk.name])
        return None

    def free_places(self) -> int:
        """See CallControl."""
        return self._supervisor.free_places() if self._supervisor else 0

    # What workers say

    def _report_came(self, worker: WorkerProcess, message: Message) -> None:
        match message:
            case RegistrationChanged(trunk) if trunk not in self._trunks.registered:
                pass  # it was to register no more: this is our good-bye
            case RegistrationChanged(trunk, registered, sip_status, reason):
                if self._trunks.registered[trunk] != registered:
                    log.log(
                        logging.INFO if registered or self._stopping else logging.WARNING,
                        "trunk %s: %s (%d %s)",
                        *(trunk, "registered" if registered else "not registered", sip_status, reason),
                    )
                self._trunks.registered[trunk] = registered
                self._state_changed()
            case TrunkFailed(trunk, reason):
                log.error("worker %d: trunk %s: %s", worker.pid, trunk, reason)
                self._trunks.failed[trunk] = reason
                self._state_changed()
            case LegEnded(leg) | LegRefused(leg):
                self._streams.leg_over(leg)
                self._carriers.pop(leg, None)
                dialog = self._dialogs.pop(leg, "")
                self._hung_up.discard(leg)
                self._running.leg_ended(worker, leg)
                if leg in self._unconfirmed and isinstance(message, LegEnded):
                    self._unconfirmed.discard(leg)
                    self._call_off(message, dialog)
                else:
                    self._receive(message)
            case Unconfirmed(leg):
                self._unconfirmed.add(leg)
            case NotJoined(leg, reason):
                self._streams.not_joined(leg, reason)
            case WireMessage():
                self.taps.came(message)
            case InviteSent(leg) | Rang(leg) | Answered(leg):
                self._dialogs[leg] = message.dialog
                self._receive(message)
            case _:
                self._receive(message)  # type: ignore[arg-type]  # a worker sends no commands

    async def _worker_lost(self, worker: WorkerProcess, reason: str) -> None:
        """End the worker's dialogs in its place, then tell that its legs are gone: their channels are free from then on.

        Whether the INVITE of a leg without a dialog has left is not known. That leg counts until it is hung up, which is
        after the ring timeout: so long the callee's phone may ring, and nothing can be done about it.
        """
        if worker is self._registrar:
            self._registrar = None
        why = f"its worker ended: {reason}"
        for leg in worker.legs:
            self._streams.leg_over(leg)
            self._carriers.pop(leg, None)
        self._untraced |= {leg: why for leg in worker.legs if leg not in self._dialogs}
        self._unconfirmed -= worker.legs
        hung_up = self._hung_up & worker.legs
        self._hung_up -= hung_up
        for leg in hung_up & self._untraced.keys():
            self._give_up(leg)
        traced = {leg: self._dialogs.pop(leg) for leg in worker.legs if leg in self._dialogs}
        worker.legs.clear()
        try:
            await end_orphans(traced.values(), self._trunks.profiles.values())
        finally:
            for leg in traced:
                self._receive(LegLost(leg, _wall_ms(), why))

    def _call_off(self, ended: LegEnded, dialog: str) -> None:
        """Tell of the end once the dialog is over for the far side too, as `_worker_lost` does."""

        async def call_off() -> None:
            try:
                await end_orphans([dialog], self._trunks.profiles.values())
            finally:
                self._receive(ended)

        task = asyncio.create_task(call_off())
        self._calling_off.add(task)
        task.add_done_callback(self._calling_off.discard)

    def _give_up(self, leg: LegId) -> None:
        why = self._untraced.pop(leg, None)
        if why is not None:
            self._receive(LegLost(leg, _wall_ms(), why))

    # State

    @property
    def answered_at(self) -> float:
        """When a worker last answered a ping, by the loop's clock."""
        return self._running.answered_at

    def on_state(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever `state` may have a new answer."""
        self._state_changed = changed

    def _changed(self) -> None:
        if self._supervisor is not None and (self._supervisor.up() or self._supervisor.last_fault):
            self._first_news.set()
        self._choose_registrar()
        self._state_changed()

    def state(self) -> PoolState:
        """How the floor stands now."""
        supervisor = self._supervisor
        up = len(supervisor.up()) if supervisor else 0
        faults = self._trunks.faults()
        problems = list(faults.values())
        if not up:
            problems.append("no SIP worker is up" + (f": {supervisor.last_fault}" if supervisor else ""))
        return PoolState(
            workers_up=up,
            workers_planned=supervisor.plan.workers if supervisor else 0,
            restarts=supervisor.restarts if supervisor else 0,
            free_places=self.free_places(),
            registered=dict(self._trunks.registered),
            trunk_faults=faults,
            problems=tuple(problems),
            traces=len(self.taps),
        )


def _require_tls(trunks: Iterable[TrunkProfile], facts: BuildFacts) -> None:
    old_tls = [trunk.name for trunk in trunks if trunk.hop.transport == "tls"]
    if old_tls and not facts.tls_1_3:
        raise StackUnusable(f"trunk {old_tls[0]} wants TLS, and this pjsua2 build has none that is safe to use")


def _wall_ms() -> WallMs:
    return WallMs(time.time_ns() // 1_000_000)
