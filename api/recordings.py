"""What callees said, as the WAV files that the playbook's `record` steps made."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from api.backend import Backend, Principal
from api.offload import in_thread
from api.payloads import query
from api.problems import bad_request, not_found
from api.resource import path_id, resource


def routes(backend: Backend) -> list[Route]:
    """The path of a call's recordings."""

    async def fetch(request: Request, who: Principal) -> Response:
        return await send(backend, request, who.account_id)

    return [resource("/call/{id}/recording", backend.accounts, GET=fetch)]


async def send(backend: Backend, request: Request, account_id: int) -> Response:
    """The recording that the request asks for, of a call of the account. Raises the problems 400 and 404."""
    uuid = path_id(request, "call")
    number = _number(query(request, "number"))
    path = await in_thread(_file, backend, account_id, uuid, number)
    if path is None:
        raise not_found("recording")
    return FileResponse(path, media_type="audio/wav", filename=path.name)


def _number(asked: dict[str, str]) -> int:
    text = asked.get("number") or "1"
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and int(text) >= 1):
        raise bad_request("number must be a whole number from 1: that of the recording in the call's result")
    return int(text)


def _file(backend: Backend, account_id: int, uuid: str, number: int) -> Path | None:
    """The file of the call's recording; None: there is no such call or recording, or it has expired."""
    call = backend.views.call(account_id, uuid)
    made = [] if call is None else (call["result"] or {}).get("recordings", [])
    if number > len(made):
        return None
    path: Path = backend.recordings / f"{made[number - 1]['name']}.wav"
    return path if path.is_file() else None
