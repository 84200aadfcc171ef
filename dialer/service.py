"""The composition root: builds the parts, starts them in order, stops them in the reverse order.

    lock ─▶ database ─▶ loaders ─▶ SIP workers ─▶ engine ─▶ HTTP     stop: HTTP, engine drains, workers, loaders, database

A signal drains: SIGTERM or SIGINT once stops dialing and lets answered calls end for `pacing.drain_seconds`; a second one
hangs up at once.
"""

import asyncio
import importlib
import multiprocessing
import signal
import time
from collections.abc import Callable
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
from config.settings import Settings
from dialer.call_log import CallLog
from dialer.collector import spare_what_stays
from dialer.condition import not_ready, snapshot, trunk_records
from dialer.control import EngineControl
from dialer.core.dispatch import Limits
from dialer.core.intake import IntakeRules
from dialer.core.model import CampaignId
from dialer.core.phone import PhoneRules, normalize
from dialer.engine import STORE_RETRY_SECONDS, Engine
from dialer.event_loop import new_event_loop
from dialer.log_lines import LogStyle
from dialer.logs import configure
from dialer.machine import destination_rules, machine_of, phone_rules, trunk_limits, trunk_profile
from dialer.outlets import Outlets
from dialer.ports import Clock, StoreUnavailable
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
from scheduler.server_lock import ServedAlready, ServerLock
from scheduler.store import SqliteStore
from scheduler.timed_backups import TimedBackups
from scheduler.views import Views
from sip.facts import StackUnusable
from sip.library import RECORDINGS, Library
from sip.orphans import end_orphans
from sip.pool import WorkerPool
from sip.trunk import UnfitForSip

log = structlog.get_logger(__name__)

OUR_PACKAGES = ("dialer", "sip", "api", "scheduler", "config")


class CannotStart(Exception):
    """The service cannot run here; the text says why in one line."""


