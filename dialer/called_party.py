"""`dialer lab`: the built-in called party on a terminal, one line for each call."""

import asyncio
from pathlib import Path

from dialer.terminal import Refused, say
from sip.lab import Entry, Lab, behaviour_table, serve

_WORDS = {
    "invite": "INVITE",
    "answered": "answered",
    "cancel": "CANCEL",
    "bye_received": "BYE from the caller",
    "bye_sent": "hangs up",
    "ended": "over",
    "challenged": "asks for credentials",
    "refused": "refuses the form of the INVITE",
}


def table() -> list[tuple[str, str, str, str]]:
    """The rows of `dialer lab --list`: ending, title, what happens, the dispositions in the order of calls."""
    return [
        (row.ending or "anything else", row.title, row.what_happens, ", then ".join(row.dispositions))
        for row in behaviour_table()
    ]


def run(*, host: str, port: int, log: Path | None, pace: float) -> None:
    """Listen until SIGINT or SIGTERM. Raises `Refused` where it cannot listen, or write its log."""

    def on_ready(lab: Lab) -> None:
        say(f"listening on {host}:{lab.port}, UDP and TCP; `dialer lab --list` tells what each number does")

    def on_entry(entry: Entry) -> None:
        if entry.event in _WORDS:
            number = entry.number or "-"
            status = f" {entry.status}" if entry.status else ""
            reason = f" ({entry.reason.replace('_', ' ')})" if entry.reason else ""
            say(f"{number:>16}  {_WORDS[entry.event]}{status}{reason}")

    try:
        lab = Lab(host=host, port=port, pace=pace, log_file=log, on_entry=on_entry)
        asyncio.run(serve(lab, on_ready))
    except OSError as error:
        raise Refused(f"{error.filename or f'{host}:{port}'}: {error.strerror or error}") from error
    except ValueError as error:
        raise Refused(f"{host}: {error}") from error
