"""A stream between a call whose clock the test turns and a real WebSocket server."""

import asyncio
import contextlib
import hmac
import json
import socket
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from dialer.core.events import StreamEnd, StreamEnded, StreamOpened
from dialer.core.model import LegId
from dialer.log_lines import LogStyle
from sip.stream import opening, session
from sip.stream.__main__ import carry
from sip.stream.line import AUDIO, CLEAR, MAX_PACKET, frame_bytes, from_call
from sip.stream.messages import OpenStream, Setup, decode, encode
from sip.stream.playout import AHEAD, MAX_QUEUED_SECONDS, Playout
from sip.stream.session import MAX_UNSENT, MAX_UNTOLD, Session
from tests.integration.test_trunk_settings import make_certificate
from tests.support.labs import async_test
from tests.support.stream_server import Conversation, StreamServer

RATE, FRAME = 8_000, frame_bytes(8_000)
SETUP = Setup(allow_private=True, secret="", log=LogStyle())
START = {"call_id": "c-1", "campaign_id": None, "attempt": 2, "parameters": {"name": "Ana"}}


class Call:
    """The worker's end of the line. `tick` is 20 ms of its clock."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self.waiting: list[bytes] = []
        self.heard: list[bytes] = []
        self._taken = 0
        self.clears = 0

    def read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while packet := self._line.recv(MAX_PACKET):
                if packet[:1] == AUDIO:
                    self.waiting.append(packet[1:])
                else:
                    assert packet == CLEAR
                    self.clears += 1
                    self._taken += len(self.waiting)
                    self.waiting.clear()

    def tick(self, said: bytes = bytes(FRAME)) -> None:
        self.read()
        if self.waiting:
            self.heard.append(self.waiting.pop(0))
            self._taken += 1
        self._line.send(from_call(self._taken, said))

    async def ticks(self, true: Any, count: int = 2_000) -> int:
        """Tick until that is true; how many it took."""
        for n in range(count):
            if true():
                return n
            self.tick()
            await asyncio.sleep(0.001)
        raise AssertionError(f"not within {count} ticks")

    def hang_up(self) -> None:
        self._line.close()


class World:
    def __init__(self, session: Session, call: Call, told: list[StreamOpened | StreamEnded]) -> None:
        self.session, self.call, self.told = session, call, told
        self.running = asyncio.ensure_future(session.run())

    async def ended(self) -> StreamEnded:
        """How it ended; nothing is told after that, and nothing twice."""
        async with asyncio.timeout(10):
            await self.running
        ends = [one for one in self.told if isinstance(one, StreamEnded)]
        assert self.told[-1:] == ends
        return ends[0]


@contextlib.asynccontextmanager
async def stream_to(url: str, setup: Setup = SETUP, rate: int = RATE) -> AsyncIterator[World]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    told: list[StreamOpened | StreamEnded] = []
    made = Session(OpenStream(LegId(1), 7, url, rate, json.dumps(START)), ours, setup, told.append)
    world = World(made, Call(theirs), told)
    try:
        yield world
    finally:
        world.running.cancel()
        await asyncio.gather(world.running, return_exceptions=True)
        theirs.close()


@contextlib.asynccontextmanager
async def talking() -> AsyncIterator[tuple[World, Conversation]]:
    async with StreamServer() as server, stream_to(server.url) as world:
        yield world, await server.conversation()


def frames(first: int, count: int) -> bytes:
    return b"".join(bytes([first + n]) * FRAME for n in range(count))


@async_test
async def test_the_server_is_told_what_it_is_about_first() -> None:
    async with talking() as (world, talk):
        audio = {"encoding": "pcm_s16le", "sample_rate": RATE, "frame_ms": 20}
        assert talk.told == [{"type": "start", **START, "audio": audio}]
        assert world.told == [StreamOpened(LegId(1), 7)]
        assert talk.connection.request is not None
        assert talk.connection.request.headers["User-Agent"] == "dialer"


@async_test
async def test_frames_pass_both_ways() -> None:
    async with talking() as (world, talk):
        world.call.tick(b"\1" * FRAME)
        world.call.tick(b"\2" * FRAME)
        await talk.until(lambda: len(talk.audio) == 2 * FRAME)
        assert bytes(talk.audio) == b"\1" * FRAME + b"\2" * FRAME
        await talk.send(frames(1, 25))
        await world.call.ticks(lambda: len(world.call.heard) == 25)
        assert b"".join(world.call.heard) == frames(1, 25)


@async_test
async def test_what_waits_is_gone_two_ticks_after_clear_was_sent_and_its_marks_come_back() -> None:
    async with talking() as (world, talk):
        await talk.send(frames(1, 100))
        await talk.say("mark", name="end")
        await world.call.ticks(lambda: len(world.call.heard) == 20)
        assert len(world.call.waiting) > 0
        await talk.say("clear")
        assert await talk.tells("mark") == {"type": "mark", "name": "end", "played": False}
        world.call.read()
        assert (world.call.clears, world.call.waiting) == (1, [])
        await talk.send(frames(101, 1))
        await world.call.ticks(lambda: len(world.call.heard) > 20)
        assert world.call.heard[20:] == [frames(101, 1)]


@async_test
async def test_a_mark_comes_back_when_all_before_it_was_heard() -> None:
    async with talking() as (world, talk):
        await talk.send(frames(1, 30))
        await talk.say("mark", name="half")
        await talk.send(frames(31, 30))
        await talk.say("mark", name="whole")
        heard_at = {}
        for name in ("half", "whole"):
            await world.call.ticks(lambda name=name: any(m.get("name") == name for m in talk.told))
            heard_at[name] = len(world.call.heard)
        assert heard_at["half"] >= 30
        assert heard_at["whole"] == 60
        assert [m for m in talk.told if m["type"] == "mark"] == [
            {"type": "mark", "name": "half", "played": True},
            {"type": "mark", "name": "whole", "played": True},
        ]


@async_test
async def test_a_server_that_stops_is_heard_to_the_end() -> None:
    async with talking() as (world, talk):
        await talk.send(frames(1, 40) + b"\7" * 10)
        await talk.say("stop", outcome="sold")
        await world.call.ticks(lambda: world.running.done() or len(world.told) == 2)
        assert await world.ended() == StreamEnded(LegId(1), 7, StreamEnd.SERVER, outcome="sold")
        assert len(world.call.heard) == 41
        await talk.connection.wait_closed()


@async_test
async def test_a_connection_that_is_closed_well_is_a_stop_without_an_outcome() -> None:
    async with talking() as (world, talk):
        await talk.send(frames(1, 5))
        await talk.connection.close()
        await world.call.ticks(lambda: len(world.told) == 2)
        assert await world.ended() == StreamEnded(LegId(1), 7, StreamEnd.SERVER)
        assert len(world.call.heard) == 5


@pytest.mark.parametrize("code", [1001, 1011, 4000])
@async_test
async def test_a_connection_that_is_closed_otherwise_is_lost(code: int) -> None:
    async with talking() as (world, talk):
        await talk.connection.close(code)
        end = await world.ended()
        assert end.by is StreamEnd.LOST
        assert end.reason.startswith(f"the connection ended: received {code} ")


@async_test
async def test_a_message_that_is_too_long_is_refused() -> None:
    async with talking() as (world, talk):
        await talk.send(bytes(1 << 20))
        await talk.say("clear")
        await talk.send(bytes((1 << 20) + 1))
        end = await world.ended()
        assert end.by is StreamEnd.LOST
        assert "sent 1009 (message too big)" in end.reason


@async_test
async def test_a_connection_that_breaks_is_lost() -> None:
    async with talking() as (world, talk):
        talk.connection.transport.abort()
        end = await world.ended()
        assert (end.by, end.reason) == (StreamEnd.LOST, "the connection ended: no close frame received or sent")


@async_test
async def test_the_end_of_the_call_is_told_to_the_server() -> None:
    async with talking() as (world, talk):
        world.call.hang_up()
        assert await talk.tells("stop") == {"type": "stop", "reason": "hangup"}
        end = await world.ended()
        assert (end.by, end.leg_over) == (StreamEnd.STOPPED, True)
        assert talk.connection.close_code == 1000


@async_test
async def test_our_own_stop_is_told_with_its_reason_and_keys_are_passed_on() -> None:
    async with talking() as (world, talk):
        world.session.press("5")
        assert await talk.tells("dtmf") == {"type": "dtmf", "digit": "5"}
        world.session.stop("max_seconds")
        assert await talk.tells("stop") == {"type": "stop", "reason": "max_seconds"}
        assert (await world.ended()).by is StreamEnd.STOPPED


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ("not json", "is not JSON"),
        ("[1]", "a message is a JSON object with a type: mark, clear, stop"),
        ('{"type": "dance"}', "there is no type 'dance': mark, clear, stop"),
        ('{"type": "mark"}', "a mark has a name of 200 characters at most"),
        ('{"type": "mark", "name": 7}', "a mark has a name of 200 characters at most"),
        ('{"type": "mark", "name": "%s"}' % ("x" * 201), "a mark has a name of 200 characters at most"),
        ('{"type": "stop", "outcome": "%s"}' % ("x" * 201), "an outcome is a text of 200 characters at most"),
        ('{"type": "stop", "outcome": {}}', "an outcome is a text of 200 characters at most"),
        ("[" * 100_000, "is not JSON"),
        ("1" * 5_000, "is not JSON"),
    ],
    ids=range(10),
)
@async_test
async def test_what_the_protocol_does_not_know_is_answered_and_ends_nothing(sent: str, reason: str) -> None:
    async with talking() as (world, talk):
        await talk.connection.send(sent)
        assert await talk.tells("error") == {"type": "error", "reason": reason}
        await talk.send(frames(1, 1))
        await world.call.ticks(lambda: len(world.call.heard) == 1)


@async_test
async def test_a_server_that_sends_too_much_is_held_and_loses_nothing() -> None:
    queued = round(MAX_QUEUED_SECONDS * 50)
    piece = 500

    async def flood(talk: Conversation) -> None:
        for n in range(5):  # 50 seconds, at once
            await talk.send(bytes([n + 1]) * FRAME * piece)
            sent.append(n)

    sent: list[int] = []
    async with StreamServer(flood) as server, stream_to(server.url) as world:
        await server.conversation()
        await world.call.ticks(lambda: len(world.call.heard) == 50)
        playout = world.session._playout
        assert queued <= playout._frames <= queued + piece
        await world.call.ticks(lambda: len(world.call.heard) == 5 * piece, 10_000)
        assert [frame[0] for frame in world.call.heard] == [n + 1 for n in range(5) for _ in range(piece)]
        assert len(sent) == 5


@async_test
async def test_a_server_that_does_not_read_costs_the_oldest_second_and_no_memory() -> None:
    async with StreamServer() as server, stream_to(server.url) as world:
        talk = await server.conversation()
        talk.connection.transport.pause_reading()
        await tick_until_it_is_stuck(world)
        for n in range(10_000):
            world.call.tick(b"\1" * FRAME)
            if n % 50 == 0:
                await asyncio.sleep(0)
        assert world.session._unsent_frames <= MAX_UNSENT
        assert len(world.session._unsent) <= MAX_UNSENT
        for _ in range(10):
            world.call.tick(b"\2" * FRAME)
        talk.connection.transport.resume_reading()
        await talk.until(lambda: talk.audio.endswith(b"\2" * FRAME * 10))
        world.session.stop("max_seconds")
        end = await world.ended()
        assert end.dropped_ms > 0


async def tick_until_it_is_stuck(world: World) -> None:
    """More than the kernel's buffers and those of both sides hold, of a server that does not read."""
    while world.session._dropped_frames < MAX_UNSENT:
        for _ in range(10):
            world.call.tick(b"\1" * FRAME)
        await asyncio.sleep(0)


