"""POST /campaign with a body that is no JSON: CSV with the rest in the query, or a form with a file (multipart/form-data).

Both become the JSON that the same request would be, so that there is one way to check it; faults get the line of their row.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from email import message_from_bytes
from email.message import MIMEPart
from email.policy import HTTP
from hashlib import sha256
from typing import Any

from dialer.core.contact_rows import FaultyRows, read_rows
from dialer.core.intake import CampaignRequest, Fault, Form, IntakeRules, Refusal, read_campaign

FORM_FIELDS = ("playbook_id", "launch_at", "recall", "expires_at", "calling_hours", "columns")
CSV, MULTIPART = "text/csv", "multipart/form-data"
_FILE = "file"


def is_form(content_type: str) -> bool:
    """Whether a body of this Content-Type is read here."""
    return content_type.partition(";")[0].strip().lower() in {CSV, MULTIPART}


def read_form(body: bytes, form: Form, rules: IntakeRules) -> CampaignRequest | Refusal:
    """The request, or why it is none."""
    try:
        fields, rows = _parts(body, form)
        columns = _mapping(fields.pop("columns", ""))
        hours = _hours(fields.pop("calling_hours", ""))
        contacts, lines = read_rows(_text(rows), columns)
    except FaultyRows as error:
        faults = tuple(Fault(None, "contacts", reason, line) for line, reason in error.rows)
        return Refusal(400, str(error), faults)
    except ValueError as error:
        return Refusal(400, str(error))
    document: dict[str, Any] = {name: value for name, value in fields.items() if value} | {"calling_hours": hours}
    found = read_campaign(json.dumps({**document, "contacts": contacts}).encode(), rules)
    if not isinstance(found, Refusal):
        return replace(found, lines=lines)
    faults = tuple(f if f.index is None else replace(f, line=lines[f.index]) for f in found.faults)
    return replace(found, faults=faults)


def fingerprint(body: bytes, form: Form) -> bytes:
    """What two requests have in common where they ask for the same, to the byte: 32 bytes.

    Of a form that is what is in it, as each time it is sent it has another boundary; of CSV also the query.
    """
    fields, rows = dict[str, str](), body
    if is_form(form.content_type):
        # One that cannot be read is refused, whatever was asked under its key before.
        with suppress(ValueError):
            fields, rows = _parts(body, form)
    return sha256((json.dumps(fields, sort_keys=True).encode() if fields else b"") + rows).digest()


def _parts(body: bytes, form: Form) -> tuple[dict[str, str], bytes]:
    if form.content_type.partition(";")[0].strip().lower() == CSV:
        return {name: form.query[name] for name in FORM_FIELDS if name in form.query}, body
    head = f"Content-Type: {form.content_type}\r\n\r\n".encode("latin-1", "replace")
    message = message_from_bytes(head + body, policy=HTTP)
    if not message.is_multipart():
        raise ValueError("The form has no parts: its boundary is missing, or not the one in Content-Type")
    fields, file = dict[str, str](), None
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = _content(part)
        if name in fields or (name == _FILE and file is not None):
            # One of them would be left out, and nobody told.
            raise ValueError(f"The form has two parts {name!r}")
        if name == _FILE:
            file = content
        elif name in FORM_FIELDS:
            fields[name] = _text(content).strip()
        else:
            raise ValueError(f"The form has a part {name!r} (known: {_FILE}, {', '.join(FORM_FIELDS)})")
    if file is None:
        raise ValueError(f"The form needs a part {_FILE!r}: the CSV")
    return fields, file


def _content(part: MIMEPart) -> bytes:
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        raise ValueError("The form has a part with parts of its own")  # noqa: TRY004 - shown as every other refusal
    return content


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ValueError(f"line {line} is not UTF-8 text; save the file as UTF-8") from error


def _hours(text: str) -> object:
    return _json("calling_hours", text) if text else None


def _json(name: str, text: str) -> Any:  # noqa: ANN401 - whatever is written there
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: is not JSON: {error}") from error


def _mapping(text: str) -> Mapping[str, str]:
    if not text:
        return {}
    mapping = _json("columns", text)
    if not isinstance(mapping, dict) or not all(isinstance(value, str) for value in mapping.values()):
        raise ValueError('columns: must be an object of column names and fields, such as {"Mobile": "phone"}')
    return mapping
