"""`dialer db`: the database file itself."""

from pathlib import Path
from typing import Annotated, Final

import typer

from dialer.core.model import WallMs
from dialer.terminal import Refused, invocation, say
from scheduler import migrations, retention
from scheduler.backup import NoBackup, back_up
from scheduler.clock import SystemClock

_DAY_MS: Final = 24 * 3_600_000

app = typer.Typer(help="The database file.", no_args_is_help=True)


@app.command("migrate")
def migrate(context: typer.Context) -> None:
    """Create the database, or bring it to this version's schema. A database of this version stays as it is."""
    path = invocation(context).settings.database.path
    if not path.parent.is_dir():
        raise Refused(f"database.path: there is no folder {path.parent}")
    applied = migrations.migrate(path)
    say(f"{path}: {'brought up to date (' + ', '.join(applied) + ')' if applied else 'up to date already'}")


@app.command("check")
def check(context: typer.Context) -> None:
    """Read all of the database and name what is wrong with it."""
    path = invocation(context).settings.database.path
    if faults := migrations.check(path):
        raise Refused("\n".join(faults))
    say(f"{path}: no fault found")


@app.command("backup")
def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What the backup is to become.")],
    force: Annotated[bool, typer.Option("--force", help="In place of a file of that name.")] = False,
) -> None:
    """Copy all of the database into a file, checked and for its owner alone. The server may run meanwhile."""
    try:
        taken = back_up(invocation(context).settings.database.path, file, replace=force)
    except NoBackup as fault:
        raise Refused(str(fault)) from fault
    say(f"{taken.file}: {taken.size_bytes / 1e6:,.1f} MB, no fault found, {taken.seconds:.1f} s")


@app.command("prune")
def prune(
    context: typer.Context,
    older_than: Annotated[
        int, typer.Option(min=1, max=36_500, metavar="DAYS", help="Only what ended so many days ago or earlier.")
    ] = 90,
) -> None:
    """Remove campaigns that ended long ago, with their calls. Contacts stay. The server may run meanwhile."""
    path = invocation(context).settings.database.path
    now = SystemClock().now().wall
    done = retention.prune(path, ended_before=WallMs(now - older_than * _DAY_MS))
    say(f"{path}: {done.campaigns} campaigns with {done.calls} calls removed")
