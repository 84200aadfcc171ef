"""An hour (or $DIALER_SOAK_SECONDS) of everything at once: no promise is broken, and nothing grows that should not.

For `pytest -m slow -s tests/acceptance/test_soak.py`; `python -m benchmarks soak --write` puts the figures into
docs/performance.md.
"""

import sys
from operator import attrgetter

import pytest

from benchmarks import soak
from benchmarks.soak_report import Sample, growth, slowing, told
from tests.support.broker import needs_mosquitto


def say(sample: Sample) -> None:
    sys.stderr.write(f"{sample}\n")


@needs_mosquitto
@pytest.mark.slow
@pytest.mark.timeout(soak.SECONDS + 900)
def test_hours_of_mixed_outcomes_break_no_promise_and_nothing_grows() -> None:
    report = soak.run(soak.SECONDS, say=say)
    sys.stdout.write(f"\n{told(report)}\n")
    assert report.faults() == []
    assert report.kills
    assert report.outages
    assert report.backups
    for name, share, more in (
        # A worker that was just started is small, and one that has carried thousands of calls is not.
        ("workers_mb", 1.5, 30),
        ("main_mb", 1.05, 3),
        ("loaders_mb", 1.05, 3),
        ("files", 1, 4),
        ("threads", 1, 4),
        ("database_mb", 1.5, 10),
        ("wal_mb", 1.5, 30),
    ):
        early, late = growth(report, attrgetter(name))
        assert late <= early * share + more, f"{name} grew from {early} to {late}"
    early, late = slowing(report)
    assert late <= early * 2 + 10, f"the way to the wire took {early:.1f} ms, and later {late:.1f} ms"