@async_test
async def test_a_server_that_takes_nothing_any_more_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(session, "LEAVE_SECONDS", 0.1)
    async with StreamServer() as server, stream_to(server.url) as world:
        talk = await server.conversation()
        talk.connection.transport.pause_reading()
        await tick_until_it_is_stuck(world)
        end = await world.ended()
        assert (end.by, end.reason) == (StreamEnd.LOST, "the server took nothing for 0.3 s")
        # And nothing of the connection is left.
        talk.connection.transport.resume_reading()
        async with asyncio.timeout(10):
            await talk.connection.wait_closed()


@async_test
async def test_a_server_that_answers_no_pings_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "PATIENCE_SECONDS", 0.3)
    async with talking() as (world, talk):
        talk.connection.transport.pause_reading()
        end = await world.ended()
        talk.connection.transport.resume_reading()
        assert end.by is StreamEnd.LOST
        assert "keepalive ping timeout" in end.reason


@async_test
async def test_clear_over_and_over_costs_the_line_one_packet() -> None:
    async with talking() as (world, talk):
        await talk.send(frames(1, 100))
        await world.call.ticks(lambda: len(world.call.heard) == 20)
        for _ in range(1_000):
            await talk.say("clear")
        await talk.say("?")
        await talk.tells("error")  # so all before it was read
        await talk.send(frames(101, 1))
        await talk.say("stop")
        await world.call.ticks(lambda: len(world.told) == 2)
        assert world.call.clears == 1
        assert world.call.heard[20:] == [frames(101, 1)]


