"""The lines of the log, the same in every process: text for people or JSON for a collector, people's numbers masked.

Only the standard library: a SIP worker must be up in milliseconds, and structlog takes seventy.
"""

import json
import logging
import os
import re
import select
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

# Who speaks at the level that is set; strangers (uvicorn, paho, asyncio) only from warnings on.
OURS: Final = ("dialer", "sip", "api", "scheduler")
# Keys whose value is a number however it is written: internal and national ones have no plus sign to know them by.
NUMBER_KEYS: Final = frozenset({"phone", "number", "caller_id"})

# As this product writes numbers: + and at least seven digits. Ids and times have no plus sign before so many.
_E164: Final = re.compile(r"\+[0-9]{3,11}(?=[0-9]{4}(?![0-9]))")
# As SIP writes them. A user that is a name stays.
_SIP_USER: Final = re.compile(r"\b((?:sips?|tel):)([0-9*#]{2,}|%23)(?=[@;>\s\"'\\]|$)", re.IGNORECASE)
# And where SIP shows a name: "600000001" <sip:...>.
_SIP_NAME: Final = re.compile(r'(?<=[ \t":])([0-9*#]{5,})(?="?[ \t]*<)')
_LAST_DIGITS: Final = 4
# What goes into a pipe in one piece (pipe(7), PIPE_BUF), so that one that takes anything takes it without waiting.
_PIECE_BYTES: Final = 4096
# How long a line waits for a reader that is only busy.
_PATIENCE_MS: Final = 5
_OWN_ATTRIBUTES: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


@dataclass(frozen=True, slots=True)
class LogStyle:
    """`form` is text or json, `level` the least that is told; `mask_numbers` leaves the last digits of people's numbers."""

    form: str = "text"
    level: str = "info"
    mask_numbers: bool = True


def masked_number(number: str) -> str:
    """A number as the log shows it: its last four digits, of a short (internal) one the last two.

    >>> masked_number("+34600000001"), masked_number("600000001"), masked_number("1001")
    ('+…0001', '…0001', '…01')
    """
    digits = number.removeprefix("+")
    kept = _LAST_DIGITS if len(digits) > _LAST_DIGITS + 2 else min(2, len(digits) - 1)
    return f"{'+' if digits != number else ''}…{digits[len(digits) - kept :]}"


def masked(text: str) -> str:
    """The text with the numbers in it masked: those in E.164, users of SIP and tel URIs, names before those.

    >>> masked("sip:600000001@10.0.0.5, +34600000001 at 2025-03-01T10:00:00+00:00")
    'sip:…0001@10.0.0.5, +…0001 at 2025-03-01T10:00:00+00:00'
    """
    text = _SIP_USER.sub(lambda found: found[1] + masked_number(found[2]), _E164.sub("+…", text))
    return _SIP_NAME.sub(lambda found: masked_number(found[1]), text)


class Outlet:
    """Standard error, for a process that must not wait: lines that nobody takes are dropped, counted, and told of later."""

    def __init__(self, style: LogStyle, descriptor: int = 2) -> None:
        self._style = style
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._dropped = 0

    def write(self, text: str) -> None:
        """Write whole lines, as far as they are taken. Never raises: a log that is gone stops no call."""
        dropped = self._dropped
        if dropped:
            text = rendered(self._style, {**_head("warning"), "event": _DROPPED, "lines": dropped}) + "\n" + text
        if self._written(text.encode("utf-8", "backslashreplace")):
            self._dropped -= dropped
        else:
            self._dropped += 1

    def flush(self) -> None:
        """Nothing waits here."""

    def _written(self, data: bytes) -> bool:
        try:
            while data:
                if not self._poll.poll(0 if self._dropped else _PATIENCE_MS):
                    return False
                data = data[os.write(self._descriptor, data[:_PIECE_BYTES]) :]
        except OSError:
            return False
        return True


_DROPPED: Final = "lines of the log were dropped: nobody took them"


class Lines(logging.Formatter):
    """Records of `logging` as lines; their `extra` becomes keys. `process` names the one that speaks, "": the server."""

    def __init__(self, style: LogStyle, process: str = "") -> None:
        super().__init__()
        self._looks = style
        self._process = {"process": process, "pid": os.getpid()} if process else {}

    def format(self, record: logging.LogRecord) -> str:
        """One line, unless an exception stands below it."""
        fields: dict[str, Any] = {"event": record.getMessage(), "logger": record.name, **self._process}
        fields |= {name: value for name, value in vars(record).items() if name not in _OWN_ATTRIBUTES}
        fields |= _head(record.levelname.lower(), record.created)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return rendered(self._looks, fields)


def speak(style: LogStyle, outlet: Outlet, process: str = "") -> None:
    """Let everything that is said by `logging` in this process, warnings of Python too, come out as lines of the log."""
    handler = logging.StreamHandler(outlet)
    handler.setFormatter(Lines(style, process))
    level = logging.getLevelNamesMapping()[style.level.upper()]
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)


def without_numbers(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields, those that are numbers masked."""
    return {
        name: masked_number(value) if name in NUMBER_KEYS and isinstance(value, str) and value else value
        for name, value in fields.items()
    }


def _head(level: str, created: float | None = None) -> dict[str, str]:
    at = datetime.now(UTC) if created is None else datetime.fromtimestamp(created, UTC)
    return {"level": level, "timestamp": at.isoformat().replace("+00:00", "Z")}


def rendered(style: LogStyle, fields: Mapping[str, Any]) -> str:
    """One line of the log, which has to have `timestamp`, `level` and `event`; an `exception` stands below it."""
    told = without_numbers(fields) if style.mask_numbers else dict(fields)
    if style.form == "json":
        line = json.dumps(told, ensure_ascii=False, default=repr)
    else:
        exception = told.pop("exception", None)
        line = f"{told.pop('timestamp')} [{told.pop('level'):<9}] {told.pop('event'):<30} "
        line = (line + " ".join(f"{name}={_word(value)}" for name, value in told.items())).rstrip()
        line += f"\n{exception}" if exception else ""
    return masked(line) if style.mask_numbers else line


def _word(value: object) -> str:
    """As structlog's console shows it."""
    text = str(value)
    return repr(text) if " " in text else text
