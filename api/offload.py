"""The threads that wait for SQLite, so that the event loop does not.

Few on purpose: they share the interpreter lock with the loop that places calls, and each holds a database connection.
"""

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

import anyio.to_thread
from anyio.lowlevel import RunVar

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 4
_limiter: RunVar[anyio.CapacityLimiter] = RunVar("api_threads")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call the function in one of the threads and return what it returns. Waits for its turn where all are busy."""
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(_THREADS)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs), limiter=limiter)
