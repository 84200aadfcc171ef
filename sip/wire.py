"""SIP messages on the wire: parsed strictly, built so that nothing can be injected (RFC 3261 sections 7, 8.2.6, 18).

Pure: bytes in, records out, and back. A message that breaks the grammar or a limit raises `MalformedMessage`, and
nothing else; what was parsed once never raises later. Header text keeps undecodable bytes (surrogateescape), so that a display
name in Latin-1, which is common, is echoed as it came.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from sip.grammar import NAME, Address, MalformedMessage, Via, split_unquoted

__all__ = ["MalformedMessage", "Message", "Request", "Response", "canonical", "framed", "parse", "respond"]

MAX_MESSAGE_BYTES: Final = 65_535
MAX_HEADERS: Final = 128
MAX_LINE_CHARACTERS: Final = 8_192
BRANCH_COOKIE: Final = "z9hG4bK"  # RFC 3261 8.1.1.7

REASONS: Final = {
    100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 202: "Accepted", 400: "Bad Request",
    401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 407: "Proxy Authentication Required",
    408: "Request Timeout", 410: "Gone", 415: "Unsupported Media Type", 416: "Unsupported URI Scheme",
    420: "Bad Extension", 480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist", 482: "Loop Detected",
    484: "Address Incomplete", 486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here",
    491: "Request Pending", 500: "Server Internal Error", 502: "Bad Gateway", 503: "Service Unavailable",
    504: "Server Time-out", 600: "Busy Everywhere", 603: "Decline", 604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
}  # fmt: skip

_CANONICAL: Final = {
    "v": "Via", "f": "From", "t": "To", "i": "Call-ID", "m": "Contact", "l": "Content-Length", "c": "Content-Type",
    "e": "Content-Encoding", "k": "Supported", "s": "Subject", "o": "Event", "r": "Refer-To", "u": "Allow-Events",
    "call-id": "Call-ID", "cseq": "CSeq", "www-authenticate": "WWW-Authenticate", "mime-version": "MIME-Version",
}  # fmt: skip
_METHOD: Final = re.compile(NAME)
_REQUEST_LINE: Final = re.compile(rf"({NAME}) ([^\s<>]+) SIP/2\.0", re.IGNORECASE)
_STATUS_LINE: Final = re.compile(r"SIP/2\.0 ([1-6][0-9][0-9])(?: (.*))?", re.IGNORECASE)
_HEADER: Final = re.compile(rf"({NAME})[ \t]*:[ \t]*(.*)", re.DOTALL)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CSEQ: Final = re.compile(rf"([0-9]{{1,10}})[ \t]+({NAME})")


def canonical(name: str) -> str:
    """The one spelling of a header name: compact forms expanded, words capitalised."""
    lower = name.lower()
    return _CANONICAL.get(lower) or "-".join(word.capitalize() for word in lower.split("-"))


@dataclass(frozen=True, kw_only=True)
class Message(ABC):
    """What requests and responses share. `headers`: (canonical name, value) in wire order, without Content-Length."""

    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def first(self, name: str) -> str | None:
        """The value of the first header called `name` (canonical spelling), None without one."""
        return next((value for known, value in self.headers if known == name), None)

    def lines(self, name: str) -> list[str]:
        """The values of every header line called `name`, as they came."""
        return [value for known, value in self.headers if known == name]

    def values(self, name: str) -> list[str]:
        """Every value of a header that may be a comma list (Via, Route, Record-Route, Contact, Require), in order."""
        return [piece for line in self.lines(name) for piece in split_unquoted(line, ",") if piece]

    @cached_property
    def call_id(self) -> str:
        """The Call-ID."""
        return self._one("Call-ID")

    @cached_property
    def from_(self) -> Address:
        """The From header."""
        return Address.parse(self._one("From"))

    @cached_property
    def to(self) -> Address:
        """The To header."""
        return Address.parse(self._one("To"))

    @cached_property
    def cseq(self) -> tuple[int, str]:
        """The CSeq's number and method."""
        found = _CSEQ.fullmatch(self._one("CSeq"))
        if not found or int(found[1]) >= 2**31:  # RFC 3261 8.1.1.5
            raise MalformedMessage("a CSeq that cannot be read")
        return int(found[1]), found[2]

    @cached_property
    def via(self) -> Via:
        """The topmost Via."""
        return Via.parse((self.values("Via") or [""])[0])

    def _one(self, name: str) -> str:
        lines = self.lines(name)
        if len(lines) != 1 or not lines[0]:
            raise MalformedMessage(f"{len(lines)} {name} headers where there must be one")
        return lines[0]

    @abstractmethod
    def start_line(self) -> str:
        """The first line, without its end."""

    def check(self) -> None:
        """Raise MalformedMessage unless every header that a transaction needs can be read (RFC 3261 8.1.1)."""
        _ = self.call_id, self.from_, self.to, self.cseq, self.via

    def encode(self) -> bytes:
        """The message as bytes. Raises MalformedMessage when a value holds a line break or a control character."""
        lines = [self.start_line(), *(f"{name}: {value}" for name, value in self.headers)]
        if any(_CONTROL.search(line) for line in lines):
            raise MalformedMessage("a line break or control character in a header")
        head = "\r\n".join([*lines, f"Content-Length: {len(self.body)}", "", ""])
        return head.encode("utf-8", "surrogateescape") + self.body


