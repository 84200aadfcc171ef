"""A campaign's calls as files: a row for each call, for each attempt, or for each attempt as Asterisk's Master.csv has it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from dialer.core.changes import json_text
from dialer.core.contact import ContactFields

Record = Mapping[str, Any]

_FIELDS = tuple(name for name in ContactFields.__annotations__ if name != "custom_fields")
_OWN = ("id", "campaign_id", "phone", "state", "disposition", "attempts", "next_attempt_at", "created_at")
# A contact has a `state` too, which is another thing.
# Nobody knows the names of custom fields before the last row is read: one column holds them all, as JSON.
CALLS_HEAD = (*_OWN, *(f"contact_{name}" for name in (*_FIELDS, "custom_fields")))
ATTEMPTS_HEAD = (
    *(
        "call_id",
        "campaign_id",
        "phone",
        "number",
        "due_at",
        "dialed_at",
        "ringing_at",
        "answered_at",
        "ended_at",
        "trunk",
    ),
    *("caller_id", "disposition", "reason", "sip_status", "q850_cause", "sip_call_id", "delay_reason"),
)
# Asterisk, cdr_csv.c: the columns of Master.csv, which has no head.
_CDR_WORDS = {
    "answered": "ANSWERED",
    "machine": "ANSWERED",
    "busy": "BUSY",
    "no_answer": "NO ANSWER",
    "declined": "BUSY",
}


def call_rows(call: Record) -> Iterable[Sequence[object]]:
    """One row."""
    own = {**call, "attempts": len(call["attempts"])}
    custom = call["contact"].get("custom_fields")
    fields = [call["contact"].get(name) for name in _FIELDS]
    yield [*(own[name] for name in _OWN), *fields, json_text(custom) if custom else None]


def attempt_rows(call: Record) -> Iterable[Sequence[object]]:
    """A row for each attempt."""
    for attempt in call["attempts"]:
        own = {"call_id": call["id"], "campaign_id": call["campaign_id"], "phone": call["phone"], **attempt}
        yield [own[name] for name in ATTEMPTS_HEAD]


def cdr_rows(call: Record) -> Iterable[Sequence[object]]:
    """A row for each attempt that has ended: accountcode, src, dst, dcontext, clid, channel, dstchannel, lastapp, lastdata,
    start, answer, end, duration, billsec, disposition, amaflags, uniqueid, userfield.
    """
    for attempt in call["attempts"]:
        started = attempt["dialed_at"] or attempt["due_at"]
        ended, answered = attempt["ended_at"], attempt["answered_at"]
        if ended is None:
            continue
        caller_id = attempt["caller_id"]
        yield (
            *("dialer", caller_id, call["phone"] or "", "dialer", f'"" <{caller_id}>', "", f"SIP/{attempt['trunk']}"),
            *("Dial", call["phone"] or "", _local(started), _local(answered), _local(ended)),
            *(_seconds(started, ended), _seconds(answered, ended)),
            *(_CDR_WORDS.get(attempt["disposition"], "FAILED"), "DOCUMENTATION", attempt["sip_call_id"], call["id"]),
        )


FORMATS: Mapping[str, tuple[Sequence[object] | None, Callable[[Record], Iterable[Sequence[object]]]]] = {
    "csv": (CALLS_HEAD, call_rows),
    "attempts": (ATTEMPTS_HEAD, attempt_rows),
    "cdr": (None, cdr_rows),
}


def _local(at: str | None) -> str:
    # UTC, as every time of ours; Asterisk writes it with usegmtime=yes.
    return "" if at is None else at[:19].replace("T", " ")


def _seconds(start: str | None, end: str) -> int:
    if start is None:
        return 0
    return max(0, round((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()))
