"""`dialer account` and `dialer token`: who may use the API. They work on the database, with or without a server."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from dialer.core.model import WallMs
from dialer.core.timetable import show_time
from dialer.terminal import Refused, give, give_table, invocation, say
from scheduler.accounts import Account, Accounts
from scheduler.clock import SystemClock
from scheduler.database import Database
from scheduler.migrations import migrate

SCOPES = ("read", "submit", "admin")
_DAY_MS = 86_400_000

account = typer.Typer(help="Accounts: whom campaigns and contacts belong to.", no_args_is_help=True)
token = typer.Typer(help="Bearer tokens, by which programs act for an account.", no_args_is_help=True)

AccountName = Annotated[str, typer.Option("--account", metavar="NAME", help="The account, by its name or id.")]


@contextmanager
def opened(context: typer.Context) -> Iterator[Database]:
    """The configured database, created or brought up to date where that is still to be done."""
    path = invocation(context).settings.database.path
    if not path.parent.is_dir():
        raise Refused(f"database.path: there is no folder {path.parent}")
    if applied := migrate(path):
        say(f"{path}: brought up to date ({', '.join(applied)})")
    database = Database(path)
    try:
        yield database
    finally:
        database.close()


def account_named(accounts: Accounts, name: str) -> Account:
    """The account with this name or id. Raises `Refused`."""
    found = accounts.find_account(name)
    if found is None:
        raise Refused(f"there is no account {name!r}; `dialer account list` shows them")
    return found


@account.command("create")
def create_account(context: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Make an account and print its id."""
    with opened(context) as database:
        give(Accounts(database, SystemClock()).create_account(name).uuid)


@account.command("list")
def list_accounts(context: typer.Context) -> None:
    """Show all accounts: id, name, since when."""
    with opened(context) as database:
        found = Accounts(database, SystemClock()).accounts()
    give_table(("id", "name", "created"), [(one.uuid, one.name, show_time(one.created_at)) for one in found])


@token.command("create")
def create_token(
    context: typer.Context,
    account_name: AccountName,
    name: Annotated[str, typer.Option(metavar="LABEL", help="What it is for, to tell tokens apart.")] = "",
    expires: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Worthless after so many days. Left out: never.")
    ] = None,
    scope: Annotated[
        str,
        typer.Option(metavar="SCOPE", help="read: look only. submit: place and steer calls too. admin: everything."),
    ] = "admin",
) -> None:
    """Print a new token. This once: only its hash is kept."""
    if expires is not None and not (math.isfinite(expires) and 0 < expires <= 36_500):
        raise typer.BadParameter("must be above 0 and at most 36500 days", param_hint="--expires")
    if len(name) > 200:
        raise typer.BadParameter("must have at most 200 characters", param_hint="--name")
    if scope not in SCOPES:
        raise typer.BadParameter(f"must be one of {', '.join(SCOPES)}", param_hint="--scope")
    clock = SystemClock()
    expires_at = None if expires is None else WallMs(clock.now().wall + round(expires * _DAY_MS))
    with opened(context) as database:
        accounts = Accounts(database, clock)
        owner = account_named(accounts, account_name)
        give(accounts.create_token(owner.id, name=name, expires_at=expires_at, scope=scope))


@token.command("list")
def list_tokens(context: typer.Context, account_name: AccountName) -> None:
    """Show the account's tokens: number, label, since when, until when, whether they work."""
    clock = SystemClock()
    with opened(context) as database:
        accounts = Accounts(database, clock)
        found = accounts.tokens(account_named(accounts, account_name).id)
    now = clock.now().wall
    rows = []
    for one in found:
        works = "revoked" if one.revoked_at else "expired" if one.expires_at and one.expires_at <= now else "valid"
        until = show_time(one.expires_at) if one.expires_at else "-"
        rows.append((str(one.id), one.name or "-", show_time(one.created_at), until, one.scope, works))
    give_table(("number", "label", "created", "expires", "scope", "state"), rows)


@token.command("revoke")
def revoke_token(
    context: typer.Context,
    number: Annotated[str, typer.Argument(metavar="TOKEN", help="Its number in `token list`, or the token itself.")],
) -> None:
    """Make a token worthless at once."""
    prefix, _, rest = number.partition("_")
    text = rest.partition("_")[0] if prefix == "dlr" else number
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise typer.BadParameter("must be a token or its number", param_hint="TOKEN")
    with opened(context) as database:
        if not Accounts(database, SystemClock()).revoke(int(text)):
            raise Refused(f"there is no token {text}; `dialer token list` shows them")
    say(f"token {text} is revoked")
