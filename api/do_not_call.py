"""The do-not-call list: numbers that the account never dials. As JSON, or as CSV for whole lists."""

from collections.abc import AsyncIterator, Iterable
from itertools import islice
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import JsonAnswer
from api.backend import Backend, Principal
from api.csv_export import csv_download
from api.offload import in_thread
from api.payloads import MAX_LIMIT, cursor, json_object, limit_of, media_type, one_of, query, text_body, text_position
from api.phones import phone_asked, read_phones
from api.problems import bad_request
from api.resource import resource
from api.scopes import require
from dialer.core.csv_writing import Row
from dialer.core.number_list import numbers_in

_MAX_BYTES = 1 << 20
_MAX_PHONES = 10_000


def routes(backend: Backend) -> list[Route]:
    """The path /do-not-call."""

    async def listing(request: Request, who: Principal) -> Response:
        asked = query(request, "phone", "limit", "cursor", "format")
        phone, limit, after = await phone_asked(backend, asked), limit_of(asked), text_position("do-not-call", asked)
        if one_of("format", asked, ("json", "csv")) == "csv":
            return csv_download("do-not-call.csv", ("phone", "added_at"), _whole_list(backend, who, phone))
        items, position = await in_thread(
            backend.do_not_call.list, who.account_id, phone=phone, limit=limit, after=after
        )
        return JsonAnswer({"items": items, "next_cursor": cursor("do-not-call", position)})

    async def add(request: Request, who: Principal) -> Response:
        query(request)
        if media_type(request) == "text/csv":
            return await _add_csv(backend, request, who)
        given = await json_object(request, min(_MAX_BYTES, backend.max_body_bytes))
        unknown = sorted(set(given) - {"phone", "phones"})
        if unknown or len(given) != 1:
            raise bad_request('The body must be {"phone": "..."} or {"phones": ["...", ...]}')
        phones = [given["phone"]] if "phone" in given else given["phones"]
        if not isinstance(phones, list) or not 1 <= len(phones) <= _MAX_PHONES:
            raise bad_request(f"phones must be an array of 1 to {_MAX_PHONES} numbers")
        numbers, faults = await in_thread(read_phones, phones, backend.read_phone)
        return await _store(backend, request, who, numbers, faults, len(phones))

    async def remove(request: Request, who: Principal) -> Response:
        number = await phone_asked(backend, query(request, "phone"))
        if number is None:
            raise bad_request("The query parameter phone is required")
        removed = await in_thread(backend.do_not_call.remove, who.account_id, number)
        return JsonAnswer({"success": True, "removed": int(removed)})

    return [resource("/do-not-call", backend.accounts, after_body={"POST"}, GET=listing, POST=add, DELETE=remove)]


async def _whole_list(backend: Backend, who: Principal, phone: str | None) -> AsyncIterator[Iterable[Row]]:
    after: str | None = None
    while True:
        items, position = await in_thread(
            backend.do_not_call.list, who.account_id, phone=phone, limit=MAX_LIMIT, after=after
        )
        yield [(item["phone"], item["added_at"]) for item in items]
        if position is None:
            return
        after = str(position)


async def _add_csv(backend: Backend, request: Request, who: Principal) -> Response:
    text = await text_body(request, min(_MAX_BYTES, backend.max_body_bytes))
    try:
        rows = list(islice(numbers_in(text), _MAX_PHONES + 1))
    except ValueError as error:
        raise bad_request(f"The body cannot be read: {error}") from None
    if not 1 <= len(rows) <= _MAX_PHONES:
        raise bad_request(f"The body must hold 1 to {_MAX_PHONES} numbers")
    numbers, faults = await in_thread(read_phones, [number for _, number in rows], backend.read_phone)
    return await _store(
        backend, request, who, numbers, [{**fault, "line": rows[fault["index"]][0]} for fault in faults], len(rows)
    )


async def _store(
    backend: Backend, request: Request, who: Principal, numbers: list[str], faults: list[dict[str, Any]], total: int
) -> Response:
    if faults:
        raise bad_request(f"{len(faults)} of {total} numbers cannot be read; none was added", faults)
    require(who.scope, request.method, request.url.path)
    added = await in_thread(backend.do_not_call.add, who.account_id, numbers)
    return JsonAnswer({"success": True, "added": added})
