"""Who comes to the page, and whether a form really was sent from it.

A cookie is HttpOnly and SameSite=Strict; over HTTPS it is Secure too and has the prefix __Host- (RFC 6265bis, 4.1.3). It holds
a session's id, or before the login a random one that only serves the form. A POST has to carry the key that the page gave to
the holder of that very cookie, and to come from the page's own origin by what the browser says.
"""

import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import parse_qsl

import structlog
from starlette.requests import Request
from starlette.responses import Response

from api.auth import admit, holder
from api.backend import Accounts, Principal
from api.offload import in_thread
from api.page.mask import Mask
from api.page.sessions import Session, Sessions
from api.payloads import text_body
from api.problems import Problem, bad_request
from api.rate_limit import RateLimit
from api.scopes import permits

log = structlog.get_logger("page")

ShowNumbers = Literal["never", "admin", "always"]

_COOKIE, _COOKIE_OVER_HTTPS = "dialer_session", "__Host-dialer_session"
_MAX_FORM_BYTES = 16 << 10
# A token that is typed wrong is typed again; one that is guessed at needs 2**256 tries.
_LOGINS_AT_ONCE, _LOGINS_PER_SECOND = 10, 0.2
# A token that was revoked is noticed so soon.
_STANDING_SECONDS = 1.0


class StaleForm(Problem):
    """403: the form was not given to the holder of this cookie, or by a server that has ended since.

    `fields`: what it said.
    """

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(HTTPStatus.FORBIDDEN, "This form is out of date: reload the page and send it again")
        self.fields = fields


@dataclass(slots=True)
class PageRules:
    """May change while the page is served. `show_numbers`: to nobody, to admins who ask for it, to everybody.

    `session_seconds`: how long a new login lasts at most. `behind_proxy`: the headers X-Forwarded-Proto, -Host and -For come
    from a proxy of ours and are believed.
    """

    show_numbers: ShowNumbers = "admin"
    session_seconds: float = 12 * 3600
    behind_proxy: bool = False


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks: whom the token stands for now, and the login. `cookie` is the session's id."""

    principal: Principal
    session: Session
    cookie: str
    rules: PageRules

    @property
    def steers(self) -> bool:
        """Whether its token may pause, resume and cancel."""
        return permits(self.principal.scope, "POST", "/campaign")

    @property
    def named(self) -> dict[str, Any]:
        """For the log."""
        return {"account": self.principal.account_name, "token": self.principal.token_id}

    @property
    def may_unmask(self) -> bool:
        """Whether numbers are shown in full when it asks for it."""
        return self.rules.show_numbers == "admin" and self.principal.scope == "admin"

    @property
    def mask(self) -> Mask:
        """What it is shown of numbers."""
        shown = self.rules.show_numbers == "always" or (self.may_unmask and self.session.numbers_shown)
        return Mask(not shown)


class Doors:
    """The way in. Holds all logins."""

    def __init__(self, accounts: Accounts, rules: PageRules) -> None:
        self.rules = rules
        self.sessions = Sessions(time.monotonic)
        self._accounts = accounts
        self._logins = RateLimit(
            _LOGINS_PER_SECOND,
            time.monotonic,
            burst=_LOGINS_AT_ONCE,
            refusal="Too many logins from this address: try again in some seconds",
        )

    async def visitor(self, request: Request) -> Visitor | None:
        """Who is logged in; None: nobody, the login is over, or its token was revoked or has expired."""
        cookie = self.cookie(request)
        session = None if cookie is None else self.sessions.find(cookie)
        if cookie is None or session is None:
            return None
        principal = await self.standing(session)
        if principal is None:
            self.sessions.close(cookie)
            return None
        return Visitor(principal, session, cookie, self.rules)

    async def standing(self, session: Session) -> Principal | None:
        """Whom the session's token stands for now, or stood for a second ago."""
        now = time.monotonic()
        if now >= session.asked_at + _STANDING_SECONDS:
            session.principal = await in_thread(self._accounts.standing, session.token_id)
            session.asked_at = now
        return session.principal

    def admit(self, visitor: Visitor) -> None:
        """Count a request of the visitor's token, where the operator limits them. Raises the problem 429."""
        admit(self._accounts, visitor.principal)

    async def log_in(self, request: Request, token: str) -> str | None:
        """The id of a new session for the holder of the token; None: the token is worthless. Raises the problem 429."""
        self._logins.take(self._client(request))
        principal = await holder(self._accounts, token.strip())
        if principal is None:
            log.info("a login at the page was refused", address=self._client(request))
            return None
        log.info("somebody logged in at the page", account=principal.account_name, token=principal.token_id)
        return self.sessions.open(principal.token_id, self.rules.session_seconds)

    # Cookies

    def cookie(self, request: Request) -> str | None:
        """The id in the request's cookie, whether or not it is a session's."""
        return request.cookies.get(self._cookie_name(request)) or None

    def give_cookie(self, request: Request, response: Response, session_id: str) -> None:
        """Send the id along, until the browser is closed."""
        response.set_cookie(
            self._cookie_name(request),
            session_id,
            path="/",
            secure=self._is_https(request),
            httponly=True,
            samesite="strict",
        )

    def _cookie_name(self, request: Request) -> str:
        return _COOKIE_OVER_HTTPS if self._is_https(request) else _COOKIE

    def _is_https(self, request: Request) -> bool:
        forwarded = self._forwarded(request, "x-forwarded-proto")
        return (forwarded or request.url.scheme).lower() == "https"

    # Forms

    async def form(self, request: Request) -> dict[str, str]:
        """The fields of a form of ours, `key` left out.

        Raises the problem 403 unless it was sent from a page of ours that was shown to the holder of its cookie.
        """
        self._require_same_origin(request)
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
            raise bad_request("A form is expected")
        text = await text_body(request, _MAX_FORM_BYTES)
        try:
            fields = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=20))
        except ValueError:
            raise bad_request("A form of ours has fewer fields") from None
        cookie = self.cookie(request)
        if cookie is None or not self.sessions.is_form_key(cookie, fields.pop("key", "")):
            raise StaleForm(fields)
        return fields

    def _require_same_origin(self, request: Request) -> None:
        """What the browser says of where the request comes from, which no page can change (Fetch Metadata, RFC 6454)."""
        site = request.headers.get("sec-fetch-site")
        if site == "same-origin":
            return
        origin = request.headers.get("origin", "").lower()
        host = self._forwarded(request, "x-forwarded-host") or request.headers.get("host", "")
        # Browsers say no more to servers without TLS; then the origin has to be ours.
        if site is not None or not origin or origin.partition("://")[2] != host.lower():
            raise Problem(
                HTTPStatus.FORBIDDEN,
                f"The request does not come from this page (Origin {origin or 'unknown'}, Host {host}). Behind a proxy that"
                " changes the Host header, set page.behind_proxy",
            )

    def _client(self, request: Request) -> str:
        forwarded = self._forwarded(request, "x-forwarded-for")
        return forwarded or (request.client.host if request.client is not None else "")

    def _forwarded(self, request: Request, header: str) -> str:
        """What the nearest proxy says, which puts its word behind those of others; "" where none is believed."""
        if not self.rules.behind_proxy:
            return ""
        return request.headers.get(header, "").rpartition(",")[2].strip()
