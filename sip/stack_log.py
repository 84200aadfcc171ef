"""What the SIP stack itself has to say: its errors for the worker's log, and messages of calls that somebody traces.

Lives in a worker process, on its one thread.
"""

import ctypes
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

import pjsua2 as pj

from dialer.ports import WireMessage
from sip.call import contained, wall_ms
from sip.stack import function
from sip.trace import call_id_of, read_printed, without_secrets

log = logging.getLogger(__name__)

ERRORS: Final = 1  # the stack's level for what has failed
MESSAGES: Final = 4  # at this it prints each message, and whatever else it does
# Strangers can make the stack complain by the thousand: each datagram that is no SIP is an error to it.
LINES_AT_ONCE: Final = 5
LINE_SECONDS: Final = 10.0
# What pjsua2 raises it logs too: whoever made the call knows, and often expects it. And each RTP port that is taken: it
# takes the next.
_EXPECTED: Final = ("/pjsua2/", "RTP socket bind()")


class StackLog(pj.LogWriter):  # type: ignore[misc]
    """The stack's errors, the first line of each: five at once, then one in ten seconds, with how many were left out.

    While calls are traced the stack prints some twenty lines for every call, of which the messages are taken. A call costs a
    quarter more then, a traced one two fifths (docs/performance.md), so that it is silent as a rule.
    """

    def __init__(self) -> None:
        super().__init__()
        self._allowed = float(LINES_AT_ONCE)
        self._at = time.monotonic()
        self._left_out = 0
        self._traced: tuple[str, ...] = ()
        self._report: Callable[[WireMessage], None] = lambda _: None

    def configure(self, config: pj.LogConfig) -> None:
        """Make this the stack's log."""
        config.level = ERRORS
        config.consoleLevel = MESSAGES  # above it the writer is never called, whatever the level
        config.decor = 0
        config.writer = self

    def trace(self, call_ids: Sequence[str], report: Callable[[WireMessage], None]) -> None:
        """Report the messages whose Call-ID begins with one of these; none: no more."""
        self._traced, self._report = tuple(call_ids), report
        try:
            # pjsua2 sets the level at its start only.
            function("pj_log_set_level", None, ctypes.c_int)(MESSAGES if call_ids else ERRORS)
        except AttributeError as fault:
            log.warning("this pjsua2 build cannot be traced: %s", fault)

    @contained
    def write(self, entry: pj.LogEntry) -> None:
        """One line of the stack's."""
        if entry.level <= ERRORS:
            self._complain(entry.msg)
        elif self._traced:
            self._take(entry.msg)

    def _take(self, line: str) -> None:
        printed = read_printed(line) if line.startswith(("TX ", "RX ")) else None
        if printed is None:
            return
        call_id = call_id_of(printed.text)
        if call_id.startswith(self._traced):
            # Bytes that are no UTF-8 came as lone surrogates, which could not be passed on.
            text = without_secrets(printed.text).encode("utf-8", "replace").decode()
            self._report(WireMessage(wall_ms(), printed.sent, printed.transport, printed.peer, call_id, text))

    def _complain(self, message: str) -> None:
        if any(words in message for words in _EXPECTED):
            return
        now = time.monotonic()
        self._allowed = min(LINES_AT_ONCE, self._allowed + (now - self._at) / LINE_SECONDS)
        self._at = now
        if self._allowed < 1:
            self._left_out += 1
            return
        self._allowed -= 1
        # What follows the first line is a packet as it came, with whatever its sender has put into it.
        line = message.strip().partition("\n")[0]
        log.warning("pjsip: %s", line, extra={"left_out": self._left_out} if self._left_out else None)
        self._left_out = 0
