"""CSV as it leaves (RFC 4180), safe to open in a spreadsheet: a cell that would be run as a formula is made text."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence

Row = Sequence[object]

# What Excel, LibreOffice and Sheets take for the beginning of a formula (OWASP, CSV Injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
# A number is worth itself however it is read. Phones begin with + and must come back as they went out.
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def safe_cell(value: object) -> str:
    """The value as text; None is empty. A leading apostrophe makes text of what a spreadsheet would calculate.

    >>> safe_cell("=1+1"), safe_cell("+34910000000"), safe_cell(None)
    ("'=1+1", '+34910000000', '')
    """
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def csv_text(rows: Iterable[Row], *, make: Callable[[object], str] = safe_cell) -> str:
    """The rows as lines that end in CR LF."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    for row in rows:
        writer.writerow([cell if isinstance(cell, int) else make(cell) for cell in row])
    return out.getvalue()
