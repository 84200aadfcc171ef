"""The small pieces of SIP's grammar: quoted lists, parameters, URIs, addresses, Via values (RFC 3261 section 25).

Pure text in, records out. What cannot be read raises `MalformedMessage` and nothing else.
"""

import re
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import unquote

NAME: Final = r"[A-Za-z0-9.!%*_+`'~-]+"
_HOST: Final = r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+"  # an underscore is no hostname, and yet common in containers
_VIA: Final = re.compile(
    rf"SIP\s*/\s*2\.0\s*/\s*({NAME})\s+({_HOST})\s*(?::\s*([0-9]{{1,5}}))?\s*(;.*)?", re.IGNORECASE
)
# Possessive quantifiers: a hostile value costs one pass.
_NAME_ADDRESS: Final = re.compile(r'((?:"(?:[^"\\]|\\.)*+"|[^"<>])*+)<([^<>]*+)>\s*(;.*)?')
_HOST_PORT: Final = re.compile(rf"({_HOST})(?::([0-9]{{1,5}}))?")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")


class MalformedMessage(ValueError):
    """The text breaks SIP's grammar or one of our limits; the message says where."""


def split_unquoted(text: str, separator: str) -> list[str]:
    """The stripped pieces of `text` between separators that stand outside "quotes" and <brackets>."""
    if '"' not in text and "<" not in text:
        return [piece.strip() for piece in text.split(separator)]
    pieces, start, quoted, bracketed, escaped = [], 0, False, False, False
    for position, character in enumerate(text):
        if escaped:
            escaped = False
        elif quoted:
            escaped = character == "\\"
            quoted = character != '"'
        elif character == '"':
            quoted = True
        elif character in "<>":
            bracketed = character == "<"
        elif character == separator and not bracketed:
            pieces.append(text[start:position].strip())
            start = position + 1
    return [*pieces, text[start:].strip()]


def parse_parameters(text: str) -> dict[str, str]:
    """`;a=1;b` as {"a": "1", "b": ""}: names in lower case, the first of a repeated name, quotes taken off."""
    parameters: dict[str, str] = {}
    for piece in split_unquoted(text, ";"):
        name, _, value = piece.partition("=")
        if name:
            parameters.setdefault(name.strip().lower(), unquote_string(value.strip()))
    return parameters


def unquote_string(text: str) -> str:
    """The content of a quoted-string; anything else as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _port(text: str | None) -> int | None:
    if not text:
        return None
    if not 0 < int(text) <= 65_535:
        raise MalformedMessage(f"port {text} is out of range")
    return int(text)


@dataclass(frozen=True, slots=True)
class Uri:
    """A sip, sips or tel URI. `user` is unescaped, "" when absent (a tel URI's number is its user, its host is "")."""

    scheme: str
    user: str
    host: str
    port: int | None
    parameters: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URI; raises MalformedMessage when it has no scheme, or no usable host (other schemes are only cut)."""
        scheme, colon, rest = text.strip().partition(":")
        if not colon or not _SCHEME.fullmatch(scheme):
            raise MalformedMessage("a URI without scheme")
        if scheme.lower() not in {"sip", "sips"}:
            subject, _, parameters = rest.partition(";")
            return cls(scheme.lower(), unquote(subject), "", None, parse_parameters(parameters))
        # A user part may hold ; and ? (RFC 3261 25.1), so it is cut off first.
        userinfo, _, address = rest.rpartition("@")
        address, _, parameters = address.partition("?")[0].partition(";")
        found = _HOST_PORT.fullmatch(address)
        if not found:
            raise MalformedMessage("a SIP URI without a usable host")
        user = unquote(userinfo.partition(":")[0])
        return cls(scheme.lower(), user, found[1], _port(found[2]), parse_parameters(parameters))


@dataclass(frozen=True, slots=True)
class Address:
    """A From, To, Contact or Route value. `display` is "" when absent; `tag` too."""

    display: str
    uri: str
    parameters: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `"Display" <uri>;params` or `uri;params`: without brackets all parameters are the header's (20.10)."""
        text = text.strip()
        display, parameters = "", ""
        if found := _NAME_ADDRESS.fullmatch(text):
            display, uri, parameters = unquote_string(found[1].strip()), found[2].strip(), found[3] or ""
        else:
            uri, _, parameters = text.partition(";")
        if not uri or re.search(r'[<>"\s]', uri):
            raise MalformedMessage("an address that is neither a URI nor <URI>")
        return cls(display, uri, parse_parameters(parameters))

    @property
    def tag(self) -> str:
        """The dialog tag (RFC 3261 19.3)."""
        return self.parameters.get("tag", "")

    @property
    def user(self) -> str:
        """The URI's user part, "" when it has none or is no URI."""
        try:
            return Uri.parse(self.uri).user
        except MalformedMessage:
            return ""


@dataclass(frozen=True, slots=True)
class Via:
    """One Via value. `port` is None when left out (then the transport's default counts)."""

    transport: str
    host: str
    port: int | None
    parameters: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one Via value; raises MalformedMessage."""
        found = _VIA.fullmatch(text.strip())
        if not found:
            raise MalformedMessage("a Via that cannot be read")
        return cls(found[1].upper(), found[2], _port(found[3]), parse_parameters(found[4] or ""))

    @property
    def branch(self) -> str:
        """The transaction id; "" from a peer of RFC 2543."""
        return self.parameters.get("branch", "")
