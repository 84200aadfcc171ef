"""Contacts as rows of CSV, as spreadsheets write it.

The first row names the columns: `phone`, any other field of a contact, and `custom_fields.NAME` for whatever else shall go with
the call. A mapping names columns that are called otherwise. Any other column is refused by name, so that nothing is lost, or
sent, by a mistyped head; one without a name must be empty. Separated by comma, semicolon or tab, or by what a first line `sep=`
says; empty cells are left out.
"""

import csv
from collections.abc import Iterator, Mapping
from typing import Any

from dialer.core.contact import ContactFields
from dialer.core.csv_reading import csv_rows

FIELDS = ("phone", *(name for name in ContactFields.__annotations__ if name != "custom_fields"))
# What a mapping may say of a column that shall not go along.
IGNORED = ""
_CUSTOM = "custom_fields."

Contact = dict[str, Any]


class FaultyRows(ValueError):
    """Rows that do not fit the first one: each one's line, from 1, and what is wrong with it. There is at least one."""

    def __init__(self, rows: list[tuple[int, str]]) -> None:
        self.rows = rows
        (line, reason), more = rows[0], len(rows) - 1
        super().__init__(f"line {line} {reason}" + (f" (and {more} more)" if more else ""))


def read_rows(text: str, mapping: Mapping[str, str] | None = None) -> tuple[list[Contact], list[int]]:
    """The contacts, and the line that each begins on, from 1.

    `mapping` says which field a column of the first row is ("Móvil": "phone"); "" leaves the column out. Raises ValueError
    with the line or column that is wrong, `FaultyRows` with every row that is.
    """
    reader = csv_rows(text)
    contacts, lines, faulty = [], [], list[tuple[int, str]]()
    try:
        rows = _rows(reader)
        _, names = next(rows, (0, []))
        columns = _columns(names, mapping or {})
        # Spreadsheets write columns without a name behind the last one, of empty cells.
        unnamed = [i for i, name in enumerate(names) if not name.strip() and "" not in (mapping or {})]
        for line, row in rows:
            if len(row) != len(columns):
                faulty.append((line, f"has {len(row)} cells, the first row names {len(columns)} columns"))
            elif any(row[i].strip() for i in unnamed):
                faulty.append((line, "has a value in a column that the first row does not name"))
            else:
                contacts.append(_contact(columns, row))
                lines.append(line)
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error
    if faulty:
        raise FaultyRows(faulty)
    return contacts, lines


def _rows(reader: Any) -> Iterator[tuple[int, list[str]]]:  # noqa: ANN401 - the csv module does not name its reader's type
    """Rows that are not blank, with the line that each begins on: a quoted cell may hold line breaks."""
    begins = 1
    for row in reader:
        if any(cell.strip() for cell in row):
            yield begins, row
        begins = reader.line_num + 1


def _columns(names: list[str], mapping: Mapping[str, str]) -> list[str]:
    for name in mapping:
        if name not in (written := [one.strip() for one in names]):
            raise ValueError(
                f"the mapping names a column {name!r}, and the first row does not (it has {', '.join(written)})"
            )
    columns = []
    for name in names:
        given = mapping.get(name.strip(), name.strip())
        plain = given.lower().replace(" ", "_").replace("-", "_")
        if given == IGNORED:
            columns.append(IGNORED)
        elif given.lower().startswith(_CUSTOM) and len(given) > len(_CUSTOM):
            columns.append(_CUSTOM + given[len(_CUSTOM) :])
        elif plain in FIELDS:
            columns.append(plain)
        else:
            raise ValueError(
                f"column {given!r} is no field of a contact (those are {', '.join(FIELDS)}); "
                f"to send it along, name it {_CUSTOM}{plain or 'NAME'}"
            )
    if "phone" not in columns:
        raise ValueError("the first row must name the columns, and one of them must be phone")
    for name in columns:
        if name != IGNORED and columns.count(name) > 1:
            raise ValueError(f"column {name!r} is there twice")
    return columns


def _contact(columns: list[str], row: list[str]) -> Contact:
    contact: Contact = {"phone": ""}
    for name, cell in zip(columns, row, strict=True):
        value = cell.strip()
        if not value or name == IGNORED:
            continue
        if name.startswith(_CUSTOM):
            contact.setdefault("custom_fields", {})[name.removeprefix(_CUSTOM)] = value
        else:
            contact[name] = value
    return contact
