"""`dialer demo`: everything once, on this machine alone: a called party, a server, a campaign, and what came of it.

What it expects of each contact is worked out from the called party's table and the playbook's rules, not written down.
"""

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from dialer.client import Client
from dialer.core.live import TECHNICAL_RETRY_SECONDS
from dialer.core.model import Disposition
from dialer.core.recall import recalls_after
from dialer.demo_stage import LabThread, Server, write_greeting
from dialer.follow import COLOURS, follow, view
from sip.lab.behaviours import BEHAVIOURS, Behaviour, Plan

CONTACTS = 32
# The called party lives four times as fast as people do.
PACE = 0.25
RECALL_MINUTES = [0.1, 0.2]
RING_TIMEOUT_SECONDS = 4
RECALL_ON = ["busy", "no_answer", "declined"]
_SILENT = Plan(trying=False, alert=None, alert_seconds=None)
NAMES = """
    Ana Bruno Carla Diego Elena Felix Gloria Hugo Irene Jorge Karla Lucas Marta Nuno Olga Pablo Quima Rosa Saul Teresa
    Ulises Vera Walter Ximena Yago Zoe Alba Berto Celia Dario
""".split()  # noqa: SIM905 - a list of thirty lines reads worse
# Where standard error is no terminal, nobody says how wide the lines may be.
_WIDTH = 110


@dataclass(frozen=True, slots=True)
class Expected:
    """What a contact should come to: the last disposition, after so many attempts and INVITEs."""

    disposition: Disposition
    attempts: int
    invites: int


@dataclass(frozen=True, slots=True)
class Part:
    """A contact of the demo and whom it reaches."""

    phone: str
    first_name: str
    behaviour: Behaviour
    expected: Expected


def expected_of(behaviour: Behaviour, recalls: int, recall_on: Sequence[str]) -> Expected:
    """What calls to a number that behaves so come to, with so many recalls, on one trunk.

    A trunk's refusal is followed by technical retries inside the attempt, which spend the called party's plans too.
    """
    invites = attempts = 0
    while True:
        attempts += 1
        for _ in range(len(TECHNICAL_RETRY_SECONDS) + 1):
            disposition = behaviour.dispositions[min(invites, len(behaviour.dispositions) - 1)]
            invites += 1
            if disposition is not Disposition.TRUNK_FAILURE:
                break
        if attempts > recalls or not recalls_after(disposition, recall_on):
            return Expected(disposition, attempts, invites)


def behaviours() -> list[Behaviour]:
    """The called party's table. A number that never replies would take minutes, so here it replies the second time."""
    return [
        replace(
            row,
            title="silent at first, later answers",
            plans=(*row.plans, Plan()),
            dispositions=(*row.dispositions, Disposition.ANSWERED),
        )
        if row.plans == (_SILENT,)
        else row
        for row in BEHAVIOURS
    ]


def cast() -> list[Part]:
    """The contacts: every row of the table once, and some of the rows that are met most often once more."""
    rows = behaviours()
    by_ending = {row.ending: row for row in rows}
    rows += [by_ending[ending] for ending in ("01", "11", "04")][: max(0, CONTACTS - len(rows))]
    parts = []
    for i, row in enumerate(rows[:CONTACTS]):
        tail = (row.ending or "99").rjust(3, "0")
        expected = expected_of(row, len(RECALL_MINUTES), RECALL_ON)
        parts.append(Part(f"+346{i + 1:02d}000{tail}", NAMES[i % len(NAMES)], row, expected))
    return parts


