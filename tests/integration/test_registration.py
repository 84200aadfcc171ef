"""A trunk that registers: how often, with which credentials, and what it makes of a registrar that refuses (RFC 3261 10)."""

import asyncio

import pytest

from sip.trunk import TrunkProfile
from sip.wire import Request
from tests.support.faketime import hurry, needs_faketime
from tests.support.far_end import FarEnd
from tests.support.labs import async_test
from tests.support.pools import pool_to, pool_until, trunk_to

CREDENTIALS = {"username": "dialer", "password": "secret"}
HURRY = 80


@async_test
async def test_a_registration_that_fails_is_tried_again_after_longer_and_longer_pauses() -> None:
    loop = asyncio.get_running_loop()
    async with FarEnd() as far, pool_to(trunk_to(far.port, register=True, **CREDENTIALS)) as (pool, _):
        times = []
        for _ in range(3):
            request = await far.request("REGISTER")
            times.append(loop.time())
            far.reply(request, 503)
        assert times[1] - times[0] >= 2
        assert times[2] - times[1] >= 4
        assert pool.state().trunk_faults == {"far": "trunk far is not registered"}


@needs_faketime
@async_test
async def test_a_registrar_that_wants_longer_registrations_gets_them_and_is_asked_again_by_that_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """RFC 3261 10.2.8: 423 with Min-Expires."""
    hurry(monkeypatch, HURRY)
    loop, least = asyncio.get_running_loop(), 400
    async with FarEnd() as far, pool_to(trunk_to(far.port, register=True, **CREDENTIALS)) as (pool, _):
        taken: dict[str, float] = {}  # by the branch: a request that is sent again is none
        while len(taken) < 2:
            request = await far.request("REGISTER")
            if int(request.first("Expires") or 0) < least:
                assert not taken
                far.reply(request, 423, ("Min-Expires", str(least)))
                continue
            assert request.first("Expires") == str(least)
            taken.setdefault(request.via.branch, loop.time())
            far.reply(request, 200, ("Contact", f"{request.lines('Contact')[0]};expires={least}"))
        first, again = taken.values()
        # Some seconds before it runs out, and not by the 300 s that we had asked for.
        assert (again - first) * HURRY > 300
        await pool_until(pool, lambda: pool.state().registered["far"])


@pytest.mark.parametrize("status", [401, 403])
@async_test
async def test_rejected_credentials_are_not_tried_again(status: int) -> None:
    challenge = ("WWW-Authenticate", 'Digest realm="far", nonce="n1", algorithm=MD5')
    async with FarEnd() as far, pool_to(trunk_to(far.port, register=True, **CREDENTIALS)) as (pool, _):
        first = await far.request("REGISTER")
        far.reply(first, 401, challenge)
        second = await far.request("REGISTER")
        assert second.first("Authorization") is not None
        far.reply(second, status, *([challenge] if status == 401 else []))
        with pytest.raises(TimeoutError):
            await far.receive(4)  # a failure of another kind is tried again after 2 s
        assert pool.state().registered == {"far": False}


def granted(request: Request, seconds: int) -> tuple[str, str]:
    """The binding that a registrar answers with; an asked-for end of it stays one."""
    seconds = min(seconds, int(request.first("Expires") or 0))
    return "Contact", f"{request.lines('Contact')[0]};expires={seconds}"


class Registrar:
    """Grants registrations of so many seconds to whoever knows its nonce; or fails."""

    def __init__(self, far: FarEnd, seconds: int) -> None:
        self.far, self.seconds = far, seconds
        self.nonce, self.fails = "one", False
        self.granted: list[float] = []  # when, each once
        self._last = ""

    async def serve(self) -> None:
        while True:
            request = await self.far.request("REGISTER")
            if self.fails:
                self.far.reply(request, 503)
            elif f'nonce="{self.nonce}"' not in (request.first("Authorization") or ""):
                words = f'Digest realm="far", nonce="{self.nonce}", algorithm=MD5, stale=true'
                self.far.reply(request, 401, ("WWW-Authenticate", words))
            else:
                if request.via.branch != self._last:
                    self.granted.append(asyncio.get_running_loop().time())
                self._last = request.via.branch or ""
                self.far.reply(request, 200, granted(request, self.seconds))


@needs_faketime
@async_test
async def test_a_registration_is_refreshed_in_the_time_granted_and_survives_a_refusal_and_a_stale_nonce(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times, lasts = HURRY // 2, 240  # less than the 300 that are asked for
    hurry(monkeypatch, times)
    async with FarEnd() as far, pool_to(trunk_to(far.port, register=True, **CREDENTIALS)) as (pool, _):
        registrar = Registrar(far, lasts)
        serving = asyncio.create_task(registrar.serve())

        def registered() -> bool:
            return pool.state().registered["far"]

        await pool_until(pool, registered)
        registrar.nonce = "two"
        await pool_until(pool, lambda: len(registrar.granted) > 1)
        first, second = registrar.granted
        assert lasts / 2 < (second - first) * times < lasts
        assert registered()
        # With one that fails we are not registered; it is asked again.
        registrar.fails = True
        await pool_until(pool, lambda: not registered())
        registrar.fails = False
        await pool_until(pool, registered)
        serving.cancel()


@async_test
async def test_a_registration_goes_by_the_outbound_proxy_and_names_the_trunk() -> None:
    async with FarEnd() as proxy:
        over = f"sip:127.0.0.1:{proxy.port};transport=udp"
        trunk = TrunkProfile("far", "sip:pbx.example.invalid:5070", outbound_proxy=over, register=True, **CREDENTIALS)
        async with pool_to(trunk) as (pool, _):
            request = await proxy.request("REGISTER")
            assert request.uri == "sip:pbx.example.invalid:5070"
            assert request.values("Route") == [f"<{over};lr>"]
            assert (request.to.uri, request.from_.uri) == ("sip:dialer@pbx.example.invalid",) * 2
            proxy.reply(request, 200, granted(request, 300))
            await pool_until(pool, lambda: pool.state().registered["far"])
