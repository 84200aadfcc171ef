"""Host names: of trunks, with several addresses, and in what far ends write. None of them may hold a worker up."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dialer.core.events import Answered, EndedBy, InviteSent, LegEnded
from dialer.core.model import LegId
from sip.dns import responses
from sip.pool import WorkerPool
from sip.trunk import TrunkProfile
from tests.integration.test_trunk_settings import make_certificate, tls_far_end
from tests.support.faketime import hurry, needs_faketime
from tests.support.far_end import FarEnd
from tests.support.labs import async_test
from tests.support.pools import order, pool_to, trunk_to

ONE, TWO = LegId(1), LegId(2)
NAME = "carrier.test"  # RFC 6761: no resolver knows it


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the system's resolver finds for NAME, in this process alone."""
    found: list[str] = []
    system = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *rest: Any, **named: Any) -> Any:
        if host != NAME:
            return system(host, port, *rest, **named)
        return [entry for address in found for entry in system(address, port, *rest, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return found


async def asked(pool: WorkerPool) -> str | None:
    told: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    pool.ask("far", told.set_result)
    return await asyncio.wait_for(told, 20)


async def answers_options(far: FarEnd) -> None:
    while True:
        far.reply(await far.request("OPTIONS"), 200)


@async_test
async def test_of_several_addresses_one_that_answers_is_used_and_kept(addresses: list[str]) -> None:
    addresses += ["127.0.0.9", "127.0.0.1"]
    async with FarEnd() as far, pool_to(TrunkProfile("far", f"sip:{NAME}:{far.port}")) as (pool, events):
        answering = asyncio.create_task(answers_options(far))
        assert await asked(pool) is None
        answering.cancel()
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        assert invite.uri == f"sip:+34600000001@{NAME}:{far.port}"
        far.reply(invite, 486)
        assert isinstance(await events.over(ONE), LegEnded)
        addresses.reverse()
        addresses.append("127.0.0.8")
        assert await pool._trunks.resolve() == set()
        addresses[:] = ["127.0.0.9"]
        assert await pool._trunks.resolve() == {"far"}
        assert "127.0.0.9" in (await asked(pool) or "")


@async_test
async def test_a_tls_trunks_name_is_found_by_the_pool_alone(addresses: list[str], tmp_path: Path) -> None:
    addresses.append("127.0.0.1")
    make_certificate(tmp_path, f"DNS:{NAME}")
    async with tls_far_end(tmp_path / "far.pem") as (port, _):
        for proxy in ("", f"sip:{NAME}:{port};transport=tls"):
            uri = f"sip:{NAME if not proxy else '127.0.0.1'}:{port};transport=tls"
            trunk = TrunkProfile("far", uri, ca_file=str(tmp_path / "cert.pem"), outbound_proxy=proxy)
            async with pool_to(trunk) as (pool, events):
                pool.dial(ONE, order())
                end = await events.over(ONE)
                assert isinstance(end, LegEnded)
                assert (end.sip_status, end.by) == (486, EndedBy.FAR)


@contextlib.asynccontextmanager
async def nameserver(monkeypatch: pytest.MonkeyPatch, address: str | None) -> AsyncIterator[None]:
    """The system's only nameserver: it answers every question for an A record with this address; None: nothing at all."""

    class Answering(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, peer: Any) -> None:
            if address is not None:
                response, _ = responses("pbx.carrier.test", address)
                self.transport.sendto(data[:2] + response[2:], peer)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Answering, ("127.0.0.1", 0))
    place = transport.get_extra_info("sockname")
    monkeypatch.setattr("sip.pool.system_nameservers", lambda: [place])
    try:
        yield
    finally:
        transport.close()


@async_test
async def test_a_name_in_contact_is_asked_of_the_nameserver(monkeypatch: pytest.MonkeyPatch) -> None:
    async with nameserver(monkeypatch, "127.0.0.1"), FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        far.reply(invite, 200, ("Contact", f"<sip:far@pbx.carrier.test:{far.port}>"), sdp=True)
        assert (await far.request("ACK")).uri == f"sip:far@pbx.carrier.test:{far.port}"
        await events.wait(Answered, ONE)
        pool.hang_up(ONE)
        await far.ended_by_peer()
        await events.over(ONE)


@needs_faketime
@async_test
async def test_a_nameserver_that_is_silent_holds_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch, 4)
    async with (
        nameserver(monkeypatch, None),
        FarEnd() as far,
        pool_to(trunk_to(far.port), workers=1) as (pool, events),
    ):
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        far.reply(invite, 200, ("Contact", f"<sip:far@pbx.carrier.test:{far.port}>"), sdp=True)
        await events.wait(Answered, ONE)
        pool.dial(TWO, order())
        await events.wait(InviteSent, TWO)
        far.reply(await far.request("INVITE"), 486)
        assert isinstance(await events.over(TWO, 5), LegEnded)
        pool.hang_up(ONE)  # the BYE has nowhere to go
        end = await events.over(ONE, 60)
        assert isinstance(end, LegEnded)
        assert end.by is EndedBy.US
