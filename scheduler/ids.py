"""Public ids of calls, contacts and events: UUIDs made from the integer key, so that no table needs a UUID column or index.

A text key costs a hot table 6.6 times an integer's price. The 122 free bits of a version 8 UUID (RFC 9562, 5.8) hold

    tag (74 bits): keyed BLAKE2b of the kind and the integer
    masked integer (48 bits): the integer XOR keyed BLAKE2b of the kind and the tag

so ids are unique, cannot be guessed or made without this database's key, and do not show how many calls came before. A database
that is restored from a backup goes on with another key: see `PublicIds`.
"""

import hmac
import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

from dialer.core.model import CallId
from scheduler.connection import sqlite3

KEY_BYTES = 16

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_INTEGER_BITS = 48
_TAG_BITS = 74
_LOW_48 = (1 << 48) - 1
_LOW_62 = (1 << 62) - 1


@dataclass(frozen=True, slots=True)
class Life:
    """Calls, contacts and events from these numbers on have their ids from `key` (16 bytes), until the next life began."""

    key: bytes
    first_call: int = 0
    first_contact: int = 0
    first_event: int = 0


class PublicIds:
    """Makes and reads the public ids of one database.

    `key` is its `id_key`, 16 bytes; `later` are the lives that it began when it was restored from a backup, oldest first: what
    the life before had given a number to after the backup keeps its id, which is nobody's now.
    """

    def __init__(self, key: bytes, later: Iterable[Life] = ()) -> None:
        self._lives = (Life(key), *later)
        for life in self._lives:
            if len(life.key) != KEY_BYTES:
                raise ValueError(f"id_key: expected {KEY_BYTES} bytes, got {len(life.key)}")
        self._starts = {
            b"call": [life.first_call for life in self._lives],
            b"contact": [life.first_contact for life in self._lives],
            b"event": [life.first_event for life in self._lives],
        }

    @classmethod
    def of(cls, connection: sqlite3.Connection) -> Self:
        """The ids of the database behind `connection`. Raises LookupError when it was never migrated."""
        row = connection.execute("SELECT value FROM meta WHERE key = 'id_key'").fetchone()
        if row is None:
            raise LookupError("the database has no id_key: run `dialer db migrate`")
        later = connection.execute("SELECT key, first_call, first_contact, first_event FROM life ORDER BY id")
        return cls(bytes(row[0]), [Life(bytes(key), *starts) for key, *starts in later])

    def call_uuid(self, call: int) -> str:
        """The id that users follow. Raises ValueError outside 0 .. 2**48 - 1."""
        return self._make(b"call", call)

    def parse_call(self, uuid: str) -> CallId | None:
        """The call behind a public id; None when it is malformed, forged, another database's, or a contact's."""
        value = self._parse(b"call", uuid)
        return None if value is None else CallId(value)

    def contact_uuid(self, contact: int) -> str:
        """The public id of a contact row. Raises ValueError outside 0 .. 2**48 - 1."""
        return self._make(b"contact", contact)

    def parse_contact(self, uuid: str) -> int | None:
        """The contact row behind a public id; None when it is malformed, forged, another database's, or a call's."""
        return self._parse(b"contact", uuid)

    def event_uuid(self, event: int) -> str:
        """The id of an event, by which programs know it again. Raises ValueError outside 0 .. 2**48 - 1."""
        return self._make(b"event", event)

    def parse_event(self, uuid: str) -> int | None:
        """The row of an event behind its public id; None when it is malformed, forged or another database's.

        For one that only a lost life had, the last row before the life that followed: who had it has none of those after that.
        """
        found = self._find(b"event", uuid)
        if found is None:
            return None
        value, life = found
        return value if self._life_of(b"event", value) == life else self._starts[b"event"][life + 1] - 1

    def _make(self, kind: bytes, value: int) -> str:
        if not 0 <= value <= _LOW_48:
            raise ValueError(f"{kind.decode()} id {value} does not fit in {_INTEGER_BITS} bits")
        key = self._lives[self._life_of(kind, value)].key
        tag = _tag(key, kind, value)
        body = tag << _INTEGER_BITS | value ^ _mask(key, kind, tag)
        # 48 bits, version 8, 12 bits, variant 10, 62 bits.
        number = body >> 74 << 80 | 8 << 76 | (body >> 62 & 0xFFF) << 64 | 0b10 << 62 | body & _LOW_62
        text = f"{number:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def _parse(self, kind: bytes, uuid: str) -> int | None:
        found = self._find(kind, uuid)
        # A number that a later life has given anew was another's in this one.
        return found[0] if found is not None and self._life_of(kind, found[0]) == found[1] else None

    def _find(self, kind: bytes, uuid: str) -> tuple[int, int] | None:
        """The number behind an id, and the life whose key it was made with; None where that is none of ours."""
        text = uuid.lower()
        if _UUID.fullmatch(text) is None:
            return None
        number = int(text.replace("-", ""), 16)
        body = number >> 80 << 74 | (number >> 64 & 0xFFF) << 62 | number & _LOW_62
        tag = body >> _INTEGER_BITS
        for index, life in enumerate(self._lives):
            value = body & _LOW_48 ^ _mask(life.key, kind, tag)
            genuine = _tag(life.key, kind, value).to_bytes(10, "big")
            if value >= self._starts[kind][index] and hmac.compare_digest(genuine, tag.to_bytes(10, "big")):
                return value, index
        return None

    def _life_of(self, kind: bytes, value: int) -> int:
        return bisect_right(self._starts[kind], value) - 1


def _tag(key: bytes, kind: bytes, value: int) -> int:
    digest = blake2b(value.to_bytes(8, "big"), digest_size=10, key=key, person=b"tag " + kind).digest()
    return int.from_bytes(digest, "big") >> 80 - _TAG_BITS


def _mask(key: bytes, kind: bytes, tag: int) -> int:
    digest = blake2b(tag.to_bytes(10, "big"), digest_size=6, key=key, person=b"mask " + kind).digest()
    return int.from_bytes(digest, "big")
