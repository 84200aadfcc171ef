"""What another process needs to end a dialog that this one began: kept from the messages as they pass. Pure."""

import json
import re
from typing import Final

from sip.causes import Headers
from sip.grammar import split_unquoted

_BRACKETED: Final = re.compile(r"<([^<>]+)>")


class DialogFacts:
    """The facts of one outgoing INVITE's dialog (RFC 3261 sections 9.1 and 12.2.1.1), as compact JSON.

    Keys: `uri` (Request-URI), `call_id`, `from`, `to`, `via`, `cseq` (the INVITE's number), `contact` (ours),
    `invite_routes` (the INVITE's own), `routes` (the dialog's, in sending order), `target` (their Contact, once known; the
    Request-URI until then), `destination` (ip:port), `transport`, `confirmed` (our ACK to a 200 is out). A CANCEL needs the
    INVITE's own `via`; a BYE a fresh branch and `cseq` + 1.
    """

    __slots__ = ("_facts",)

    def __init__(self) -> None:
        self._facts: dict[str, object] = {}

    def invite_left(self, text: str, destination: str) -> None:
        """Our INVITE `text` was sent; after a digest challenge the second one replaces the first."""
        headers = Headers(text)
        uri = headers.start_line.split(" ")[1]
        via = headers.first("via")
        self._facts = {
            "uri": uri,
            "call_id": headers.first("call-id"),
            "from": headers.first("from"),
            "to": headers.first("to"),
            "via": via,
            "cseq": int(headers.first("cseq").split(" ")[0]),
            "contact": headers.first("contact"),
            "invite_routes": headers.all("route"),
            "routes": headers.all("route"),
            "target": uri,
            "destination": destination,
            "transport": via.partition(" ")[0].rpartition("/")[2].lower(),
            "confirmed": False,
        }

    def response_came(self, text: str) -> None:
        """A response with a To tag makes the dialog, or a later one makes it anew (a fork, RFC 3261 12.1.2)."""
        headers = Headers(text)
        if not self._facts or ";tag=" not in headers.first("to").lower():
            return
        self._facts["to"] = headers.first("to")
        contact = headers.first("contact")
        if contact:
            bracketed = _BRACKETED.search(contact)
            self._facts["target"] = bracketed[1] if bracketed else contact.partition(";")[0].strip()
        recorded = [route for line in headers.all("record-route") for route in split_unquoted(line, ",")]
        if recorded:
            self._facts["routes"] = recorded[::-1]

    def confirmed(self) -> None:
        """A 200 was acknowledged: from now on only a BYE ends the dialog."""
        if self._facts:
            self._facts["confirmed"] = True

    def as_json(self) -> str:
        """The facts so far; "" before the INVITE."""
        return json.dumps(self._facts, separators=(",", ":")) if self._facts else ""
