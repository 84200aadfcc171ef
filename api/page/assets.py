"""The page's few files, each under a name with the hash of its content, so that browsers may keep them for ever."""

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.problems import no_such_path
from api.resource import open_resource

_TYPES = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}


@cache
def _contents() -> Mapping[str, bytes]:
    return {name: files("api.page").joinpath(name).read_bytes() for name in _TYPES}


@cache
def address(name: str) -> str:
    """Where a file is."""
    digest = hashlib.sha256(_contents()[name]).hexdigest()[:16]
    return f"/page/static/{digest}/{name}"


def routes() -> list[Route]:
    """The files, open to anyone who reaches the port."""

    async def serve(request: Request) -> Response:
        name = request.path_params["name"]
        # A page of another version asks for another hash, and must not be given this file for ever.
        if name not in _TYPES or request.url.path != address(name):
            raise no_such_path(request)
        return Response(_contents()[name], media_type=_TYPES[name], headers=_FOR_EVER)

    return [open_resource("/page/static/{digest}/{name}", GET=serve)]
