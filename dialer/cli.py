"""The `dialer` command: what may stand before a command, the commands, and how a failure ends."""

import asyncio
import contextlib
import importlib.metadata
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from config.settings import InvalidSettings, find_file, load
from dialer.commands import (
    accounts,
    campaigns,
    database,
    do_not_call,
    installation,
    live,
    playbooks,
    reload,
    review,
    trace,
    webhooks,
)
from dialer.ports import StoreUnavailable
from dialer.terminal import Invocation, Refused, give, give_table, invocation, say
from scheduler.accounts import AccountRefused
from scheduler.migrations import DatabaseNotReady, DatabaseTooNew

app = typer.Typer(
    name="dialer",
    help="An outbound telephony dialer: campaigns in over HTTP, calls out over SIP trunks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(context: typer.Context, value: bool) -> None:
    if value and not context.resilient_parsing:  # a shell that completes words only looks at them
        give(f"dialer {importlib.metadata.version('dialer')}")
        raise typer.Exit


@app.callback()
def before_command(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            help="The configuration. Without it: $DIALER_CONFIG, /etc/dialer/dialer.toml, ./dialer.toml; "
            "then defaults and the environment only.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Keep what was said before the command."""
    context.obj = Invocation(config)


@app.command("serve")
def serve(context: typer.Context) -> None:
    """Run the API, the engine and the SIP workers in the foreground. SIGTERM drains."""
    from dialer import service

    given = invocation(context)
    try:
        status = service.run(given.settings, lambda: load(given.config))
    except service.CannotStart as error:
        raise Refused(str(error)) from error
    raise typer.Exit(status)


app.command("reload")(reload.reload)


@app.command("check")
def check(context: typer.Context) -> None:
    """Test configuration, database, trunks, pjsua2, ports and file limits: one line each; 1 if any fails."""
    from dialer import check as checks

    path = invocation(context).config
    try:
        settings = load(path)
    except InvalidSettings as error:
        for fault in error.faults:
            say(f"FAIL  configuration: {fault}")
        raise typer.Exit(1) from None
    say(f"ok    configuration: {find_file(path) or 'no file; defaults and environment'}")
    failed = False
    for finding in asyncio.run(checks.examine(settings)):
        say(finding.line())
        failed |= finding.failed
    raise typer.Exit(int(failed))


@app.command("lab")
def lab(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, metavar="N", help="SIP, UDP and TCP; 0 takes a free one.")
    ] = 5070,
    log: Annotated[Path | None, typer.Option(metavar="FILE", help="Write every event there, as lines of JSON.")] = None,
    pace: Annotated[float, typer.Option(min=0.01, max=100, metavar="FACTOR", help="0.2: five times faster.")] = 1.0,
    show_list: Annotated[
        bool, typer.Option("--list", help="Print what each ending of a number does, and exit.")
    ] = False,
) -> None:
    """Be the called party: what it does follows the end of the called number."""
    from dialer import called_party

    if show_list:
        give_table(("number ends in", "is", "what happens", "expected"), called_party.table())
        return
    called_party.run(host=host, port=port, log=log, pace=pace)


@app.command("demo")
def demo() -> None:
    """See a whole campaign: scratch database, called party, server, contacts of every kind, progress, table of outcomes."""
    from dialer import demo as demonstration

    raise typer.Exit(demonstration.run())


app.command("top")(live.top)
app.command("trace")(trace.trace)
app.add_typer(accounts.account, name="account")
app.add_typer(accounts.token, name="token")
app.add_typer(playbooks.app, name="playbook")
app.add_typer(campaigns.app, name="campaign")
app.add_typer(review.app, name="review")
app.add_typer(do_not_call.app, name="do-not-call")
app.add_typer(webhooks.app, name="webhook")
app.add_typer(database.app, name="db")
app.add_typer(installation.app, name="service")


def _complete_at_the_first_tab() -> None:
    """typer's script for zsh only defines its function when it is called first, so that the first tab key does nothing."""
    with contextlib.suppress(ImportError, AttributeError, KeyError):
        from typer import _completion_shared

        scripts = _completion_shared._completion_scripts
        scripts["zsh"] += '\n\n%(complete_func)s "$@"\n'


def main() -> None:
    """Run the command line and end the process: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted by hand."""
    _complete_at_the_first_tab()
    try:
        app(prog_name="dialer")
    except (
        InvalidSettings,
        Refused,
        AccountRefused,
        DatabaseNotReady,
        DatabaseTooNew,
        StoreUnavailable,
    ) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader left (`| head`); Python would complain once more when it flushes at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - a fault of ours: one line for everybody, the rest for who asks
        if os.environ.get("DIALER_TRACEBACK"):
            traceback.print_exc()
        _fail(f"unexpected {type(error).__name__}: {error} (DIALER_TRACEBACK=1 shows where)")


def _fail(reason: str) -> None:
    say(reason)
    sys.exit(1)