@async_test
async def test_halves_of_characters_in_what_a_server_says_do_no_harm() -> None:
    async with talking() as (world, talk):
        await talk.connection.send('{"type": "mark", "name": "\\ud800"}')
        assert await talk.tells("mark") == {"type": "mark", "name": "\ud800", "played": True}
        world.session.press("5")
        await talk.tells("dtmf")


@async_test
async def test_a_server_that_is_lost_while_it_is_held_is_lost_at_once() -> None:
    async with talking() as (world, talk):
        sending = asyncio.ensure_future(talk.send(bytes(FRAME) * 50 * 31))
        await world.call.ticks(lambda: world.session._playout.full)
        await sending
        talk.connection.transport.abort()
        end = await world.ended()
        assert (end.by, end.reason) == (StreamEnd.LOST, "the connection ended: no close frame received or sent")


@async_test
async def test_a_server_that_asks_and_does_not_read_the_answers_is_held() -> None:
    async with StreamServer() as server, stream_to(server.url) as world:
        talk = await server.conversation()
        talk.connection.transport.pause_reading()

        async def ask() -> None:
            for n in range(200_000):
                await talk.say("mark", name=f"{n:0>150}")

        asking = asyncio.ensure_future(ask())
        longest = 0
        for n in range(4_000):
            world.call.tick()
            await asyncio.sleep(0.0005)
            longest = max(longest, len(world.session._unsent))
            if n % 500 == 0 and longest > MAX_UNTOLD + MAX_UNSENT:
                break
        assert MAX_UNTOLD < longest <= MAX_UNTOLD + MAX_UNSENT + 2
        asking.cancel()
        world.session.stop("max_seconds")
        assert (await world.ended()).by is StreamEnd.STOPPED


