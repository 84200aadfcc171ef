"""Contacts: whom the account knows. Campaigns make them; here they are looked up, corrected and erased."""

from collections.abc import Mapping
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
from api.scopes import require
from dialer.core.contact import ContactFields, read_fields

_KNOWN = frozenset(ContactFields.__annotations__)
_MAX_BYTES = 1 << 20


def faults_of_change(change: Mapping[str, Any]) -> list[dict[str, str]]:
    """What is wrong with the JSON of a PATCH: `field` and `reason` of each fault. null takes a field away.

    Unlike in a campaign, where a contact may carry whatever its source had, an unknown field is a fault: the client asks
    for a change that would not happen.
    """
    faults = [(name, "no such field") for name in change if name not in _KNOWN and name != "phone"]
    if "phone" in change:
        faults.append(("phone", "is what the contact is known by, and stays"))
    _, of_values = read_fields({name: value for name, value in change.items() if value is not None})
    return [{"field": field, "reason": reason} for field, reason in faults + of_values]


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
        require(who.scope, request.method, request.url.path)
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
        resource("/contact/{id}", accounts, after_body={"PATCH"}, GET=contact, PATCH=change, DELETE=erase),
    ]
