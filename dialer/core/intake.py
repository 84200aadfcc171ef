"""POST /campaign and POST /call, from the bytes of the body to a checked request or a refusal, and the answers to them.

Rejecting is as exact as accepting: every fault of a body is named at once, and nothing is guessed. The usual body is checked
by one pass in C (`dialer.core.usual_body`); only one that fails it is looked at again, contact by contact, to name what is
wrong.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NoReturn, Required

from pydantic import ConfigDict, Field, ValidationError, WithJsonSchema, with_config
from typing_extensions import TypedDict

from dialer.core.contact import ContactFields, Fields, fields_text, merge, read_fields
from dialer.core.destinations import DestinationRules
from dialer.core.hours import CLOSED, CallingHours
from dialer.core.model import WallMs
from dialer.core.phone import BLANK, PhoneRules, normalize
from dialer.core.timetable import (
    LONGEST_RECALL_MINUTES,
    MOST_RECALLS,
    Minutes,
    read_launch_at,
    read_recall,
    show_minute,
    show_time,
)
from dialer.core.usual_body import read_usual

NO_PHONE = "Each contact must have a non-empty phone field"
UNKNOWN_PLAYBOOK = "There is no such playbook"

_MISSING, _NO_STRING, _NO_OBJECT = "is missing", "must be a string", "is missing: the contact is not an object"
_PHONELESS = frozenset({BLANK, _MISSING, _NO_STRING, _NO_OBJECT})

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# Each JSON value takes 16 to 60 bytes of memory whatever its text is: `[],[],[],...` of 64 MiB would take 1.2 GB. Commas count
# values well enough; a contact has 18 fields of its own.
_VALUES_PER_CONTACT = 64
_VALUES_ANYWAY = 100_000


@dataclass(frozen=True, slots=True)
class IntakeRules:
    """The operator's settings that decide what is accepted. `stagger_ms` becomes part of each accepted campaign.

    A day is one of UTC; the limits of calls are of one account, and of one token (None: there is none).
    """

    max_contacts: int = 100_000
    stagger_ms: int = 200
    phone: PhoneRules = field(default_factory=PhoneRules)
    destinations: DestinationRules = field(default_factory=DestinationRules)
    max_calls_per_day: int | None = None
    max_calls_per_day_per_token: int | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """How a request came, beside its body. `dry_run`: only what it would do is asked for.

    `content_type` is the header's ("" counts as JSON), `query` the parameters that go with a body that is no JSON.
    """

    dry_run: bool = False
    content_type: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    token: int | None = None


@dataclass(frozen=True, slots=True)
class CampaignRequest:
    """What a body asks for, checked. `contacts` maps each normalized phone to the fields given with it, as JSON.

    Each phone is one call, in the order of first mention; a later entry with the same phone changes the fields that it
    gives. `total_contacts` counts the entries. `launch_at` None means now. `recall` is in minutes, ascending.
    `calling_hours` None leaves them to the playbook. `repeated` are the entries, by their places, whose phone an earlier one
    has; `lines` are the lines of all entries where they came as CSV.
    """

    playbook_uuid: str
    contacts: dict[str, str]
    total_contacts: int
    launch_at: WallMs | None
    recall: tuple[Minutes, ...]
    expires_at: WallMs | None = None
    calling_hours: CallingHours | None = None
    repeated: Sequence[int] = ()
    lines: Sequence[int] = ()

    def faults(self, reasons: Mapping[str, str]) -> tuple["Fault", ...]:
        """`reasons` by phone as faults of the contacts that have those phones first."""
        repeated = frozenset(self.repeated)
        places = (index for index in range(self.total_contacts) if index not in repeated)
        return tuple(
            Fault(index, "phone", reasons[phone], self.lines[index] if self.lines else None)
            for phone, index in zip(self.contacts, places, strict=True)
            if phone in reasons
        )


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. `index` is the contact's place in the array; None outside of it. `line` in a CSV body."""

    index: int | None
    field: str
    reason: str
    line: int | None = None

    def detail(self) -> dict[str, Any]:
        """The fault as it stands in `details`."""
        place = {} if self.index is None else {"index": self.index}
        if self.line is not None:
            place["line"] = self.line
        return {**place, "field": self.field, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing is accepted: the HTTP status, the line that says it, and every fault that was found."""

    status: int
    error: str
    faults: tuple[Fault, ...] = ()

    def body(self) -> dict[str, Any]:
        """The JSON answer; without `details` where there are none."""
        if not self.faults:
            return {"error": self.error}
        return {"error": self.error, "details": [fault.detail() for fault in self.faults]}


# What pydantic leaves to `read_launch_at`, `read_recall` and `normalize` is told to readers of the schema here.
_Id = Annotated[Any, WithJsonSchema({"type": "string", "format": "uuid", "description": "The playbook's id."})]
_Phone = Annotated[
    str,
    Field(
        description="E.164; separators are dropped and a leading 00 is +. Other forms where the server's settings allow them.",
        json_schema_extra={"format": "phone", "minLength": 1, "maxLength": 64, "examples": ["+34600000001"]},
    ),
]
_Launch = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}],
            "description": "When to begin, ISO 8601; without an offset it is UTC. Missing, null or past: now.",
        }
    ),
]
_Expiry = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}],
            "description": "No attempt begins then or later; calls that are left are finished as expired.",
        }
    ),
]
_Hours = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [{"$ref": "#/components/schemas/CallingHours"}, {"type": "null"}],
            "description": "When people may be called; in place of the playbook's.",
        }
    ),
]
_MINUTES = {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_RECALL_MINUTES}
_Recall = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": _MINUTES, "maxItems": MOST_RECALLS},
                {"type": "string", "format": "recall-list", "description": "A JSON array as text, or nothing."},
                {"type": "null"},
            ],
            "description": "Minutes after the first attempt at which to call again those who did not answer.",
            "examples": [[30, 120]],
        }
    ),
]


@with_config(ConfigDict(extra="ignore", strict=True, cache_strings="keys"))
class ContactBody(ContactFields):
    """A contact as it is posted."""

    phone: Required[_Phone]


@with_config(ConfigDict(extra="ignore", strict=True, cache_strings="keys"))
class CampaignBody(TypedDict, total=False):
    """The body of POST /campaign. Unknown fields are ignored."""

    playbook_id: Required[_Id]
    contacts: Required[Annotated[list[ContactBody], Field(min_length=1)]]
    launch_at: _Launch
    recall: _Recall
    expires_at: _Expiry
    calling_hours: _Hours


@with_config(ConfigDict(extra="ignore", strict=True, cache_strings="keys"))
class CallBody(ContactBody):
    """The body of POST /call: a contact's fields, and beside them what a campaign has."""

    playbook_id: Required[_Id]
    launch_at: _Launch
    recall: _Recall
    expires_at: _Expiry
    calling_hours: _Hours


# Where pydantic's own words tell of classes and discriminators.
_REASONS = {
    "extra_forbidden": "no such key",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "union_tag_not_found": "has no `do`",
}


def plain_reason(kind: str, message: str) -> str:
    """pydantic's words for a fault, as they stand behind the name of a field."""
    if kind in _REASONS:
        return _REASONS[kind]
    message = message.removeprefix("Value error, ").removeprefix("Input ")
    return message[:1].lower() + message[1:]


class _Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


def read_campaign(body: bytes, rules: IntakeRules) -> CampaignRequest | Refusal:
    """The request in the body of POST /campaign, or why it is none."""
    try:
        _require_fewer_values(body, rules)
        usual = read_usual(body)
        if usual is not None and len(usual.entries) <= rules.max_contacts:
            read = usual.contacts(rules.phone)
            if read is not None:
                head = _Head.read(usual.head)
                return head.refusal() if head.faults else head.request(*read, len(usual.entries))
        return _read_exactly(body, rules)
    except _Refused as refused:
        return refused.refusal


def _read_exactly(body: bytes, rules: IntakeRules) -> CampaignRequest | Refusal:
    document = _load(body)
    head = _Head.read(document)
    entries = document.get("contacts")
    if not isinstance(entries, list) or not entries:
        head.faults.append(Fault(None, "contacts", "must be a non-empty array"))
        return head.refusal()
    if len(entries) > rules.max_contacts:
        error = f"contacts: {len(entries)} in one request, the most is {rules.max_contacts} (api.max_contacts)"
        return Refusal(413, error)
    contacts, repeated, faults = _read_contacts(entries, rules.phone)
    if head.faults or faults:
        return head.refusal(faults)
    return head.request(contacts, repeated, len(entries))


def read_call(body: bytes, rules: IntakeRules) -> CampaignRequest | Refusal:
    """The request in the body of POST /call, a campaign of one whose contact's fields are at the top level."""
    try:
        _require_fewer_values(body, rules)
        document = _load(body)
        head = _Head.read(document)
        phone, fields, faults = _read_contact(None, document, rules.phone)
        if head.faults or faults:
            return head.refusal(faults)
        return head.request({phone: fields_text(fields)}, (), 1)
    except _Refused as refused:
        return refused.refusal


def accepted(
    campaign_uuid: str, *, total_contacts: int, duplicate_contacts: int, launch_at: WallMs | None
) -> dict[str, Any]:
    """The 202 to POST /campaign; `launch_at` as it was given, None for an immediate campaign."""
    answer: dict[str, Any] = {"success": True}
    calls = total_contacts - duplicate_contacts
    if launch_at is None:
        answer |= {"message": "Campaign started successfully", "campaign_id": campaign_uuid, "scheduled": False}
        answer |= {"total_contacts": total_contacts}
    else:
        answer |= {"message": f"Scheduled {calls} calls for {show_minute(launch_at)}", "campaign_id": campaign_uuid}
        answer |= {"scheduled": True, "launch_at": show_time(launch_at)}
        # Whatever cannot be called refuses the whole request, so that no call of an accepted one is in error.
        answer |= {"total_contacts": total_contacts, "scheduled_calls": calls, "error_calls": 0}
    if duplicate_contacts:
        answer["duplicate_contacts"] = duplicate_contacts
    return answer


def accepted_call(call_uuid: str, *, launch_at: WallMs | None) -> dict[str, Any]:
    """The 202 to POST /call."""
    return {"success": True, "call_id": call_uuid, "scheduled": launch_at is not None}


@dataclass(slots=True)
class _Head:
    """What stands beside the contacts."""

    playbook_uuid: str = ""
    launch_at: WallMs | None = None
    recall: tuple[Minutes, ...] = ()
    expires_at: WallMs | None = None
    calling_hours: CallingHours | None = None
    faults: list[Fault] = field(default_factory=list)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "_Head":
        head = cls()
        playbook = document.get("playbook_id")
        if playbook is None or (isinstance(playbook, str) and not playbook.strip()):
            head.faults.append(Fault(None, "playbook_id", "is required"))
        elif not isinstance(playbook, str) or not _UUID.fullmatch(playbook):
            head.faults.append(Fault(None, "playbook_id", "must be a UUID"))
        else:
            head.playbook_uuid = playbook.lower()
        try:
            head.launch_at = read_launch_at(document.get("launch_at"))
        except ValueError as error:
            head.faults.append(Fault(None, "launch_at", str(error)))
        try:
            head.recall = read_recall(document.get("recall"))
        except ValueError as error:
            head.faults.append(Fault(None, "recall", str(error)))
        head._read_limits(document)
        return head

    def _read_limits(self, document: Mapping[str, Any]) -> None:
        try:
            self.expires_at = read_launch_at(document.get("expires_at"))
        except ValueError as error:
            self.faults.append(Fault(None, "expires_at", str(error)))
        if self.expires_at is not None and self.launch_at is not None and self.expires_at <= self.launch_at:
            self.faults.append(Fault(None, "expires_at", "must be after launch_at"))
        if document.get("calling_hours") is not None:
            try:
                self.calling_hours = CallingHours.model_validate(document["calling_hours"])
                if self.calling_hours.closed:
                    self.faults.append(Fault(None, "calling_hours", CLOSED))
            except ValidationError as error:
                self.faults += [
                    Fault(
                        None,
                        ".".join(map(str, ("calling_hours", *found["loc"]))),
                        plain_reason(found["type"], found["msg"]),
                    )
                    for found in error.errors(include_url=False, include_input=False)
                ]

    def request(self, contacts: dict[str, str], repeated: Sequence[int], total: int) -> CampaignRequest:
        """What was asked for, where nothing is wrong."""
        return CampaignRequest(
            self.playbook_uuid,
            contacts,
            total,
            self.launch_at,
            self.recall,
            self.expires_at,
            self.calling_hours,
            tuple(repeated),
        )

    def refusal(self, of_contacts: list[Fault] | None = None) -> Refusal:
        """The first fault in one line, all of them as details. A contact without a phone has a line of its own."""
        faults = (*self.faults, *(of_contacts or ()))
        first = faults[0]
        error = f"{first.field} {first.reason}"
        if not self.faults and any(fault.field == "phone" and fault.reason in _PHONELESS for fault in faults):
            error = NO_PHONE
        elif first.index is not None:
            error = f"contacts[{first.index}]: {error}"
        return Refusal(400, error, faults)


def _load(body: bytes) -> dict[str, Any]:
    try:
        # Some programs begin UTF-8 with a byte order mark; RFC 8259 section 8.1 lets a receiver ignore it.
        document = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise _Refused(Refusal(400, f"The body is not UTF-8 (byte {error.start})")) from error
    except json.JSONDecodeError as error:
        text = f"The body is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        raise _Refused(Refusal(400, text)) from error
    except RecursionError as error:
        raise _Refused(Refusal(400, "The body is not valid JSON: nested too deeply")) from error
    except ValueError as error:
        # Python reads no number of more than 4,300 digits.
        raise _Refused(Refusal(400, "The body is not valid JSON: a number has too many digits")) from error
    if not isinstance(document, dict):
        raise _Refused(Refusal(400, "The body must be a JSON object"))
    return document


def _refuse_constant(word: str) -> NoReturn:
    raise _Refused(Refusal(400, f"The body is not valid JSON: {word} is not a number"))


def _require_fewer_values(body: bytes, rules: IntakeRules) -> None:
    if body.count(b",") > _VALUES_ANYWAY + rules.max_contacts * _VALUES_PER_CONTACT:
        raise _Refused(Refusal(413, "The body holds too many values"))


def _read_contacts(entries: list[Any], rules: PhoneRules) -> tuple[dict[str, str], list[int], list[Fault]]:
    """The contacts by phone, which entries repeat a phone, and the faults of all entries in their order."""
    contacts: dict[str, Fields] = {}
    repeated: list[int] = []
    faults: list[Fault] = []
    for index, entry in enumerate(entries):
        phone, fields, found = _read_contact(index, entry, rules)
        if found:
            faults += found
        elif phone in contacts:
            contacts[phone] = merge(contacts[phone], fields)
            repeated.append(index)
        else:
            contacts[phone] = fields
    return {} if faults else {phone: fields_text(fields) for phone, fields in contacts.items()}, repeated, faults


def _read_contact(index: int | None, entry: object, rules: PhoneRules) -> tuple[str, Fields, list[Fault] | None]:
    if not isinstance(entry, dict):
        return "", {}, [Fault(index, "phone", _NO_OBJECT)]
    phone, faults = "", []
    written = entry.get("phone")
    if not isinstance(written, str):
        faults.append(Fault(index, "phone", _NO_STRING if "phone" in entry else _MISSING))
    else:
        try:
            phone = normalize(written, rules)
        except ValueError as error:
            faults.append(Fault(index, "phone", str(error)))
    fields, found = read_fields(entry)
    faults += [Fault(index, name, reason) for name, reason in found]
    return phone, fields, faults
