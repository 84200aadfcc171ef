"""What every command shares: ids alone on standard output, everything else on standard error, one line for a refusal."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from config.settings import Settings, load

err = Console(stderr=True, highlight=False, soft_wrap=True)
_DETAILS_SHOWN = 20


class Refused(Exception):
    """The command cannot be carried out. The first line is the reason; further lines are details of it."""

    @classmethod
    def listing(cls, error: str, details: Sequence[str]) -> "Refused":
        """The reason with its details, one a line; of very many the first ones, and how many more there are."""
        shown = [f"  {detail}" for detail in details[:_DETAILS_SHOWN]]
        more = len(details) - len(shown)
        return Refused("\n".join([error, *shown, *([f"  and {more} more"] if more > 0 else [])]))


@dataclass
class Invocation:
    """What was said before the command: which configuration file. It is read when a command needs it."""

    config: Path | None = None

    @cached_property
    def settings(self) -> Settings:
        """The settings. Raises `config.settings.InvalidSettings`."""
        return load(self.config)


def invocation(context: typer.Context) -> Invocation:
    """What was said before the command that runs in `context`."""
    found = context.find_object(Invocation)
    assert found is not None, "the callback of the application sets it"
    return found


def give(result: str) -> None:
    """Print a result (an id, a token, a document) on standard output, at once: someone may be waiting at a pipe."""
    sys.stdout.write(result + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Tell a person something, on standard error."""
    err.print(text, markup=False)


def give_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a list on standard output: in columns for people, separated by tabs and without a head into a pipe."""
    if not sys.stdout.isatty():
        for row in rows:
            give("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in row))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(markup=False, highlight=False).print(table)
