"""Keeps Python's cycle collector from holding the loop up: it walks what is new, not what waits."""

import gc
import time
from typing import Any

_OLDEST = 2
# A full collection that takes longer has too much to walk: so much CPU is 20,000 objects.
_LONG_SECONDS = 0.002


def spare_what_stays() -> None:
    """Leave all that lives now, and what makes a full collection long from now on, out of later ones.

    A campaign that waits is a hundred objects. With 10,000 of them a full collection took 90 ms, found nothing, and made calls
    late by as much. What is spared goes when nobody refers to it any more, as ever; only cycles broken off later stay. So
    little is spared: what a connection or a worker leaves behind is a cycle, and there is no end of those.
    """
    gc.collect()
    gc.freeze()
    # A full collection is made when what came since is a quarter of what the last one has left over: nothing, now.
    gc.collect()
    if _spare not in gc.callbacks:
        gc.callbacks.append(_spare)


_began = 0.0


def _spare(phase: str, about: dict[str, Any]) -> None:
    global _began  # noqa: PLW0603  # the collector is one, and never runs within itself
    if about["generation"] != _OLDEST:
        return
    if phase == "start":
        _began = time.thread_time()
    elif time.thread_time() - _began > _LONG_SECONDS:
        gc.freeze()
