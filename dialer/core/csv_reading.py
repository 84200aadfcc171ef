"""CSV as it comes: from spreadsheets of any country, whose cells stand between commas, semicolons or tabs."""

import csv
import io
import re
from typing import Any

# Excel's own way to name the separator. No row of data: it is passed over, and keeps its line.
_NAMED = re.compile(r'\s*"?sep=([^\w\s"]|\t)"?[,;\t]*(?=\r|\n|\Z)', re.IGNORECASE)


def csv_rows(text: str) -> Any:  # noqa: ANN401 - the csv module does not name its reader's type
    """The rows of the text, by the separator that a first line `sep=;` names, else the one that its first row has most of.

    >>> list(csv_rows("sep=|\\nphone|city\\n"))
    [[], ['phone', 'city']]
    """
    if named := _NAMED.match(text):
        separator, text = named[1], text[: named.start(1)].count("\n") * "\n" + text[named.end() :]
    else:
        head = next((line for line in text.splitlines() if line.strip()), "")
        separator = max(",;\t", key=head.count)
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