@dataclass(frozen=True, kw_only=True)
class Request(Message):
    """A request. `uri` is the Request-URI as text."""

    method: str
    uri: str

    def start_line(self) -> str:
        """METHOD uri SIP/2.0."""
        if not _METHOD.fullmatch(self.method) or re.search(r"[\s<>]", self.uri):
            raise MalformedMessage("a method or Request-URI that cannot be sent")
        return f"{self.method} {self.uri} SIP/2.0"

    def received_from(self, host: str, port: int) -> "Request":
        """The same request as a server sees it: received and rport added to its top Via (RFC 3261 18.2.1, RFC 3581)."""
        top, *others = self.values("Via")
        named = {"received", "rport"}
        kept = [piece for piece in split_unquoted(top, ";") if piece.partition("=")[0].strip().lower() not in named]
        if "rport" in self.via.parameters:
            kept += [f"received={host}", f"rport={port}"]
        elif self.via.host.strip("[]") != host:
            kept += [f"received={host}"]
        vias = [("Via", value) for value in (";".join(kept), *others)]
        return replace(self, headers=(*vias, *(header for header in self.headers if header[0] != "Via")))


@dataclass(frozen=True, kw_only=True)
class Response(Message):
    """A response. `status` is 100 to 699."""

    status: int
    reason: str

    def start_line(self) -> str:
        """SIP/2.0 status reason."""
        return f"SIP/2.0 {self.status} {self.reason}"


def parse(data: bytes) -> Request | Response:
    """Read one whole message, a datagram or what `framed` cut. Raises MalformedMessage.

    Leading line breaks are skipped (RFC 3261 7.5). Bytes after Content-Length are dropped; fewer than it says are an
    error (18.3). Without Content-Length the body is the rest.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise MalformedMessage(f"{len(data)} bytes")
    head, separator, body = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    if not separator:
        raise MalformedMessage("no empty line after the headers")
    start, *lines = head.decode("utf-8", "surrogateescape").split("\r\n")
    headers = tuple(_headers(lines))
    lengths = {value for name, value in headers if name == "Content-Length"}
    if lengths:
        length = _content_length(lengths)
        if length > len(body):
            raise MalformedMessage(f"Content-Length {length}, body {len(body)} bytes")
        headers, body = tuple(header for header in headers if header[0] != "Content-Length"), body[:length]
    if _CONTROL.search(start):
        raise MalformedMessage("a control character in the first line")
    if found := _STATUS_LINE.fullmatch(start):
        response = Response(status=int(found[1]), reason=found[2] or "", headers=headers, body=body)
        response.check()
        return response
    if not (found := _REQUEST_LINE.fullmatch(start)):
        raise MalformedMessage("a first line that is neither a request's nor a response's")
    request = Request(method=found[1], uri=found[2], headers=headers, body=body)
    request.check()
    if request.cseq[1] != request.method:
        raise MalformedMessage("the CSeq names another method")
    return request


def _headers(lines: list[str]) -> Iterator[tuple[str, str]]:
    unfolded: list[str] = []
    for line in lines:
        if line[:1] in {" ", "\t"} and unfolded:  # a folded line goes on where the last one stopped: RFC 3261 7.3.1
            unfolded[-1] += " " + line.strip()
        else:
            unfolded.append(line)
    if len(unfolded) > MAX_HEADERS:
        raise MalformedMessage(f"{len(unfolded)} headers")
    for line in unfolded:
        found = _HEADER.fullmatch(line)
        if not found or len(line) > MAX_LINE_CHARACTERS or _CONTROL.search(line):
            raise MalformedMessage("a header line that cannot be read")
        yield canonical(found[1]), found[2].rstrip()


def _content_length(values: Iterable[str]) -> int:
    texts = list(values)
    if len(texts) != 1 or not re.fullmatch(r"[0-9]{1,6}", texts[0]):
        raise MalformedMessage("a Content-Length that cannot be read")
    return int(texts[0])


def framed(buffer: bytearray) -> Iterator[bytes]:
    """Cut whole messages off the front of a TCP stream's buffer (RFC 3261 18.3); the rest stays in it.

    Raises MalformedMessage when the stream cannot be followed any more: then the connection must be closed.
    """
    while True:
        while buffer.startswith((b"\r", b"\n")):
            del buffer[:1]
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > MAX_MESSAGE_BYTES:
                raise MalformedMessage("a message without end")
            return
        found = re.findall(rb"(?im)^(?:content-length|l)[ \t]*:[ \t]*([0-9]{1,6})[ \t]*\r$", buffer[: end + 2])
        total = end + 4 + _content_length({text.decode() for text in found})
        if total > MAX_MESSAGE_BYTES:
            raise MalformedMessage(f"{total} bytes")
        if len(buffer) < total:
            return
        yield bytes(buffer[:total])
        del buffer[:total]


def respond(
    request: Request, status: int, *, to_tag: str = "", headers: Iterable[tuple[str, str]] = (), body: bytes = b""
) -> Response:
    """The response to `request` (RFC 3261 8.2.6.2): Via, From, To, Call-ID and CSeq copied.

    `to_tag` is put to a To that has none; "" leaves it (100 Trying). Record-Route is copied where a dialog may begin: in
    2xx, and in 1xx with a tag (12.1.1).
    """
    to = request.lines("To")[0]
    if to_tag and not request.to.tag:
        to += f";tag={to_tag}"
    copied = [("Via", value) for value in request.values("Via")]
    if status // 100 == 2 or (100 < status < 200 and to_tag):
        copied += [("Record-Route", value) for value in request.values("Record-Route")]
    copied += [("From", request.lines("From")[0]), ("To", to), ("Call-ID", request.call_id)]
    copied += [("CSeq", request.lines("CSeq")[0])]
    return Response(status=status, reason=REASONS.get(status, "Unknown"), headers=(*copied, *headers), body=body)
