"""Requests inside a call that pjsua2 itself would answer with 500, and our answers. Pure.

A key may come as an INFO with the body `5` (application/dtmf, as Cisco and Asterisk write it), where pjsua2 takes only
application/dtmf-relay. An OPTIONS (RFC 3261 11) or an INFO without a body asks whether the call is still there.
"""

from typing import Final

from sip.causes import Headers

ASKED: Final = frozenset({"INFO", "OPTIONS"})
# The stack's own: keys, what a video call asks for, and ICE as it trickles in.
_TAKEN_BY_THE_STACK: Final = frozenset(
    {"application/dtmf-relay", "application/media_control+xml", "application/trickle-ice-sdpfrag"}
)
_KEYS: Final = "0123456789*#ABCD"  # in the order of RFC 4733's events: some write a key's number


def answer_to(request: str) -> tuple[int, str]:
    """Status and key for the text of one that is `ASKED`. Status 0: the stack answers; "": no key.

    >>> answer_to("INFO sip:a SIP/2.0\\r\\nContent-Type: application/dtmf\\r\\n\\r\\n5\\r\\n")
    (200, '5')
    """
    head, _, body = request.partition("\r\n\r\n")
    if request.startswith("OPTIONS") or not body.strip():
        return 200, ""
    kind = Headers(head).first("content-type").partition(";")[0].strip().lower()
    if kind in _TAKEN_BY_THE_STACK:
        return 0, ""
    if kind != "application/dtmf":
        return 415, ""
    key = _key(body.strip().upper())
    return (200 if key else 400), key


def _key(word: str) -> str:
    if len(word) == 1:
        return word if word in _KEYS else ""
    return _KEYS[int(word)] if word.isascii() and word.isdecimal() and int(word) < len(_KEYS) else ""
