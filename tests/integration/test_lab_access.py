"""The called party as a PBX with credentials and limits, and what strangers can do to it."""

import random
import re
import time

import pytest

from sip.digest import Algorithm, digest_response, parse_digest
from sip.lab import Auth
from sip.wire import Request, Response
from tests.support.caller import Caller
from tests.support.labs import AT_ONCE, FAST_T1, RINGS_OUT, WAITS, async_test, ended, lab_and_caller, story


def credentials(
    challenge: Response, request: Request, password: str = "secret", user: str = "dialer", index: int = 0
) -> str:
    """The header line that answers one of a challenge's headers."""
    proxy = challenge.status == 407
    given = parse_digest(challenge.lines("Proxy-Authenticate" if proxy else "WWW-Authenticate")[index])
    algorithm: Algorithm = "SHA-256" if given["algorithm"] == "SHA-256" else "MD5"
    response = digest_response(
        algorithm,
        user=user,
        realm=given["realm"],
        password=password,
        method=request.method,
        uri=request.uri,
        nonce=given["nonce"],
        protection="00000001:abc:auth",
    )
    return (
        f'{"Proxy-Authorization" if proxy else "Authorization"}: Digest username="{user}", realm="{given["realm"]}", '
        f'nonce="{given["nonce"]}", uri="{request.uri}", response="{response}", algorithm={algorithm}, qop=auth, '
        'nc=00000001, cnonce="abc"\r\n'
    )


def again(request: Request, header_line: str, n: int = 2) -> str:
    """The request once more, in a new transaction and with one header line more."""
    text = request.encode().decode().replace("z9hG4bK", f"z9hG4bK{n}").replace("CSeq: 1 ", f"CSeq: {n} ")
    return text.replace("Max-Forwards", f"{header_line}Max-Forwards")


@pytest.mark.parametrize("status", [401, 407])
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
@async_test
async def test_an_invite_with_right_credentials_passes_and_its_challenge_makes_no_call(
    status: int, algorithm: str
) -> None:
    auth = Auth("dialer", "secret", status=status, algorithms=(algorithm,))  # type: ignore[arg-type]
    async with lab_and_caller(auth=auth) as (lab, caller):
        invite = caller.invite(AT_ONCE)
        challenge = await caller.final(invite)
        assert challenge.status == status
        caller.send_text(again(invite, credentials(challenge, invite)))
        await caller.response(100)
        await caller.response(200)
        assert story(lab) == ["challenged", "invite", "answered"]


@async_test
async def test_a_stale_nonce_is_told_apart_and_the_next_one_works() -> None:
    async with lab_and_caller(auth=Auth("dialer", "secret", stale_first=True)) as (lab, caller):
        invite = caller.invite(AT_ONCE)
        first = await caller.final(invite)
        assert "stale" not in parse_digest(first.lines("WWW-Authenticate")[0])
        caller.send_text(again(invite, credentials(first, invite)))
        second = await caller.response(401)
        assert parse_digest(second.lines("WWW-Authenticate")[0])["stale"] == "true"
        caller.send_text(again(invite, credentials(second, invite), 3))
        await caller.response(100)
        await caller.response(200)
        assert lab.log.count("invite") == 1


@async_test
async def test_wrong_credentials_are_challenged_again() -> None:
    both: tuple[Algorithm, ...] = ("SHA-256", "MD5")
    async with lab_and_caller(auth=Auth("dialer", "secret", algorithms=both)) as (lab, caller):
        invite = caller.invite(AT_ONCE)
        challenge = await caller.final(invite)
        right = credentials(challenge, invite, index=1)
        wrong = [
            credentials(challenge, invite, password="guess"),
            credentials(challenge, invite, user="other"),
            right.replace('nonce="', 'nonce="0'),
            right.replace("algorithm=MD5", "algorithm=MD4"),
            right.replace("Digest", "Basic"),
            re.sub('nonce="[^"]*"', f'nonce="{"f" * 300}"', right),
            re.sub('response="[^"]*"', 'response="é"', right),
        ]
        for n, line in enumerate(wrong, 2):
            caller.send_text(again(invite, line, n))
            assert "stale" not in parse_digest((await caller.response(401)).lines("WWW-Authenticate")[0])
        caller.send_text(again(invite, right, 99))
        await caller.response(100)
        assert lab.log.count("challenged") == 1 + len(wrong)


