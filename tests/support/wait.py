"""Waiting for a state, with a deadline."""

import threading
import time
from collections.abc import Callable


def until(true: Callable[[], bool], *, seconds: float) -> None:
    """Return as soon as `true()` is; fail after `seconds`. Looks again every 5 ms."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not true():
        assert time.monotonic() < deadline, f"did not come true within {seconds} s"
        pause.wait(0.005)
