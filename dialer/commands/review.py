"""`dialer review`: calls that a restored database may have made before. Over HTTP, as the server must not be surprised."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from dialer.commands.server import Token, Url, connected, known_id
from dialer.core.amounts import amount
from dialer.terminal import give_table, say

app = typer.Typer(
    help="Calls that may have been made before the database was restored, over HTTP.", no_args_is_help=True
)

OfCampaign = Annotated[str | None, typer.Option("--campaign", metavar="ID", help="Those of one campaign.")]
OfCalls = Annotated[list[str] | None, typer.Option("--call", metavar="ID", help="This call; may be repeated.")]
All = Annotated[bool, typer.Option("--all", help="All of the account.")]


@app.command("list")
def listing(
    context: typer.Context,
    token: Token,
    campaign: OfCampaign = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Show at most so many.")] = 100,
    url: Url = None,
) -> None:
    """Show calls under review: id, phone, campaign, attempts so far, when the next one was due."""
    wanted = None if campaign is None else known_id(campaign, "--campaign")
    with connected(context, url, token) as client:
        found = list(client.pages("/review", limit, campaign_id=wanted))
    rows = [
        (
            str(call["id"]),
            str(call["phone"] or ""),
            str(call["campaign_id"] or ""),
            str(len(call["attempts"])),
            str(call["next_attempt_at"]),
        )
        for call in found
    ]
    give_table(("id", "phone", "campaign", "attempts", "due"), rows)


@app.command("release")
def release(
    context: typer.Context,
    token: Token,
    campaign: OfCampaign = None,
    call: OfCalls = None,
    every: All = False,
    url: Url = None,
) -> None:
    """Let them be made: when they are due, or in their turn. Those of a paused campaign wait until it is resumed."""
    with connected(context, url, token) as client:
        _decide(client.post, "release", "released", _choice(campaign, call, every))


@app.command("cancel")
def cancel(
    context: typer.Context,
    token: Token,
    campaign: OfCampaign = None,
    call: OfCalls = None,
    every: All = False,
    url: Url = None,
) -> None:
    """Finish them as cancelled."""
    with connected(context, url, token) as client:
        _decide(client.post, "cancel", "cancelled", _choice(campaign, call, every))


def _choice(campaign: str | None, calls: list[str] | None, every: bool) -> dict[str, Any]:
    if (campaign is not None) + bool(calls) + every != 1:
        raise typer.BadParameter("give one of --campaign ID, --call ID (more than once) and --all")
    if campaign is not None:
        return {"campaign_id": known_id(campaign, "--campaign")}
    return {"call_ids": [known_id(call, "--call") for call in calls]} if calls else {"all": True}


def _decide(post: Callable[[str, object], dict[str, Any]], order: str, word: str, choice: dict[str, Any]) -> None:
    answer = post(f"/review/{order}", choice)
    say(f"{amount(answer[word], 'call')} {word}")
