"""The MQTT outlet against a real broker: what it does when the broker refuses, is silent, is away, or wants TLS."""

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.backend import Verdict
from api.mqtt import SINK, Broker, MqttSink, _Client
from dialer.core.changes import CampaignMoved
from dialer.core.model import CampaignStatus, WallMs
from tests.support.broker import Broker as Mosquitto
from tests.support.broker import Subscriber, needs_mosquitto, without_gaps
from tests.support.dialer_process import free_port
from tests.support.event_world import EventWorld, Orders, event_world, until
from tests.support.store_world import T0

pytestmark = needs_mosquitto


def target(port: int, **changes: Any) -> Broker:
    return replace(Broker("127.0.0.1", port, False, None, None, None, "t", True), **changes)


@asynccontextmanager
async def outlet(world: EventWorld, broker: Broker, orders: Orders | None = None) -> AsyncIterator[MqttSink]:
    world.log.open(SINK)
    accounts = {"account-1": 1, "11111111-1111-4111-8111-111111111111": 1}
    sink = MqttSink(broker, world.feed, orders or Orders(), accounts.get)
    running = asyncio.create_task(sink.run())
    try:
        yield sink
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def finished(subscriber: Subscriber) -> int:
    return sum(event["type"] == "call.finished" for event in subscriber.events())


def test_a_broker_that_is_away_gets_everything_when_it_is_back_and_memory_stays_bounded(tmp_path: Path) -> None:
    mosquitto = Mosquitto(tmp_path / "broker")

    async def main() -> None:
        async with event_world(tmp_path / "d.db") as world, outlet(world, target(mosquitto.port)) as sink:
            campaign = world.sqlite.add_campaign(size=800)
            world.lives(campaign, range(800))
            await until(lambda: world.feed.waiting == 3200)
            assert not sink.connected
            assert len(world.feed._recent) == 0, "what waits for a broker waits on disk"
            await asyncio.to_thread(mosquitto.start)
            with Subscriber(mosquitto) as subscriber:
                await until(lambda: finished(subscriber) == 800, 60)
                calls = subscriber.by_call()
                assert len(calls) == 800
                assert without_gaps(calls)
                await until(lambda: world.feed.waiting == 0)
                assert len(world.feed._recent) <= 2000

    try:
        asyncio.run(main())
    finally:
        mosquitto.kill()


def test_credentials_are_given_and_wrong_ones_cost_nothing_but_patience(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    passwords = tmp_path / "broker" / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "me", "right"], check=True, capture_output=True)

    async def main() -> None:
        async with event_world(tmp_path / "d.db") as world:
            campaign = world.sqlite.add_campaign(size=2)
            async with outlet(world, target(mosquitto.port, username="me", password="wrong")) as sink:
                world.lives(campaign, range(1))
                await until(lambda: "not authori" in mosquitto.log.lower())
                assert not sink.connected
            with Subscriber(mosquitto, username="me", password="right") as subscriber:
                async with outlet(world, target(mosquitto.port, username="me", password="right")):
                    world.lives(campaign, range(1, 2))
                    await until(lambda: finished(subscriber) == 2)

    with Mosquitto(
        tmp_path / "broker", f"password_file {passwords}", "connection_messages true", anybody=False
    ) as mosquitto:
        asyncio.run(main())


def test_events_that_the_broker_refuses_are_kept_not_lost(tmp_path: Path) -> None:
    """mosquitto acknowledges what its access rules forbid, with a reason code that says so."""
    (tmp_path / "broker").mkdir()
    rules = tmp_path / "broker" / "rules"
    rules.write_text("topic readwrite t/status\ntopic read #\n")

    async def main() -> None:
        async with event_world(tmp_path / "d.db") as world, outlet(world, target(mosquitto.port)):
            campaign = world.sqlite.add_campaign(size=1)
            with Subscriber(mosquitto) as subscriber:
                world.lives(campaign, range(1))
                # It comes back again and again, and never counts them as told.
                await until(lambda: sum(one.payload == b"online" for one in subscriber.heard) >= 2)
                assert world.log.positions()[SINK] == 0
                assert world.feed.waiting == 4
                rules.write_text("topic readwrite #\n")
                mosquitto.reload()
                await until(lambda: finished(subscriber) == 1)

    with Mosquitto(tmp_path / "broker", f"acl_file {rules}") as mosquitto:
        asyncio.run(main())


@pytest.mark.parametrize("trusted", [True, False])
def test_tls_is_checked_against_the_given_authority(tmp_path: Path, trusted: bool) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    for name in ("ca", "other"):
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
                *("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem", "-days", "2"),
                *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            ],
            check=True,
            capture_output=True,
        )
    secure = free_port()
    lines = (f"listener {secure} 127.0.0.1", f"certfile {folder}/ca.pem", f"keyfile {folder}/ca.key")

    async def main() -> None:
        ca_file = str(folder / ("ca.pem" if trusted else "other.pem"))
        broker = target(secure, tls=True, ca_file=ca_file)
        async with event_world(tmp_path / "d.db") as world, outlet(world, broker) as sink:
            campaign = world.sqlite.add_campaign(size=1)
            world.lives(campaign, range(1))
            with Subscriber(mosquitto) as subscriber:
                if trusted:
                    await until(lambda: finished(subscriber) == 1)
                else:
                    await until(lambda: mosquitto.log.count("tls") + mosquitto.log.count("SSL") >= 1, 10)
                    assert not sink.connected
                    assert subscriber.heard == []

    with Mosquitto(folder, *lines) as mosquitto:
        asyncio.run(main())


