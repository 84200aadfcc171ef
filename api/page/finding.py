"""Search: a number, or the id of anything, leads to its page; and the page of a person, with all calls to its number."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from api.backend import Backend
from api.identifiers import canonical_uuid
from api.offload import in_thread
from api.page.doors import Visitor
from api.page.entrance import Entrance
from api.page.screens import Screens
from api.page.watch import Board
from api.problems import not_found
from api.resource import open_resource, path_id

_MOST_CALLS = 100
_NOT_FIELDS = frozenset({"id", "phone", "created_at", "updated_at"})


def routes(entrance: Entrance, backend: Backend, board: Board, screens: Screens) -> list[Route]:
    """The paths of it."""

    async def ask_number(request: Request, visitor: Visitor) -> Response:
        return entrance.page(request, visitor, "search", {"fault": ""}, title="Search")

    async def find(request: Request, visitor: Visitor) -> Response:
        # By POST, and answered with the address of what was found: numbers are in no address, history or log.
        asked = (await entrance.doors.form(request)).get("asked", "").strip()
        account, uuid = visitor.principal.account_id, canonical_uuid(asked)
        search = _by_number(backend, account, asked) if uuid is None else _by_id(backend, board, account, uuid)
        found, fault = await search
        if found is not None:
            return RedirectResponse(found, HTTPStatus.SEE_OTHER)
        values = {"fault": fault}
        return entrance.page(request, visitor, "search", values, title="Search", status=HTTPStatus.NOT_FOUND)

    async def contact(request: Request, visitor: Visitor) -> Response:
        uuid, account = path_id(request, "contact"), visitor.principal.account_id
        found = await in_thread(backend.contacts.get, account, uuid)
        if found is None:
            raise not_found("contact")
        calls = await screens.calls_to(account, found["phone"], visitor.mask, limit=_MOST_CALLS)
        listed = await in_thread(backend.do_not_call.is_listed, account, found["phone"])
        phone = visitor.mask.phone(found["phone"])
        fields = {name: visitor.mask.value(value) for name, value in found.items() if name not in _NOT_FIELDS}
        values = {
            "phone": phone,
            "known": found,
            "listed": listed,
            "fields": fields,
            "calls": calls,
            "most": _MOST_CALLS,
        }
        return entrance.page(request, visitor, "contact", values, title=f"Calls to {phone}")

    return [
        open_resource("/page/search", GET=entrance.inside(ask_number), POST=entrance.inside(find)),
        open_resource("/page/contact/{id}", GET=entrance.inside(contact)),
    ]


async def _by_id(backend: Backend, board: Board, account: int, uuid: str) -> tuple[str | None, str]:
    """The address of what the id is of; else why there is none."""
    for what, get in (("campaign", board.campaign), ("call", backend.views.call), ("contact", backend.contacts.get)):
        if await in_thread(get, account, uuid) is not None:
            return f"/page/{what}/{uuid}", ""
    return None, "There is no campaign, call or contact of this id."


async def _by_number(backend: Backend, account: int, asked: str) -> tuple[str | None, str]:
    """The address of the contact with this number; else why there is none."""
    try:
        phone = backend.read_phone(asked)
    except ValueError as error:
        return None, f"This is no number that could be called: it {error}."
    found, _ = await in_thread(backend.contacts.list, account, phone=phone, limit=1, after=None)
    if not found:
        return None, "Nobody with this number was ever to be called."
    return f"/page/contact/{found[0]['id']}", ""
