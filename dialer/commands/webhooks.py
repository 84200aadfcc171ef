"""`dialer webhook`: the accounts' addresses for events. They work on the database, with or without a server."""

import asyncio
from typing import Annotated

import typer

from dialer.commands.accounts import AccountName, account_named, opened
from dialer.terminal import Refused, give, give_table, invocation, say
from scheduler.accounts import Accounts
from scheduler.clock import SystemClock
from scheduler.webhooks import Webhooks

app = typer.Typer(help="Webhooks: addresses that an account's events are delivered to.", no_args_is_help=True)


@app.command("create")
def create(
    context: typer.Context,
    account_name: AccountName,
    url: Annotated[str, typer.Argument(metavar="URL")],
    events: Annotated[
        list[str] | None, typer.Option("--event", metavar="TYPE", help="Only these, once for each. Left out: all.")
    ] = None,
) -> None:
    """Have an account's events delivered to an address; prints the secret that signs them. This once."""
    # Here, so that the other commands need not wait for the server's libraries.
    from api.webhook_targets import check_url
    from api.webhooks import EVENT_TYPES
    from dialer.core.targets import ForbiddenTarget

    if unknown := sorted(set(events or ()) - set(EVENT_TYPES)):
        raise typer.BadParameter(f"{unknown[0]}: must be one of {', '.join(EVENT_TYPES)}", param_hint="--event")
    clock = SystemClock()
    with opened(context) as database:
        owner = account_named(Accounts(database, clock), account_name)
        try:
            asyncio.run(check_url(url, allow_private=invocation(context).settings.webhooks.allow_private))
        except ForbiddenTarget as error:
            raise Refused(f"URL: {error}") from None
        record = Webhooks(database, clock).create(owner.id, url, list(dict.fromkeys(events or ())))
    if record is None:
        raise Refused("the account has as many webhooks as it may have; delete one first")
    say(f"webhook {record['id']}")
    give(record["secret"])


@app.command("list")
def listing(context: typer.Context, account_name: AccountName) -> None:
    """Show an account's webhooks and how delivery to them goes."""
    clock = SystemClock()
    with opened(context) as database:
        found = Webhooks(database, clock).list(account_named(Accounts(database, clock), account_name).id)
    rows = [
        (
            one["id"],
            one["url"],
            ", ".join(one["events"]) or "all",
            one["status"],
            str(one["delivered_events"]),
            str(one["dead_events"]),
            one["last_error"] or "-",
        )
        for one in found
    ]
    give_table(("id", "url", "events", "state", "delivered", "dead", "last error"), rows)


@app.command("delete")
def delete(
    context: typer.Context, account_name: AccountName, webhook: Annotated[str, typer.Argument(metavar="ID")]
) -> None:
    """Deliver no more to an address. What it was not given is dropped."""
    clock = SystemClock()
    with opened(context) as database:
        owner = account_named(Accounts(database, clock), account_name)
        if not Webhooks(database, clock).delete(owner.id, webhook.lower()):
            raise Refused(f"the account has no webhook {webhook}; `dialer webhook list` shows them")
    say(f"webhook {webhook} is deleted")
