"""`dialer trace`: the SIP messages of one call, as they pass."""

import shutil
import sys
from http import HTTPStatus
from typing import Annotated

import typer

from dialer.client import ApiRefused
from dialer.commands.server import Token, Url, connected, known_id, live_calls_begun
from dialer.ladder import Ladder, story
from dialer.terminal import Refused, give, say


def trace(
    context: typer.Context,
    token: Token,
    call_id: Annotated[
        str | None,
        typer.Argument(
            metavar="CALL",
            help="The call's id: one that is scheduled, or goes on.",
            autocompletion=live_calls_begun,
        ),
    ] = None,
    next_call: Annotated[
        bool, typer.Option("--next-call", help="The next call of the account that is dialed.")
    ] = False,
    messages: Annotated[bool, typer.Option("--messages", help="Show each message whole.")] = False,
    numbers: Annotated[bool, typer.Option("--numbers", help="Show people's numbers whole.")] = False,
    url: Url = None,
) -> None:
    """Draw a call's SIP messages as a ladder while they pass, until the call is finished. Credentials are never shown.

    Nothing is kept for later: begin before what you want to see. Meanwhile every call costs the SIP workers a little more.
    """
    if (call_id is None) == (not next_call):
        raise typer.BadParameter("give the id of a call, or --next-call", param_hint="CALL")
    uuid = None if call_id is None else known_id(call_id, "CALL")
    ladder = Ladder(whole=messages, columns=shutil.get_terminal_size().columns if sys.stdout.isatty() else None)
    with connected(context, url, token) as client:
        say("waiting for the next call; Ctrl-C ends it" if uuid is None else f"tracing {uuid}; Ctrl-C ends it")
        try:
            for event, told in client.stream("/trace", call=uuid, numbers="1" if numbers else None):
                for line in story(told) if event == "end" else ladder.lines(told):
                    give(line)
                if event == "end":
                    return
        except ApiRefused as refused:
            if refused.status == HTTPStatus.CONFLICT:
                for line in story(client.get(f"/call/{uuid}")):
                    say(line)
            raise
    raise Refused("the server ended the trace: it stops, or 15 minutes are over")
