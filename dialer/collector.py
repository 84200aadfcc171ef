"""Keeps Python's cycle collector from holding the loop up: it walks what is new, not what waits."""

import gc
from typing import Any

_OLDEST = 2


def spare_what_stays() -> None:
    """Leave all that lives now, and what survives each full collection from now on, out of later ones.

    A campaign that waits is a hundred objects. With 10,000 of them a full collection took 90 ms, found nothing, and made calls
    late by as much. What is spared goes when nobody refers to it any more, as ever; only cycles broken off later stay.
    """
    gc.collect()
    gc.freeze()
    # A full collection is made when what came since is a quarter of what the last one has left over: nothing, now.
    gc.collect()
    if _spare not in gc.callbacks:
        gc.callbacks.append(_spare)


def _spare(phase: str, about: dict[str, Any]) -> None:
    if phase == "stop" and about["generation"] == _OLDEST:
        gc.freeze()