@async_test
async def test_register_is_remembered_until_it_expires_or_is_taken_back() -> None:
    async with lab_and_caller(auth=("dialer", "secret")) as (lab, caller):

        async def register(n: int, contact: str) -> Response:
            text = (
                f"REGISTER sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {caller.sent_by};rport;branch=z9hG4bKr{n}\r\n"
                f"Max-Forwards: 70\r\nFrom: <sip:dialer@lab>;tag=r\r\nTo: <sip:dialer@lab>\r\nCall-ID: r{n}@tests\r\n"
                f"CSeq: 1 REGISTER\r\n{contact}\r\n"
            )
            caller.send_text(text)
            challenge = await caller.response(401, "REGISTER")
            request = Request(method="REGISTER", uri="sip:127.0.0.1", headers=())
            caller.send_text(text.replace("Max-Forwards", f"{credentials(challenge, request)}Max-Forwards"))
            message = await caller.receive()
            assert isinstance(message, Response)
            return message

        here = f"sip:dialer@{caller.sent_by}"
        assert (await register(1, f"Contact: <{here}>;expires=60\r\n")).values("Contact") == [f"<{here}>;expires=60"]
        now = time.monotonic()
        assert lab.registrar.contact_of("dialer", now) == here
        assert lab.registrar.contact_of("dialer", now + 61) is None
        assert (await register(2, "")).values("Contact")  # only asks
        assert (await register(3, "Contact: *\r\nExpires: 0\r\n")).values("Contact") == []
        assert lab.registrar.contact_of("dialer", now) is None
        assert (await register(4, f"Contact: <{here}>;expires=soon\r\n")).status == 400


@async_test
async def test_calls_above_the_limit_get_503_with_retry_after() -> None:
    async with lab_and_caller(max_calls=2, retry_after_seconds=7, pace=1.0) as (lab, caller):
        talk = await caller.answered(AT_ONCE)
        caller.invite(RINGS_OUT)
        await caller.response(100)
        await caller.response(180)
        refused = await caller.final(caller.invite(WAITS))
        assert (refused.status, refused.first("Retry-After")) == (503, "7")
        talk.hang_up()
        await caller.response(200, "BYE")
        caller.invite(WAITS)
        await caller.response(100)
        await caller.response(180)
        assert lab.peak_calls == 2


@async_test
async def test_invites_above_the_cps_limit_get_503_until_the_second_has_passed() -> None:
    async with lab_and_caller(cps_limit=3) as (lab, caller):
        statuses = [(await caller.final(caller.invite("486"))).status for _ in range(5)]
        assert statuses == [486, 486, 486, 503, 503]
        first = lab.log.of("invite")[0].monotonic_at
        while (await caller.final(caller.invite("486"))).status == 503:
            assert lab.log.of("invite")[-1].monotonic_at - first < 1.0
        assert lab.log.of("invite")[-1].monotonic_at - first >= 1.0


@async_test
async def test_garbage_and_mutated_messages_are_dropped_and_calls_go_on() -> None:
    dice = random.Random(20_250_301)
    async with lab_and_caller(t1=FAST_T1) as (lab, caller):
        talk = await caller.answered(WAITS)
        seeds = [caller.invite_text(AT_ONCE).encode(), talk.request("INFO").encode(), talk.request("OPTIONS").encode()]
        seeds += [
            seeds[0].replace(b"INVITE", method) for method in (b"REGISTER", b"CANCEL", b"ACK", b"BYE", b"OPTIONS")
        ]
        for n in range(3_000):
            message = bytearray(dice.choice(seeds))
            for _ in range(dice.randrange(1, 4)):
                at = dice.randrange(len(message))
                piece = dice.choice(
                    [b"", b"\r\n", b"\0", b'"', b"<", b">", b";", b",", b":", b"@", b"\xff", b"9" * 30, b" "]
                )
                message[at : at + dice.randrange(4)] = piece
            caller.send_text(bytes(message))
            if n % 50 == 0:  # in step with the lab, so that its buffer does not overflow
                await answered_options(caller)
        for garbage in (b"", b"\r\n\r\n", b"\0", b"SIP/2.0 200 OK\r\n\r\n", b"x" * 60_000, b"INVITE " * 5_000):
            caller.send_text(garbage)
        await answered_options(caller)
        assert lab.malformed > 500
        talk.hang_up()
        while (reply := await caller.receive()).cseq[1] != "BYE" or reply.call_id != talk.invite.call_id:
            pass
        await ended(lab)


async def answered_options(caller: Caller) -> None:
    text = caller.invite_text(AT_ONCE, body="").replace("INVITE", "OPTIONS")
    caller.send_text(text)
    wanted = re.search(r"Call-ID: (\S+)", text)
    assert wanted
    while (await caller.receive()).call_id != wanted[1]:
        pass
