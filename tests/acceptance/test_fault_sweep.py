"""The disk fails at each operation of a campaign in turn, and works again: nothing stored that was refused, nothing twice.

Each campaign is judged as those of the crash sweep are. The long sweep is for
`pytest -m slow -s --write tests/acceptance/test_fault_sweep.py`, which puts its result into docs/durability.md.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.crash_story import Story, template
from tests.support.fault_sweep import FAULTS, FaultSweep
from tests.support.sweep_report import Report


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[FaultSweep]:
    with Story.told(tmp_path / "story", template(tmp_path)) as story:
        story.dialer.start()
        sweep = FaultSweep(story)
        yield sweep
        sweep.end()


def test_wherever_the_disk_begins_to_fail_all_goes_on_when_it_works_again(sweep: FaultSweep) -> None:
    for name, after in [
        ("full", 2),
        ("full within a write", 17),
        ("write", 45),
        ("one write", 30),
        ("sync", 0),
        ("sync", 5),
        ("one sync", 3),
    ]:
        assert sweep.strike(FAULTS[name], after).interrupted == 0


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("name", FAULTS)
def test_long_sweep_the_disk_fails_at_each_operation_in_turn(
    sweep: FaultSweep, keep: Callable[[Report], None], name: str
) -> None:
    fault, report = FAULTS[name], Report(name)
    for after in range(sweep.operations(fault.operations)):
        judgement = sweep.strike(fault, after)
        report.add(campaigns=1, attempts=len(judgement.attempts), INVITEs=len(judgement.invites))
        assert judgement.interrupted == 0
    keep(report)
