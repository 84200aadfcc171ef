"""The cycle collector: what makes a full collection long is not walked again, and nothing that is broken off stays."""

import subprocess
import sys


def run(script: str) -> None:
    before = "import gc, weakref\nfrom dialer.collector import spare_what_stays\nclass Node: pass\n"
    done = subprocess.run(
        [sys.executable, "-c", before + script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_stays_is_walked_once_and_garbage_is_still_collected() -> None:
    run("""
spare_what_stays()
spare_what_stays()
assert gc.callbacks.count(gc.callbacks[-1]) == 1
before = gc.get_freeze_count()
waiting = [Node() for _ in range(300_000)]
gc.collect()
assert gc.get_freeze_count() >= before + 200_000
assert len(gc.get_objects()) < 100_000, "the next full collection has little to walk"

cycle = Node()
cycle.me = cycle
gone = weakref.ref(cycle)
del cycle
gc.collect()
assert gone() is None
spared = weakref.ref(waiting[0])
del waiting
assert spared() is None, "what nobody refers to goes, spared or not"
""")


def test_what_is_broken_off_later_is_collected_though_a_full_collection_saw_it_in_use() -> None:
    run("""
spare_what_stays()
in_use = Node()
in_use.me = in_use
gone = weakref.ref(in_use)
gc.collect()
del in_use
gc.collect()
assert gone() is None
""")