def run(settings: Settings) -> int:
    """Serve until a signal ends it; the exit status."""
    configure(_log_style(settings))
    require_own_packages()
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(Service(settings).run())
    except (ServedAlready, StackUnusable, UnfitForSip, StoreUnavailable, OSError) as fault:
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

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.up = asyncio.Event()
        self._stopping = asyncio.Event()
        self._engine: Engine | None = None
        self._pool: WorkerPool
        self._store: SqliteStore
        self._loader: Loader
        self._outlets: Outlets
        self._call_log: CallLog
        self._backups: TimedBackups | None = None
        self.url = ""

    async def run(self) -> int:
        """Start everything, serve until told to stop, drain; 0."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        async with AsyncExitStack() as parts:
            http = await self._start(parts)
            self.url = http.url
            log.info(
                "serving", url=http.url, trunks=sorted(self._settings.trunks), pid=multiprocessing.current_process().pid
            )
            self.up.set()
            ended = asyncio.create_task(http.wait_closed())
            told = asyncio.create_task(self._stopping.wait())
            engine = self._running()
            ends: list[asyncio.Future[Any]] = [ended, told, engine.failed]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            told.cancel()
            log.info("stopping", drain_seconds=self._settings.pacing.drain_seconds)
            self._outlets.hang_up()
            if engine.failed.done():
                # Nothing is drained: the workers hang up, and the next process decides from the disk.
                await http.stop()
                await engine.failed
            # Side by side: a client that is slow to finish its request keeps no call going out.
            await asyncio.gather(http.stop(), engine.drain(self._settings.pacing.drain_seconds))
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
        parts.callback(ServerLock(path).release)
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

        rules = IntakeRules(
            max_contacts=settings.api.max_contacts,
            stagger_ms=round(settings.pacing.stagger_seconds * 1000),
            phone=phone_rules(settings),
            destinations=destination_rules(settings),
            max_calls_per_day=settings.limits.max_calls_per_day,
            max_calls_per_day_per_token=settings.limits.max_calls_per_day_per_token,
        )
        # Audio was looked at when the playbook was stored: a file may come or go while the loaders run.
        machine = replace(machine_of(settings), audio=None)
        self._loader = Loader(
            path, rules, machine, on_activated=self._activated, lock_wanted=lock_wanted, log=_log_style(settings)
        )
        parts.push_async_callback(self._loader.stop)
        # Side by side: each waits for processes of its own to come up.
        for fault in await asyncio.gather(self._loader.start(), self._start_pool(parts), return_exceptions=True):
            if fault is not None:
                raise fault
        library = self._library()
        library.start()
        parts.push_async_callback(library.close)
        handles = Handles(database)
        self._call_log = CallLog(handles.call_uuid, handles.campaign_uuid)
        engine = self._engine = Engine(
            library=library,
            on_stored=self._call_log.stored,
            clock=clock,
            store=self._store,
            control=self._pool,
            trunks=[trunk_limits(name, trunk) for name, trunk in settings.trunks.items()],
            limits=Limits(
                max_concurrent_calls=settings.pacing.max_concurrent_calls,
                min_recall_gap_ms=round(settings.pacing.min_recall_gap_seconds * 1000),
                max_per_account=settings.limits.max_concurrent_calls_per_account,
                max_per_token=settings.limits.max_concurrent_calls_per_token,
            ),
        )
        engine.start()
        self._pool.on_state(engine.wake)
        parts.callback(engine.stop)

        control = EngineControl(engine, handles)
        self._outlets.start(control)
        parts.push_async_callback(self._outlets.stop)
        self._start_backups(parts, clock)
        backend = Backend(
            accounts=self._accounts(Accounts(database, clock)),
            views=Views(database, clock),
            intake=self._loader,
            control=control,
            playbooks=Playbooks(database, clock),
            contacts=Contacts(database, clock, settings.media.directory / RECORDINGS),
            do_not_call=DoNotCall(database, clock),
            ready=self._ready,
            trunks=self._trunks,
            machine=lambda: machine_of(settings),
            read_phone=_phone_reader(rules.phone),
            registry=make_registry(self._snapshot),
            recordings=settings.media.directory / RECORDINGS,
            max_body_bytes=settings.api.max_body_bytes,
            events=self._outlets.events,
        )
        spare_what_stays()
        return await serve_http(create_app(backend), settings.api.host, settings.api.port)

    def _start_backups(self, parts: AsyncExitStack, clock: Clock) -> None:
        wanted = self._settings.backup
        if wanted is not None:
            self._backups = TimedBackups(
                self._settings.database.path,
                wanted.directory,
                interval_seconds=wanted.interval_hours * 3600,
                keep=wanted.keep,
                clock=clock,
            )
            self._backups.start()
            parts.push_async_callback(self._backups.stop)

    def _library(self) -> Library:
        media, speech = self._settings.media, self._settings.speech
        try:
            if speech is None:
                return Library(media.directory, keep_recordings_days=media.keep_recordings_days)
            return Library(
                media.directory,
                command=speech.command,
                voice=speech.voice,
                parallel=speech.max_parallel,
                keep_recordings_days=media.keep_recordings_days,
            )
        except OSError as fault:
            raise CannotStart(f"media.directory: {fault}") from fault

    async def _start_pool(self, parts: AsyncExitStack) -> None:
        sip = self._settings.sip
        rtp = (sip.rtp_port_min, sip.rtp_port_max) if sip.rtp_port_min and sip.rtp_port_max else None
        self._pool = WorkerPool(
            [trunk_profile(name, trunk) for name, trunk in self._settings.trunks.items()],
            max_concurrent_calls=self._settings.pacing.max_concurrent_calls,
            media_directory=self._settings.media.directory,
            bind_host=sip.bind_host,
            port=sip.port,
            rtp_ports=rtp,
            workers=sip.workers,
            signalling_dscp=sip.signalling_dscp,
            media_dscp=sip.media_dscp,
            log=_log_style(self._settings),
        )
        # The engine has drained by then: what is left gets no more time.
        parts.push_async_callback(self._pool.stop, 0)
        # Nothing is dialed before this is over: till then the far side counts these calls as ours. And before the workers
        # start, so that the ports which the answers go to are free.
        await end_orphans(attempt.dialog for attempt in self._store.open_attempts())
        await self._pool.start()

    def _accounts(self, accounts: Accounts) -> Accounts | Admission:
        per_second = self._settings.limits.requests_per_second
        return accounts if per_second is None else Admission(accounts, RateLimit(per_second, time.monotonic))

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


def _log_style(settings: Settings) -> LogStyle:
    return LogStyle(settings.log.format, settings.log.level, settings.log.mask_numbers)


def _phone_reader(rules: PhoneRules) -> Callable[[str], str]:
    return lambda written: normalize(written, rules)
