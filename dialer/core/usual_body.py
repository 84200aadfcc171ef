"""The quick way through the body of POST /campaign: all contacts are right, which C can tell. Whatever else is left alone.

A million contacts are a million times whatever Python does for each. Here that is two words of a loop; reading, checking and
writing down what is stored is msgspec's.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, MsgspecError, UnsetType, defstruct
from msgspec.json import Decoder, Encoder

from dialer.core.contact import LONGEST_TEXT, ContactFields, merge_texts, rest_faults, zones
from dialer.core.phone import E164, PhoneRules, normalize

_LINES: Final = re.compile(rf"{E164.pattern}(?:\n{E164.pattern})*")
_HEAD: Final = ("playbook_id", "launch_at", "recall", "expires_at", "calling_hours")
_Text = Annotated[str, Meta(max_length=LONGEST_TEXT)]
_Contact: Final = defstruct(
    "Contact",
    [
        ("phone", str),
        *(
            (name, (dict[str, Any] if name == "custom_fields" else _Text) | UnsetType, UNSET)
            for name in ContactFields.__annotations__
        ),
    ],
    gc=False,
)
_Body: Final = defstruct(
    "Body",
    [
        ("contacts", Annotated[list[_Contact], Meta(min_length=1)]),  # type: ignore[valid-type]
        *((name, Any, None) for name in _HEAD),
    ],
)
_DECODER: Final[Decoder[Any]] = Decoder(_Body)
_ENCODER: Final = Encoder()


@dataclass(frozen=True, slots=True)
class UsualBody:
    """The body as it was read: what stands beside the contacts, as JSON gives it, and the contacts, of the right types."""

    head: Mapping[str, Any]
    entries: list[Any]

    def contacts(self, rules: PhoneRules) -> tuple[dict[str, str], list[int]] | None:
        """Each phone, normalized, with its fields as JSON, in the order of first mention, and the places of the entries that
        repeat a phone; None: some contact is wrong.

        To be called once.
        """
        entries = self.entries
        phones = _normalized([entry.phone for entry in entries], rules)
        if phones is None or not {entry.timezone for entry in entries} - {UNSET} <= zones():
            return None
        if any(rest_faults({"custom_fields": entry.custom_fields}) for entry in entries if entry.custom_fields):
            return None
        for entry in entries:
            entry.phone = UNSET
        texts = _ENCODER.encode_lines(entries).decode().split("\n")[:-1]
        contacts = dict(zip(phones, texts, strict=True))
        return (contacts, []) if len(contacts) == len(phones) else _merged(phones, texts)


def read_usual(body: bytes) -> UsualBody | None:
    """The body, where all of it is of the right types; None: it has to be looked at in the exact way."""
    try:
        # msgspec passes over unknown fields without a look at their bytes.
        body.decode()
        read = _DECODER.decode(body)
    except (MsgspecError, ValueError, RecursionError):
        return None
    return UsualBody({name: getattr(read, name) for name in _HEAD}, read.contacts)


def _normalized(written: list[str], rules: PhoneRules) -> list[str] | None:
    lines = "\n".join(written)
    if lines.count("\n") == len(written) - 1 and _LINES.fullmatch(lines):
        return written
    try:
        return [normalize(phone, rules) for phone in written]
    except ValueError:
        return None


def _merged(phones: Iterable[str], texts: Iterable[str]) -> tuple[dict[str, str], list[int]]:
    contacts: dict[str, str] = {}
    repeated = []
    for index, (phone, text) in enumerate(zip(phones, texts, strict=True)):
        if phone in contacts:
            contacts[phone] = merge_texts(contacts[phone], text)
            repeated.append(index)
        else:
            contacts[phone] = text
    return contacts, repeated
