"""The codecs of a session description that we send: only those that a trunk wants, in its order. Pure."""

import re
from collections.abc import Sequence
from typing import Final

_MEDIA: Final = re.compile(r"m=audio (\S+) (\S+) ([0-9 ]+)")
_RTPMAP: Final = re.compile(r"a=rtpmap:([0-9]+) ([^/\s]+)", re.IGNORECASE)
_ABOUT: Final = re.compile(r"a=(?:rtpmap|fmtp):([0-9]+)\b")
_STATIC: Final = {"0": "pcmu", "8": "pcma", "9": "g722"}  # RFC 3551 table 4: they may come without rtpmap
ALWAYS: Final = "telephone-event"


def with_codecs(sdp: str, codecs: Sequence[str]) -> str:
    """`sdp` with only these codecs (names as in rtpmap, in lower case) in its audio, and with telephone-event.

    Where none of them is in it the description stays as it is: an offer of nothing helps nobody.
    """
    lines = sdp.split("\r\n")
    named = {found[1]: found[2].lower() for line in lines if (found := _RTPMAP.match(line))}
    names = {**_STATIC, **named}
    media = next((found for line in lines if (found := _MEDIA.fullmatch(line.strip()))), None)
    if media is None:
        return sdp
    offered = media[3].split()
    kept = [payload for codec in codecs for payload in offered if names.get(payload) == codec]
    if not kept:
        return sdp
    kept += [payload for payload in offered if names.get(payload) == ALWAYS]
    result = []
    for line in lines:
        about = _ABOUT.match(line)
        if _MEDIA.fullmatch(line.strip()):
            result.append(f"m=audio {media[1]} {media[2]} {' '.join(kept)}")
        elif about is None or about[1] in kept or about[1] not in offered:
            result.append(line)
    return "\r\n".join(result)
