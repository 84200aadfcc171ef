"""What a token may do: each scope holds those before it."""

from http import HTTPStatus

from api.problems import Problem

SCOPES = ("read", "submit", "admin")

_SUBMITTED = ("/campaign", "/call")


def needed(method: str, path: str) -> str:
    """The scope that a request asks for: read to look, submit to place and steer calls, admin for all the rest.

    >>> needed("GET", "/playbook"), needed("POST", "/campaign/x/pause"), needed("DELETE", "/contact/x")
    ('read', 'submit', 'admin')
    >>> needed("GET", "/trace"), needed("POST", "/review/release")
    ('admin', 'admin')
    """
    if method in {"GET", "HEAD"}:
        # What passes on the wire tells of the operator's trunks, too.
        return "admin" if path == "/trace" else "read"
    return "submit" if path.startswith(_SUBMITTED) else "admin"


def permits(scope: str, method: str, path: str) -> bool:
    """Whether a token of `scope` may do this."""
    return SCOPES.index(scope) >= SCOPES.index(needed(method, path))


def require(scope: str, method: str, path: str) -> None:
    """Raises the problem 403 where a token of `scope` may not do this."""
    if not permits(scope, method, path):
        wanted = needed(method, path)
        raise Problem(HTTPStatus.FORBIDDEN, f"This token has the scope {scope!r}: {method} {path} needs {wanted!r}")
