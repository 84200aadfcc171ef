"""What strangers and broken peers may send: a worker lives, answers OPTIONS, and its calls go on."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialer.core.events import Answered, LegEnded, LegRefused
from dialer.core.model import LegId
from sip.grammar import MalformedMessage
from sip.wire import Request, Response, parse, respond
from sip.wire_requests import options_request
from tests.support.far_end import FarEnd
from tests.support.labs import async_test
from tests.support.pools import Events, order, pool_to, trunk_to
from tests.support.torture import TORTURE

ONE = LegId(1)
# The stack keeps each of 3,000 transactions for 32 s (64*T1) at about 13 KB: 40 MB that come back. Without an end of it, or
# with a call for each, it would be several times as much.
MOST_GROWTH_KB = 80_000


@dataclass
class Stranger:
    """A socket that nobody configured, and a worker's address to send to."""

    socket: socket.socket
    worker: tuple[str, int]

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendto(self.socket, data, self.worker)

    async def ask(self, method: str, *headers: str, token: str = "t", seconds: float = 10) -> int | None:
        """The final status of a request of our own; None when there is none."""
        request = options_request(
            f"sip:x@127.0.0.1:{self.worker[1]}",
            from_uri="sip:stranger@127.0.0.1",
            sent_by=f"127.0.0.1:{self.port}",
            token=token + method,
        )
        text = request.encode().decode().replace("OPTIONS", method)
        more = "".join(f"{line}\r\n" for line in headers)
        await self.send(text.replace("\r\n\r\n", f"\r\n{more}\r\n", 1).encode())
        try:
            async with asyncio.timeout(seconds):
                while True:
                    data = await asyncio.get_running_loop().sock_recv(self.socket, 65_535)
                    status = final_status(data, token + method)
                    if status is not None:
                        return status
        except TimeoutError:
            return None


def final_status(data: bytes, call_id: str) -> int | None:
    try:
        answer = parse(data)
    except MalformedMessage:
        return None
    final = isinstance(answer, Response) and answer.call_id == call_id and answer.status >= 200
    return answer.status if final and isinstance(answer, Response) else None


@contextlib.asynccontextmanager
async def talking_worker() -> AsyncIterator[tuple[Stranger, FarEnd, Request, Events, int]]:
    """A worker with a call that is answered, and a stranger to it; at the end the call must still be there."""
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.talking()
        await events.wait(Answered, ONE)
        (worker,) = [worker for worker in pool._running.workers.values() if worker.legs]
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as one:
            one.setblocking(False)
            one.bind(("127.0.0.1", 0))
            stranger = Stranger(one, ("127.0.0.1", invite.via.port or 0))
            yield stranger, far, invite, events, worker.pid
            assert await stranger.ask("OPTIONS", token="last") == 200
        assert events.kinds(ONE)[-1] == "Answered"
        assert worker.up
        assert not worker.dead
        far.hang_up(invite)
        assert isinstance(await events.over(ONE), LegEnded)


def resident_kb(pid: int) -> int:
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:  # noqa: PTH123
        return int(statm.read().split()[1]) * 4


@async_test
async def test_torture_messages_cost_nothing() -> None:
    async with talking_worker() as (stranger, _, _, _, _):
        for message in TORTURE:
            await stranger.send(message)


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("INVITE", ()),
        ("SUBSCRIBE", ("Event: presence", "Expires: 0")),
        ("SUBSCRIBE", ("Event: message-summary", "Expires: 60")),
        ("REFER", ("Refer-To: <sip:elsewhere@127.0.0.1:9>",)),
        ("MESSAGE", ("Content-Type: text/plain",)),
        ("PUBLISH", ("Event: presence",)),
        ("NOTIFY", ("Event: presence", "Subscription-State: active")),
        ("BYE", ()),
        ("UPDATE", ()),
        ("INFO", ()),
    ],
)
@async_test
async def test_what_strangers_ask_for_is_refused(method: str, headers: tuple[str, ...]) -> None:
    async with talking_worker() as (stranger, _, _, _, _):
        contact = f"Contact: <sip:stranger@127.0.0.1:{stranger.port}>"
        status = await stranger.ask(method, contact, *headers, seconds=2)
        # What the stack has no place for it drops without a word, which is no less a refusal.
        assert status is None or status >= 400


@async_test
async def test_a_flood_leaves_the_worker_answering_and_its_memory_bounded() -> None:
    async with talking_worker() as (stranger, _, _, _, pid):
        await stranger.ask("OPTIONS")
        before = resident_kb(pid)
        for n in range(3000):
            request = options_request(
                "sip:x@127.0.0.1", from_uri="sip:s@127.0.0.1", sent_by=f"127.0.0.1:{stranger.port}", token=f"flood{n}"
            )
            text = request.encode().decode().replace("OPTIONS", ("INVITE", "MESSAGE", "SUBSCRIBE", "REGISTER")[n % 4])
            contact = f"\r\nContact: <sip:s@127.0.0.1:{stranger.port}>\r\n\r\n"
            with contextlib.suppress(BlockingIOError):
                stranger.socket.sendto(text.replace("\r\n\r\n", contact, 1).encode(), stranger.worker)
            if n % 50 == 0:
                assert await stranger.ask("OPTIONS", token=f"o{n}") == 200
        assert resident_kb(pid) - before < MOST_GROWTH_KB


@st.composite
def mutations(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """Places in a message, as thousandths of its length, and what is put there."""
    pieces = st.sampled_from(
        [
            b"",
            b"\r\n",
            b"\x00",
            b"<",
            b'"',
            b"%",
            b"\xff\xfe",
            b"9" * 40,
            b";" * 30,
            b"a" * 3000,
            b"\r\n\r\n",
            b"SIP/2.0",
        ]
    )
    return draw(st.lists(st.tuples(st.integers(0, 999), pieces), min_size=1, max_size=6))


@async_test
async def test_mutated_responses_in_a_live_dialog_end_no_worker() -> None:
    async with talking_worker() as (stranger, far, invite, _, _):

        @given(mutations(), st.sampled_from([100, 180, 183, 200, 302, 401, 487, 503]))
        @settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        def mutate(changes: list[tuple[int, bytes]], status: int) -> None:
            data = respond(invite, status, to_tag="far", headers=(far.contact,)).encode()
            for place, piece in changes:
                at = len(data) * place // 1000
                data = data[:at] + piece + data[at + len(piece) // 2 :]
            far._socket.sendto(data[:60_000], stranger.worker)

        mutate()


@pytest.mark.parametrize("number", ["+1\r\nX: 1", "<1>", "1>", "1;a=b", "1@b", '"1"', "1 2", "\x00", "é1"])
@async_test
async def test_nothing_that_could_break_a_header_leaves(number: str) -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order(number))
        pool.dial(LegId(2), order("+34600000001", caller_id=number))
        for leg in (ONE, LegId(2)):
            assert isinstance(await events.over(leg), LegRefused)
        assert not far.seen
