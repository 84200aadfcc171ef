"""Running the lab inside a test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import wraps
from typing import Any

from sip.lab import Entry, Lab
from tests.support.caller import Caller

FAST = 0.05  # a pace that rings for 50 ms and talks for 150 ms
FAST_T1 = 0.01  # 64*T1 are 0.64 s

ANSWERS, WAITS, AT_ONCE, SOUNDLESS, RINGS_OUT = (
    "34600000001",
    "34600000002",
    "34600000003",
    "34600000006",
    "34600000010",
)


def async_test(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test, and fail it when anything raised inside a callback of its loop."""

    @wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        async def watched() -> None:
            faults: list[dict[str, Any]] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
            await test(*arguments, **named)
            assert not faults

        asyncio.run(watched())

    return run


@contextlib.asynccontextmanager
async def lab_and_caller(**options: Any) -> AsyncIterator[tuple[Lab, Caller]]:
    async with Lab(**{"pace": FAST, **options}) as lab, Caller(lab.port) as caller:
        yield lab, caller


def story(lab: Lab) -> list[str]:
    return [entry.event for entry in lab.log]


async def ended(lab: Lab, calls: int = 1) -> Entry:
    """The newest `ended` entry, once there are `calls` of them."""
    await lab.log.wait_until(lambda log: log.count("ended") >= calls, seconds=5)
    return lab.log.of("ended")[-1]
