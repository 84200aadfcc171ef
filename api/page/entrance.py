"""The way through the page's door: who is let in, the form in which all are answered, and what browsers are told with it."""

import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from importlib.metadata import version
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.page.doors import Doors, Visitor
from api.page.templates import render
from api.problems import Problem, answer_to
from api.resource import OpenHandler

Shown = Callable[[Request, Visitor], Awaitable[Response]]

# Nothing from elsewhere, nothing inline, in nobody's frame. Same-origin referrers, because a form's Origin would be `null`
# without any (Fetch, 3.2).
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# That of the program that runs, whatever is installed meanwhile; to look for it takes most of a millisecond.
_VERSION = version("dialer")
_A_PAGE_OF_OURS = re.compile(r"/(page/[A-Za-z0-9/_-]*)?")


class Entrance:
    """Makes handlers of paths; `doors` knows who is logged in."""

    def __init__(self, doors: Doors) -> None:
        self.doors = doors

    def open(self, handler: OpenHandler) -> OpenHandler:
        """For anyone: whatever happens is answered as HTML to browsers, and nothing of it is kept or framed."""

        async def answer(request: Request) -> Response:
            try:
                response = await handler(request)
            except Exception as error:  # noqa: BLE001 - the edge: whatever it is becomes an answer, and is logged there
                response = self._fault(request, error)
            response.headers.update({"Cache-Control": "no-store", **_HEADERS})
            return response

        return answer

    def inside(self, handler: Shown) -> OpenHandler:
        """For those who are logged in."""

        async def answer(request: Request) -> Response:
            visitor = await self.doors.visitor(request)
            if visitor is None:
                return self._to_login(request)
            self.doors.admit(visitor)
            return await handler(request, visitor)

        return self.open(answer)

    def _to_login(self, request: Request) -> Response:
        if not wants_html(request) or request.method not in {"GET", "HEAD"}:
            raise Problem(HTTPStatus.UNAUTHORIZED, "Log in at /page/login", headers={"WWW-Authenticate": "Bearer"})
        if request.headers.get("sec-fetch-site") == "cross-site":
            # Somebody followed a link: the cookie, SameSite=Strict, comes only with a request that we cause ourselves.
            return html(render("again.html", {}))
        path = request.url.path
        asked = urlencode({"next": path}) if _A_PAGE_OF_OURS.fullmatch(path) and path != "/" else ""
        return RedirectResponse(f"/page/login{'?' if asked else ''}{asked}", HTTPStatus.SEE_OTHER)

    def _fault(self, request: Request, error: Exception) -> Response:
        plain = answer_to(error, request)
        if not wants_html(request):
            return plain
        status, reason = HTTPStatus(plain.status_code), json.loads(bytes(plain.body))["error"]
        wait = plain.headers.get("retry-after") if request.method == "GET" else None
        response = html(render("fault.html", {"status": status, "reason": reason, "wait": wait}), status)
        if "retry-after" in plain.headers:
            response.headers["retry-after"] = plain.headers["retry-after"]
        return response

    def page(
        self,
        request: Request,
        visitor: Visitor,
        template: str,
        values: Mapping[str, Any],
        *,
        title: str,
        stream: str | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> Response:
        """A whole page for a visitor: the template, and what all pages have around it."""
        notice, visitor.session.notice = visitor.session.notice, None
        around = {
            "title": title,
            "path": request.url.path,
            "visitor": visitor,
            "key": self.doors.sessions.form_key(visitor.cookie),
            "stream": stream,
            "notice": notice,
            "now": time.time_ns() // 1_000_000,
            "version": _VERSION,
        }
        return html(render(f"{template}.html", {**around, **values}), status)


def wants_html(request: Request) -> bool:
    """Whether a browser asks, to show the answer to somebody."""
    return "text/html" in request.headers.get("accept", "")


def html(text: str, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """An answer that holds this HTML."""
    # A contact's field may hold half of a surrogate pair.
    return Response(text.encode("utf-8", "replace"), status, media_type="text/html; charset=utf-8")


def safe(path: str) -> str:
    """A page of ours to go on to: the given one, else the first."""
    return path if _A_PAGE_OF_OURS.fullmatch(path) else "/"
