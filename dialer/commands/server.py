"""The server as commands reach it: where it is, and who asks."""

import os
from typing import Annotated

import typer

from api.identifiers import canonical_uuid
from config.settings import InvalidSettings
from dialer.client import Client
from dialer.terminal import Invocation, Refused, invocation

Url = Annotated[
    str | None,
    typer.Option(envvar="DIALER_URL", help="Where the API is. Without it: as the configuration says.", metavar="URL"),
]
Token = Annotated[str, typer.Option(envvar="DIALER_TOKEN", help="A bearer token of the account.", metavar="TOKEN")]


# As many as a person may choose from at once.
_OFFERED = 100


def connected(context: typer.Context, url: str | None, token: str) -> Client:
    """A client for the given URL, or for where the configuration has the API."""
    return Client(url or _configured_url(invocation(context)), token)


def _configured_url(given: Invocation) -> str:
    try:
        api = given.settings.api
    except InvalidSettings:
        # A wrong configuration is the server's trouble; a client needs only the address.
        if given.config is not None or "DIALER_CONFIG" in os.environ:
            raise
        return "http://127.0.0.1:8080"
    if api.port == 0:
        raise Refused("api.port is 0, so the server's port is not known here: give --url")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(api.host, api.host)  # noqa: S104 - to be replaced
    return f"http://[{host}]:{api.port}" if ":" in host else f"http://{host}:{api.port}"


def known_id(text: str, what: str = "ID") -> str:
    """The id in canonical form. Raises a usage error for what is not a UUID."""
    uuid = canonical_uuid(text)
    if uuid is None:
        raise typer.BadParameter("must be a UUID", param_hint=what)
    return uuid


def campaigns_begun(context: typer.Context, incomplete: str) -> list[str]:
    """The ids of the newest campaigns that begin so, for shells to complete. Without `$DIALER_TOKEN`, or a server: none."""
    return _begun(context, incomplete, "/campaign")


def live_calls_begun(context: typer.Context, incomplete: str) -> list[str]:
    """The ids of calls under way that begin so, likewise."""
    return _begun(context, incomplete, "/call", state="live")


def _begun(context: typer.Context, incomplete: str, path: str, **query: str) -> list[str]:
    token = os.environ.get("DIALER_TOKEN")
    if not token:
        return []
    # A shell that completes words runs no command, so nothing has kept what was said before it.
    given = Invocation(context.find_root().params.get("config"))
    try:
        with Client(os.environ.get("DIALER_URL") or _configured_url(given), token) as client:
            found = client.get(path, limit=_OFFERED, **query)["items"]
    except (Refused, InvalidSettings):
        return []
    return [one["id"] for one in found if one["id"].startswith(incomplete)]
