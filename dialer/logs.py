"""How the server writes its log: one line an event on standard error, as text or JSON, with people's numbers masked."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from dialer.log_lines import LogStyle, Outlet, masked, speak, without_numbers

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
    if style.mask_numbers:
        processors.append(_mask_fields)
    if style.form == "json":
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    else:
        processors.append(_console())
    if style.mask_numbers:
        # The whole line, so that a traceback or a list of values hides nothing either.
        processors.append(_mask_line)
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


def _mask_fields(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return without_numbers(event)


def _mask_line(_logger: object, _method: str, line: Any) -> str:  # noqa: ANN401 - what the renderer has made
    return masked(str(line))


def _console() -> structlog.dev.ConsoleRenderer:
    # Plain tracebacks: the pretty ones print local variables, and those hold people's numbers and passwords.
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
