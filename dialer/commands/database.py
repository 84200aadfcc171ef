"""`dialer db`: the database file itself."""

import typer

from dialer.terminal import Refused, invocation, say
from scheduler import migrations

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
