"""`dialer service`: the dialer as a service of systemd."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from dialer.installing import CONFIGURATION, STATE, CannotInstall, Place, Step
from dialer.terminal import Refused, invocation, say

app = typer.Typer(help="The dialer as a service of systemd.", no_args_is_help=True)

_Root = Annotated[Path, typer.Option(metavar="DIR", help="Do it below this folder, as for an image.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would be done, and do nothing.")]


@app.command("install")
def install(context: typer.Context, root: _Root = Path("/"), dry_run: _DryRun = False) -> None:
    """Put unit, user, folders and a first configuration in place; what is there stays. Nothing is started."""
    configuration = (invocation(context).config or CONFIGURATION).absolute()
    place = Place(root.absolute(), configuration=configuration)
    if _carry_out(place.missing(), dry_run=dry_run):
        say(f"Now edit {configuration}, look at it with `dialer check`, and `systemctl enable --now dialer`.")


@app.command("uninstall")
def uninstall(root: _Root = Path("/"), dry_run: _DryRun = False) -> None:
    """Stop the service and take its unit away. Configuration, database and user stay."""
    if _carry_out(Place(root.absolute()).remaining(), dry_run=dry_run):
        say(f"What stays: {CONFIGURATION.parent}, {STATE} and the user.")


def _carry_out(steps: Iterator[Step], *, dry_run: bool) -> bool:
    """Whether anything was done, or would be."""
    if not dry_run and os.geteuid() != 0:
        raise Refused("only root can do that (--dry-run shows what it would be)")
    count = 0
    try:
        for count, step in enumerate(steps, 1):  # noqa: B007 - how many there were
            say(f"would {step.text}" if dry_run else step.text)
            if not dry_run:
                step.do()
    except (CannotInstall, OSError) as error:
        raise Refused(str(error)) from error
    if not count:
        say("everything is as it should be")
    return bool(count) and not dry_run
