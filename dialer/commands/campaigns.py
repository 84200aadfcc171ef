"""`dialer campaign`: post campaigns, watch and steer them. Over HTTP, so from any machine that reaches the API."""

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from dialer.client import ApiRefused, Client
from dialer.commands.contact_files import read_contacts
from dialer.commands.server import Token, Url, campaigns_begun, connected, known_id
from dialer.core.amounts import amount
from dialer.core.model import CampaignStatus
from dialer.follow import follow, summary
from dialer.terminal import Refused, err, give, give_table, say

app = typer.Typer(help="Campaigns, over HTTP.", no_args_is_help=True)

CampaignId = Annotated[str, typer.Argument(metavar="ID", help="The campaign's id.", autocompletion=campaigns_begun)]


def recall_minutes(text: str) -> list[float]:
    """The minutes of `--recall`: "30,120", with or without brackets; "" means none. Raises a usage error."""
    minutes = []
    for part in filter(None, (part.strip() for part in text.strip().removeprefix("[").removesuffix("]").split(","))):
        try:
            number = float(part)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise typer.BadParameter(f"{part!r} is not a number of minutes; write 30,120", param_hint="--recall")
        minutes.append(int(number) if number.is_integer() else number)
    return minutes


@app.command("submit")
def submit(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.csv|FILE.json",
            help="CSV: the first row names the columns (phone, first_name, ..., custom_fields.NAME). "
            "JSON: an array of contacts, or a whole request, whose keys the options replace.",
        ),
    ],
    token: Token,
    playbook: Annotated[str, typer.Option(metavar="ID", help="The playbook's id.")],
    launch_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="ISO 8601; without an offset it is UTC. Left out: now.")
    ] = None,
    recall: Annotated[
        str | None, typer.Option(metavar="LIST", help="Minutes after the first attempt at which to try again: 30,120")
    ] = None,
    follow_it: Annotated[bool, typer.Option("--follow", help="Show its progress until it ends.")] = False,
    url: Url = None,
) -> None:
    """Post a campaign and print its id."""
    request: dict[str, Any] = {"playbook_id": known_id(playbook, "--playbook")}
    if launch_at is not None:
        request["launch_at"] = launch_at
    if recall is not None:
        request["recall"] = recall_minutes(recall)
    contacts = read_contacts(file)
    with connected(context, url, token) as client:
        try:
            answer = client.post("/campaign", {**contacts.request, **request, "contacts": contacts.contacts})
        except ApiRefused as refused:
            raise refused.told(contacts.place) from refused
        uuid = str(answer["campaign_id"])
        give(uuid)
        say(str(answer["message"]))
        if duplicates := answer.get("duplicate_contacts"):
            repeating = amount(duplicates, "contact repeats", "contacts repeat")
            say(f"{repeating} a phone that the file had before; each phone is one call")
        if follow_it and (campaign := _watch(client, uuid))["status"] != "completed":
            raise Refused(f"the campaign was {campaign['status']}")


def _watch(client: Client, uuid: str) -> dict[str, Any]:
    try:
        campaign = follow(lambda: client.get(f"/campaign/{uuid}"), err)
    except KeyboardInterrupt:
        say(f"the campaign goes on; `dialer campaign show {uuid}` tells how far it is")
        raise
    return campaign


@app.command("list")
def listing(
    context: typer.Context,
    token: Token,
    status: Annotated[CampaignStatus | None, typer.Option(help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Show at most so many, newest first.")] = 100,
    url: Url = None,
) -> None:
    """Show the account's campaigns: id, state, when posted, finished of all calls."""
    with connected(context, url, token) as client:
        found = list(client.pages("/campaign", limit, status=status.value if status else None))
    rows = []
    for one in found:
        calls = one["calls"]
        finished = f"{calls['finished']}/{sum(calls.values())}"
        rows.append((str(one["id"]), str(one["status"]), str(one["created_at"]), finished))
    give_table(("id", "status", "created", "finished"), rows)


@app.command("show")
def show(
    context: typer.Context,
    campaign_id: CampaignId,
    token: Token,
    follow_it: Annotated[bool, typer.Option("--follow", help="First show its progress until it ends.")] = False,
    url: Url = None,
) -> None:
    """Print a campaign as JSON."""
    uuid = known_id(campaign_id)
    with connected(context, url, token) as client:
        campaign = _watch(client, uuid) if follow_it else client.get(f"/campaign/{uuid}")
    give(json.dumps(campaign, ensure_ascii=False, indent=2))


def _order(context: typer.Context, word: str, campaign_id: str, url: str | None, token: str) -> None:
    with connected(context, url, token) as client:
        say(summary(client.post(f"/campaign/{known_id(campaign_id)}/{word}")))


@app.command("pause")
def pause(context: typer.Context, campaign_id: CampaignId, token: Token, url: Url = None) -> None:
    """Start no more attempts, recalls neither. Live calls go on."""
    _order(context, "pause", campaign_id, url, token)


@app.command("resume")
def resume(context: typer.Context, campaign_id: CampaignId, token: Token, url: Url = None) -> None:
    """Let a paused campaign go on."""
    _order(context, "resume", campaign_id, url, token)


@app.command("cancel")
def cancel(context: typer.Context, campaign_id: CampaignId, token: Token, url: Url = None) -> None:
    """End a campaign for good: what is not live is finished as cancelled."""
    _order(context, "cancel", campaign_id, url, token)
