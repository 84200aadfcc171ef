"""A list of telephone numbers as people keep it: CSV with a column `phone`, or one number a line."""

import csv
from collections.abc import Iterator

from dialer.core.csv_reading import csv_rows


def numbers_in(text: str) -> Iterator[tuple[int, str]]:
    """The numbers of a CSV text with the line each stands on, from 1; blank lines and rows without one are left out.

    With a first row that names a column `phone`, that column is read; else the first one. Separated by comma, semicolon or
    tab, or by what a first line `sep=` says. Raises ValueError with the line for text that is no CSV.
    """
    reader = csv_rows(text)
    column: int | None = None
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if column is None:
                names = [cell.strip().lower() for cell in row]
                column = names.index("phone") if "phone" in names else 0
                if "phone" in names:
                    continue
            number = row[column].strip() if column < len(row) else ""
            if number:
                yield reader.line_num, number
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num} is no CSV: {error}") from error
