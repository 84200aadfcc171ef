"""The cycle collector: what survived a full collection is not walked again."""

import subprocess
import sys


def test_what_stays_is_walked_once_and_garbage_is_still_collected() -> None:
    script = """
import gc, weakref
from dialer.collector import spare_what_stays

class Node: pass

spare_what_stays()
spare_what_stays()
assert gc.callbacks.count(gc.callbacks[-1]) == 1
before = gc.get_freeze_count()
waiting = [Node() for _ in range(10_000)]
gc.collect()
assert gc.get_freeze_count() >= before + 10_000
assert len(gc.get_objects()) < 5_000, "the next full collection has little to walk"

cycle = Node()
cycle.me = cycle
gone = weakref.ref(cycle)
del cycle
gc.collect()
assert gone() is None
spared = weakref.ref(waiting[0])
del waiting
assert spared() is None, "what nobody refers to goes, spared or not"
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
