"""The do-not-call list: numbers that the account never dials."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import JsonAnswer
from api.backend import Backend, Principal
from api.offload import in_thread
from api.payloads import cursor, json_object, limit_of, query, text_position
from api.phones import phone_asked, read_phones
from api.problems import bad_request
from api.resource import resource

_MAX_BYTES = 1 << 20
_MAX_PHONES = 10_000


def routes(backend: Backend) -> list[Route]:
    """The path /do-not-call."""

    async def listing(request: Request, who: Principal) -> Response:
        asked = query(request, "phone", "limit", "cursor")
        items, position = await in_thread(
            backend.do_not_call.list,
            who.account_id,
            phone=await phone_asked(backend, asked),
            limit=limit_of(asked),
            after=text_position("do-not-call", asked),
        )
        return JsonAnswer({"items": items, "next_cursor": cursor("do-not-call", position)})

    async def add(request: Request, who: Principal) -> Response:
        query(request)
        given = await json_object(request, min(_MAX_BYTES, backend.max_body_bytes))
        unknown = sorted(set(given) - {"phone", "phones"})
        if unknown or len(given) != 1:
            raise bad_request('The body must be {"phone": "..."} or {"phones": ["...", ...]}')
        phones = [given["phone"]] if "phone" in given else given["phones"]
        if not isinstance(phones, list) or not 1 <= len(phones) <= _MAX_PHONES:
            raise bad_request(f"phones must be an array of 1 to {_MAX_PHONES} numbers")
        numbers, faults = await in_thread(read_phones, phones, backend.read_phone)
        if faults:
            raise bad_request(f"{len(faults)} of {len(phones)} numbers cannot be read; none was added", faults)
        added = await in_thread(backend.do_not_call.add, who.account_id, numbers)
        return JsonAnswer({"success": True, "added": added})

    async def remove(request: Request, who: Principal) -> Response:
        number = await phone_asked(backend, query(request, "phone"))
        if number is None:
            raise bad_request("The query parameter phone is required")
        removed = await in_thread(backend.do_not_call.remove, who.account_id, number)
        return JsonAnswer({"success": True, "removed": int(removed)})

    return [resource("/do-not-call", backend.accounts, GET=listing, POST=add, DELETE=remove)]
