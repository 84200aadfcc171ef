"""What a SIP message says about why a leg went as it did: status, Q.850 cause, Retry-After, phrase. Pure.

The stack hands over messages as text that it has already parsed and accepted; here only the few headers that it keeps
to itself are read. What cannot be read counts as absent: the far side's grammar is not ours to judge in a live call.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_STATUS_LINE: Final = re.compile(r"SIP/2\.0 ([1-6][0-9]{2}) ?([^\r\n]*)")
# What commas and semicolons separate (RFC 3261 section 25.1): inside quotes they are text. A quote never closed is text, too.
_VALUE: Final = re.compile(r'(?:"[^"]*"|[^,])+')
_PARAMETER: Final = re.compile(r'(?:"[^"]*"|[^;])+')
_ESCAPED: Final = re.compile(r"\\(.)")
_FOLD: Final = re.compile(r"\r?\n[ \t]+")
_COMPACT: Final = {
    "t": "to",
    "f": "from",
    "i": "call-id",
    "m": "contact",
    "v": "via",
    "c": "content-type",
    "l": "content-length",
}


class Headers:
    """The header lines of one message, by lower-case full name, unfolded (RFC 3261 section 7.3)."""

    __slots__ = ("_lines", "start_line")

    def __init__(self, text: str) -> None:
        head = text.partition("\r\n\r\n")[0]
        if "\n " in head or "\n\t" in head:
            head = _FOLD.sub(" ", head)
        self.start_line, _, rest = head.partition("\r\n")
        self._lines: dict[str, list[str]] = {}
        for line in rest.split("\r\n"):
            name, _, value = line.partition(":")
            name = name.strip().lower()
            self._lines.setdefault(_COMPACT.get(name, name), []).append(value.strip())

    def first(self, name: str) -> str:
        """The first line's value; "" without one."""
        return self._lines.get(name, [""])[0]

    def all(self, name: str) -> list[str]:
        """Every line's value, in order; a line may hold several, separated by commas."""
        return self._lines.get(name, [])


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a response, or the request that ended a dialog, says.

    `sip_status` 0 for a request. `q850` None without a Reason header of that protocol (RFC 3326), `retry_after_s` None
    without a Retry-After that begins with seconds (RFC 3261 20.33).
    """

    sip_status: int
    phrase: str
    q850: int | None
    retry_after_s: int | None


def read_verdict(text: str) -> Verdict:
    """The verdict in the message `text`.

    >>> read_verdict('SIP/2.0 486 Busy Here\\r\\nReason: Q.850;cause=17;text="User busy"\\r\\n\\r\\n')
    Verdict(sip_status=486, phrase='Busy Here', q850=17, retry_after_s=None)
    """
    headers = Headers(text)
    line = _STATUS_LINE.match(headers.start_line)
    cause, words = _q850(headers.all("reason"))
    status = int(line[1]) if line else 0
    phrase = line[2].strip() if line else words
    return Verdict(status, phrase, cause, _seconds(headers.first("retry-after")))


def carries_description(text: str) -> bool:
    """Whether the message has a session description (early media, when it is a provisional response)."""
    head, _, body = text.partition("\r\n\r\n")
    return bool(body.strip()) and Headers(head).first("content-type").lower().startswith(
        ("application/sdp", "multipart/")
    )


def _q850(lines: Sequence[str]) -> tuple[int | None, str]:
    """Cause and text of the first Q.850 reason with a cause that exists, else of the first; None and "" without one."""
    first: tuple[int | None, str] | None = None
    for value in _VALUE.findall(_ESCAPED.sub(_unescaped, ", ".join(lines))):
        protocol, *rest = _PARAMETER.findall(value) or [""]
        if protocol.strip().lower() != "q.850":
            continue
        pairs = [parameter.partition("=") for parameter in rest]
        named = {name.strip().lower(): given.strip() for name, _, given in pairs}
        cause, words = named.get("cause", ""), named.get("text", "").strip('"')
        if re.fullmatch(r"[0-9]{1,3}", cause) and 1 <= int(cause) <= 127:
            return int(cause), words
        first = first or (None, words)
    return first or (None, "")


def _unescaped(pair: re.Match[str]) -> str:
    # A quote that belongs to the text would end it for those who count quotes.
    return "'" if pair[1] == '"' else pair[1]


def _seconds(value: str) -> int | None:
    found = re.match(r"[0-9]{1,10}", value)
    return int(found[0]) if found else None
