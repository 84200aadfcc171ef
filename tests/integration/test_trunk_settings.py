"""Every setting of a trunk does something on the wire."""

import asyncio
import contextlib
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dialer.core.events import EndedBy, LegEnded, LegRefused
from dialer.core.model import LegId
from sip.options import NoAnswer, probe
from sip.trunk import TrunkProfile
from sip.wire import Request, framed, parse, respond
from tests.support.far_end import FarEnd
from tests.support.labs import async_test
from tests.support.pools import order, pool_to, trunk_to

ONE = LegId(1)
CREDENTIALS = {"username": "dialer", "password": "secret"}
NUMBER, CALLER = "+34600000001", "+34910000000"


async def invite_of(number: str = NUMBER, **profile: Any) -> Request:
    """The INVITE that a trunk with this profile gets."""
    async with FarEnd() as far, pool_to(trunk_to(far.port, **profile)) as (pool, events):
        pool.dial(ONE, order(number, caller_id=CALLER))
        invite = await far.request("INVITE")
        far.reply(invite, 486)
        await events.over(ONE)
        return invite


@pytest.mark.parametrize(
    ("profile", "number", "dialed"),
    [
        ({}, NUMBER, "+34600000001"),
        ({"strip_digits": 2}, NUMBER, "600000001"),
        ({"strip_digits": 2, "prefix": "0"}, NUMBER, "0600000001"),
        ({"prefix": "00"}, NUMBER, "0034600000001"),
        ({"prefix": "9*"}, NUMBER, "9*34600000001"),
        ({"send_plus": False}, NUMBER, "34600000001"),
        ({"strip_digits": 2, "prefix": "0"}, "204", "204"),
    ],
)
@async_test
async def test_numbers_are_rewritten(profile: dict[str, Any], number: str, dialed: str) -> None:
    invite = await invite_of(number, **profile)
    assert invite.uri.startswith(f"sip:{dialed}@")
    assert f"sip:{dialed}@" in invite.lines("To")[0]


@async_test
async def test_a_number_of_which_nothing_is_left_is_refused() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port, strip_digits=11)) as (pool, events):
        pool.dial(ONE, order(NUMBER))
        refused = await events.over(ONE)
        assert isinstance(refused, LegRefused)
        assert "nothing is left" in refused.reason


@pytest.mark.parametrize("number", [NUMBER, ""])
@async_test
async def test_a_uri_of_one_of_its_domains_is_called_by_that_name_over_the_trunk(number: str) -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port, domains=["sales.example"])) as (pool, events):
        # Its own calls are as they were.
        pool.dial(ONE, order(number or NUMBER, uri="" if number else "sip:ana@sales.example"))
        invite = await far.request("INVITE")
        far.reply(invite, 486)
        await events.over(ONE)
    assert invite.uri.startswith(f"sip:{NUMBER}@127.0.0.1:{far.port}" if number else "sip:ana@sales.example")
    assert not invite.lines("Route")


@pytest.mark.parametrize(
    ("profile", "from_line", "asserted", "privacy"),
    [
        ({}, f"sip:{CALLER}@127.0.0.1", None, None),
        ({"assert_identity": True}, f"sip:{CALLER}@127.0.0.1", f"<sip:{CALLER}@127.0.0.1>", None),
        ({"from_user": "acct7"}, "sip:acct7@127.0.0.1", f"<sip:{CALLER}@127.0.0.1>", None),
        ({"anonymous": True}, "sip:anonymous@anonymous.invalid", f"<sip:{CALLER}@127.0.0.1>", "id"),
        ({"anonymous": True, "from_user": "a7"}, "sip:a7@127.0.0.1", f"<sip:{CALLER}@127.0.0.1>", "id"),
    ],
)
@async_test
async def test_the_caller_is_shown_as_the_profile_says(
    profile: dict[str, Any], from_line: str, asserted: str | None, privacy: str | None
) -> None:
    invite = await invite_of(**profile)
    assert invite.from_.uri == from_line
    assert invite.from_.display == ("Anonymous" if "anonymous.invalid" in from_line else "")
    assert invite.first("P-Asserted-Identity") == asserted
    assert invite.first("Privacy") == privacy


@pytest.mark.parametrize(
    ("codecs", "payloads"), [([], ["8", "0", "9"]), (["pcmu"], ["0"]), (["g722", "pcma"], ["9", "8"])]
)
@async_test
async def test_codecs_are_offered_in_the_trunks_order(codecs: list[str], payloads: list[str]) -> None:
    invite = await invite_of(codecs=codecs)
    (media,) = [line for line in invite.body.decode().splitlines() if line.startswith("m=audio")]
    assert media.split()[3:-1] == payloads


@async_test
async def test_all_requests_go_to_the_outbound_proxy_and_name_the_trunk() -> None:
    async with FarEnd() as proxy:
        trunk = TrunkProfile(
            "far", "sip:pbx.example.invalid:5070", outbound_proxy=f"sip:127.0.0.1:{proxy.port};transport=udp"
        )
        async with pool_to(trunk) as (pool, events):
            pool.dial(ONE, order(NUMBER))
            invite = await proxy.request("INVITE")
            assert invite.uri == f"sip:{NUMBER}@pbx.example.invalid:5070"
            assert invite.values("Route") == [f"<sip:127.0.0.1:{proxy.port};transport=udp;lr>"]
            proxy.reply(invite, 486)
            await events.over(ONE)
            told: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
            pool.ask("far", told.set_result)
            options = await proxy.request("OPTIONS")
            assert options.uri == "sip:pbx.example.invalid:5070"
            assert options.values("Route") == invite.values("Route")
            proxy.reply(options, 200)
            assert await told is None


