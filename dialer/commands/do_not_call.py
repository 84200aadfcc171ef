"""`dialer do-not-call`: numbers that are never dialed, by one account or by any. Works with or without a server."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from dialer.commands.accounts import account_named, opened
from dialer.core.amounts import amount
from dialer.core.csv_writing import csv_text
from dialer.core.number_list import numbers_in
from dialer.core.phone import PhoneRules, normalize
from dialer.machine import phone_rules
from dialer.terminal import Refused, give, invocation, say
from scheduler.accounts import Accounts
from scheduler.clock import SystemClock
from scheduler.database import Database
from scheduler.do_not_call import EVERY_ACCOUNT, DoNotCall

app = typer.Typer(help="Numbers that are never dialed, by one account or by any.", no_args_is_help=True)

AccountName = Annotated[
    str | None, typer.Option("--account", metavar="NAME", help="One account's list, by its name or id.")
]
Everyone = Annotated[bool, typer.Option("--everyone", help="The list that holds for every account.")]
Numbers = Annotated[list[str], typer.Argument(metavar="PHONE...", help="Telephone numbers.")]

_PAGE = 1000
_FAULTS_SHOWN = 20


def _owner(database: Database, account: str | None, everyone: bool) -> int:
    if (account is None) == (not everyone):
        raise typer.BadParameter("give either --account NAME or --everyone")
    return EVERY_ACCOUNT if account is None else account_named(Accounts(database, SystemClock()), account).id


def _read(numbers: list[tuple[str, str]], rules: PhoneRules) -> list[str]:
    """The normalized numbers. `numbers` are (place, as written); raises `Refused` with every one that is none."""
    read, faults = [], []
    for place, written in numbers:
        try:
            read.append(normalize(written, rules))
        except ValueError as error:
            faults.append(f"{place}: {written!r} {error}")
    if faults:
        more = [f"and {len(faults) - _FAULTS_SHOWN} more"] if len(faults) > _FAULTS_SHOWN else []
        raise Refused("\n".join([*faults[:_FAULTS_SHOWN], *more]))
    return read


@app.command("add")
def add(context: typer.Context, numbers: Numbers, account: AccountName = None, everyone: Everyone = False) -> None:
    """Put numbers on the list. They are suppressed from their next attempt on."""
    read = _read([("phone", number) for number in numbers], phone_rules(invocation(context).settings))
    with opened(context) as database:
        added = DoNotCall(database, SystemClock()).add(_owner(database, account, everyone), read)
    say(f"{added} added, {amount(len(set(read)) - added, 'was', 'were')} on the list already")


@app.command("remove")
def remove(context: typer.Context, numbers: Numbers, account: AccountName = None, everyone: Everyone = False) -> None:
    """Take numbers off the list."""
    read = _read([("phone", number) for number in numbers], phone_rules(invocation(context).settings))
    with opened(context) as database:
        owner, listed = _owner(database, account, everyone), DoNotCall(database, SystemClock())
        missing = [number for number in read if not listed.remove(owner, number)]
    if missing:
        raise Refused(f"not on the list: {', '.join(missing)}")


@app.command("import")
def import_file(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv", help="A column `phone`, or one number a line; - reads standard input.")
    ],
    account: AccountName = None,
    everyone: Everyone = False,
) -> None:
    """Put all numbers of a file on the list; none where one cannot be read."""
    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        rows = [(f"{file}: line {line}", number) for line, number in numbers_in(raw.decode("utf-8-sig"))]
    except OSError as error:
        raise Refused(f"{file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise Refused(f"{file}: is not UTF-8 text") from error
    except ValueError as error:
        raise Refused(f"{file}: {error}") from error
    if not rows:
        raise Refused(f"{file}: holds no numbers")
    read = _read(rows, phone_rules(invocation(context).settings))
    with opened(context) as database:
        added = DoNotCall(database, SystemClock()).add(_owner(database, account, everyone), read)
    say(f"{added} added, {amount(len(set(read)) - added, 'was', 'were')} on the list already")


@app.command("export")
def export(context: typer.Context, account: AccountName = None, everyone: Everyone = False) -> None:
    """Print the whole list as CSV: phone, added_at."""
    with opened(context) as database:
        owner, listed = _owner(database, account, everyone), DoNotCall(database, SystemClock())
        give("phone,added_at")
        after: str | None = None
        while True:
            items, after = listed.list(owner, phone=None, limit=_PAGE, after=after)
            if items:
                give(csv_text((item["phone"], item["added_at"]) for item in items).replace("\r\n", "\n").rstrip("\n"))
            if after is None:
                return
