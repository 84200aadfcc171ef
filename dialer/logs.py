"""How the server writes its log: one line an event on standard error, as text or JSON, with people's numbers masked."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

# A phone number as this product writes it: + and at least seven digits. Ids and times have no plus sign before them.
_NUMBER = re.compile(r"\+[0-9]{3,11}([0-9]{4})\b")


def configure(*, form: str, level: str, mask_numbers: bool) -> None:
    """Set the process's logging up. `form` is text or json; `mask_numbers` leaves the last four digits of numbers."""
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if mask_numbers:
        processors.append(_mask)
    if form == "json":
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        processors.append(_console())
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        stream=sys.stderr, level=max(number, logging.WARNING), format="%(levelname)s %(name)s %(message)s"
    )


def _mask(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str) and "+" in value:
            event[key] = _NUMBER.sub(r"+…\1", value)
    return event


def _console() -> structlog.dev.ConsoleRenderer:
    # Plain tracebacks: the pretty ones print local variables, and those hold people's numbers and passwords.
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
