"""The contacts of a campaign, from a file: CSV as spreadsheets write it, or JSON as the API takes it.

How CSV is read is told at `dialer.core.contact_rows`.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dialer.core.contact_rows import FaultyRows, read_rows
from dialer.terminal import Refused


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
    try:
        contacts, lines = read_rows(text)
    except FaultyRows as error:
        first, *more = (f"line {line} {reason}" for line, reason in error.rows)
        raise Refused.listing(f"{path}: {first}", more) from error
    except ValueError as error:
        raise Refused(f"{path}: {error}") from error
    return ContactFile(contacts, lines=lines)
