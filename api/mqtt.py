"""Events to an MQTT broker (MQTT 5, QoS 1), and commands from it.

A window of events goes out, and counts as passed on when the broker has acknowledged all of it; after a break it goes out
again. So each event arrives at least once, and the events of a call in their order. While the broker is away nothing piles
up here: what it misses waits in the database.
"""

import asyncio
import contextlib
import random
import ssl
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiomqtt
import structlog
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from api import topics
from api.backend import Control, Verdict
from api.event_log import EventLog
from api.feed import Feed
from api.offload import in_thread
from dialer.ports import RecordedEvent, StoreUnavailable

log = structlog.get_logger("mqtt")

SINK = "mqtt"
_WINDOW = 100
# The fewest that brokers take by default (mosquitto); one that takes fewer says so when we connect.
_UNACKNOWLEDGED = 20
_IN_A_ROW = 4
_TIMEOUT_SECONDS = 10.0
_KEEPALIVE_SECONDS = 30
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_FAREWELL_SECONDS = 2.0
# A broker keeps what is retained for ever unless it is told: campaigns that are over need not stay so long.
_OVER_EXPIRES_SECONDS = 30 * 86_400
_COMMANDS_WAITING = 100
_CALLBACKS = (
    *("on_connect", "on_disconnect", "on_subscribe", "on_unsubscribe", "on_message", "on_publish"),
    *("on_socket_open", "on_socket_close", "on_socket_register_write", "on_socket_unregister_write"),
)


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is. `tls`: MQTT over TLS, checked against `ca_file` or the system's authorities."""

    host: str
    port: int
    tls: bool
    username: str | None
    password: str | None
    ca_file: str | None
    prefix: str
    commands: bool


