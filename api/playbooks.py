"""Playbooks: read one from JSON with every fault by its path, and keep the account's."""

from http import HTTPStatus

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import JsonAnswer
from api.backend import Backend, Principal
from api.offload import in_thread
from api.payloads import cursor, json_object, limit_of, number_position, query
from api.problems import bad_request, not_found
from api.resource import path_id, resource
from dialer.core.playbook import Fault, Machine, Playbook, check_against

# A playbook of 200 steps has some 30 KB.
_MAX_BYTES = 1 << 20


def read_playbook(raw: object, machine: Machine) -> Playbook | list[Fault]:
    """The playbook that `raw` (parsed JSON) describes, or what is wrong with it, all of it, on this machine."""
    try:
        playbook = Playbook.model_validate(raw)
    except ValidationError as error:
        faults = []
        for detail in error.errors(include_url=False, include_input=False):
            # The discriminator of a step stands in the path that pydantic gives ("steps.0.play.audio").
            where = [str(part) for part in detail["loc"]]
            if len(where) > 2 and where[0] == "steps":
                del where[2]
            faults.append(Fault(".".join(where) or "playbook", _reason(detail["type"], detail["msg"])))
        return faults
    return check_against(playbook, machine) or playbook


def _reason(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "no such key"
    message = message.removeprefix("Value error, ").removeprefix("Input ")
    return message[:1].lower() + message[1:]


def routes(backend: Backend) -> list[Route]:
    """The paths under /playbook."""

    async def given(request: Request) -> Playbook:
        raw = await json_object(request, min(_MAX_BYTES, backend.max_body_bytes))
        # The machine's view lists the media directory: a look at the disk.
        read = await in_thread(lambda: read_playbook(raw, backend.machine()))
        if isinstance(read, Playbook):
            return read
        raise bad_request(
            "The playbook cannot be used here: " + "; ".join(f"{fault.path}: {fault.reason}" for fault in read[:3]),
            [{"field": fault.path, "reason": fault.reason} for fault in read],
        )

    async def create(request: Request, who: Principal) -> Response:
        query(request)
        record = await in_thread(backend.playbooks.create, who.account_id, await given(request))
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
        record = await in_thread(backend.playbooks.update, who.account_id, uuid, await given(request))
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
        resource("/playbook", accounts, GET=listing, POST=create),
        resource("/playbook/{id}", accounts, GET=show, PUT=update, DELETE=delete),
    ]
