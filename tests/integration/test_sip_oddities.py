"""What far ends may say of themselves, oddly and yet within the grammar: long, empty and foreign words, waits of any length."""

import pytest

from dialer.core.events import EndedBy, LegEnded
from dialer.core.model import LegId
from sip.wire import respond
from tests.support.far_end import FarEnd
from tests.support.labs import async_test
from tests.support.pools import order, pool_to, trunk_to

ONE = LegId(1)


@async_test
async def test_a_wait_is_read_with_its_comment_and_parameters_and_however_long() -> None:
    told = {
        "18000;duration=3600": 18_000,
        "120 (I'm in a meeting)": 120,
        "0": 0,
        "2147483647": 2_147_483_647,  # the longest that the stack takes
    }
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        for number, (value, seconds) in enumerate(told.items(), 1):
            leg = LegId(number)
            pool.dial(leg, order())
            far.reply(await far.request("INVITE"), 503, ("Retry-After", value))
            end = await events.over(leg)
            assert isinstance(end, LegEnded)
            assert (end.by, end.sip_status, end.retry_after_s) == (EndedBy.FAR, 503, seconds), value


@pytest.mark.parametrize("phrase", ["", " ", "x" * 3_000, "Occup\xe9 \u2603"])
@async_test
async def test_a_refusal_counts_whatever_its_words_are(phrase: str) -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        busy = respond(invite, 486, to_tag="far", headers=(far.contact,)).encode()
        far.send_bytes(invite.call_id, busy.replace(b"Busy Here", phrase.encode()))
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert (end.by, end.sip_status) == (EndedBy.FAR, 486)
        assert bool(end.reason) == bool(phrase.strip())
