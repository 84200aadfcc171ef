"""Bearer tokens (RFC 6750): who asks, known before anything of the body is read."""

from http import HTTPStatus

from starlette.requests import Request

from api.backend import Accounts, Principal
from api.offload import in_thread
from api.problems import Problem
from api.rate_limit import RateLimit

# Ours are 43 characters. Longer ones than this cannot be ours, and need no look at the database.
_MAX_TOKEN_CHARACTERS = 512


async def authenticate(request: Request, accounts: Accounts) -> Principal:
    """Whom the request's token stands for.

    Raises the 401 problem with `WWW-Authenticate: Bearer` (RFC 9110, 11.6.1), and with `error="invalid_token"` only where
    a token was given (RFC 6750, 3.1).
    """
    given = request.headers.getlist("authorization")
    if not given:
        raise _unauthorized("A bearer token is required: Authorization: Bearer TOKEN", "Bearer")
    # The scheme is case-insensitive (RFC 9110, 11.1).
    scheme, _, token = given[0].strip().partition(" ")
    token = token.strip()
    if len(given) > 1 or scheme.lower() != "bearer" or not token:
        raise _unauthorized("The Authorization header must hold one bearer token: Bearer TOKEN", "Bearer")
    principal = await holder(accounts, token)
    if principal is None:
        raise _unauthorized("The token is unknown, expired or revoked", 'Bearer error="invalid_token"')
    admit(accounts, principal)
    return principal


async def holder(accounts: Accounts, token: str) -> Principal | None:
    """Whom the token stands for; None for one that is none of ours, expired or revoked."""
    if len(token) > _MAX_TOKEN_CHARACTERS or not token.isascii():
        return None
    return await in_thread(accounts.verify, token)


def admit(accounts: Accounts, principal: Principal) -> None:
    """Count the request, where the operator limits how often a token may ask. Raises the problem 429."""
    if isinstance(accounts, Admission):
        accounts.admit(principal)


class Admission:
    """`Accounts` that also count: a token that asks too often is told to wait. `limit` None: none does."""

    def __init__(self, accounts: Accounts, limit: RateLimit | None) -> None:
        self._accounts = accounts
        self.limit = limit

    def verify(self, token: str) -> Principal | None:
        """Whom the token stands for."""
        return self._accounts.verify(token)

    def standing(self, token: int) -> Principal | None:
        """Whom the token of this number stands for now."""
        return self._accounts.standing(token)

    def admit(self, principal: Principal) -> None:
        """Count one request. Raises the problem 429."""
        if self.limit is not None:
            self.limit.take(principal.token_id)


def _unauthorized(error: str, challenge: str) -> Problem:
    return Problem(HTTPStatus.UNAUTHORIZED, error, headers={"WWW-Authenticate": challenge})