def test_a_broker_that_accepts_and_says_nothing_leaves_no_connection_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.mqtt._TIMEOUT_SECONDS", 0.2)
    open_now: set[asyncio.StreamWriter] = set()
    seen: list[asyncio.Task[None] | None] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(asyncio.current_task())
        open_now.add(writer)
        while await reader.read(1000):
            pass
        open_now.discard(writer)
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with event_world(tmp_path / "d.db") as world, outlet(world, target(port)):
            await until(lambda: len(seen) >= 3)
            assert len(open_now) <= 1
        await until(lambda: not open_now)
        await asyncio.gather(*(task for task in seen if task is not None))
        server.close()

    asyncio.run(main())


def test_what_campaigns_are_is_told_again_to_a_broker_that_forgot(tmp_path: Path) -> None:
    mosquitto = Mosquitto(tmp_path / "broker")

    async def main() -> None:
        async with event_world(tmp_path / "d.db") as world, outlet(world, target(mosquitto.port)):
            campaign = world.sqlite.add_campaign(size=1)
            world.apply([CampaignMoved(campaign.id, WallMs(T0), CampaignStatus.PAUSED)])
            await until(lambda: world.log.positions()[SINK] == 1 and world.log.removed() == 1)
            await asyncio.to_thread(mosquitto.kill)
            await asyncio.to_thread(mosquitto.start)
            with Subscriber(mosquitto) as subscriber:
                await until(lambda: subscriber.last("/state") is not None)
                state = subscriber.last("/state")
                assert state is not None
                assert (state.event["status"], state.event["sequence"]) == ("paused", 1)

    mosquitto.start()
    try:
        asyncio.run(main())
    finally:
        mosquitto.kill()


def test_commands_are_carried_out_once_and_what_is_none_is_not(tmp_path: Path) -> None:
    account = "11111111-1111-4111-8111-111111111111"
    campaign = "22222222-2222-4222-8222-222222222222"
    topic = f"t/account/{account}/campaign/{campaign}/command"

    async def main() -> None:
        orders = Orders()
        async with event_world(tmp_path / "d.db") as world:
            with Subscriber(mosquitto, "t/status") as program:
                # Retained before we come: not a command for now.
                program.send(topic, "cancel", retain=True)
                async with outlet(world, target(mosquitto.port), orders) as sink:
                    await until(lambda: sink.connected)
                    # Retained while we listen: the same.
                    program.send(topic, "cancel", retain=True)
                    for payload in ("pause", "nonsense", "resume"):
                        program.send(topic, payload)
                    program.send(topic.replace("111", "999"), "cancel")
                    orders.verdict = Verdict.UNKNOWN
                    program.send(topic, "cancel")
                    await until(lambda: len(orders.given) == 3)
                    assert orders.given == [(word, 1, campaign) for word in ("pause", "resume", "cancel")]
                orders.given.clear()
                async with outlet(world, target(mosquitto.port, commands=False), orders) as sink:
                    await until(lambda: sink.connected)
                    program.send(topic, "pause")
                    program.send("t/status", "after")
                    await until(lambda: program.heard[-1].payload == b"after")
                    assert orders.given == []

    with Mosquitto(tmp_path / "broker") as mosquitto:
        asyncio.run(main())


def test_no_more_than_the_broker_takes_at_once_is_under_way(tmp_path: Path) -> None:
    async def main() -> None:
        async with event_world(tmp_path / "d.db") as world, outlet(world, target(mosquitto.port)):
            campaign = world.sqlite.add_campaign(size=200)
            with Subscriber(mosquitto) as subscriber:
                world.lives(campaign, range(200))
                await until(lambda: finished(subscriber) == 200, 30)
                assert sum(one.payload == b"online" for one in subscriber.heard) == 1
                assert "exceeded" not in mosquitto.log.lower()
                assert without_gaps(subscriber.by_call())

    with Mosquitto(tmp_path / "broker", "max_inflight_messages 3") as mosquitto:
        asyncio.run(main())


def test_an_address_where_nobody_listens_stops_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        with closing(socket.socket()) as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            async with event_world(tmp_path / "d.db") as world, outlet(world, target(port)) as sink:
                campaign = world.sqlite.add_campaign(size=5)
                world.lives(campaign, range(5))
                await until(lambda: world.feed.waiting == 20)
                assert not sink.connected

    asyncio.run(main())


def test_a_connection_that_broke_before_the_loop_could_write_to_it_is_no_fault() -> None:
    class Broken:
        def loop_write(self) -> None:
            raise BrokenPipeError

    async def main() -> None:
        faults: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        client = _Client("127.0.0.1", 1)
        ours, theirs = socket.socketpair()
        client._on_socket_register_write(Broken(), None, ours)
        ours.close()
        for _ in range(3):
            await asyncio.sleep(0)
        assert not client._disconnected.done()
        client._on_socket_register_write(Broken(), None, theirs)
        await until(client._disconnected.done)
        asyncio.get_running_loop().remove_writer(theirs)
        theirs.close()
        assert isinstance(client._disconnected.exception(), BrokenPipeError)
        assert faults == []

    asyncio.run(main())
