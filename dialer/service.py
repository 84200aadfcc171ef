"""The composition root: builds the parts, starts them in order, stops them in the reverse order.

    lock ─▶ database ─▶ loaders ─▶ SIP workers ─▶ engine ─▶ HTTP     stop: HTTP, engine drains, workers, loaders, database

A signal drains: SIGTERM or SIGINT once stops dialing and lets answered calls end for `pacing.drain_seconds`; a second one
hangs up at once. SIGHUP reloads the configuration (`dialer.reload`).
"""

import asyncio
import importlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from api.app import create_app
from api.auth import Admission
from api.backend import Backend, Record
from api.metrics import Snapshot, make_registry
from api.rate_limit import RateLimit
from api.server import HttpServer, serve_http
from api.webhook_asker import WebhookAsker
from config.settings import Settings
from dialer.call_log import CallLog
from dialer.collector import spare_what_stays
from dialer.condition import not_ready, snapshot, standing, trunk_records
from dialer.control import EngineControl
from dialer.core.changes import Change
from dialer.core.intake import IntakeRules
from dialer.core.model import CampaignId
from dialer.core.phone import normalize
from dialer.core.playbook import Machine
from dialer.engine import STORE_RETRY_SECONDS, Engine
from dialer.event_loop import new_event_loop
from dialer.log_lines import LogStyle
from dialer.logs import configure
from dialer.machine import (
    asker_options,
    destination_rules,
    engine_limits,
    intake_rules,
    library_options,
    log_style,
    machine_of,
    phone_rules,
    pool_options,
    stream_options,
    trunk_profiles,
    trunks_of,
)
from dialer.outlets import Outlets
from dialer.ports import StoreUnavailable
from dialer.pulse import Pulse
from dialer.reload import CannotFollow, Reloader
from dialer.systemd import ServiceManager
from dialer.watching import Watching
from scheduler.accounts import Accounts
from scheduler.checkpoint import Checkpointer
from scheduler.clock import SystemClock
from scheduler.contacts import Contacts
from scheduler.database import Database
from scheduler.do_not_call import DoNotCall
from scheduler.handles import Handles
from scheduler.loading import Loader
from scheduler.migrations import migrate
from scheduler.playbooks import Playbooks
from scheduler.server_lock import Reloads, ServedAlready, ServerLock
from scheduler.store import SqliteStore
from scheduler.timed_backups import TimedBackups
from scheduler.views import Views
from sip.facts import StackUnusable
from sip.library import RECORDINGS, Library
from sip.orphans import end_orphans
from sip.plan import PlanImpossible
from sip.pool import WorkerPool
from sip.trunk import UnfitForSip

log = structlog.get_logger(__name__)

# From the end of the drain to that of the process: the peers' answers to our good-byes, and requests that are being stored.
FAREWELL_SECONDS = 60.0
OUR_PACKAGES = ("dialer", "sip", "api", "scheduler", "config")


class CannotStart(Exception):
    """The service cannot run here; the text says why in one line."""


def run(settings: Settings, read: Callable[[], Settings]) -> int:
    """Serve until a signal ends it; the exit status. `read` gives the settings of a reload."""
    configure(log_style(settings))
    require_own_packages()
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(Service(settings, read).run())
    except (ServedAlready, StackUnusable, UnfitForSip, PlanImpossible, StoreUnavailable, OSError) as fault:
        raise CannotStart(str(fault)) from fault
    except CannotStart:
        raise
    except Exception:
        # Into the log, where it is masked like everything else.
        log.exception("the server failed: this is a defect")
        return 1


def require_own_packages() -> None:
    """Refuse to run where another distribution ships one of our flat package names. Raises `CannotStart`."""
    home = Path(__file__).resolve().parent.parent
    for name in OUR_PACKAGES:
        found = importlib.import_module(name).__file__
        if found is None or Path(found).resolve().parent.parent != home:
            raise CannotStart(
                f"another package named {name!r} hides ours: {found}; install dialer in a venv of its own"
            )


