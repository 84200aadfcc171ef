"""A mosquitto of the test's own, and a subscriber that writes down what it gets."""

import getpass
import json
import shutil
import signal
import socket
import subprocess
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.support.dialer_process import eventually, free_port

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")


class Broker:
    """One mosquitto on loopback. `lines` are added to its configuration, which has a listener and lets anybody in."""

    def __init__(self, folder: Path, *lines: str, anybody: bool = True) -> None:
        folder.mkdir(exist_ok=True)
        self.port = free_port()
        self._folder = folder
        self._config = folder / "mosquitto.conf"
        # As root it would become another user, who may not write here.
        text = [
            f"user {getpass.getuser()}",
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {str(anybody).lower()}",
            *lines,
        ]
        self._config.write_text("\n".join(text) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def is_up(self) -> bool:
        return self._process is not None

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return (self._folder / "mosquitto.log").read_text()

    def reload(self) -> None:
        """Read the access rules again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def start(self) -> Self:
        assert MOSQUITTO is not None
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen([MOSQUITTO, "-c", self._config], stdout=log, stderr=log)
        eventually(self._listens, 10, "mosquitto listens")
        return self

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """kill -9: what it retained is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()


@dataclass(frozen=True)
class Heard:
    topic: str
    payload: bytes
    retained: bool

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.payload)
        return found


class Subscriber:
    """A program that hears all topics with QoS 1 in a session that outlives its connection, and comes back by itself."""

    def __init__(self, broker: Broker, filter_: str = "#", *, session: str | None = None, **credentials: str) -> None:
        self.heard: list[Heard] = []
        self._news = threading.Condition()
        self._subscribed = threading.Event()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=session or "", protocol=paho.MQTTv5)
        if credentials:
            self._client.username_pw_set(**credentials)
        self._client.on_connect = lambda client, *_: client.subscribe(filter_, qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._note
        self._client.reconnect_delay_set(1, 1)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 600
        self._client.connect("127.0.0.1", broker.port, clean_start=session is None, properties=properties)
        self._client.loop_start()
        assert self._subscribed.wait(10), "not subscribed"

    def _note(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        with self._news:
            self.heard.append(Heard(message.topic, message.payload, message.retain))
            self._news.notify_all()

    def wait_for(self, seen: Callable[[Sequence[Heard]], Any], seconds: float, what: str) -> None:
        with self._news:
            assert self._news.wait_for(lambda: seen(self.heard), seconds), (
                f"not within {seconds} s: {what}\n"
                + "\n".join(f"{one.topic} {one.payload.decode()}" for one in self.heard[-30:])
            )

    def last(self, ending: str) -> Heard | None:
        with self._news:
            return next((one for one in reversed(self.heard) if one.topic.endswith(ending)), None)

    def send(self, topic: str, payload: str, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)

    def events(self) -> list[dict[str, Any]]:
        """The calls' events, each once, in the order in which they came first."""
        with self._news:
            found = {one.event["event_id"]: one.event for one in reversed(self.heard) if one.topic.endswith("/event")}
        return list(reversed(found.values()))

    def by_call(self) -> dict[str, list[dict[str, Any]]]:
        calls: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for event in self.events():
            calls[event["call_id"]].append(event)
        return calls

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def without_gaps(calls: dict[str, list[dict[str, Any]]]) -> bool:
    """Whether every call's sequence goes 1, 2, 3 .. as it came."""
    return all([event["sequence"] for event in events] == list(range(1, len(events) + 1)) for events in calls.values())
