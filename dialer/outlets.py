"""The outlets of events, built from the settings and run together: the feed, MQTT, webhooks; GET /events hangs on the feed."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from api.backend import Control, Events
from api.feed import Feed, Keeping
from api.metrics import Outbox
from api.mqtt import SINK, Broker, MqttSink
from api.offload import in_thread
from api.webhook_sender import WebhookSender
from config.settings import Settings
from dialer.ports import Clock, StoreUnavailable
from scheduler.accounts import Accounts
from scheduler.database import Database
from scheduler.event_log import EventLog
from scheduler.webhooks import Webhooks
from scheduler.write_turn import Flag

log = structlog.get_logger(__name__)

# What was recorded while the engine drained still goes out, if whoever takes it is there.
FAREWELL_SECONDS = 3.0
_AGAIN_SECONDS = 1.0


class Outlets:
    """`open` before anything happens that is to be told, `start` when orders can be taken, `stop` when all has happened."""

    def __init__(self, settings: Settings, database: Database, clock: Clock, lock_wanted: Flag) -> None:
        self._settings = settings
        self._clock = clock
        self._log = EventLog(database, clock, lock_wanted=lock_wanted)
        self._webhooks = Webhooks(database, clock)
        self._accounts = Accounts(database, clock)
        self.feed = Feed(self._log, _keeping(settings))
        self._sender = WebhookSender(
            self._webhooks,
            self.feed,
            allow_private=settings.webhooks.allow_private,
            clock=lambda: self._clock.now().wall,
        )
        self._control: Control
        self._mqtt: MqttSink | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def events(self) -> Events:
        """What the API serves from."""
        return Events(self.feed, self._webhooks, lambda: self._settings.webhooks.allow_private)

    async def open(self) -> None:
        """From now on events are recorded for those who are to be told. Raises `StoreUnavailable`."""
        self._record_for_mqtt()
        await self.feed.open()

    def _record_for_mqtt(self) -> None:
        if self._settings.mqtt is not None:
            self._log.open(SINK)
        else:
            # Nobody will ever take what waits for it.
            self._log.close(SINK)

    def start(self, control: Control) -> None:
        """Begin to pass events on, and to take commands."""
        self._control = control
        self._begin("events", self.feed.run)
        self._begin("webhooks", self._sender.run)
        self._begin_mqtt()

    async def follow(self, settings: Settings) -> None:
        """Other settings: another broker is connected to, and is told what the one before it was not."""
        before, self._settings = self._settings, settings
        self.feed.keeping = _keeping(settings)
        self._sender.follow(allow_private=settings.webhooks.allow_private)
        if settings.mqtt != before.mqtt:
            await self._end_mqtt()
            try:
                await in_thread(self._record_for_mqtt)
            except StoreUnavailable as fault:
                log.warning("what is recorded for MQTT stays as it was, for now", fault=str(fault))
            self._begin_mqtt()

    def _begin(self, name: str, act: Callable[[], Awaitable[None]]) -> None:
        self._tasks[name] = asyncio.create_task(_for_ever(name, act), name=name)

    def _begin_mqtt(self) -> None:
        broker = self._broker()
        if broker is not None:
            self._mqtt = MqttSink(broker, self.feed, self._control, self._account_id)
            self._begin("mqtt", self._mqtt.run)

    async def _end_mqtt(self) -> None:
        task = self._tasks.pop("mqtt", None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        with suppress(StoreUnavailable):  # then some of it is told twice
            await self.feed.store_positions()
        self.feed.leave(SINK)
        self._mqtt = None

    def hang_up(self) -> None:
        """The server stops: those who listen are let go, so that it need not wait for them."""
        self.feed.closing.set()

    async def stop(self) -> None:
        """Pass on what is left, for a moment, and end."""
        if self._tasks:
            await self.feed.wait_until_passed(FAREWELL_SECONDS if self._takers() else 0)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        with suppress(Exception):
            await self.feed.store_positions()

    def state(self) -> Outbox:
        """For metrics."""
        return Outbox(
            waiting=self.feed.waiting,
            given_up=self.feed.given_up,
            listeners=self.feed.listeners,
            mqtt_connected=None if self._mqtt is None else self._mqtt.connected,
        )

    def _takers(self) -> bool:
        return self._mqtt is None or self._mqtt.connected

    def _broker(self) -> Broker | None:
        given = self._settings.mqtt
        if given is None:
            return None
        username, password = given.credentials
        return Broker(
            host=given.host,
            port=given.port,
            tls=given.tls,
            username=username,
            password=password,
            ca_file=None if given.ca_file is None else str(given.ca_file),
            prefix=given.topic_prefix,
            commands=given.commands,
        )

    def _account_id(self, uuid: str) -> int | None:
        found = self._accounts.find_account(uuid)
        return found.id if found is not None and found.uuid == uuid else None


def _keeping(settings: Settings) -> Keeping:
    events = settings.events
    return Keeping(
        stream_ms=round(events.stream_minutes * 60_000),
        longest_ms=round(events.outbox_hours * 3_600_000),
        most=events.max_events,
    )


async def _for_ever(name: str, act: Callable[[], Awaitable[None]]) -> None:
    """Whatever happens to an outlet, calls go on, and it is tried again."""
    while True:
        try:
            await act()
        except Exception:
            log.exception("an outlet of events failed", outlet=name)
        await asyncio.sleep(_AGAIN_SECONDS)
