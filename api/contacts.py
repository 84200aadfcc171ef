"""Contacts: whom the account knows. Campaigns make them; here they are looked up, corrected and erased."""

import zoneinfo
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import JsonAnswer
from api.backend import Backend, Principal
from api.offload import in_thread
from api.payloads import cursor, json_object, limit_of, number_position, query
from api.phones import phone_asked
from api.problems import bad_request, not_found
from api.resource import path_id, resource

TEXT_FIELDS = (
    "first_name",
    "last_name",
    "email",
    "company",
    "job_title",
    "address",
    "city",
    "state",
    "country",
    "postal_code",
    "timezone",
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_term",
    "utm_content",
)
_MAX_BYTES = 1 << 20


def faults_of_change(change: Mapping[str, Any]) -> list[dict[str, str]]:
    """What is wrong with the JSON of a PATCH: `field` and `reason` of each fault. null takes a field away."""
    faults = []
    for name, value in change.items():
        reason = None
        if name == "phone":
            reason = "a contact's phone is what it is known by, and stays"
        elif name == "custom_fields":
            reason = None if isinstance(value, dict) else "must be an object"
        elif name not in TEXT_FIELDS:
            reason = "no such field"
        elif value is not None and not isinstance(value, str):
            reason = "must be text or null"
        elif name == "timezone" and value is not None and value not in _zones():
            reason = "must be an IANA time zone, as Europe/Madrid"
        if reason is not None:
            faults.append({"field": name, "reason": reason})
    return faults


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def routes(backend: Backend) -> list[Route]:
    """The paths under /contact."""

    async def contacts(request: Request, who: Principal) -> Response:
        asked = query(request, "phone", "limit", "cursor")
        items, position = await in_thread(
            backend.contacts.list,
            who.account_id,
            phone=await phone_asked(backend, asked),
            limit=limit_of(asked),
            after=number_position("contact", asked),
        )
        return JsonAnswer({"items": items, "next_cursor": cursor("contact", position)})

    async def contact(request: Request, who: Principal) -> Response:
        uuid = path_id(request, "contact")
        query(request)
        record = await in_thread(backend.contacts.get, who.account_id, uuid)
        if record is None:
            raise not_found("contact")
        return JsonAnswer(record)

    async def change(request: Request, who: Principal) -> Response:
        uuid = path_id(request, "contact")
        query(request)
        fields = await json_object(request, min(_MAX_BYTES, backend.max_body_bytes))
        if faults := faults_of_change(fields):
            raise bad_request(f"{faults[0]['field']}: {faults[0]['reason']}", faults)
        record = await in_thread(backend.contacts.update, who.account_id, uuid, fields)
        if record is None:
            raise not_found("contact")
        return JsonAnswer(record)

    async def erase(request: Request, who: Principal) -> Response:
        uuid = path_id(request, "contact")
        query(request)
        if not await in_thread(backend.contacts.erase, who.account_id, uuid):
            raise not_found("contact")
        return Response(status_code=HTTPStatus.NO_CONTENT)

    accounts = backend.accounts
    return [
        resource("/contact", accounts, GET=contacts),
        resource("/contact/{id}", accounts, GET=contact, PATCH=change, DELETE=erase),
    ]
