"""The SIP messages of a call as a ladder: who sent what when, a line each, the way people of the field draw it."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

Json = dict[str, Any]

_WIDTH: Final = 52
_LEAST_WIDTH: Final = 20
# What stands before a line, at the ends of its arrow and, where there is room for it, behind.
_CLOCK, _BARS, _SINCE = 14, 2, 10
_REQUEST: Final = re.compile(r"([A-Z]+) (\S+) SIP/2\.0")
_RESPONSE: Final = re.compile(r"SIP/2\.0 ([0-9]{3} .*)")
_CAUSE: Final = re.compile(r"^Reason[ \t]*:.*?Q\.850.*?cause[ \t]*=[ \t]*([0-9]+)", re.IGNORECASE | re.MULTILINE)
_RETRY_AFTER: Final = re.compile(r"^Retry-After[ \t]*:[ \t]*([0-9]+)", re.IGNORECASE | re.MULTILINE)
_HAS_SDP: Final = re.compile(r"^(?:Content-Type|c)[ \t]*:[ \t]*application/sdp", re.IGNORECASE | re.MULTILINE)
_ANSWERS_CHALLENGE: Final = re.compile(r"^(?:Proxy-)?Authorization[ \t]*:", re.IGNORECASE | re.MULTILINE)


class Ladder:
    """Draws message after message; a new head where a new INVITE's Call-ID begins. `whole`: each text below its line.

    `columns`: a line takes no more; a narrow terminal gets shorter arrows, and no time since the message before.
    """

    def __init__(self, *, whole: bool = False, columns: int | None = None) -> None:
        self._whole = whole
        self._width = _WIDTH if columns is None else max(_LEAST_WIDTH, min(_WIDTH, columns - _CLOCK - _BARS))
        self._tells_since = columns is None or columns >= _CLOCK + self._width + _BARS + _SINCE
        self._call_id = ""
        self._peer = ""
        self._seen: set[tuple[str, str]] = set()
        self._last: datetime | None = None

    def lines(self, message: Json) -> Iterator[str]:
        """The lines for one message, as GET /trace gives it."""
        at = datetime.fromisoformat(message["at"])
        if message["sip_call_id"] != self._call_id:
            self._call_id, self._peer, self._last = message["sip_call_id"], message["peer"], None
            far = f"{message['transport']} {message['peer']}"
            yield ""
            yield f"Call-ID {self._call_id}"
            yield f"{'':{_CLOCK}}dialer{far:>{self._width - 4}}"
        since = "" if self._last is None or not self._tells_since else f"+{(at - self._last).total_seconds():.3f}"
        self._last = at
        elsewhere = "" if message["peer"] == self._peer else f"  {message['peer']}"
        arrow = _arrow(self._label(message), self._width, sent=message["direction"] == "sent")
        yield f"{at.astimezone():%H:%M:%S}.{at.microsecond // 1000:03d}  {arrow}  {since:>8}{elsewhere}".rstrip()
        if self._whole:
            yield from (f"    {line}" for line in message["text"].rstrip().splitlines())
            yield ""

    def _label(self, message: Json) -> str:
        text = message["text"]
        start = text.partition("\r\n")[0]
        if request := _REQUEST.fullmatch(start):
            label = f"{request[1]} {request[2]}" if request[1] == "INVITE" else request[1]
        else:
            response = _RESPONSE.fullmatch(start)
            label = response[1].strip() if response else start
        notes = [
            *(["SDP"] if _HAS_SDP.search(text) else []),
            *(["credentials"] if _ANSWERS_CHALLENGE.search(text) else []),
            *([f"Q.850 {found[1]}"] if (found := _CAUSE.search(text)) else []),
            *([f"Retry-After {found[1]}"] if (found := _RETRY_AFTER.search(text)) else []),
            *(["again"] if (message["direction"], text) in self._seen else []),
        ]
        self._seen.add((message["direction"], text))
        noted = f" ({', '.join(notes)})" if notes else ""
        room = max(2, self._width - 5 - len(noted))
        return (label if len(label) <= room else label[: room - 1] + "…") + noted


def _arrow(label: str, width: int, *, sent: bool) -> str:
    """
    >>> print(_arrow("BYE", 52, sent=True), _arrow("200 OK", 52, sent=False), sep="\\n")
    │─ BYE ─────────────────────────────────────────────▶│
    │◀────────────────────────────────────────── 200 OK ─│
    """
    rest = width - 4 - len(label)
    return f"│─ {label} {'─' * rest}▶│" if sent else f"│◀{'─' * rest} {label} ─│"


def story(call: Json) -> Iterator[str]:
    """What a call came to: a line for each attempt, and its end."""
    for attempt in call["attempts"]:
        dialed = attempt["dialed_at"]
        at = f", dialed {datetime.fromisoformat(dialed).astimezone():%Y-%m-%d %H:%M:%S %Z}" if dialed else ""
        why = attempt["reason"] or ""
        if attempt["sip_status"] is not None and str(attempt["sip_status"]) not in why:
            why = f"{why}, SIP {attempt['sip_status']}".removeprefix(", ")
        ended = (
            f"{attempt['disposition']}: {why}; ended by {attempt['ended_by']}" if attempt["disposition"] else "goes on"
        )
        yield f"attempt {attempt['number']} over {attempt['trunk']}{at}: {ended}; Call-ID {attempt['sip_call_id']}"
    yield f"call {call['id']}: {call['state']}" + (f", {call['disposition']}" if call["disposition"] else "")
