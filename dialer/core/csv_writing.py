"""CSV as it leaves (RFC 4180), safe to open in a spreadsheet: a cell that would be run as a formula is made text."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence

Row = Sequence[object]

# What Excel, LibreOffice and Sheets take for the beginning of a formula (OWASP, CSV Injection): full-width signs too, and
# behind spaces that they may drop.
_SIGNS = "=+\\-@\uff1d\uff0b\uff0d\uff20"
_FORMULA = re.compile(rf"[\s\u200b\ufeff]*[{_SIGNS}]|[\t\r\n]")
# Where semicolons separate cells, as in much of Europe, a cell of ours goes on as cells of its own, quotes or not.
_FORMULA_INSIDE = re.compile(rf"(?<=[;\t\r\n])(?=[\s\u200b\ufeff\"]*[{_SIGNS}])")
# A number is worth itself however it is read. Phones begin with + and must come back as they went out.
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def safe_cell(value: object) -> str:
    """The value as text; None is empty. A leading apostrophe makes text of what a spreadsheet would calculate.

    >>> safe_cell("=1+1"), safe_cell("+34910000000"), safe_cell(None)
    ("'=1+1", '+34910000000', '')
    """
    text = "" if value is None else str(value)
    if _NUMBER.fullmatch(text):
        return text
    text = _FORMULA_INSIDE.sub("'", text)
    return f"'{text}" if _FORMULA.match(text) else text


def csv_text(rows: Iterable[Row], *, make: Callable[[object], str] = safe_cell) -> str:
    """The rows as lines that end in CR LF."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    for row in rows:
        writer.writerow([cell if isinstance(cell, int) else make(cell) for cell in row])
    return out.getvalue()
