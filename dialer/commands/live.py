"""`dialer top`: what goes on at a server, live on a terminal."""

import os
import select
import sys
import termios
import tty
from datetime import UTC, datetime
from typing import Annotated, Self

import typer
from rich.console import Console
from rich.live import Live

from dialer.client import may_pass
from dialer.commands.server import Token, Url, connected
from dialer.terminal import Refused
from dialer.top import Watch, screen

# Into a pipe nobody says how wide lines may be.
_PIPE_WIDTH = 160


class Keys:
    """Single keys of the terminal, as they are pressed and unseen. Where standard input is no terminal, none ever comes."""

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(sys.stdin) if sys.stdin.isatty() else None
        if self._before is not None:
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    def wait(self, seconds: float) -> str:
        """What was pressed within so many seconds; "" nothing."""
        watched = [sys.stdin] if self._before is not None else []
        if not select.select(watched, [], [], seconds)[0]:
            return ""
        return os.read(sys.stdin.fileno(), 64).decode(errors="replace")


def top(
    context: typer.Context,
    token: Token,
    interval: Annotated[float, typer.Option(min=0.2, max=60, metavar="SECONDS", help="How often to look.")] = 1.0,
    numbers: Annotated[bool, typer.Option("--numbers", help="Show people's numbers whole.")] = False,
    url: Url = None,
) -> None:
    """See trunks, campaigns and the calls under way, live; q leaves. Into a pipe: once. Times are of this machine's zone."""
    with connected(context, url, token) as client:
        watch = Watch(client)
        console = Console(highlight=False)
        if not console.is_terminal or console.is_dumb_terminal:
            if not console.is_terminal:
                console.width = _asked_width() or _PIPE_WIDTH
            now = datetime.now(UTC)
            title = f"{client.url}  {now.astimezone():%Y-%m-%d %H:%M:%S %Z}"
            console.print(screen(watch.look(), width=console.width, height=None, title=title, now=now, numbers=numbers))
            return
        _live(watch, console, client.url, interval, numbers=numbers)


def _asked_width() -> int | None:
    """What `$COLUMNS` says, where that is a width."""
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdecimal() and int(columns) else None


def _live(watch: Watch, console: Console, url: str, interval: float, *, numbers: bool) -> None:
    seen, trouble, seen_at = watch.look(), "", datetime.now(UTC)
    with Keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            now = datetime.now(UTC)
            width, height = console.size
            title = f"dialer {now.astimezone():%H:%M:%S %Z}  q leaves  {url}"
            if trouble:
                title = f"As of {seen_at.astimezone():%H:%M:%S}: {trouble}"
            live.update(screen(seen, width=width, height=height, title=title, now=now, numbers=numbers), refresh=True)
            if "q" in keys.wait(interval).lower():
                return
            try:
                seen, trouble, seen_at = watch.look(), "", datetime.now(UTC)
            except Refused as error:
                if not may_pass(error):
                    raise
                trouble = str(error)
