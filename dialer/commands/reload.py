"""`dialer reload`: ask the server of this configuration to follow it, and wait for what comes of that."""

import os
import signal
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from dialer.terminal import Refused, invocation, say
from scheduler.server_lock import Reloads, reloads_told, serving_pid

_LOOK_AGAIN_SECONDS: Final = 0.05


def reload(
    context: typer.Context,
    patience: Annotated[
        float, typer.Option("--timeout", min=1, max=3600, metavar="SECONDS", help="How long to wait for the server.")
    ] = 60,
) -> None:
    """Let the running server follow its changed configuration; no call is dropped. 1, with every fault, if it cannot."""
    # Faults that can be seen from here are told at once, and the server is left alone.
    database = invocation(context).settings.database.path
    done = _ask(database, patience)
    if done.faults:
        raise Refused("\n".join(done.faults))
    for key in done.needs_restart:
        say(f"{key}: needs a restart")
    say(f"reloaded: {', '.join(done.changed) or 'nothing that acts without a restart has changed'}")


def _ask(database: Path, patience: float) -> Reloads:
    deadline = time.monotonic() + patience
    pid = _server_of(database)
    # Whatever it begins from now on reads the file as it is now.
    before = _told(database, pid, deadline)
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        raise Refused(f"the server (pid {pid}) cannot be signalled: {error.strerror}") from error
    while True:
        told = _told(database, pid, deadline)
        if told.ended > before.begun:
            return told
        _wait(database, pid, deadline, "has not ended its reload yet: its log will tell")


def _server_of(database: Path) -> int:
    try:
        pid = serving_pid(database)
    except PermissionError as error:
        raise Refused(f"{database}: this user may not see who serves it") from error
    if not pid:
        raise Refused(
            f"no server serves {database}: there is nothing to reload (another database.path needs a restart)"
        )
    return pid


def _told(database: Path, pid: int, deadline: float) -> Reloads:
    while (told := reloads_told(database)) is None:
        _wait(database, pid, deadline, "does not tell how it stands")
    return told


def _wait(database: Path, pid: int, deadline: float, reason: str) -> None:
    if serving_pid(database) != pid:
        raise Refused(f"the server (pid {pid}) ended meanwhile")
    if time.monotonic() > deadline:
        raise Refused(f"the server (pid {pid}) {reason}")
    time.sleep(_LOOK_AGAIN_SECONDS)
