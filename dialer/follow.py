"""A campaign's progress while it runs: a live view where standard error is a terminal, a line now and then where it is not."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dialer.client import may_pass
from dialer.core.amounts import amount
from dialer.terminal import Refused

Json = dict[str, Any]

POLL_SECONDS = 0.5
_LINE_SECONDS = 5.0
# A restart drains: so long a server may be away before it is taken to be gone.
PATIENCE_SECONDS = 600.0
_NARROW = 80
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

    `show` draws it while it runs, `view` when it has ended. A server that has answered once is waited for while it restarts, up
    to `PATIENCE_SECONDS`. Raises what `look` raises otherwise.
    """
    looks = _looks(look, poll_seconds)
    if console.is_terminal and not console.is_dumb_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            for campaign, trouble in looks:
                drawn = show(campaign) if show else view(campaign, width=console.width)
                live.update(Group(drawn, _wrapped(trouble, "yellow")) if trouble else drawn, refresh=True)
        console.print(view(campaign, width=console.width))
        return campaign
    told, told_at = "", 0.0
    for campaign, trouble in looks:
        line = trouble or summary(campaign)
        if line != told and (trouble or campaign["status"] in ENDED or time.monotonic() - told_at >= _LINE_SECONDS):
            console.print(line, markup=False, soft_wrap=True)
            told, told_at = line, time.monotonic()
    return campaign


def _looks(look: Callable[[], Json], poll_seconds: float) -> Iterator[tuple[Json, str]]:
    """The campaign until it has ended, and why it is not that of now; "" it is."""
    campaign, trouble = look(), ""
    answered_at = time.monotonic()
    while True:
        yield campaign, trouble
        if campaign["status"] in ENDED:
            return
        time.sleep(poll_seconds)
        try:
            campaign, trouble = look(), ""
            answered_at = time.monotonic()
        except Refused as refused:
            if not may_pass(refused) or time.monotonic() - answered_at > PATIENCE_SECONDS:
                raise
            trouble = f"{refused}; trying again"


def view(campaign: Json, *, width: int) -> RenderableType:
    """The campaign in a few lines of so many columns: a bar of finished calls, and what they came to."""
    calls = campaign["calls"]
    accepted = sum(calls.values())
    if width < _NARROW:
        bar = Table.grid()
        bar.add_row(ProgressBar(total=max(accepted, 1), completed=calls["finished"], width=width))
        return Group(bar, _wrapped(summary(campaign)))
    head = Table.grid(padding=(0, 1))
    head.add_row(
        Text(str(campaign["status"]), style="bold"),
        ProgressBar(total=max(accepted, 1), completed=calls["finished"], width=40),
        f"{calls['finished']} of {accepted} finished",
        f"{calls['live']} live",
        _scheduled(campaign),
        amount(campaign["attempts"], "attempt"),
    )
    outcomes = _wrapped("  ")
    for disposition, count in sorted(campaign["dispositions"].items(), key=lambda item: -item[1]):
        if count:
            outcomes.append(f"{disposition} {count}  ", style=COLOURS.get(disposition, "yellow"))
    if not outcomes.plain.strip() and campaign.get("next_attempt_at"):
        outcomes.append(f"next attempt at {campaign['next_attempt_at']}", style="dim")
    return Group(head, outcomes)


def _wrapped(text: str, style: str = "") -> Text:
    """Text that goes on in the next line: a live view would cut it on a console that leaves long lines to the terminal."""
    return Text(text, style=style, no_wrap=False, overflow="fold")


def summary(campaign: Json) -> str:
    """The campaign in one line."""
    calls = campaign["calls"]
    outcomes = ", ".join(f"{name} {count}" for name, count in sorted(campaign["dispositions"].items()) if count)
    return (
        f"{campaign['status']}: {calls['finished']} of {sum(calls.values())} finished, {calls['live']} live, "
        f"{_scheduled(campaign)}, {amount(campaign['attempts'], 'attempt')}" + (f" ({outcomes})" if outcomes else "")
    )


def _scheduled(campaign: Json) -> str:
    # These wait for a person, whatever the campaign does: see `dialer review`.
    reviewed = campaign.get("under_review")
    return f"{campaign['calls']['scheduled']} scheduled" + (f" ({reviewed} under review)" if reviewed else "")
