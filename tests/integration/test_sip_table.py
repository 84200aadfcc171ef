"""Each row of the table of outcomes from a real exchange with a scripted far end."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from dialer.core.disposition import Evidence, Why, classify
from dialer.core.events import Answered, LegEnded, Rang
from dialer.core.model import Disposition, LegId
from sip.pool import WorkerPool
from tests.support.far_end import FarEnd
from tests.support.labs import async_test
from tests.support.pools import Events, order, pool_to, trunk_to

ONE = LegId(1)

# What no exchange with a far end brings about alone: our own orders, and what is heard after the answer.
OURS = {
    Disposition.CANCELLED,
    Disposition.INTERRUPTED,
    Disposition.SUPPRESSED,
    Disposition.EXPIRED,
    Disposition.MACHINE,
}


@dataclass(frozen=True)
class Refusal:
    """A final status, after a 18x or without, with a Q.850 cause or without."""

    status: int
    disposition: Disposition
    rang: bool = False
    cause: int | None = None

    def __str__(self) -> str:
        return f"{'180-' if self.rang else ''}{self.status}{f'-cause-{self.cause}' if self.cause else ''}"


def rows(disposition: Disposition, *statuses: int, rang: bool = False) -> list[Refusal]:
    return [Refusal(status, disposition, rang) for status in statuses]


REFUSALS = [
    *rows(Disposition.NO_ANSWER, 408, 480, 487, rang=True),
    *rows(Disposition.BUSY, 486, 600),
    *rows(Disposition.DECLINED, 603),
    *rows(Disposition.UNREACHABLE, 480, 430, 408),
    *rows(Disposition.INVALID_NUMBER, 404, 410, 484, 604),
    *(Refusal(503, Disposition.INVALID_NUMBER, cause=cause) for cause in (1, 22, 28)),
    *rows(Disposition.TRUNK_FAILURE, 503, 500, 502, 504, 429, 401, 403, 407, 488, 606, 302, 499),
]


def came_to(events: Events, leg: LegId, asked: Why | None = None) -> Disposition:
    end = events.of(leg)[-1]
    assert isinstance(end, LegEnded)
    kinds = events.kinds(leg)
    seen = Evidence(end.sip_status, end.by, end.q850, "Rang" in kinds, "Answered" in kinds, asked, end.reason)
    return classify(seen).disposition


@async_test
async def test_each_refusal_comes_to_its_row() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        for number, row in enumerate(REFUSALS, 1):
            leg = LegId(number)
            pool.dial(leg, order())
            invite = await far.request("INVITE")
            if row.rang:
                far.reply(invite, 180)
                await events.wait(Rang, leg)
            far.reply(invite, row.status, *([("Reason", f"Q.850;cause={row.cause}")] if row.cause else []))
            await far.request("ACK")
            await events.over(leg)
            assert came_to(events, leg) is row.disposition, str(row)


async def answers(pool: WorkerPool, far: FarEnd, events: Events) -> None:
    invite = await far.talking()
    await events.wait(Answered, ONE)
    far.hang_up(invite)


async def rings_out(pool: WorkerPool, far: FarEnd, events: Events) -> None:
    invite = await far.ringing()
    await events.wait(Rang, ONE)
    pool.hang_up(ONE)
    await far.confirm_cancel(invite)


async def hangs_up_ringing(pool: WorkerPool, far: FarEnd, events: Events) -> None:
    invite = await far.ringing()
    await events.wait(Rang, ONE)
    far.hang_up(invite)
    await far.response(200)


Play = Callable[[WorkerPool, FarEnd, Events], Awaitable[None]]
PLAYS: list[tuple[Play, Why | None, Disposition]] = [
    (answers, None, Disposition.ANSWERED),
    (rings_out, Why.RING_TIMEOUT, Disposition.NO_ANSWER),
    (hangs_up_ringing, None, Disposition.NO_ANSWER),
]


@pytest.mark.parametrize(("play", "asked", "disposition"), PLAYS)
@async_test
async def test_each_course_of_a_call_comes_to_its_row(play: Play, asked: Why | None, disposition: Disposition) -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        await play(pool, far, events)
        await events.over(ONE)
        assert came_to(events, ONE, asked) is disposition


def test_no_disposition_is_without_a_real_exchange() -> None:
    shown = {row.disposition for row in REFUSALS} | {disposition for *_, disposition in PLAYS}
    assert shown | OURS == set(Disposition)
    assert not shown & OURS
