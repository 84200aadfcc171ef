"""A sweep's result goes into its row of the document, and changes nothing else there."""

from pathlib import Path

import pytest

from tests.support.fault_sweep import FAULTS
from tests.support.sweep_report import DOCUMENT, Report


@pytest.mark.parametrize("row", ["each commit", "each sync", "each 40th write", "random instants", *FAULTS])
def test_a_sweeps_result_has_a_row_in_the_document(tmp_path: Path, row: str) -> None:
    document = tmp_path / "durability.md"
    document.write_text(DOCUMENT.read_text("utf-8"), "utf-8")
    report = Report(row)
    report.add(stories=1, kills=1_000)
    report.add(stories=2, kills=7)
    report.keep(document)
    old, new = DOCUMENT.read_text("utf-8").splitlines(), document.read_text("utf-8").splitlines()
    (changed,) = [after for before, after in zip(old, new, strict=True) if before != after]
    assert changed.startswith(f"| {row} | 3 stories, 1,007 kills | 2")
