"""What a long sweep came to, counted over all its stories, and its row in docs/durability.md."""

import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "durability.md"


class Report:
    """`row` is how the sweep's row in the document begins."""

    def __init__(self, row: str) -> None:
        self.row = row
        self.sums: Counter[str] = Counter()

    def add(self, **counts: int) -> None:
        """One more story came to this."""
        self.sums += Counter(counts)
        sys.stdout.write(f"\r{self.row}: {self._counts()}")
        sys.stdout.flush()

    def _counts(self) -> str:
        return ", ".join(f"{count:,} {name}" for name, count in self.sums.items())

    def keep(self, document: Path = DOCUMENT) -> None:
        """Put the result into its row of the document's table."""
        head, text = f"| {self.row} |", document.read_text("utf-8")
        (old,) = [line for line in text.splitlines() if line.startswith(head)]
        new = f"{head} {self._counts()} | {datetime.now(UTC):%Y-%m-%d} |"
        document.write_text(text.replace(old, new), "utf-8")
