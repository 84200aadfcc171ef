"""One path of the API and its methods: who may ask, which handler answers, and what the client is told when it fails."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from api.auth import authenticate
from api.backend import Accounts, Principal
from api.identifiers import canonical_uuid
from api.problems import Problem, answer_to, not_found
from api.scopes import require

Handler = Callable[[Request, Principal], Awaitable[Response]]
OpenHandler = Callable[[Request], Awaitable[Response]]


class Resource:
    """The ASGI application behind one path. A method that has no handler is answered 405 with `Allow`, to anyone."""

    def __init__(
        self,
        accounts: Accounts | None,
        handlers: dict[str, Callable[..., Awaitable[Response]]],
        *,
        after_body: Collection[str] = (),
    ) -> None:
        self._accounts = accounts
        self._after_body = frozenset(after_body)
        self._handlers = handlers
        allowed = {*handlers, "OPTIONS"} | ({"HEAD"} if "GET" in handlers else set())
        self._allow = ", ".join(sorted(allowed))

    @property
    def methods(self) -> frozenset[str]:
        """What has a handler."""
        return frozenset(self._handlers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        request = Request(scope, receive, send)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return  # nobody is left to be told
        except asyncio.CancelledError:
            # The server stops, and has waited long enough. Without this uvicorn would answer in plain text.
            await Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The server is stopping").answer()(scope, receive, send)
            raise
        except Exception as error:  # noqa: BLE001 - the edge: whatever it is becomes an answer, and is logged there
            response = answer_to(error, request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=HTTPStatus.NO_CONTENT, headers={"Allow": self._allow})
        handler = self._handlers.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            raise Problem(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"{request.method} is not allowed on {request.url.path} (allowed: {self._allow})",
                headers={"Allow": self._allow},
            )
        if self._accounts is None:
            return await handler(request)
        who = await authenticate(request, self._accounts)
        if request.method not in self._after_body:
            require(who.scope, request.method, request.url.path)
        return await handler(request, who)


def resource(path: str, accounts: Accounts, *, after_body: Collection[str] = (), **handlers: Handler) -> Route:
    """A path for holders of a token; `handlers` by method.

    Those of the methods `after_body` require the token's scope themselves, once they have read the body: what is wrong with
    it is told first (400), whoever sent it (403).
    """
    return Route(path, Resource(accounts, dict(handlers), after_body=after_body))


def open_resource(path: str, **handlers: OpenHandler) -> Route:
    """A path for anyone."""
    return Route(path, Resource(None, dict(handlers)))


def path_id(request: Request, what: str) -> str:
    """The id in the path. Raises the problem 404 for what is not a UUID: there can be no such `what`."""
    uuid = canonical_uuid(request.path_params["id"])
    if uuid is None:
        raise not_found(what)
    return uuid
