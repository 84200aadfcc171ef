"""SIP messages as the stack's log prints them, without what nobody is to see. Pure."""

import re
from typing import Final, NamedTuple

# pjsua_core.c: "TX 953 bytes Request msg INVITE/cseq=1 (tdta0x55) to UDP 10.0.0.5:5060:", the message, "--end msg--".
_PRINTED: Final = re.compile(
    r"(TX|RX) [0-9]+ bytes \S+ msg \S+ \([^)]*\) (?:to|from) (\S+) (\S+):\n(.*?)\n?(?:--end msg--\s*)?", re.DOTALL
)
_CALL_ID: Final = re.compile(r"^(?:Call-ID|i)[ \t]*:[ \t]*(\S+)", re.IGNORECASE | re.MULTILINE)
# Everything of credentials but the scheme, the realm and whose they are (RFC 7616, 3.4).
_CREDENTIALS: Final = re.compile(
    r"^((?:Proxy-)?Authorization[ \t]*:[ \t]*\S+)[ \t]+(.*?)(\r?)$", re.IGNORECASE | re.MULTILINE
)
_SHOWN_OF_CREDENTIALS: Final = re.compile(r'(?:^|[,\s])((?:realm|username)="[^"]*")', re.IGNORECASE)
# The keys of SRTP (RFC 4568), and what was typed (application/dtmf-relay, application/dtmf).
_SDP_KEY: Final = re.compile(r"(inline:)[^|\s]+", re.IGNORECASE)
_DIGIT: Final = re.compile(r"^(Signal[ \t]*=[ \t]*).*?(\r?)$", re.IGNORECASE | re.MULTILINE)
_DTMF_BODY: Final = re.compile(
    r"(Content-Type[ \t]*:[ \t]*application/dtmf\b(?!-).*?\r?\n\r?\n).*", re.IGNORECASE | re.DOTALL
)


class Printed(NamedTuple):
    """A message that has left (`sent`) or come, by which transport, to or from which address."""

    sent: bool
    transport: str
    peer: str
    text: str


def read_printed(entry: str) -> Printed | None:
    """The message in an entry of the stack's log; None where it holds none."""
    found = _PRINTED.fullmatch(entry)
    return None if found is None else Printed(found[1] == "TX", found[2], found[3], found[4])


def call_id_of(text: str) -> str:
    """The Call-ID of a message; "" where it has none."""
    found = _CALL_ID.search(text)
    return "" if found is None else found[1]


def without_secrets(text: str) -> str:
    """The message without credentials, media keys and typed digits. What is left out shows as an ellipsis."""
    text = _CREDENTIALS.sub(
        lambda found: f"{found[1]} {', '.join([*_SHOWN_OF_CREDENTIALS.findall(found[2]), '…'])}{found[3]}", text
    )
    text = _SDP_KEY.sub(r"\1…", text)
    return _DTMF_BODY.sub(r"\1…", _DIGIT.sub(r"\1…\2", text))
