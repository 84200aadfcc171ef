"""How the server writes its log: one line an event on standard error, as text or JSON, with people's numbers masked."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from dialer.log_lines import LogStyle, Outlet, masked, rendered, speak, without_numbers

# Loggers that have spoken keep this very list, so that a reload can change what they do.
_processors: list[structlog.typing.Processor] = []


def configure(style: LogStyle) -> None:
    """Set the server's process up, for what is said by structlog and by `logging`; again, when a reload changes the style."""
    outlet = Outlet(style)
    processors: list[structlog.typing.Processor] = [
        _Threshold(style.level),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if style.form == "text" and sys.stderr.isatty():
        processors += _coloured(style)
    else:
        processors += [structlog.processors.format_exc_info, lambda _, __, event: rendered(style, event)]
    _processors[:] = processors
    structlog.configure(
        processors=_processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        logger_factory=structlog.WriteLoggerFactory(outlet),  # type: ignore[arg-type]  # it writes and flushes
        cache_logger_on_first_use=True,
    )
    speak(style, outlet)
    # What it warns of are requests that are no HTTP: they are answered, and anyone could fill the log with them.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


class _Threshold:
    """Lets through what is of the level or above it."""

    def __init__(self, level: str) -> None:
        levels = logging.getLevelNamesMapping()
        self._dropped = frozenset(name.lower() for name, number in levels.items() if number < levels[level.upper()])

    def __call__(self, _logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if method in self._dropped:
            raise structlog.DropEvent
        return event


def _coloured(style: LogStyle) -> list[structlog.typing.Processor]:
    # Plain tracebacks: the pretty ones print local variables, and those hold people's numbers and passwords.
    console = structlog.dev.ConsoleRenderer(colors=True, exception_formatter=structlog.dev.plain_traceback)
    if not style.mask_numbers:
        return [console]
    # The whole line, so that a traceback or a list of values hides nothing either.
    return [lambda _, __, event: without_numbers(event), console, lambda _, __, line: masked(str(line))]
