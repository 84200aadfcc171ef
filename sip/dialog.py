"""What another process needs to end a dialog that this one began: the messages that made it, kept as they pass. Pure.

They are read only where a process has died (`sip.orphan_dialog`): a call that goes well pays for their copy and no more.
"""

from dataclasses import dataclass

import msgspec


@dataclass(slots=True)
class DialogFacts:
    """The heads of our INVITE (without those of its body) and of the latest response to it, where it went (ip:port), and
    whether our ACK to a 200 is out.
    """

    invite: str = ""
    response: str = ""
    destination: str = ""
    confirmed: bool = False

    def invite_left(self, text: str, destination: str) -> None:
        """Our INVITE was sent; after a digest challenge the second one replaces the first."""
        # The stack prints the headers of the body last.
        self.invite, self.destination, self.response = text.partition("\r\nContent-")[0], destination, ""

    def response_came(self, text: str) -> None:
        """A response above 100: it makes the dialog, or a later one makes it anew (a fork, RFC 3261 12.1.2)."""
        self.response = _head(text)

    @property
    def by_connection(self) -> bool:
        """Whether the INVITE went over TCP or TLS."""
        return "\r\nVia: SIP/2.0/T" in self.invite

    def as_json(self) -> str:
        """The facts so far; "" before the INVITE."""
        return msgspec.json.encode(self).decode() if self.invite else ""

    @classmethod
    def from_json(cls, text: str) -> "DialogFacts":
        """The facts that another process has left. Raises ValueError."""
        return msgspec.json.decode(text, type=cls)


def _head(text: str) -> str:
    head = text.partition("\r\n\r\n")[0]
    # Bytes that are no UTF-8 come as lone surrogates (PEP 383), which no JSON can hold.
    return head if head.isascii() else head.encode("utf-8", "replace").decode()