def run() -> int:
    """Play it; 0 when every contact came to what was expected, else 1 and the server's log is kept."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    folder = Path(tempfile.mkdtemp(prefix="dialer-demo-"))
    keep = True
    try:
        with _stage(console, folder) as (lab, server):
            good = _play(console, folder, lab, server)
        keep = not good
    except KeyboardInterrupt:
        keep = False
        raise
    finally:
        if keep:
            console.print(f"\nThe files of this run, the server's log among them, are in {folder}", markup=False)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if good:
        _farewell(console)
    return 0 if good else 1


@contextlib.contextmanager
def _stage(console: Console, folder: Path) -> Iterator[tuple[LabThread, Server]]:
    console.rule("[bold]dialer demo[/bold]")
    console.print(
        f"A campaign of {CONTACTS} contacts, from the POST to the last hang-up: real SIP and RTP, and nothing leaves this "
        "machine. It takes a little over a minute, because what a trunk refuses is tried again after 5, 15 and 45 seconds.\n"
    )
    media = folder / "media"
    media.mkdir()
    write_greeting(media / "hello.wav")
    with LabThread(behaviours(), PACE) as lab:
        _step(console, f"called party: on 127.0.0.1:{lab.port}; what it does follows the end of the number")
        with Server(folder, media, lab.port) as server:
            _step(console, f"server: the API on {server.url}, its files in {folder}")
            yield lab, server


def _play(console: Console, folder: Path, lab: LabThread, server: Server) -> bool:
    parts = cast()
    playbook = {
        "name": "Demo",
        "trunks": ["lab"],
        "ring_timeout_seconds": RING_TIMEOUT_SECONDS,
        "max_call_seconds": 20,
        "recall_on": RECALL_ON,
        "steps": [{"do": "play", "audio": "hello.wav"}, {"do": "wait", "seconds": 0.5}, {"do": "hangup"}],
    }
    file = folder / "playbook.json"
    file.write_text(json.dumps(playbook, indent=2))
    server.command("account", "create", "Demo")
    token = server.command("token", "create", "--account", "Demo")
    uuid = server.command("playbook", "create", "--account", "Demo", str(file))
    _step(console, "account, token, playbook: by `dialer account create`, `token create`, `playbook create`")
    contacts = [{"phone": part.phone, "first_name": part.first_name} for part in parts]
    request = {"playbook_id": uuid, "contacts": contacts, "recall": RECALL_MINUTES}
    with Client(server.url, token) as client:
        answer = client.post("/campaign", request)
        seconds = " and ".join(f"{minutes * 60:g}" for minutes in RECALL_MINUTES)
        again = f"who is busy, declines or does not answer is called again after {seconds} seconds"
        _step(console, f"POST /campaign: {len(parts)} contacts; {again}")
        console.print(f"  {json.dumps(answer)}\n", markup=False, style="dim")
        campaign = str(answer["campaign_id"])
        began = time.monotonic()
        follow(
            lambda: server.while_it_lives(lambda: client.get(f"/campaign/{campaign}")),
            console,
            show=lambda seen: Group(view(seen, width=console.width), _news(lab, time.monotonic() - began)),
        )
        calls = {str(call["phone"]): call for call in client.pages(f"/campaign/{campaign}/calls", len(parts))}
    return _outcomes(console, parts, calls, lab)


def _news(lab: LabThread, seconds: float) -> RenderableType:
    """What the called party saw last: shown while the campaign runs."""
    lines = [f"  {seconds:.0f} s; the called party saw last:", *(f"    {line}" for line in lab.news())]
    return Text("\n".join(lines), style="dim")


def _outcomes(console: Console, parts: list[Part], calls: dict[str, Any], lab: LabThread) -> bool:
    """Print the table of all contacts; True when each came to what was expected."""
    invites = lab.invites()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("number", "the called party", "expected", "seen", "attempts", "INVITEs", ""):
        figures = column in {"attempts", "INVITEs"}
        table.add_column(column, justify="right" if figures else "left", no_wrap=column != "the called party")
    wrong = 0
    for part in sorted(parts, key=lambda part: (part.behaviour.ending, part.phone)):
        call = calls.get(part.phone, {})
        seen = Expected(call.get("disposition"), len(call.get("attempts", ())), invites.get(part.phone, 0))
        as_expected = seen == part.expected and call.get("state") == "finished"
        wrong += not as_expected
        table.add_row(
            f"…{part.behaviour.ending or part.phone[-2:]}",
            part.behaviour.title,
            str(part.expected.disposition),
            Text(str(seen.disposition), style=COLOURS.get(str(seen.disposition), "yellow")),
            _figure(seen.attempts, part.expected.attempts),
            _figure(seen.invites, part.expected.invites),
            Text("✓", style="green") if as_expected else Text("✗", style="bold red"),
        )
    console.print()
    console.print(table)
    console.print(
        "\nattempts: tries of the call; a recall is one more. INVITEs: what the called party counted; when a trunk refuses "
        "without reaching anybody, the same attempt sends another.",
        style="dim",
    )
    if wrong:
        console.print(f"\n[bold red]{wrong} of {len(parts)} contacts did not come to what was expected.[/bold red]")
    else:
        console.print(f"\n[bold green]All {len(parts)} contacts came to what was expected.[/bold green]")
    return not wrong


def _figure(seen: int, expected: int) -> str:
    return str(seen) if seen == expected else f"{seen} (not {expected})"


def _step(console: Console, text: str) -> None:
    console.print(Text.assemble(("• ", "bold"), text))


def _farewell(console: Console) -> None:
    console.print(
        "\n[bold]Where to go next[/bold]\n"
        "  dialer lab --list   what the called party does with each number\n"
        "  config/dialer.toml  every setting: name your PBX there, then run `dialer check`\n"
        "  README.md           a first campaign of your own, command by command\n"
        "  dialer --help       all commands"
    )
