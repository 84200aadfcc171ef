"""`dialer db`: the database file itself."""

import asyncio
from pathlib import Path
from typing import Annotated, Final

import typer

from dialer.core.amounts import amount
from dialer.core.model import WallMs
from dialer.core.timetable import show_time
from dialer.machine import trunk_profiles
from dialer.terminal import Refused, invocation, say
from scheduler import migrations, retention
from scheduler import restore as restoring
from scheduler.backup import NoBackup, back_up
from scheduler.clock import SystemClock
from scheduler.server_lock import ServedAlready
from sip.orphans import end_orphans

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


@app.command("restore")
def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup of this version or an older one.")],
) -> None:
    """Put a backup in the place of the database, while no server runs.

    Every campaign is paused. Calls that may have been dialed since the backup wait under review: see `dialer review`.
    """
    settings = invocation(context).settings
    try:
        done = restoring.restore(
            settings.database.path,
            file,
            min_recall_gap_ms=round(settings.pacing.min_recall_gap_seconds * 1000),
            clock=SystemClock(),
        )
    except (restoring.NotRestored, ServedAlready) as fault:
        raise Refused(str(fault)) from fault
    if done.carried is not None:
        asyncio.run(end_orphans(done.carried.dialogs, trunk_profiles(settings)))
    _tell_of(done, file, settings.database.path)


def _tell_of(done: restoring.Restored, file: Path, path: Path) -> None:
    taken = "" if done.taken_at is None else f", taken at {show_time(done.taken_at)}"
    say(f"{path}: restored from {file}{taken}")
    if done.kept is not None:
        say(f"what was there is kept as {done.kept}")
    say(f"{amount(done.paused, 'campaign is', 'campaigns are')} paused, until `dialer campaign resume`")
    say(f"{amount(done.under_review, 'call')} may have been dialed since the backup: see `dialer review`")
    if done.carried is None:
        if done.kept is not None:
            say("it could not be read: put numbers on do-not-call lists, revoke tokens and erase people again")
        return
    carried = done.carried
    numbers, tokens = amount(carried.numbers, "number"), amount(carried.tokens, "revoked token")
    say(
        f"carried over from it: {numbers} not to be called, {tokens}, {amount(carried.people, 'person', 'people')} erased"
    )
    if carried.lost_campaigns:
        campaigns = amount(carried.lost_campaigns, "campaign or single call", "campaigns and single calls")
        say(f"lost: {campaigns}, of {amount(carried.lost_calls, 'call')}, accepted since")


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
    say(f"{path}: {amount(done.campaigns, 'campaign')} with {amount(done.calls, 'call')} removed")
