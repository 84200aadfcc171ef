"""The trunks of this server, for everybody who may call over them."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import JsonAnswer
from api.backend import Backend, Principal
from api.payloads import query
from api.resource import resource


def routes(backend: Backend) -> list[Route]:
    """/trunk."""

    async def listing(request: Request, _: Principal) -> Response:
        query(request)
        return JsonAnswer({"items": backend.trunks(), "next_cursor": None})

    return [resource("/trunk", backend.accounts, GET=listing)]
