"""Playbooks: kept by account, refused with every fault by its path."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import JsonAnswer
from api.backend import Backend, Principal
from api.offload import in_thread
from api.payloads import cursor, json_object, limit_of, number_position, query
from api.problems import bad_request, not_found
from api.resource import path_id, resource
from api.scopes import require
from dialer.core.playbook import Playbook
from dialer.core.playbook_reading import read_playbook

# A playbook of 200 steps has some 30 KB.
_MAX_BYTES = 1 << 20


def routes(backend: Backend) -> list[Route]:
    """The paths under /playbook."""

    async def given(request: Request, who: Principal) -> Playbook:
        raw = await json_object(request, min(_MAX_BYTES, backend.max_body_bytes))
        # The machine's view lists the media directory: a look at the disk.
        read = await in_thread(lambda: read_playbook(raw, backend.machine()))
        if isinstance(read, Playbook):
            require(who.scope, request.method, request.url.path)
            return read
        raise bad_request(
            "The playbook cannot be used here: " + "; ".join(f"{fault.path}: {fault.reason}" for fault in read[:3]),
            [{"field": fault.path, "reason": fault.reason} for fault in read],
        )

    async def create(request: Request, who: Principal) -> Response:
        query(request)
        record = await in_thread(backend.playbooks.create, who.account_id, await given(request, who))
        return JsonAnswer(record, HTTPStatus.CREATED, headers={"Location": f"/playbook/{record['id']}"})

    async def listing(request: Request, who: Principal) -> Response:
        asked = query(request, "limit", "cursor")
        items, position = await in_thread(
            backend.playbooks.list, who.account_id, limit=limit_of(asked), after=number_position("playbook", asked)
        )
        return JsonAnswer({"items": items, "next_cursor": cursor("playbook", position)})

    async def show(request: Request, who: Principal) -> Response:
        uuid = path_id(request, "playbook")
        query(request)
        record = await in_thread(backend.playbooks.get, who.account_id, uuid)
        if record is None:
            raise not_found("playbook")
        return JsonAnswer(record)

    async def update(request: Request, who: Principal) -> Response:
        uuid = path_id(request, "playbook")
        query(request)
        record = await in_thread(backend.playbooks.update, who.account_id, uuid, await given(request, who))
        if record is None:
            raise not_found("playbook")
        return JsonAnswer(record)

    async def delete(request: Request, who: Principal) -> Response:
        uuid = path_id(request, "playbook")
        query(request)
        if not await in_thread(backend.playbooks.delete, who.account_id, uuid):
            raise not_found("playbook")
        return Response(status_code=HTTPStatus.NO_CONTENT)

    accounts = backend.accounts
    return [
        resource("/playbook", accounts, after_body={"POST"}, GET=listing, POST=create),
        resource("/playbook/{id}", accounts, after_body={"PUT"}, GET=show, PUT=update, DELETE=delete),
    ]
