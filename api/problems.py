"""Errors as clients see them: `{"error": "<text>"}`, with `details` where they help, whatever went wrong."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.answers import JsonAnswer
from dialer.ports import StoreUnavailable

log = structlog.get_logger("api")

# With every 503: a disk that is full, or a server that restarts, is rarely well again sooner.
LATER = {"Retry-After": "5"}


class Problem(Exception):
    """A request that cannot be answered as asked: the status and what to tell the client."""

    def __init__(
        self,
        status: HTTPStatus,
        error: str,
        *,
        details: Sequence[Mapping[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.details = details
        self.headers = headers

    def answer(self) -> Response:
        """The response that tells it."""
        body: dict[str, Any] = {"error": self.error}
        if self.details:
            body["details"] = list(self.details)
        return JsonAnswer(body, self.status, headers=self.headers)


def bad_request(error: str, details: Sequence[Mapping[str, Any]] | None = None) -> Problem:
    """400: the request itself is wrong."""
    return Problem(HTTPStatus.BAD_REQUEST, error, details=details)


def not_found(what: str) -> Problem:
    """404: there is no such thing, or it belongs to another account; which of the two is not told."""
    return Problem(HTTPStatus.NOT_FOUND, f"No such {what}")


def no_such_path(request: Request) -> Problem:
    """404: nothing is served there."""
    return Problem(HTTPStatus.NOT_FOUND, f"No such path: {request.url.path}")


def answer_to(error: Exception, request: Request) -> Response:
    """What the client is told about any exception. What is our own fault is logged, and never shown."""
    if isinstance(error, Problem):
        return error.answer()
    if isinstance(error, StoreUnavailable):
        log.error("the database refuses writes", method=request.method, path=request.url.path, reason=str(error))
        return Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "The database cannot be written now; nothing was stored",
            headers=LATER,
        ).answer()
    log.error("request failed", method=request.method, path=request.url.path, exc_info=error)
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error").answer()


def unrouted(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: a path that is not served."""
    status = HTTPStatus(error.status_code) if isinstance(error, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
    problem = no_such_path(request) if status == HTTPStatus.NOT_FOUND else Problem(status, status.phrase)
    return problem.answer()
