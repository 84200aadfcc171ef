"""What the API can do, path by path, as the OpenAPI document tells it. A test holds this list against the routes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from api import playbook_schema, schemas
from api.call_files import FORMATS
from api.payloads import DEFAULT_LIMIT, MAX_LIMIT
from dialer.core.intake import CallBody, CampaignBody
from dialer.core.model import CampaignStatus, Disposition
from dialer.core.playbook import Playbook

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Parameter:
    """A query parameter or header."""

    name: str
    schema: Schema
    description: str = ""
    required: bool = False
    place: str = "query"


@dataclass(frozen=True)
class Operation:
    """One method on one path. `body` and `answers` map media types, or statuses, to a model, or to
    a JSON schema for what is no JSON (None: any text).

    `example` is a body that works as it stands, once ids are filled in; a test sends it.
    """

    method: str
    path: str
    group: str
    summary: str
    answers: Mapping[HTTPStatus, tuple[str, Mapping[str, Any]]]
    parameters: tuple[Parameter, ...] = ()
    body: Mapping[str, Any] = field(default_factory=dict)
    example: Any = None
    errors: tuple[HTTPStatus, ...] = ()
    open: bool = False
    description: str = ""

    @property
    def id(self) -> str:
        """`get_campaign_id_calls`."""
        words = self.path.replace("{", "").replace("}", "").replace("-", "_").replace(".", "_").split("/")
        return "_".join([self.method.lower(), *filter(None, words)])


JSON, CSV, STREAM = "application/json", "text/csv", "text/event-stream"
OK, CREATED, ACCEPTED, GONE = HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT
CONFLICT = HTTPStatus.CONFLICT

PLAYBOOK_ID = "7a0f3f0e-8f0e-4f6a-9d1a-3c1f1f9f4f10"
_WORD = {"type": "string"}
_ID_OR_NONE = {"anyOf": [{"type": "string", "format": "uuid"}, {"const": ""}]}


def _words(*words: str) -> Schema:
    # An empty filter is none: so do the forms of web pages send it.
    return {"type": "string", "enum": ["", *words]}


def _json(model: Any) -> dict[str, Any]:  # noqa: ANN401 - any type that pydantic reads
    return {JSON: model}


LIMIT = Parameter(
    "limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}, "Items in a page."
)
CURSOR = Parameter(
    "cursor", {"type": "string", "format": "cursor"}, "`next_cursor` of the page before; empty: from the start."
)
PHONE = Parameter("phone", {"type": "string", "format": "phone"}, "Only this number; empty: all.")
FORMAT = Parameter("format", _words("json", "csv"), "csv: the whole list as a file, whatever limit and cursor say.")
KEY = Parameter(
    "Idempotency-Key",
    {"type": "string", "pattern": "^[!-~]([ -~]{0,253}[!-~])?$"},
    "A repeated request with the same key and body within 24 hours gets the stored answer.",
    place="header",
)

NUMBER_LIST: Schema = {
    "type": "string",
    "format": "number-list",
    "minLength": 1,
    "description": "CSV with a column `phone`, or one number a line.",
}

_CAMPAIGN = {OK: ("The campaign.", _json(schemas.Campaign))}
_CALL = {OK: ("The call.", _json(schemas.Call))}
_PLAYBOOK = {
    "name": "Renewal",
    "trunks": ["pbx"],
    "ring_timeout_seconds": 30,
    "recall_on": ["busy", "no_answer"],
    "steps": [{"do": "wait", "seconds": 1}, {"do": "hangup"}],
}


def _order(word: str, summary: str) -> Operation:
    return Operation("POST", f"/campaign/{{id}}/{word}", "Campaigns", summary, _CAMPAIGN, errors=(CONFLICT,))


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST",
        "/campaign",
        "Campaigns",
        "Call a list of contacts, now or at launch_at",
        {
            ACCEPTED: ("Durable: it survives a crash from here on.", _json(schemas.CampaignAccepted)),
            OK: ("With dry_run: what it would do.", _json(schemas.Rehearsal)),
        },
        parameters=(
            KEY,
            Parameter("dry_run", {"type": "string", "enum": ["0", "1"]}, "1: say what it would do, and store nothing."),
        ),
        body=_json(CampaignBody),
        example={
            "playbook_id": PLAYBOOK_ID,
            "contacts": [{"phone": "+34600000001", "first_name": "Ana", "custom_fields": {"contract": "A-17"}}],
            "launch_at": "2031-03-01T10:00:00Z",
            "recall": [30, 120],
        },
        errors=(CONFLICT,),
        description=(
            "Also as CSV: a body of text/csv with playbook_id, launch_at, recall, expires_at, calling_hours and columns in the "
            "query, or a multipart/form-data with these as fields and the CSV as `file`. The first row names the fields of a "
            "contact; `columns`, a JSON object as `calling_hours` is, maps others: "
            '{"Mobile": "phone", "Notes": ""}. Faults carry the line.'
        ),
    ),
    Operation(
        "GET",
        "/campaign",
        "Campaigns",
        "The account's campaigns, newest first",
        {OK: ("A page.", _json(schemas.Page[schemas.Campaign]))},
        parameters=(Parameter("status", _words(*CampaignStatus)), LIMIT, CURSOR),
    ),
    Operation("GET", "/campaign/{id}", "Campaigns", "One campaign and how far it is", _CAMPAIGN),
    _order("pause", "Stop new attempts; live calls go on"),
    _order("resume", "Let a paused campaign go on"),
    _order("cancel", "Cancel for good: pending calls are finished as cancelled"),
    Operation(
        "GET",
        "/campaign/{id}/calls",
        "Campaigns",
        "The campaign's calls, in the order of its contacts",
        {OK: ("A page, or a file.", {JSON: schemas.Page[schemas.Call], CSV: None})},
        parameters=(
            Parameter("state", _words("scheduled", "live", "finished")),
            Parameter("disposition", _words(*Disposition)),
            LIMIT,
            CURSOR,
            Parameter(
                "format",
                _words("json", *FORMATS),
                "A file of all calls: csv, attempts (a row each), cdr (the columns of Asterisk's Master.csv, UTC).",
            ),
        ),
    ),
    Operation(
        "GET",
        "/call",
        "Calls",
        "The calls that are under way, newest first",
        {OK: ("A page.", _json(schemas.Page[schemas.Call]))},
        parameters=(Parameter("state", _words("live"), "There is no other list here."), LIMIT, CURSOR),
    ),
    Operation(
        "POST",
        "/call",
        "Calls",
        "Call one person, now or at launch_at",
        {ACCEPTED: ("Durable: it survives a crash from here on.", _json(schemas.CallAccepted))},
        parameters=(KEY,),
        body=_json(CallBody),
        example={"playbook_id": PLAYBOOK_ID, "phone": "+34600000001", "launch_at": "2031-03-01T10:00:00Z"},
        errors=(CONFLICT,),
    ),
    Operation("GET", "/call/{id}", "Calls", "One call with its attempts", _CALL),
    Operation(
        "GET",
        "/call/{id}/recording",
        "Calls",
        "What the callee said, as a WAV file",
        {OK: ("The file.", {"audio/wav": {"type": "string", "format": "binary"}})},
        parameters=(
            Parameter("number", {"type": "integer", "minimum": 1, "maximum": 9999, "default": 1}, "Which one."),
        ),
    ),
    Operation(
        "GET",
        "/call/{id}/explain",
        "Calls",
        "Which rule holds the call back now, and when it will clear",
        {OK: ("The rule.", _json(schemas.Explanation))},
    ),
    Operation(
        "POST", "/call/{id}/cancel", "Calls", "Cancel a scheduled call, hang up a live one", _CALL, errors=(CONFLICT,)
    ),
    Operation(
        "GET",
        "/review",
        "Review",
        "Calls that may have been made before the database was restored, and wait for a person",
        {OK: ("A page.", _json(schemas.Page[schemas.Call]))},
        parameters=(
            Parameter("campaign_id", _ID_OR_NONE, "Only those of this campaign; empty: all."),
            LIMIT,
            CURSOR,
        ),
        errors=(HTTPStatus.NOT_FOUND,),
    ),
    Operation(
        "POST",
        "/review/release",
        "Review",
        "Let calls under review be made: when they are due, or in their turn",
        {OK: ("Done.", _json(schemas.Released))},
        body=_json(schemas.ReviewChoice),
        example={"all": True},
        errors=(HTTPStatus.NOT_FOUND,),
    ),
    Operation(
        "POST",
        "/review/cancel",
        "Review",
        "Finish calls under review as cancelled",
        {OK: ("Done.", _json(schemas.Cancelled))},
        body=_json(schemas.ReviewChoice),
        example={"all": True},
        errors=(HTTPStatus.NOT_FOUND,),
    ),
    Operation(
        "POST",
        "/playbook",
        "Playbooks",
        "Store a playbook",
        {CREATED: ("Its record.", _json(schemas.StoredPlaybook))},
        body=_json(Playbook),
        example=_PLAYBOOK,
    ),
    Operation(
        "GET",
        "/playbook",
        "Playbooks",
        "The account's playbooks, newest first",
        {OK: ("A page.", _json(schemas.Page[schemas.StoredPlaybook]))},
        parameters=(LIMIT, CURSOR),
    ),
    Operation(
        "GET", "/playbook/{id}", "Playbooks", "One playbook", {OK: ("Its record.", _json(schemas.StoredPlaybook))}
    ),
    Operation(
        "PUT",
        "/playbook/{id}",
        "Playbooks",
        "Replace a playbook; campaigns posted before keep what they had",
        {OK: ("Its record.", _json(schemas.StoredPlaybook))},
        body=_json(Playbook),
        example=_PLAYBOOK,
    ),
    Operation("DELETE", "/playbook/{id}", "Playbooks", "Delete a playbook", {GONE: ("Deleted.", {})}),
    Operation(
        "GET",
        "/contact",
        "Contacts",
        "The account's contacts, newest first",
        {OK: ("A page.", _json(schemas.Page[schemas.Contact]))},
        parameters=(PHONE, LIMIT, CURSOR),
    ),
    Operation("GET", "/contact/{id}", "Contacts", "One contact", {OK: ("The contact.", _json(schemas.Contact))}),
    Operation(
        "PATCH",
        "/contact/{id}",
        "Contacts",
        "Change the given fields; null takes one away",
        {OK: ("The contact.", _json(schemas.Contact))},
        body=_json("ContactChange"),
        example={"city": "Vigo", "custom_fields": {"contract": None}},
    ),
    Operation(
        "DELETE", "/contact/{id}", "Contacts", "Erase the person's data, in past calls too", {GONE: ("Erased.", {})}
    ),
    Operation(
        "GET",
        "/do-not-call",
        "Do not call",
        "The numbers that this account never dials",
        {OK: ("A page, or the whole list.", {JSON: schemas.Page[schemas.ListedNumber], CSV: None})},
        parameters=(PHONE, LIMIT, CURSOR, FORMAT),
    ),
    Operation(
        "POST",
        "/do-not-call",
        "Do not call",
        "Put numbers on the list",
        {OK: ("Done.", _json(schemas.Added))},
        body={JSON: schemas.OneNumber | schemas.ManyNumbers, CSV: NUMBER_LIST},
        example={"phones": ["+34600000001", "+34600000002"]},
    ),
    Operation(
        "DELETE",
        "/do-not-call",
        "Do not call",
        "Take a number off the list",
        {OK: ("Done.", _json(schemas.Removed))},
        parameters=(Parameter("phone", {"type": "string", "format": "phone"}, "The number.", required=True),),
    ),
    Operation(
        "GET",
        "/events",
        "Events",
        "The account's events as they happen (server-sent events)",
        {OK: ("A stream that goes on until one side closes it.", {STREAM: None})},
        parameters=(
            Parameter("last_event_id", _WORD, "As the header, for clients that cannot set it."),
            Parameter("Last-Event-ID", _WORD, "Go on after the event with this `event_id`.", place="header"),
        ),
    ),
    Operation(
        "GET",
        "/trace",
        "Calls",
        "The SIP messages of a call as they pass (server-sent events)",
        {OK: ("A stream that ends with the event `end`, which holds the call, when that is finished.", {STREAM: None})},
        parameters=(
            Parameter("call", _ID_OR_NONE, "Left out or empty: the account's next call that is dialed."),
            Parameter("numbers", _words("0", "1"), "1: people's numbers are shown whole. Credentials never are."),
        ),
        errors=(HTTPStatus.NOT_FOUND, CONFLICT),
        description="While somebody looks, every call costs the SIP workers a quarter more. Needs a token of the scope admin.",
    ),
    Operation(
        "GET",
        "/webhook",
        "Events",
        "The account's webhooks, and how delivery goes",
        {OK: ("All of them.", _json(schemas.Page[schemas.Webhook]))},
    ),
    Operation(
        "POST",
        "/webhook",
        "Events",
        "Have events delivered to an address",
        {CREATED: ("Its record, with the secret.", _json(schemas.NewWebhook))},
        body=_json(schemas.WebhookBody),
        example={"url": "https://192.0.2.10/dialer-events", "events": ["call.finished", "campaign.completed"]},
        errors=(CONFLICT,),
    ),
    Operation("GET", "/webhook/{id}", "Events", "One webhook", {OK: ("Its record.", _json(schemas.Webhook))}),
    Operation("DELETE", "/webhook/{id}", "Events", "Deliver no more to it", {GONE: ("Deleted.", {})}),
    Operation(
        "GET",
        "/trunk",
        "Trunks",
        "The server's trunks and how they stand",
        {OK: ("All of them.", _json(schemas.Page[schemas.Trunk]))},
    ),
    Operation(
        "GET", "/healthz", "Health", "200 while the process lives", {OK: ("It lives.", _json(schemas.Alive))}, open=True
    ),
    Operation(
        "GET",
        "/readyz",
        "Health",
        "200 when calls can be placed, else 503 with the reasons",
        {OK: ("Ready.", _json(schemas.Alive))},
        errors=(HTTPStatus.SERVICE_UNAVAILABLE,),
        open=True,
    ),
    Operation("GET", "/metrics", "Health", "Prometheus metrics", {OK: ("Metrics.", {"text/plain": None})}, open=True),
    Operation(
        "GET", "/openapi.json", "Health", "This document", {OK: ("OpenAPI 3.1.", {JSON: dict[str, Any]})}, open=True
    ),
    Operation(
        "GET",
        playbook_schema.PATH,
        "Playbooks",
        "The JSON Schema of playbooks",
        {OK: ("JSON Schema 2020-12.", {playbook_schema.MEDIA_TYPE: dict[str, Any]})},
        open=True,
    ),
    Operation("GET", "/docs", "Health", "This document as a page", {OK: ("A page.", {"text/html": None})}, open=True),
)