@async_test
async def test_a_redirection_is_never_followed_off_the_trunk() -> None:
    async with FarEnd() as far, FarEnd() as elsewhere, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order(NUMBER))
        invite = await far.request("INVITE")
        far.reply(invite, 302, ("Contact", f"<sip:{NUMBER}@127.0.0.1:{elsewhere.port}>"))
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert (end.by, end.sip_status) == (EndedBy.FAR, 302)
        with pytest.raises(TimeoutError):
            await elsewhere.receive(0.5)


async def next_packet(one: socket.socket) -> tuple[int, bytes, tuple[str, int]]:
    """The DSCP of the next packet, what is in it, and where it comes from."""
    arrived, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(one, arrived.set)
    await asyncio.wait_for(arrived.wait(), 10)
    loop.remove_reader(one)
    data, ancillary, _, source = one.recvmsg(65_535, 64)
    return ancillary[0][2][0] >> 2, data, source


@async_test
async def test_packets_carry_the_dscp() -> None:
    async with FarEnd() as far:
        for one in (far._socket, far.rtp._socket):
            one.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        async with pool_to(trunk_to(far.port), signalling_dscp=26, media_dscp=34) as (pool, events):
            pool.dial(ONE, order(NUMBER))
            dscp, data, source = await next_packet(far._socket)
            assert dscp == 26
            invite = parse(data)
            assert isinstance(invite, Request)
            far._peers[invite.call_id] = source
            far.reply(invite, 200, sdp=True)
            assert (await next_packet(far.rtp._socket))[0] == 34
            await far.request("ACK")
            far.hang_up(invite)
            await events.over(ONE)


# Credentials


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
@async_test
async def test_an_invite_is_authenticated_by_md5_and_by_sha_256(algorithm: str) -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port, username="dialer", password="secret")) as (pool, events):
        pool.dial(ONE, order(NUMBER))
        invite = await far.request("INVITE")
        far.reply(invite, 407, ("Proxy-Authenticate", f'Digest realm="far", nonce="n1", algorithm={algorithm}'))
        await far.request("ACK")
        again = await far.request("INVITE")
        assert f"algorithm={algorithm}" in (again.first("Proxy-Authorization") or "").replace('"', "")
        far.reply(again, 486)
        await events.over(ONE)


# TLS


def make_certificate(folder: Path, names: str) -> Path:
    """A certificate that signs itself, with its key, in one PEM file."""
    pem = folder / "far.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=far", "-addext", f"subjectAltName={names}", "-keyout", pem, "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    pem.write_bytes(pem.read_bytes() + (folder / "cert.pem").read_bytes())
    return pem


@contextlib.asynccontextmanager
async def tls_far_end(pem: Path) -> AsyncIterator[tuple[int, asyncio.Queue[Request]]]:
    """Answers INVITE with 486 and OPTIONS with 200, over TLS."""
    seen: asyncio.Queue[Request] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        buffer = bytearray()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while piece := await reader.read(65_536):
                buffer += piece
                for message in framed(buffer):
                    request = parse(bytes(message))
                    if isinstance(request, Request) and request.method in {"INVITE", "OPTIONS"}:
                        seen.put_nowait(request)
                        status = 486 if request.method == "INVITE" else 200
                        writer.write(respond(request, status, to_tag="far").encode())
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], seen


@pytest.mark.parametrize(
    ("names", "host", "trusted", "verify", "works"),
    [
        ("IP:127.0.0.1", "127.0.0.1", True, True, True),
        ("DNS:localhost", "localhost", True, True, True),
        ("DNS:elsewhere.example", "127.0.0.1", True, True, False),
        ("DNS:elsewhere.example", "localhost", True, True, False),
        ("IP:127.0.0.1", "127.0.0.1", False, True, False),
        ("IP:127.0.0.1", "127.0.0.1", False, False, True),
    ],
)
@async_test
async def test_a_tls_trunk_has_to_show_a_certificate_that_is_trusted_and_names_it(
    names: str, host: str, trusted: bool, verify: bool, works: bool, tmp_path: Path
) -> None:
    pem = make_certificate(tmp_path, names)
    async with tls_far_end(pem) as (port, seen):
        ca_file = str(tmp_path / "cert.pem") if trusted else ""
        trunk = TrunkProfile("far", f"sip:{host}:{port};transport=tls", ca_file=ca_file, verify=verify)
        async with pool_to(trunk) as (pool, events):
            pool.dial(ONE, order(NUMBER))
            end = await events.over(ONE)
            assert isinstance(end, LegEnded)
            assert (end.sip_status, end.by) == ((486, EndedBy.FAR) if works else (0, EndedBy.STACK))
        if works:
            assert (await probe(trunk, "127.0.0.1")).status == 200
        else:
            with pytest.raises(NoAnswer):
                await probe(trunk, "127.0.0.1")
            assert seen.empty()


@pytest.mark.parametrize(
    ("srtp", "profile", "crypto"),
    [("off", "RTP/AVP", False), ("optional", "RTP/AVP", True), ("mandatory", "RTP/SAVP", True)],
)
@async_test
async def test_srtp_is_offered_as_the_trunk_says(srtp: str, profile: str, crypto: bool, tmp_path: Path) -> None:
    pem = make_certificate(tmp_path, "IP:127.0.0.1")
    async with tls_far_end(pem) as (port, seen):
        trunk = TrunkProfile(
            "far", f"sip:127.0.0.1:{port};transport=tls", ca_file=str(tmp_path / "cert.pem"), srtp=srtp
        )
        async with pool_to(trunk) as (pool, events):
            pool.dial(ONE, order(NUMBER))
            await events.over(ONE)
    body = (await seen.get()).body.decode()
    assert f" {profile} " in body
    assert ("a=crypto:" in body) == crypto