class _Client(aiomqtt.Client):
    """aiomqtt's client, that also minds what the broker allows and refuses."""

    refusal: str | None = None
    _room: asyncio.Semaphore

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None) -> None:  # noqa: ANN401
        # paho takes no notice of what the broker says it takes at once (MQTT 5, 3.2.2.3.3).
        self._room = asyncio.Semaphore(min(getattr(properties, "ReceiveMaximum", _UNACKNOWLEDGED), _UNACKNOWLEDGED))
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:  # noqa: ANN401
        # aiomqtt takes every acknowledgement for a success, a "not authorized" too.
        if reason_code.is_failure:
            self.refusal = str(reason_code)
        super()._on_publish(client, userdata, mid, reason_code, properties)

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:  # noqa: ANN401, ARG002
        # aiomqtt names the socket by its number now and has the loop watch it a turn later, by when a broker that died has
        # closed it, and the number may be another's.
        self._loop.call_soon_threadsafe(self._watch_for_room, client, sock)

    def _watch_for_room(self, client: Any, sock: Any) -> None:  # noqa: ANN401
        if sock.fileno() >= 0:
            self._loop.add_writer(sock.fileno(), self._write, client)

    def _write(self, client: Any) -> None:  # noqa: ANN401
        try:
            client.loop_write()
        except Exception as fault:  # noqa: BLE001 - whatever it is, the connection is lost
            if not self._disconnected.done():
                self._disconnected.set_exception(fault)

    async def tell(self, topic: str, payload: bytes, *, retain: bool, expires: int | None = None) -> None:
        """Publish with QoS 1, in the order of the calls; returns when the broker has acknowledged it. After `room`."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if expires is not None:
            properties.MessageExpiryInterval = expires
        try:
            await self.publish(topic, payload, qos=1, retain=retain, properties=properties)
        finally:
            self._room.release()

    async def room(self) -> None:
        """Wait until the broker takes one more; to be followed by `tell`."""
        await self._room.acquire()

    def abandon(self) -> None:
        """Close the socket of a connection that never came about; aiomqtt leaves it open."""
        self._client.disconnect()
        # Written at once: nobody may come back to the loop for this socket.
        self._client.loop_write()

    def part(self) -> None:
        """Let go of all that a connection that is over still holds: the cycle collector may never come to it."""
        paho = self._client
        paho._reset_sockets()
        for callback in _CALLBACKS:
            setattr(paho, callback, None)
        self._connected, self._disconnected, self._misc_task = asyncio.Future(), asyncio.Future(), None

    async def enter(self) -> None:
        """Connect; leaves nothing behind when it fails or is cancelled."""
        connecting = asyncio.ensure_future(self.__aenter__())
        try:
            await asyncio.shield(connecting)
        except BaseException:
            # A thread may be about to open the socket, and cannot be called back.
            await asyncio.wait({connecting}, timeout=_FAREWELL_SECONDS)
            if not connecting.cancel():
                connecting.exception()
            self.abandon()
            self.part()
            raise


class MqttSink:
    """One connection, renewed for ever. `account_id` finds an account by its public id, in a worker thread."""

    def __init__(self, broker: Broker, feed: Feed, control: Control, account_id: Callable[[str], int | None]) -> None:
        self._broker = broker
        self._feed = feed
        self._log: EventLog = feed.log
        self._control = control
        self._account_id = account_id
        self._position = 0
        self.connected = False

    async def run(self) -> None:
        """Connect, pass on, reconnect. Until cancelled; then it says that it is offline, and leaves."""
        self._position = await in_thread(self._log.open, SINK)
        self._feed.begin(SINK, self._position)
        pause, told = _FIRST_PAUSE_SECONDS, False
        while True:
            try:
                await self._serve()
            except* (aiomqtt.MqttError, OSError, ValueError, StoreUnavailable) as faults:
                if self.connected:
                    pause, told = _FIRST_PAUSE_SECONDS, False
                if not told:
                    log.warning("no connection to the broker", fault=_told(faults), broker=self._broker.host)
                told = True
                _forget(faults)
            except* Exception as defects:
                # Whatever it is, calls go on, and the next connection may do better.
                log.exception("the connection to the broker broke off")
                _forget(defects)
            self.connected = False
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311
            pause = min(_LONGEST_PAUSE_SECONDS, pause * 2)

    async def _serve(self) -> None:
        broker = self._broker
        client = await self._client()
        await client.enter()
        try:
            await self._greet(client)
            self.connected = True
            log.info("connected to the broker", broker=broker.host, port=broker.port)
            # The listener also notices the end of the connection, which a publish alone would wait out.
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(client))
                tasks.create_task(self._publish_all(client))
        except asyncio.CancelledError:
            with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
                async with asyncio.timeout(_FAREWELL_SECONDS):
                    await client.room()
                    await client.tell(topics.status_topic(broker.prefix), topics.OFFLINE, retain=True)
            raise
        finally:
            with contextlib.suppress(aiomqtt.MqttError):
                await client.__aexit__(None, None, None)
            client.part()

    async def _client(self) -> _Client:
        broker = self._broker
        context = None
        if broker.tls:
            context = await in_thread(ssl.create_default_context, cafile=broker.ca_file)
        client = _Client(
            broker.host,
            broker.port,
            username=broker.username,
            password=broker.password,
            protocol=aiomqtt.ProtocolVersion.V5,
            will=aiomqtt.Will(topics.status_topic(broker.prefix), topics.OFFLINE, qos=1, retain=True),
            timeout=_TIMEOUT_SECONDS,
            keepalive=_KEEPALIVE_SECONDS,
            clean_start=True,
            max_queued_incoming_messages=_COMMANDS_WAITING,
            tls_context=context,
        )
        client.pending_calls_threshold = 2 * _WINDOW
        return client

    async def _greet(self, client: _Client) -> None:
        """Say that we are there, take commands, and say how the campaigns stand: the broker may have lost it."""
        prefix = self._broker.prefix
        await client.room()
        await client.tell(topics.status_topic(prefix), topics.ONLINE, retain=True)
        if self._broker.commands:
            # Commands that are retained would be carried out again at every connection: old ones are not sent to us, and one
            # that comes while we listen is known by its flag, which brokers else take off (MQTT 5, 3.8.3.1).
            options = SubscribeOptions(
                qos=1, noLocal=True, retainAsPublished=True, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND
            )
            granted = await client.subscribe(topics.command_filter(prefix), options=options)
            if any(getattr(code, "is_failure", False) for code in granted):
                log.error("the broker does not let us take commands", topic=topics.command_filter(prefix))
        after = 0
        while states := await in_thread(self._log.states, after, _WINDOW):
            after = states[-1].position
            await self._publish(client, [state for state in states if state.position <= self._position])

    async def _publish_all(self, client: _Client) -> None:
        try:
            while True:
                events = await self._feed.after(self._position, _WINDOW)
                await self._publish(client, events)
                self._position = events[-1].position
                self._feed.passed(SINK, self._position)
        except asyncio.CancelledError as cut_off:
            _forget(cut_off)
            raise

    async def _publish(self, client: _Client, events: list[RecordedEvent]) -> None:
        """Send the events in their order, and wait until the broker has acknowledged each."""
        async with asyncio.TaskGroup() as window:
            for number, event in enumerate(events):
                if number % _IN_A_ROW == 0:
                    # Calls are placed on this loop too.
                    await asyncio.sleep(0)
                await client.room()
                window.create_task(self._publish_one(client, event))
        if client.refusal is not None:
            raise ValueError(f"the broker refuses events: {client.refusal}")

    async def _publish_one(self, client: _Client, event: RecordedEvent) -> None:
        is_state = event.call is None
        expires = None if event.active else _OVER_EXPIRES_SECONDS
        topic = topics.event_topic(self._broker.prefix, event)
        await client.tell(topic, topics.body(event.payload), retain=is_state, expires=expires if is_state else None)

    async def _listen(self, client: _Client) -> None:
        async for message in client.messages:
            if message.retain:
                log.warning("a retained command is not carried out", topic=str(message.topic))
                continue
            payload = message.payload if isinstance(message.payload, bytes) else str(message.payload).encode()
            try:
                command = topics.read_command(self._broker.prefix, str(message.topic), payload)
                await self._carry_out(command)
            except (ValueError, StoreUnavailable) as fault:
                log.warning("a command is not carried out", topic=str(message.topic), fault=str(fault))

    async def _carry_out(self, command: topics.Command) -> None:
        account = await in_thread(self._account_id, command.account)
        if account is None:
            raise ValueError("there is no such account")
        orders = {"pause": self._control.pause, "resume": self._control.resume, "cancel": self._control.cancel}
        verdict = await orders[command.order](account, command.campaign)
        if verdict is Verdict.UNKNOWN:
            raise ValueError("the account has no such campaign")
        if verdict is Verdict.FINAL:
            raise ValueError("the campaign is over")
        log.info("command carried out", order=command.order, campaign=command.campaign)


def _forget(fault: BaseException) -> None:
    """Empty the frames that the fault came through: a task group's holds the fault itself, and the window of events with it."""
    traceback.clear_frames(fault.__traceback__)
    for inner in (*getattr(fault, "exceptions", ()), fault.__cause__, fault.__context__):
        if inner is not None:
            _forget(inner)


def _told(fault: BaseException) -> str:
    """What is wrong, in one line."""
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return str(fault) or type(fault).__name__
