"""Questions to programs over real connections: signed, in time, and whatever the program does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from api.webhook_asker import MAX_ANSWER_BYTES, WebhookAsker
from dialer.ports import Question, Reply
from tests.support.event_world import until
from tests.support.labs import async_test
from tests.support.program import SECRET, Asked, Program, http, steps

BODY = '{"type":"call.step","name":"Ána"}'
PAUSE = {"do": "wait", "seconds": 1}


@asynccontextmanager
async def asking(
    answer: Callable[[Asked], bytes | None], **options: Any
) -> AsyncIterator[tuple[WebhookAsker, Program]]:
    async with Program(answer) as program:
        asker = WebhookAsker(**{"allow_private": True, "secret": SECRET, **options})
        try:
            yield asker, program
        finally:
            await asker.close()


async def replied(asker: WebhookAsker, url: str, question_id: str = "call-1-1", seconds: float = 30.0) -> Reply:
    answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    asker.ask(Question(question_id, url, BODY, seconds), answered.set_result)
    assert not answered.done(), "it is answered later"
    return await answered


@async_test
async def test_a_question_is_a_signed_post_and_its_answer_comes_as_it_is() -> None:
    async with asking(lambda _: steps(PAUSE)) as (asker, program):
        reply = await replied(asker, f"{program.url}/next?key=1")
        assert reply == Reply(200, '{"steps": [{"do": "wait", "seconds": 1}]}')
        (asked,) = program.asked
        assert asked.path == "/next?key=1"
        assert asked.verified() == {"type": "call.step", "name": "Ána"}
        assert asked.headers["webhook-id"] == "call-1-1"
        assert asked.headers["content-type"] == "application/json"


@async_test
async def test_connections_are_kept_for_the_next_question() -> None:
    async with asking(lambda _: steps()) as (asker, program):
        for n in range(3):
            await replied(asker, program.url, f"call-1-{n}")
        assert program.connections == 1


@async_test
async def test_a_connection_that_the_program_closed_meanwhile_is_made_anew_under_the_same_id() -> None:
    async with asking(lambda asked: steps() if len(program.asked) != 2 else None) as (asker, program):
        for n in range(2):
            assert (await replied(asker, program.url, f"call-1-{n}")).status == 200
        assert [asked.headers["webhook-id"] for asked in program.asked] == ["call-1-0", "call-1-1", "call-1-1"]
        assert program.connections == 2


@async_test
async def test_a_program_that_cuts_every_connection_has_not_answered() -> None:
    async with asking(lambda _: None) as (asker, program):
        reply = await replied(asker, program.url)
        assert (reply.status, len(program.asked)) == (0, 2)
        assert "RemoteProtocolError" in reply.fault


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (http(204), Reply(204)),
        (http(500, b"oh"), Reply(500, fault="answered 500")),
        (http(302, location="http://127.0.0.1:9/"), Reply(302, fault="answered 302")),
        (http(200, b"\xff"), Reply(200, fault="the answer is not UTF-8")),
        (http(200, b"x" * MAX_ANSWER_BYTES), Reply(200, "x" * MAX_ANSWER_BYTES)),
        (http(200, b"x" * (MAX_ANSWER_BYTES + 1)), Reply(200, fault="answered more than 65,536 bytes")),
        (http(200, b"\x1f\x8b", **{"content-encoding": "gzip"}), Reply(200, fault="the answer is not UTF-8")),
    ],
)
@async_test
async def test_what_is_answered_is_told_as_it_is(answer: bytes, reply: Reply) -> None:
    async with asking(lambda _: answer) as (asker, program):
        assert await replied(asker, program.url) == reply
        assert len(program.asked) == 1


@async_test
async def test_an_endless_answer_is_left_after_so_many_bytes() -> None:
    endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 100
    async with asking(lambda _: endless) as (asker, program):
        assert (await replied(asker, program.url)).fault == "answered more than 65,536 bytes"
        await until(lambda: program.open == 0)


@async_test
async def test_a_program_that_is_slow_is_left_at_its_time_and_holds_nobody_else_up() -> None:
    async with asking(lambda _: steps()) as (slow_asker, slow), Program(lambda _: steps()) as quick:
        slow.may_answer.clear()
        waiting = asyncio.create_task(replied(slow_asker, slow.url, seconds=0.5))
        await until(lambda: len(slow.asked) == 1)
        assert (await replied(slow_asker, quick.url)).status == 200
        assert not waiting.done()
        assert await waiting == Reply(fault="no answer within 0.5 s")
        slow.may_answer.set()
        await until(lambda: slow.open == 0)


@async_test
async def test_many_calls_ask_at_once() -> None:
    async with asking(lambda _: steps()) as (asker, program):
        program.may_answer.clear()
        questions = [asyncio.create_task(replied(asker, program.url, f"call-{n}")) for n in range(40)]
        await until(lambda: len(program.asked) == 40)
        program.may_answer.set()
        assert {reply.status for reply in await asyncio.gather(*questions)} == {200}


@async_test
async def test_a_program_that_is_not_there_is_told_so() -> None:
    async with asking(lambda _: steps()) as (asker, _):
        assert "ConnectError" in (await replied(asker, "http://127.0.0.1:1/")).fault


@async_test
async def test_our_own_network_is_not_asked_unless_it_is_allowed_and_a_reload_says_so_too() -> None:
    async with asking(lambda _: steps(), allow_private=False) as (asker, program):
        by_name = program.url.replace("http://127.0.0.1", "https://localhost")
        reply = await replied(asker, by_name)
        assert "the setting webhooks.allow_private lets them in" in reply.fault
        assert not program.connections
        asker.follow(allow_private=True, secret=SECRET)
        assert (await replied(asker, program.url)).status == 200
        program.may_answer.clear()
        under_way = asyncio.create_task(replied(asker, program.url))
        await until(lambda: len(program.asked) == 2)
        asker.follow(allow_private=False, secret=SECRET)
        program.may_answer.set()
        assert (await under_way).status == 200, "what is under way goes on"
        await until(lambda: program.open == 0)
        assert (await replied(asker, by_name)).fault == reply.fault


@async_test
async def test_a_new_secret_signs_from_the_next_question_on() -> None:
    other = "whsec_" + "REVG" * 12
    async with asking(lambda _: steps()) as (asker, program):
        await replied(asker, program.url)
        asker.follow(allow_private=True, secret=other)
        await replied(asker, program.url)
        program.asked[0].verified(SECRET)
        program.asked[1].verified(other)
        assert program.connections == 1


@async_test
async def test_the_connections_to_hosts_that_were_not_asked_for_long_are_closed() -> None:
    async with asking(lambda _: steps()) as (asker, program):
        await replied(asker, program.url)
        for port in range(1, 65):
            await replied(asker, f"http://127.0.0.1:{port}/")
        await until(lambda: program.open == 0)


@async_test
async def test_a_server_that_stops_waits_for_no_answer() -> None:
    async with asking(lambda _: steps()) as (asker, program):
        program.may_answer.clear()
        answers: list[Reply] = []
        asker.ask(Question("call-1-1", program.url, BODY, 30), answers.append)
        await until(lambda: len(program.asked) == 1)
        await asker.close()
        assert answers == []
