"""The contacts of a campaign, from a file: CSV as spreadsheets write it, or JSON as the API takes it.

CSV: the first row names the columns: `phone`, any other field of a contact, and `custom_fields.NAME` for whatever else shall
go with the call. Any other column is refused by name, so that nothing is lost, or sent, by a mistyped head. Separated by
comma, semicolon or tab; UTF-8; empty cells are left out.
"""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dialer.core.contact import ContactFields
from dialer.terminal import Refused

FIELDS = ("phone", *(name for name in ContactFields.__annotations__ if name != "custom_fields"))
_CUSTOM = "custom_fields."


@dataclass(frozen=True)
class ContactFile:
    """What a file holds. `request` has keys of a whole request beside `contacts`; `lines[i]` is where contact i begins."""

    contacts: list[Any]
    request: dict[str, Any] = field(default_factory=dict)
    lines: list[int] = field(default_factory=list)

    def place(self, index: int) -> str:
        """Where contact `index` is, for people."""
        return f"line {self.lines[index]}" if index < len(self.lines) else f"contact {index + 1}"


def read_contacts(path: Path) -> ContactFile:
    """The contacts of a .csv or .json file. Raises `Refused` with the line of the fault."""
    kind = path.suffix.lower()
    if kind not in {".csv", ".json"}:
        raise Refused(f"{path}: must be a .csv or .json file")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise Refused(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise Refused(f"{path}: line {line} is not UTF-8 text; save the file as UTF-8") from error
    found = _json(path, text) if kind == ".json" else _csv(path, text)
    if not found.contacts:
        raise Refused(f"{path}: holds no contacts")
    return found


def _json(path: Path, text: str) -> ContactFile:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise Refused(f"{path}: line {error.lineno}, column {error.colno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path}: {error}") from error
    if isinstance(document, list):
        return ContactFile(document)
    if isinstance(document, dict) and isinstance(document.get("contacts"), list):
        return ContactFile(document.pop("contacts"), document)
    raise Refused(f"{path}: must be an array of contacts, or an object with an array `contacts`")


def _csv(path: Path, text: str) -> ContactFile:
    head, _, _ = text.lstrip("\r\n").partition("\n")
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    contacts, lines = [], []
    try:
        rows = _rows(reader)
        _, names = next(rows, (0, []))
        columns = _columns(path, names)
        for line, row in rows:
            if len(row) != len(columns):
                raise Refused(f"{path}: line {line} has {len(row)} cells, the first row names {len(columns)} columns")
            contacts.append(_contact(columns, row))
            lines.append(line)
    except csv.Error as error:
        raise Refused(f"{path}: line {reader.line_num}: {error}") from error
    return ContactFile(contacts, lines=lines)


def _rows(reader: Any) -> Iterator[tuple[int, list[str]]]:  # noqa: ANN401 - the csv module does not name its reader's type
    """Rows that are not blank, with the line that each begins on: a quoted cell may hold line breaks."""
    begins = 1
    for row in reader:
        if any(cell.strip() for cell in row):
            yield begins, row
        begins = reader.line_num + 1


def _columns(path: Path, names: list[str]) -> list[str]:
    columns = []
    for name in names:
        stripped = name.strip()
        plain = stripped.lower().replace(" ", "_").replace("-", "_")
        if stripped.lower().startswith(_CUSTOM) and len(stripped) > len(_CUSTOM):
            columns.append(_CUSTOM + stripped[len(_CUSTOM) :])
        elif plain in FIELDS:
            columns.append(plain)
        else:
            raise Refused(
                f"{path}: column {stripped!r} is no field of a contact (those are {', '.join(FIELDS)}); "
                f"to send it along, name it {_CUSTOM}{plain or 'NAME'}"
            )
    if "phone" not in columns:
        raise Refused(f"{path}: the first row must name the columns, and one of them must be phone")
    for name in columns:
        if columns.count(name) > 1:
            raise Refused(f"{path}: column {name!r} is there twice")
    return columns


def _contact(columns: list[str], row: list[str]) -> dict[str, Any]:
    contact: dict[str, Any] = {"phone": ""}
    for name, cell in zip(columns, row, strict=True):
        value = cell.strip()
        if not value:
            continue
        if name.startswith(_CUSTOM):
            contact.setdefault("custom_fields", {})[name.removeprefix(_CUSTOM)] = value
        else:
            contact[name] = value
    return contact
