"""Logging in with a token, and out; showing numbers."""

from http import HTTPStatus

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from api.page.doors import StaleForm, Visitor
from api.page.entrance import Entrance, html, safe
from api.page.templates import render
from api.problems import Problem
from api.resource import open_resource

log = structlog.get_logger("page")


def routes(entrance: Entrance) -> list[Route]:
    """The paths of a session."""
    doors = entrance.doors

    async def ask_token(request: Request) -> Response:
        if await doors.visitor(request) is not None:
            return RedirectResponse("/", HTTPStatus.SEE_OTHER)
        return login_form(request, request.query_params.get("next", ""))

    def login_form(request: Request, after: str, fault: str = "", status: HTTPStatus = HTTPStatus.OK) -> Response:
        cookie = doors.cookie(request) or doors.sessions.new_id()
        key = doors.sessions.form_key(cookie)
        response = html(render("login.html", {"key": key, "next": safe(after), "fault": fault}), status)
        doors.give_cookie(request, response, cookie)
        return response

    async def log_in(request: Request) -> Response:
        try:
            fields = await doors.form(request)
        except StaleForm as stale:
            # Open since before a restart, as after a night: nobody's fault, and a new form is at hand.
            fault = "The server was restarted since this form was opened: please log in once more."
            return login_form(request, stale.fields.get("next", ""), fault, HTTPStatus.FORBIDDEN)
        after = safe(fields.get("next", ""))
        session = await doors.log_in(request, fields.get("token", ""))
        if session is None:
            return login_form(request, after, "This token is unknown, expired or revoked.", HTTPStatus.FORBIDDEN)
        response = RedirectResponse(after, HTTPStatus.SEE_OTHER)
        doors.give_cookie(request, response, session)
        return response

    async def log_out(request: Request, visitor: Visitor) -> Response:
        await doors.form(request)
        doors.sessions.close(visitor.cookie)
        response = RedirectResponse("/page/login", HTTPStatus.SEE_OTHER)
        doors.give_cookie(request, response, doors.sessions.new_id())
        return response

    async def show_numbers(request: Request, visitor: Visitor) -> Response:
        fields = await doors.form(request)
        if not visitor.may_unmask:
            raise Problem(HTTPStatus.FORBIDDEN, "Numbers are shown to admins only (page.show_numbers)")
        visitor.session.numbers_shown = fields.get("show") == "yes"
        log.info("numbers are shown" if visitor.session.numbers_shown else "numbers are masked", **visitor.named)
        return RedirectResponse(safe(fields.get("next", "")), HTTPStatus.SEE_OTHER)

    return [
        open_resource("/page/login", GET=entrance.open(ask_token), POST=entrance.open(log_in)),
        open_resource("/page/logout", POST=entrance.inside(log_out)),
        open_resource("/page/numbers", POST=entrance.inside(show_numbers)),
    ]
