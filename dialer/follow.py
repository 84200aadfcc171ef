"""A campaign's progress while it runs: a live view where standard error is a terminal, a line now and then where it is not."""

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

Json = dict[str, Any]

POLL_SECONDS = 0.5
_LINE_SECONDS = 5.0
ENDED = frozenset({"completed", "cancelled"})
COLOURS = {"answered": "green", "machine": "green", "cancelled": "dim", "suppressed": "dim", "trunk_failure": "red"}


def follow(
    look: Callable[[], Json],
    console: Console,
    *,
    show: Callable[[Json], RenderableType] | None = None,
    poll_seconds: float = POLL_SECONDS,
) -> Json:
    """Ask `look` for the campaign again and again and show it, until it ends; the campaign as it was at the end.

    `show` draws it while it runs, `view` when it has ended.
    """
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while True:
                campaign = look()
                live.update((show or view)(campaign), refresh=True)
                if campaign["status"] in ENDED:
                    break
                time.sleep(poll_seconds)
        console.print(view(campaign))
        return campaign
    told, told_at = "", 0.0
    while True:
        campaign = look()
        line = summary(campaign)
        ended = campaign["status"] in ENDED
        if line != told and (ended or time.monotonic() - told_at >= _LINE_SECONDS):
            console.print(line, markup=False, soft_wrap=True)
            told, told_at = line, time.monotonic()
        if ended:
            return campaign
        time.sleep(poll_seconds)


def view(campaign: Json) -> RenderableType:
    """The campaign in a few lines: a bar of finished calls, and what they came to."""
    calls = campaign["calls"]
    accepted = sum(calls.values())
    head = Table.grid(padding=(0, 1))
    head.add_row(
        Text(str(campaign["status"]), style="bold"),
        ProgressBar(total=max(accepted, 1), completed=calls["finished"], width=40),
        f"{calls['finished']} of {accepted} finished",
        f"{calls['live']} live",
        _scheduled(campaign),
        f"{campaign['attempts']} attempts",
    )
    outcomes = Text("  ")
    for disposition, count in sorted(campaign["dispositions"].items(), key=lambda item: -item[1]):
        if count:
            outcomes.append(f"{disposition} {count}  ", style=COLOURS.get(disposition, "yellow"))
    if not outcomes.plain.strip() and campaign.get("next_attempt_at"):
        outcomes.append(f"next attempt at {campaign['next_attempt_at']}", style="dim")
    return Group(head, outcomes)


def summary(campaign: Json) -> str:
    """The campaign in one line."""
    calls = campaign["calls"]
    outcomes = ", ".join(f"{name} {count}" for name, count in sorted(campaign["dispositions"].items()) if count)
    return (
        f"{campaign['status']}: {calls['finished']} of {sum(calls.values())} finished, {calls['live']} live, "
        f"{_scheduled(campaign)}, {campaign['attempts']} attempts" + (f" ({outcomes})" if outcomes else "")
    )


def _scheduled(campaign: Json) -> str:
    # These wait for a person, whatever the campaign does: see `dialer review`.
    reviewed = campaign.get("under_review")
    return f"{campaign['calls']['scheduled']} scheduled" + (f" ({reviewed} under review)" if reviewed else "")
