"""What waits for the cycle collector: objects that nobody can reach, and that their counts of references did not free."""

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def leftovers() -> Iterator[Counter[str]]:
    """Filled at the end with what became garbage in cycles meanwhile, by type. The collector stands still until then."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found.update(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
