"""What tracing costs a SIP worker: CPU of a call that is answered 486 at once, without it, beside it, and with it."""

import asyncio
import itertools
import statistics
import tempfile
from pathlib import Path

from benchmarks.far_end import FarEnd
from dialer.core.model import LegId
from dialer.ports import DialOrder
from tests.support.pools import Events, pool_to, trunk_to

_CLOCK_TICK_MS = 10
_CALLS_A_SECOND = 250
CASES = ("nobody traces", "another call is traced", "every call is traced")


def measure(calls: int, rounds: int) -> dict[str, float]:
    """Milliseconds of the worker's CPU for a call, by case: the median of so many rounds, taken in turns."""
    return asyncio.run(_measure(calls, rounds))


async def _measure(calls: int, rounds: int) -> dict[str, float]:
    found: dict[str, list[float]] = {case: [] for case in CASES}
    legs = itertools.count(1)
    with tempfile.TemporaryDirectory(prefix="dialer-bench-") as name, FarEnd(Path(name)) as far_end:
        async with pool_to(trunk_to(far_end.port), workers=1, max_concurrent_calls=400) as (pool, events):
            [worker] = pool._running.workers.values()

            async def run(call_id: str) -> float:
                before = _cpu_ms(worker.pid)
                begun = []
                for _ in range(calls):
                    leg = LegId(next(legs))
                    begun.append(leg)
                    pool.dial(leg, DialOrder("far", "+34600000001", "", f"{call_id}-{leg}"))
                    await asyncio.sleep(1 / _CALLS_A_SECOND)
                await _all_over(events, begun)
                return (_cpu_ms(worker.pid) - before) / calls

            await run("warm")
            for _ in range(rounds):
                found[CASES[0]].append(await run("plain"))
                with pool.taps.tap("traced"):
                    found[CASES[1]].append(await run("plain"))
                    found[CASES[2]].append(await run("traced"))
    return {case: statistics.median(values) for case, values in found.items()}


async def _all_over(events: Events, legs: list[LegId]) -> None:
    for leg in legs:
        await events.over(leg)
    events.all.clear()


def _cpu_ms(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _CLOCK_TICK_MS
