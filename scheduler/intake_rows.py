"""The rows of accepted requests: a campaign from reserved ids over its calls to active, and then its contacts.

A small request is one transaction. A large one is many, each short enough for the dispatcher beside it:

    reserve    the campaign as `loading`, its ids, its row in `intake`              not seen by anybody
    calls      chunk by chunk, by ascending id
    activate   status, launch and the answer to the idempotency key; fsync          from here on it is accepted
    contacts   chunk by chunk, by ascending phone; the last removes the `intake` row

What dies before `activate` is removed, what dies after it is completed; either can be asked for again at any time.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dialer.core.contact import Fields, fields_text, merge
from dialer.core.intake import CampaignRequest
from dialer.core.model import CampaignId, WallMs

if TYPE_CHECKING:
    from scheduler.connection import sqlite3
    from scheduler.write_turn import WriteTurn

# So many contacts are one transaction of about 2 ms.
_AT_ONCE = 500
_CHUNK_S = 0.002
_SMALLEST_CHUNK, _LARGEST_CHUNK = 50, 4000
_PHONES_PER_LOOK = 500
KEY_LIFE_MS = 24 * 3_600_000
_KEYS_TO_PRUNE = 50


class Vanished(Exception):
    """The campaign's row is gone or no longer `loading`: somebody else decided about it."""


class KeyTaken(Exception):
    """Another request was accepted under this idempotency key meanwhile."""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """What a client calls its request, and the hash of the body that it came with."""

    account: int
    endpoint: str
    key: str
    body_hash: bytes


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What makes a checked request a campaign: whose it is, under which id, and the playbook as it is now."""

    uuid: str
    account: int
    playbook_id: int
    playbook: str
    stagger_ms: int
    single: bool
    request: CampaignRequest


@dataclass(frozen=True, slots=True)
class Stored:
    """A campaign that was accepted: what its answer is made of. `launch_at` None: it was immediate."""

    id: CampaignId
    uuid: str
    single: bool
    first_call: int
    total_contacts: int
    duplicate_contacts: int
    launch_at: WallMs | None


# What contacts get: phone, fields as JSON, and the highest contact id that must not be changed (-1: change any).
_ContactRow = tuple[str, str, int]


class IntakeRows:
    """Stores campaigns through one connection. Everything raises `StoreUnavailable` when the disk refuses."""

    def __init__(self, connection: sqlite3.Connection, turn: WriteTurn) -> None:
        self._connection = connection
        self._turn = turn
        self._chunk = _AT_ONCE
        connection.create_function("merge_fields", 2, _merge_texts, deterministic=True)
        # `call` and `contact` rows point to what was read a moment ago, and removing calls would look for timers of each
        # one by reading the whole timer table.
        connection.execute("PRAGMA foreign_keys = OFF")

    def playbook(self, account: int, playbook_uuid: str) -> tuple[int, str] | None:
        """The row id and JSON of the account's playbook; None when there is none or it was deleted."""
        row: tuple[int, str] | None = self._connection.execute(
            "SELECT id, body FROM playbook WHERE uuid = ? AND account_id = ? AND deleted_at IS NULL", (playbook_uuid, account)
        ).fetchone()
        return row

    def answer_to(self, key: IdempotencyKey) -> tuple[bytes, str] | None:
        """The body hash and the answer stored under the key in the last 24 hours."""
        row = self._connection.execute(
            "SELECT body_hash, answer FROM idempotency WHERE account_id = ? AND endpoint = ? AND key = ? AND created_at > ?",
            (key.account, key.endpoint, key.key, wall_ms() - KEY_LIFE_MS),
        ).fetchone()
        return None if row is None else (bytes(row[0]), row[1])

    def store_small(self, acceptance: Acceptance, key: IdempotencyKey | None, answer: AnswerText) -> Stored | None:
        """Store all of it in one transaction, on disk when it returns. None when it is too large for one.

        Raises `KeyTaken`; then and on every other error nothing is stored.
        """
        contacts = acceptance.request.contacts
        if len(contacts) > _AT_ONCE:
            return None
        known, texts, changes = self._read_contacts(acceptance.account, contacts)
        with self._turn.transaction(durable=True):
            now = wall_ms()
            stored = self._reserve(acceptance, now)
            self._insert_calls(stored.first_call, list(contacts), texts, 0, len(texts))
            self._upsert_contacts(acceptance.account, _given(stored.first_call, contacts, texts, changes, known), now)
            self._activate(stored, now, key, answer)
        return stored

    def reserve(self, acceptance: Acceptance) -> Stored:
        """Begin a large campaign. It stays invisible until `activate`."""
        with self._turn.transaction(durable=False):
            stored = self._reserve(acceptance, wall_ms())
            self._connection.execute(
                "INSERT INTO intake (campaign_id, known_contact) SELECT ?, coalesce(max(id), 0) FROM contact", (stored.id,)
            )
        return stored

    def write_calls(self, stored: Stored, acceptance: Acceptance) -> Sequence[_ContactRow]:
        """Store the calls, with what is to be done to the contacts; that is returned too, for `write_contacts`.

        Raises `Vanished` when somebody else removed the campaign.
        """
        contacts = acceptance.request.contacts
        known, texts, changes = self._read_contacts(acceptance.account, contacts)
        phones = list(contacts)
        at = 0
        while at < len(phones):
            started = time.monotonic()
            until = min(at + self._chunk, len(phones))
            with self._turn.transaction(durable=False):
                began = time.monotonic()
                self._require_loading(stored)
                self._insert_calls(stored.first_call, phones, texts, at, until)
                changed = [(stored.first_call + i, changes[i]) for i in range(at, until) if i in changes]
                self._connection.executemany("INSERT INTO intake_change (call_id, fields) VALUES (?, ?)", changed)
            self._fit_chunk(until - at, time.monotonic() - max(began, started))
            at = until
        return _given(stored.first_call, contacts, texts, changes, known)
