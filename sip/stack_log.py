"""What the SIP stack itself has to say, in the worker's log. Lives in a worker process, on its one thread."""

import logging
import time
from typing import Final

import pjsua2 as pj

from sip.call import contained

log = logging.getLogger(__name__)

ERRORS: Final = 1  # the stack's level for what has failed; 4 would tell each message
# Strangers can make the stack complain by the thousand: each datagram that is no SIP is an error to it.
LINES_AT_ONCE: Final = 5
LINE_SECONDS: Final = 10.0
# What pjsua2 raises it logs too: whoever made the call knows, and often expects it. And each RTP port that is taken: it
# takes the next.
_EXPECTED: Final = ("/pjsua2/", "RTP socket bind()")


class StackLog(pj.LogWriter):  # type: ignore[misc]
    """The stack's errors, the first line of each: five at once, then one in ten seconds, with how many were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._allowed = float(LINES_AT_ONCE)
        self._at = time.monotonic()
        self._left_out = 0

    def configure(self, config: pj.LogConfig) -> None:
        """Make this the stack's log."""
        config.level = config.consoleLevel = ERRORS  # without the second the writer is never called
        config.decor = 0
        config.writer = self

    @contained
    def write(self, entry: pj.LogEntry) -> None:
        """One line of the stack's."""
        message = entry.msg
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
