"""Public ids of calls, contacts and events: UUIDs made from the integer key, so that no table needs a UUID column or index.

A text key costs a hot table 6.6 times an integer's price. The 122 free bits of a version 8 UUID (RFC 9562, 5.8) hold

    tag (74 bits): keyed BLAKE2b of the kind and the integer
    masked integer (48 bits): the integer XOR keyed BLAKE2b of the kind and the tag

so ids are unique, cannot be guessed or made without this database's key, and do not show how many calls came before.
"""

import hmac
import re
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


class PublicIds:
    """Makes and reads the public ids of one database. `key` is its `id_key`, 16 bytes."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"id_key: expected {KEY_BYTES} bytes, got {len(key)}")
        self._key = key

    @classmethod
    def of(cls, connection: sqlite3.Connection) -> Self:
        """The ids of the database behind `connection`. Raises LookupError when it was never migrated."""
        row = connection.execute("SELECT value FROM meta WHERE key = 'id_key'").fetchone()
        if row is None:
            raise LookupError("the database has no id_key: run `dialer db migrate`")
        return cls(bytes(row[0]))

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
        """The row of an event behind its public id; None when it is malformed, forged or another database's."""
        return self._parse(b"event", uuid)

    def _make(self, kind: bytes, value: int) -> str:
        if not 0 <= value <= _LOW_48:
            raise ValueError(f"{kind.decode()} id {value} does not fit in {_INTEGER_BITS} bits")
        tag = self._tag(kind, value)
        body = tag << _INTEGER_BITS | value ^ self._mask(kind, tag)
        # 48 bits, version 8, 12 bits, variant 10, 62 bits.
        number = body >> 74 << 80 | 8 << 76 | (body >> 62 & 0xFFF) << 64 | 0b10 << 62 | body & _LOW_62
        text = f"{number:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def _parse(self, kind: bytes, uuid: str) -> int | None:
        text = uuid.lower()
        if _UUID.fullmatch(text) is None:
            return None
        number = int(text.replace("-", ""), 16)
        body = number >> 80 << 74 | (number >> 64 & 0xFFF) << 62 | number & _LOW_62
        tag = body >> _INTEGER_BITS
        value = body & _LOW_48 ^ self._mask(kind, tag)
        genuine = self._tag(kind, value).to_bytes(10, "big")
        return value if hmac.compare_digest(genuine, tag.to_bytes(10, "big")) else None

    def _tag(self, kind: bytes, value: int) -> int:
        digest = blake2b(value.to_bytes(8, "big"), digest_size=10, key=self._key, person=b"tag " + kind).digest()
        return int.from_bytes(digest, "big") >> 80 - _TAG_BITS

    def _mask(self, kind: bytes, tag: int) -> int:
        digest = blake2b(tag.to_bytes(10, "big"), digest_size=6, key=self._key, person=b"mask " + kind).digest()
        return int.from_bytes(digest, "big")