@async_test
async def test_nothing_is_heard_that_comes_after_a_stop() -> None:
    async with talking() as (world, talk):
        await talk.send(frames(1, 2))
        await talk.say("stop")
        await talk.send(frames(9, 1))
        await world.call.ticks(lambda: len(world.told) == 2)
        assert b"".join(world.call.heard) == frames(1, 2)


@async_test
async def test_a_call_that_ends_while_the_server_is_reached_for_ends_the_stream() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes connections, and never answers
        async with stream_to(f"ws://127.0.0.1:{deaf.getsockname()[1]}/") as world:
            world.call.tick()
            world.call.hang_up()
            end = await world.ended()
            assert (end.by, end.leg_over) == (StreamEnd.STOPPED, True)


async def failed(url: str, setup: Setup = SETUP) -> str:
    async with stream_to(url, setup) as world:
        end = await world.ended()
        assert end.by is StreamEnd.FAILED
        assert len(world.told) == 1
        return end.reason


@async_test
async def test_a_server_that_cannot_be_reached_is_told_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = closed.getsockname()[1]
    assert "refused" in await failed(f"ws://127.0.0.1:{nobody}/")
    monkeypatch.setattr(opening, "OPEN_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        assert await failed(f"ws://127.0.0.1:{deaf.getsockname()[1]}/") == "no answer within 0.2 s"


@pytest.mark.parametrize("status", [302, 401, 500])
@async_test
async def test_a_server_that_answers_otherwise_is_not_followed(status: int) -> None:
    async with StreamServer(status=status) as server:
        assert await failed(server.url) == f"the server answered {status}"
        assert len(server.requests) == 1


@async_test
async def test_private_addresses_are_refused_unless_the_operator_lets_them_in() -> None:
    careful = Setup(allow_private=False, secret="", log=LogStyle())
    async with StreamServer() as server:
        assert "must begin with wss://" in await failed(server.url, careful)
        by_name = server.url.replace("ws://127.0.0.1", "wss://localhost")
        assert "a private address; the setting stream.allow_private" in await failed(by_name, careful)
        assert server.requests == []


@async_test
async def test_a_server_has_to_show_a_certificate_that_is_trusted_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with StreamServer(certificate=make_certificate(tmp_path, "IP:127.0.0.1")) as server:
        assert await failed(server.url) == "TLS: self-signed certificate"
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        async with stream_to(server.url) as world:
            talk = await server.conversation()
            await talk.say("stop")
            assert (await world.ended()).by is StreamEnd.SERVER
        by_name = server.url.replace("127.0.0.1", "localhost")
        assert (await failed(by_name)).startswith("TLS: Hostname mismatch")
    async with StreamServer() as plain:
        assert await failed(plain.url.replace("ws:", "wss:")) == "the connection broke"


@async_test
async def test_a_request_is_signed_with_the_secret() -> None:
    async with StreamServer() as server, stream_to(server.url, Setup(True, "s3cret", LogStyle())):
        await server.conversation()
        headers = server.requests[0].headers
        signed = f"{headers['X-Dialer-Timestamp']}.c-1.{server.url}".encode()
        expected = hmac.new(b"s3cret", signed, sha256).hexdigest()
        assert headers["X-Dialer-Signature"] == f"v1={expected}"
        assert headers["X-Dialer-Call"] == "c-1"
    async with StreamServer() as server, stream_to(server.url):
        await server.conversation()
        assert "X-Dialer-Signature" not in server.requests[0].headers


@async_test
async def test_a_defect_here_ends_the_stream_as_lost_and_leaves_no_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(Playout, "mark", fail)
    (ours, theirs), (line, of_call) = (socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2))
    with ours, theirs, of_call:
        theirs.setblocking(False)
        async with StreamServer() as server:
            carrying = asyncio.ensure_future(carry(theirs, SETUP))
            order = OpenStream(LegId(1), 7, server.url, RATE, json.dumps(START))
            socket.send_fds(ours, [encode(order)], [line.fileno()])
            line.close()
            talk = await server.conversation()
            await talk.say("mark", name="x")
            async with asyncio.timeout(10):
                await talk.connection.wait_closed()
            said = [decode(ours.recv(MAX_PACKET)) for _ in range(2)]
            ours.shutdown(socket.SHUT_RDWR)
            await carrying
    end = "it failed here: RuntimeError('a defect')"
    assert said == [StreamOpened(LegId(1), 7), StreamEnded(LegId(1), 7, StreamEnd.LOST, end)]
    assert "a stream failed" in caplog.text


def test_no_more_is_ahead_than_a_call_throws_away_at_once() -> None:
    assert AHEAD * 20 <= 200
