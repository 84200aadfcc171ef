"""The little of SDP that one G.711 audio stream needs: read an offer or answer, write an answer or offer (RFC 4566, 3264).

Pure. Only RTP/AVP audio with PCMU or PCMA at 8 kHz is ever accepted; every other stream of an offer is refused by port 0,
as RFC 3264 section 6 says. Addresses are IP literals: a name in a c= line counts as malformed.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Literal

from sip.grammar import MalformedMessage

Codec = Literal["PCMU", "PCMA"]
Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]

CONTENT_TYPE: Final = "application/sdp"
MAX_STREAMS: Final = 16
_STATIC: Final[dict[int, str]] = {0: "PCMU/8000", 8: "PCMA/8000"}  # RFC 3551 table 4
_MIRROR: Final[dict[Direction, Direction]] = {"sendonly": "recvonly", "recvonly": "sendonly"}
_MEDIA: Final = re.compile(r"([a-z]+) ([0-9]{1,5})(?:/[0-9]+)? (\S+) (.+)")
_RTPMAP: Final = re.compile(r"rtpmap:([0-9]{1,3}) ([A-Za-z0-9.-]+/[0-9]+)(?:/1)?")


@dataclass(frozen=True, slots=True)
class Stream:
    """One m= section. `host` is "" when no c= line counts for it, `port` 0 means refused, `codecs` maps payload types."""

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    host: str
    direction: Direction
    codecs: dict[int, str]

    def g711(self) -> tuple[int, Codec] | None:
        """The first payload type that is PCMU or PCMA, None when there is none or the stream is not plain RTP audio."""
        if self.kind != "audio" or self.protocol != "RTP/AVP" or not self.port:
            return None
        for text in self.formats:
            name = self.codecs.get(int(text), "") if text.isdecimal() and len(text) <= 3 else ""
            if name == "PCMU/8000":
                return int(text), "PCMU"
            if name == "PCMA/8000":
                return int(text), "PCMA"
        return None

    def events(self) -> int | None:
        """The payload type of telephone events at 8 kHz (RFC 4733), None when the stream has none."""
        found = (int(text) for text in self.formats if text.isdecimal() and len(text) <= 3)
        return next((number for number in found if self.codecs.get(number) == "TELEPHONE-EVENT/8000"), None)


@dataclass(frozen=True, slots=True)
class AudioTarget:
    """Where and how to send audio: an IP address and port, a payload type and its codec, the *peer's* direction.

    `events` is the payload type of telephone events; None: the peer takes none.
    """

    host: str
    port: int
    payload_type: int
    codec: Codec
    direction: Direction
    events: int | None = None

    @property
    def listens(self) -> bool:
        """Whether the peer wants to receive: not on hold, and with an address (0.0.0.0 is the old form of hold)."""
        return self.direction in {"sendrecv", "recvonly"} and not ipaddress.ip_address(self.host).is_unspecified


@dataclass(frozen=True, slots=True)
class Origin:
    """Our side: IP address and RTP port, the dialog's session number, and a version that grows with each change (o=)."""

    host: str
    port: int
    session: int
    version: int


def parse_streams(body: bytes) -> tuple[Stream, ...]:
    """The m= sections of a session description, in order; session-level c= and direction count where a section has none.

    Raises MalformedMessage on anything that cannot be read.
    """
    lines = body.decode("utf-8", "replace").splitlines()
    if not lines or lines[0].strip() != "v=0":
        raise MalformedMessage("a session description that does not begin with v=0")
    starts = [number for number, line in enumerate(lines) if line.startswith("m=")]
    if len(starts) > MAX_STREAMS:
        raise MalformedMessage(f"{len(starts)} media sections")
    head = lines[: starts[0]] if starts else lines
    session_host = _connection(head)
    session_direction = _direction(head) or "sendrecv"
    return tuple(
        _stream(lines[start:end], session_host, session_direction)
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=False)
    )


def choose_audio(streams: tuple[Stream, ...]) -> tuple[int, AudioTarget] | None:
    """The index and target of the first stream that can be carried, None when none can."""
    for index, stream in enumerate(streams):
        found = stream.g711()
        if found and stream.host:
            return index, AudioTarget(stream.host, stream.port, *found, stream.direction, stream.events())
    return None


def describe_answer(streams: tuple[Stream, ...], chosen: int, target: AudioTarget, ours: Origin) -> bytes:
    """The answer that carries stream `chosen` at our address and refuses all others (RFC 3264 section 6)."""
    sections: list[str] = []
    for index, stream in enumerate(streams):
        if index == chosen:
            direction = _MIRROR.get(target.direction, target.direction)
            sections += _audio(ours.port, {target.payload_type: target.codec}, direction, target.events)
        else:
            sections.append(f"m={stream.kind} 0 {stream.protocol} {' '.join(stream.formats)}")
    return _session(ours, sections)


def describe_offer(ours: Origin) -> bytes:
    """An offer of both G.711 codecs, for an INVITE that came without one (RFC 3261 13.2.1)."""
    return _session(ours, _audio(ours.port, {8: "PCMA", 0: "PCMU"}, "sendrecv", 101))


def _audio(port: int, codecs: dict[int, Codec], direction: Direction, events: int | None) -> list[str]:
    maps = [f"a=rtpmap:{payload_type} {codec}/8000" for payload_type, codec in codecs.items()]
    formats = [*map(str, codecs)]
    if events is not None:
        formats.append(str(events))
        maps += [f"a=rtpmap:{events} telephone-event/8000", f"a=fmtp:{events} 0-15"]
    return [f"m=audio {port} RTP/AVP {' '.join(formats)}", *maps, "a=ptime:20", f"a={direction}"]


def _session(ours: Origin, sections: list[str]) -> bytes:
    address = f"IN IP{ipaddress.ip_address(ours.host).version} {ours.host}"
    lines = ["v=0", f"o=- {ours.session} {ours.version} {address}", "s=-", f"c={address}", "t=0 0", *sections, ""]
    return "\r\n".join(lines).encode()


def _connection(lines: list[str]) -> str:
    for line in lines:
        if line.startswith("c="):
            fields = line[2:].split()
            if len(fields) != 3 or fields[0] != "IN":
                raise MalformedMessage("a c= line that cannot be read")
            try:
                return str(ipaddress.ip_address(fields[2].partition("/")[0]))
            except ValueError as error:
                raise MalformedMessage("a c= line without IP address") from error
    return ""


def _direction(lines: list[str]) -> Direction | None:
    for line in lines:
        match line.strip():
            case "a=sendrecv":
                return "sendrecv"
            case "a=sendonly":
                return "sendonly"
            case "a=recvonly":
                return "recvonly"
            case "a=inactive":
                return "inactive"
    return None


def _stream(lines: list[str], session_host: str, session_direction: Direction) -> Stream:
    found = _MEDIA.fullmatch(lines[0][2:].strip())
    if not found or int(found[2]) > 65_535:
        raise MalformedMessage("an m= line that cannot be read")
    codecs = dict(_STATIC)
    for line in lines:
        mapped = _RTPMAP.fullmatch(line[2:].strip()) if line.startswith("a=rtpmap:") else None
        if mapped:
            codecs[int(mapped[1])] = mapped[2].upper()
    return Stream(
        kind=found[1],
        port=int(found[2]),
        protocol=found[3],
        formats=tuple(found[4].split()),
        host=_connection(lines) or session_host,
        direction=_direction(lines) or session_direction,
        codecs=codecs,
    )
