"""`dialer playbook`: what to do with a call, kept by account. Works on the database, with or without a server."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from api.identifiers import canonical_uuid
from dialer.commands.accounts import AccountName, account_named, opened
from dialer.core.amounts import amount
from dialer.core.contact import ContactFields, read_fields
from dialer.core.playbook import Machine, Playbook
from dialer.core.playbook_reading import read_playbook
from dialer.machine import machine_of
from dialer.terminal import Refused, give, give_table, invocation, say
from scheduler.accounts import Accounts
from scheduler.clock import SystemClock
from scheduler.playbooks import Playbooks

app = typer.Typer(help="Playbooks: which trunks, how long to ring, what to do after the answer.", no_args_is_help=True)

PlaybookFile = Annotated[Path, typer.Argument(metavar="FILE.json", help="The playbook; - reads standard input.")]
PlaybookId = Annotated[str, typer.Argument(metavar="ID", help="The playbook's id.")]
_MAX_BYTES = 1 << 20


def read_file(path: Path, machine: Machine) -> Playbook:
    """The playbook in the file. Raises `Refused` with every fault by its path."""
    try:
        raw = sys.stdin.buffer.read(_MAX_BYTES + 1) if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise Refused(f"{path}: {error.strerror or error}") from error
    if len(raw) > _MAX_BYTES:
        raise Refused(f"{path}: larger than {_MAX_BYTES} bytes")
    try:
        read = read_playbook(json.loads(raw.decode("utf-8-sig")), machine)
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: is not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise Refused(f"{path}: line {error.lineno}, column {error.colno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path}: {error}") from error
    if isinstance(read, Playbook):
        return read
    raise Refused("\n".join(f"{path}: {fault.path}: {fault.reason}" for fault in read))


def _known(text: str) -> str:
    uuid = canonical_uuid(text)
    if uuid is None:
        raise typer.BadParameter("must be a playbook's id (a UUID)", param_hint="ID")
    return uuid


@app.command("create")
def create(context: typer.Context, account: AccountName, file: PlaybookFile) -> None:
    """Check a playbook against this machine's trunks and audio, store it, and print its id."""
    playbook = read_file(file, machine_of(invocation(context).settings))
    with opened(context) as database:
        clock = SystemClock()
        owner = account_named(Accounts(database, clock), account)
        give(str(Playbooks(database, clock).create(owner.id, playbook)["id"]))


@app.command("check")
def check(context: typer.Context, file: PlaybookFile) -> None:
    """Check a playbook against this machine's trunks and audio, and store nothing; every fault is told by its path."""
    playbook = read_file(file, machine_of(invocation(context).settings))
    say(f"{playbook.name}: {amount(len(playbook.steps), 'step')}, no fault")


@app.command("try")
def try_it(
    context: typer.Context,
    file: PlaybookFile,
    to: Annotated[
        str, typer.Option(metavar="URI", help="Whom to call: sip:USER@HOST, or a number over the playbook's trunks.")
    ],
    field: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="A field of the contact, such as first_name=Ana or custom_fields.plan=gold."
        ),
    ] = None,
) -> None:
    """Make one call with a playbook now, and watch its steps; nothing is stored, and no server is needed.

    The call's result is printed. Exit status: 0 answered; 3 answered, and a step had a fault; 4 busy; 5 no answer; 6 declined;
    7 unreachable; 8 no such number; 9 the trunk failed; 10 a machine answered; 1 anything else.
    """
    from dialer import trial

    settings = invocation(context).settings
    playbook = read_file(file, machine_of(settings))
    raise typer.Exit(trial.run(settings, playbook, to, _contact(field or [])))


def _contact(given: list[str]) -> dict[str, Any]:
    """The contact with these fields, each NAME=VALUE."""
    contact: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        family, dot, key = name.partition(".")
        if not equals or (dot and (family != "custom_fields" or not key)):
            raise typer.BadParameter(f"{pair!r} must be NAME=VALUE or custom_fields.NAME=VALUE", param_hint="--field")
        if dot:
            contact.setdefault(family, {})[key] = value
        elif name in ContactFields.__annotations__ and name != "custom_fields":
            contact[name] = value
        else:
            raise typer.BadParameter(f"a contact has no field {name!r}", param_hint="--field")
    _, faults = read_fields(contact)
    if faults:
        raise typer.BadParameter(f"{faults[0][0]} {faults[0][1]}", param_hint="--field")
    return contact


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of playbooks, for editors that complete and check."""
    from api.playbook_schema import playbook_schema

    sys.stdout.write(playbook_schema())


@app.command("list")
def listing(context: typer.Context, account: AccountName) -> None:
    """Show the account's playbooks: id, name, when changed."""
    rows = []
    with opened(context) as database:
        clock = SystemClock()
        owner = account_named(Accounts(database, clock), account)
        after: int | None = None
        while True:
            page, after = Playbooks(database, clock).list(owner.id, limit=1000, after=after)
            rows += [(str(one["id"]), str(one["name"]), str(one["updated_at"])) for one in page]
            if after is None:
                break
    give_table(("id", "name", "updated"), rows)


@app.command("show")
def show(context: typer.Context, account: AccountName, playbook_id: PlaybookId) -> None:
    """Print a playbook as JSON."""
    with opened(context) as database:
        clock = SystemClock()
        owner = account_named(Accounts(database, clock), account)
        record = Playbooks(database, clock).get(owner.id, _known(playbook_id))
    if record is None:
        raise Refused(f"there is no playbook {playbook_id} in the account {account!r}")
    give(json.dumps(record, ensure_ascii=False, indent=2))


@app.command("update")
def update(context: typer.Context, account: AccountName, playbook_id: PlaybookId, file: PlaybookFile) -> None:
    """Put the file in the playbook's place. Campaigns that were posted before keep what they had."""
    playbook = read_file(file, machine_of(invocation(context).settings))
    with opened(context) as database:
        clock = SystemClock()
        owner = account_named(Accounts(database, clock), account)
        if Playbooks(database, clock).update(owner.id, _known(playbook_id), playbook) is None:
            raise Refused(f"there is no playbook {playbook_id} in the account {account!r}")