class Service:
    """One running server. `url` is where its API is, once `up` is set."""

    def __init__(self, settings: Settings, read: Callable[[], Settings]) -> None:
        self._settings = settings
        self._reloader = Reloader(settings, read, self._follow, self._tell_reloads)
        self._lock: ServerLock | None = None
        self._manager = ServiceManager()
        self.up = asyncio.Event()
        self._stopping = asyncio.Event()
        self._engine: Engine | None = None
        self._pool: WorkerPool
        self._store: SqliteStore
        self._loader: Loader
        self._outlets: Outlets
        self._library: Library
        self._asker: WebhookAsker
        self._admission: Admission
        self._watching: Watching | None = None
        self._call_log: CallLog
        self._backups: TimedBackups | None = None
        self.url = ""

    async def run(self) -> int:
        """Start everything, serve until told to stop, drain; 0."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        # Before the lock is taken: who reads the process id there may send it.
        loop.add_signal_handler(signal.SIGHUP, self._reloader.ask)
        async with AsyncExitStack() as parts:
            http = await self._start(parts)
            self.url = http.url
            log.info(
                "serving", url=http.url, trunks=sorted(self._settings.trunks), pid=multiprocessing.current_process().pid
            )
            self.up.set()
            self._manager.ready(self._standing())
            pulse = asyncio.create_task(self._pulse(), name="pulse")
            parts.callback(pulse.cancel)
            reloading = asyncio.create_task(self._reloader.run(), name="reloads")
            parts.callback(reloading.cancel)
            ended = asyncio.create_task(http.wait_closed())
            told = asyncio.create_task(self._stopping.wait())
            engine = self._running()
            ends: list[asyncio.Future[Any]] = [ended, told, engine.failed]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            told.cancel()
            log.info("stopping", drain_seconds=self._settings.pacing.drain_seconds)
            self._manager.stopping(self._settings.pacing.drain_seconds + FAREWELL_SECONDS)
            self._outlets.hang_up()
            if self._watching is not None:
                self._watching.hang_up()
            if engine.failed.done():
                # Nothing is drained: the workers hang up, and the next process decides from the disk.
                await http.stop()
                await engine.failed
            # Side by side: a client that is slow to finish its request keeps no call going out.
            await asyncio.gather(http.stop(), engine.drain(self._settings.pacing.drain_seconds))
            pulse.cancel()
            await ended
        log.info("stopped")
        return 0

    def stop(self) -> None:
        """Once: drain. Again: hang up what is still answered."""
        if self._stopping.is_set() and self._engine is not None:
            self._engine.hurry()
        self._stopping.set()

    def _running(self) -> Engine:
        if self._engine is None:
            raise RuntimeError("the engine was not started")
        return self._engine

    async def _start(self, parts: AsyncExitStack) -> HttpServer:
        settings, clock = self._settings, SystemClock()
        path = settings.database.path
        if not path.parent.is_dir():
            raise CannotStart(f"database.path: there is no folder {path.parent}")
        self._lock = ServerLock(path)
        parts.callback(self._lock.release)
        for name in migrate(path):
            log.info("database migrated", migration=name)
        database = Database(path)
        parts.callback(database.close)
        lock_wanted = multiprocessing.get_context("spawn").RawValue("b", 0)
        self._outlets = Outlets(settings, database, clock, lock_wanted)
        await self._outlets.open()
        self._store = SqliteStore(path, lock_wanted=lock_wanted, on_events=self._outlets.feed.ring)
        parts.callback(self._store.close)
        checkpointer = Checkpointer(path)
        checkpointer.start()
        parts.callback(checkpointer.stop)

        rules, machine, style = _in_force(settings)
        self._loader = Loader(path, rules, machine, on_activated=self._activated, lock_wanted=lock_wanted, log=style)
        parts.push_async_callback(self._loader.stop)
        # Side by side: each waits for processes of its own to come up.
        prepared = asyncio.to_thread(destination_rules(settings).prepare)
        starting = (self._loader.start(), self._start_pool(parts), prepared)
        for fault in await asyncio.gather(*starting, return_exceptions=True):
            if fault is not None:
                raise fault
        library = self._library = self._new_library()
        library.start()
        parts.push_async_callback(library.close)
        self._watching = Watching(settings.page, database, clock) if settings.page.enabled else None
        asker = self._asker = WebhookAsker(**asker_options(settings))
        parts.push_async_callback(asker.close)
        handles = Handles(database)
        self._call_log = CallLog(handles.call_uuid, handles.campaign_uuid)
        engine = self._engine = Engine(
            library=library,
            programs=asker,
            machine=machine,
            on_stored=self._stored,
            clock=clock,
            store=self._store,
            control=self._pool,
            trunks=trunks_of(settings),
            limits=engine_limits(settings),
        )
        engine.start()
        self._pool.on_state(engine.wake)
        parts.callback(engine.stop)

        control = EngineControl(engine, handles)
        self._outlets.start(control)
        parts.push_async_callback(self._outlets.stop)
        if self._watching is not None:
            self._watching.start()
            parts.push_async_callback(self._watching.stop)
        self._start_backups()
        parts.push_async_callback(self._stop_backups)
        self._admission = Admission(Accounts(database, clock), _rate_limit(settings))
        backend = Backend(
            accounts=self._admission,
            views=Views(database, clock),
            intake=self._loader,
            control=control,
            playbooks=Playbooks(database, clock),
            contacts=Contacts(database, clock, settings.media.directory / RECORDINGS, on_erased=checkpointer.wipe),
            do_not_call=DoNotCall(database, clock),
            ready=self._ready,
            trunks=self._trunks,
            machine=lambda: machine_of(self._settings),
            read_phone=lambda written: normalize(written, phone_rules(self._settings)),
            registry=make_registry(self._snapshot),
            recordings=settings.media.directory / RECORDINGS,
            body_limit=lambda: self._settings.api.max_body_bytes,
            events=self._outlets.events,
            taps=self._pool.taps.tap,
        )
        spare_what_stays()
        page = None if self._watching is None else self._watching.page
        return await serve_http(create_app(backend, page), settings.api.host, settings.api.port)

    def _start_backups(self) -> None:
        wanted = self._settings.backup
        if wanted is not None:
            self._backups = TimedBackups(
                self._settings.database.path,
                wanted.directory,
                interval_seconds=wanted.interval_hours * 3600,
                keep=wanted.keep,
                clock=SystemClock(),
            )
            self._backups.start()

    async def _stop_backups(self) -> None:
        if self._backups is not None:
            await self._backups.stop()
            self._backups = None

    def _new_library(self) -> Library:
        try:
            return Library(self._settings.media.directory, **library_options(self._settings))
        except OSError as fault:
            raise CannotStart(f"media.directory: {fault}") from fault

    async def _start_pool(self, parts: AsyncExitStack) -> None:
        self._pool = WorkerPool(
            trunk_profiles(self._settings),
            max_concurrent_calls=self._settings.pacing.max_concurrent_calls,
            **pool_options(self._settings),
        )
        # The engine has drained by then: what is left gets no more time.
        parts.push_async_callback(self._pool.stop, 0)
        # Nothing is dialed before this is over: till then the far side counts these calls as ours. And before the workers
        # start, so that the ports which the answers go to are free.
        dialogs = [attempt.dialog for attempt in self._store.open_attempts()]
        dialogs += [leg.dialog for leg in self._store.open_agent_legs()]
        await end_orphans(dialogs, trunk_profiles(self._settings))
        await self._pool.start()

    # A new configuration

    async def _follow(self, old: Settings, new: Settings) -> None:
        """Act by the new settings from now on; calls go on. Raises `CannotFollow`, and then nothing has changed."""
        if self._stopping.is_set():
            raise CannotFollow("the server is stopping")
        profiles = trunk_profiles(new)
        try:
            put_in_place = await self._pool.prepare(profiles, new.pacing.max_concurrent_calls)
        except (StackUnusable, UnfitForSip, PlanImpossible) as fault:
            raise CannotFollow(str(fault)) from fault
        self._settings = new
        if new.log != old.log:
            configure(log_style(new))
            self._pool.speak(log_style(new))
        self._pool.follow_streams(**stream_options(new))
        self._asker.follow(**asker_options(new))
        # In one go: the workers know a trunk before the engine dials on it.
        put_in_place()
        before = {profile.name: profile for profile in trunk_profiles(old)}
        renewed = {profile.name for profile in profiles if before.get(profile.name) != profile}
        rules, machine, style = _in_force(new)
        self._running().reconfigure(trunks_of(new), engine_limits(new), machine, renewed)
        self._loader.follow(rules, machine, style)
        if new.limits.requests_per_second != old.limits.requests_per_second:
            self._admission.limit = _rate_limit(new)
        if (new.speech, new.media) != (old.speech, old.media):
            self._library.follow(**library_options(new))
        if new.backup != old.backup:
            await self._stop_backups()
            self._start_backups()
        if self._watching is not None:
            self._watching.follow(new.page)
        await self._outlets.follow(new)

    def _tell_reloads(self, reloads: Reloads) -> None:
        if self._lock is not None:
            try:
                self._lock.tell(reloads)
            except OSError as error:
                log.warning("nobody can be told how the reload stands", fault=str(error))
        if reloads.begun > reloads.ended:
            self._manager.reloading()
        else:
            refused = f"the configuration was not reloaded: {'; '.join(reloads.faults)}" if reloads.faults else ""
            self._manager.ready(refused or self._standing())

    # What the service manager is told

    async def _pulse(self) -> None:
        if self._manager.listens:
            engine, pool = self._running(), self._pool
            await Pulse(
                self._manager,
                turned_at=lambda: engine.turned_at,
                answered_at=lambda: pool.answered_at,
                standing=self._standing,
            ).run()

    def _standing(self) -> str:
        return standing(self._running().state, self._pool.state())

    def _stored(self, changes: Sequence[Change]) -> None:
        self._call_log.stored(changes)
        if self._watching is not None:
            self._watching.recent.stored(changes)

    def _activated(self, campaign: CampaignId) -> None:
        if self._engine is None:
            return
        self._call_log.accepted(campaign)
        try:
            self._engine.submitted(campaign)
        except StoreUnavailable as fault:
            # It is durable, and was answered so: it must not wait for a restart.
            log.warning("a campaign cannot be read yet", campaign=campaign, fault=str(fault))
            asyncio.get_running_loop().call_later(STORE_RETRY_SECONDS, self._activated, campaign)
        self._outlets.feed.accepted()

    def _ready(self) -> list[str]:
        if self._engine is None or self._stopping.is_set():
            return ["the server is stopping"]
        return not_ready(self._engine.state, self._pool.state())

    def _trunks(self) -> list[Record]:
        return [] if self._engine is None else trunk_records(self._engine.state, self._pool.state())

    def _snapshot(self) -> Snapshot:
        if self._engine is None:
            return Snapshot()
        backups = None if self._backups is None else self._backups.state
        return snapshot(self._engine.state, self._pool.state(), self._outlets.state(), backups)


def _in_force(settings: Settings) -> tuple[IntakeRules, Machine, LogStyle]:
    # Audio was looked at when the playbook was stored: a file may come or go while the server runs.
    return intake_rules(settings), replace(machine_of(settings), audio=None), log_style(settings)


def _rate_limit(settings: Settings) -> RateLimit | None:
    per_second = settings.limits.requests_per_second
    return None if per_second is None else RateLimit(per_second, time.monotonic)
