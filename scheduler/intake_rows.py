"""The rows of accepted requests: a campaign from reserved ids over its calls to active, and then its contacts.

A small request is one transaction. A large one is many, each short enough for the dispatcher beside it:

    reserve    the campaign as `loading`, its ids, its row in `intake`              nobody sees it
    calls      chunk by chunk, by ascending id
    activate   status, launch and the answer to the idempotency key; fsync          from here on it is accepted
    contacts   chunk by chunk, by ascending phone; the last removes the `intake` row

What dies before `activate` is removed, what dies after it is completed; both can be begun again as often as needed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Final

from dialer.core.amounts import amount
from dialer.core.contact import Fields, merge_texts
from dialer.core.hours import Rules
from dialer.core.intake import CampaignRequest, IntakeRules
from dialer.core.model import CampaignId, WallMs
from dialer.core.zones import Zones, zones_of
from scheduler.checkpoint import checkpoint
from scheduler.outbox import tell_acceptance

if TYPE_CHECKING:
    from scheduler.connection import sqlite3
    from scheduler.write_turn import WriteTurn

_DAY_MS: Final = 86_400_000
KEY_LIFE_MS: Final = 24 * 3_600_000
# So many contacts are one transaction of about 2 ms.
_AT_ONCE: Final = 500
_CHUNK_S: Final = 0.002
_SMALLEST_CHUNK, _LARGEST_CHUNK = 50, 4000
_PHONES_PER_LOOK: Final = 500
# Executing a statement once for 50 rows takes a fifth less than 50 times for one.
_ROWS_PER_STATEMENT: Final = 50
_KEYS_TO_PRUNE: Final = 50
_PAGES_WORTH_A_CHECKPOINT: Final = 4000
# Of a campaign that is all over the world somebody may always be called: its calls are looked at one by one.
_ZONES_WORTH_A_GATE: Final = 32


class Removed(Exception):
    """The campaign is no longer `loading`: another process decided about it."""


class OverLimit(Exception):
    """The day's calls of an account or token are spent. `setting` names the limit; `left_ms` of the day (UTC) are left."""

    def __init__(self, setting: str, most: int, accepted: int, left_ms: int) -> None:
        super().__init__(f"{amount(most, 'call')} a day allowed, {accepted} accepted today ({setting})")
        self.left_ms = left_ms


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
    """What makes a checked request a campaign: whose it is, under which id, and the playbook as it is now.

    `rules` are the calling hours of the playbook, compiled.
    """

    uuid: str
    account: int
    playbook_id: int
    playbook: str
    stagger_ms: int
    single: bool
    request: CampaignRequest
    rules: Rules | None = None
    token: int | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A campaign with rows: what its answer is made of. `launch_at` as it was given; None: it is immediate."""

    id: CampaignId
    uuid: str
    single: bool
    first_call: int
    total_contacts: int
    duplicate_contacts: int
    launch_at: WallMs | None


@dataclass(frozen=True, slots=True)
class ContactWork:
    """What contacts get: the given fields as JSON (`texts`) of each phone, by phone; `changed` are those that were known."""

    phones: list[str]
    texts: list[str]
    changed: Set[str]


Compose = Callable[[Stored], str]


class IntakeRows:
    """Stores campaigns through one connection. Every method raises `StoreUnavailable` when the disk refuses."""

    def __init__(self, connection: sqlite3.Connection, turn: WriteTurn, limits: IntakeRules | None = None) -> None:
        self.limits = limits or IntakeRules()
        self._connection = connection
        self._turn = turn
        self._chunk = _AT_ONCE
        connection.create_function("merge_fields", 2, merge_texts, deterministic=True)
        # The parents of all rows here were read a moment ago, and are never deleted. With the check on, removing a call
        # would look for its timers by reading the whole timer table.
        connection.execute("PRAGMA foreign_keys = OFF")

    def playbook(self, account: int, playbook_uuid: str) -> tuple[int, str] | None:
        """The row id and JSON of the account's playbook; None when there is none or it was deleted."""
        row: tuple[int, str] | None = self._connection.execute(_PLAYBOOK, (playbook_uuid, account)).fetchone()
        return row

    def answer_to(self, key: IdempotencyKey) -> tuple[bytes, str] | None:
        """The body hash and the answer that were stored under the key in the last 24 hours."""
        cutoff = wall_ms() - KEY_LIFE_MS
        row = self._connection.execute(_ANSWER, (key.account, key.endpoint, key.key, cutoff)).fetchone()
        return None if row is None else (bytes(row[0]), row[1])

    def find(self, uuid: str) -> tuple[Stored, bool] | None:
        """The campaign, and whether it is still loading."""
        row = self._connection.execute(_FIND, (uuid,)).fetchone()
        if row is None:
            return None
        number, single, first_call, total, duplicates, launch_at, status = row
        return Stored(
            CampaignId(number), uuid, bool(single), first_call, total, duplicates, launch_at
        ), status == "loading"

    def store_at_once(self, acceptance: Acceptance, key: IdempotencyKey | None, compose: Compose) -> Stored | None:
        """Store all of it in one transaction, on disk when this returns; None, and nothing stored, when it is too large.

        `compose` makes the answer that is kept for `key`. Raises `KeyTaken`; then too nothing is stored.
        """
        contacts = acceptance.request.contacts
        if len(contacts) > _AT_ONCE:
            return None
        texts, work = self._join_known(acceptance.account, contacts)
        with self._turn.transaction(durable=True):
            now = wall_ms()
            launch_at = _effective_launch(acceptance.request, now)
            stored = self._insert_campaign(acceptance, _status(launch_at, now), launch_at, now)
            self._keep_zones(stored, acceptance, texts)
            self._insert_calls(stored, list(contacts), texts, 0, len(texts))
            self._upsert(acceptance.account, work.phones, work.texts, now, known=-1)
            self._keep_answer(key, stored, compose, now)
            tell_acceptance(self._connection, stored.id, now)
        return stored

    def reserve(self, acceptance: Acceptance) -> Stored:
        """Begin a large campaign, which nobody sees until `activate`."""
        with self._turn.transaction(durable=False):
            now = wall_ms()
            stored = self._insert_campaign(acceptance, "loading", _effective_launch(acceptance.request, now), now)
            self._connection.execute(_INSERT_INTAKE, (stored.id,))
        return stored

    def write_calls(self, stored: Stored, acceptance: Acceptance) -> ContactWork:
        """Store the calls of a reserved campaign; what `complete` has to do to the contacts is stored and returned.

        Raises `Removed`.
        """
        contacts = acceptance.request.contacts
        texts, work = self._join_known(acceptance.account, contacts)
        phones = list(contacts)
        with self._turn.transaction(durable=False):
            self._keep_zones(stored, acceptance, texts)
        start = 0
        while start < len(phones):
            end = min(start + self._chunk, len(phones))
            with self._turn.transaction(durable=False):
                began = time.monotonic()
                if self._connection.execute(_IS_LOADING, (stored.id,)).fetchone() is None:
                    raise Removed
                self._insert_calls(stored, phones, texts, start, end)
                if work.changed:
                    changed = [i for i in range(start, end) if phones[i] in work.changed]
                    given = [(stored.first_call + i, contacts[phones[i]]) for i in changed]
                    self._connection.executemany(_INSERT_CHANGE, given)
            self._after_chunk(end - start, time.monotonic() - began)
            start = end
        return work

    def activate(self, stored: Stored, key: IdempotencyKey | None, compose: Compose) -> None:
        """Accept a campaign whose calls are written: on disk when this returns, with everything before it.

        An immediate campaign's launch is this moment. Raises `KeyTaken` and `Removed`; then it is not accepted.
        """
        with self._turn.transaction(durable=True):
            now = wall_ms()
            launch_at = now if stored.launch_at is None else stored.launch_at
            done = self._connection.execute(_ACTIVATE, (_status(launch_at, now), launch_at, stored.id))
            if done.rowcount != 1:
                raise Removed
            self._keep_answer(key, stored, compose, now)
            tell_acceptance(self._connection, stored.id, now)

    def complete(self, campaign: CampaignId, work: ContactWork | None = None) -> None:
        """Create and update the contacts of an active campaign, as far as that was not done.

        `work` is what `write_calls` returned; without it it is read back.
        """
        row = self._connection.execute(_UNDONE, (campaign,)).fetchone()
        if row is None:
            return
        account, first_call, last_call, known, stored_phone = row
        if work is None:
            read = self._connection.execute(_WORK_LEFT, (first_call, last_call, stored_phone)).fetchall()
            work = ContactWork(
                [row[0] for row in read], [row[1] for row in read], {phone for phone, _, changed in read if changed}
            )
        start = 0
        while start < len(work.phones):
            end = min(start + self._chunk, len(work.phones))
            phones, texts = work.phones[start:end], work.texts[start:end]
            with self._turn.transaction(durable=False):
                began, now = time.monotonic(), wall_ms()
                if work.changed:
                    old = [phone in work.changed for phone in phones]
                    new = [not known_before for known_before in old]
                    self._upsert(account, list(compress(phones, old)), list(compress(texts, old)), now, known=-1)
                    phones, texts = list(compress(phones, new)), list(compress(texts, new))
                # Who was known then and is not `changed` got nothing new: where a later request changed it, that stays.
                self._upsert(account, phones, texts, now, known=known)
                self._connection.execute(_ADVANCE, (work.phones[end - 1], campaign))
            self._after_chunk(end - start, time.monotonic() - began)
            start = end
        self._delete_range(_DELETE_CHANGES, first_call, last_call)
        with self._turn.transaction(durable=False):
            self._connection.execute("DELETE FROM intake WHERE campaign_id = ?", (campaign,))

    def remove(self, campaign: CampaignId) -> None:
        """Take away all of a campaign that is `loading`. Any other, and one that does not exist, is left alone."""
        row = self._connection.execute(_LOADING_RANGE, (campaign,)).fetchone()
        if row is None:
            return
        with self._turn.transaction(durable=False):
            # Whoever is still loading it (a process whose parent died, a job that was given up) stops here.
            self._connection.execute("DELETE FROM intake WHERE campaign_id = ?", (campaign,))
        self._delete_range(_DELETE_CHANGES, *row)
        self._delete_range(_DELETE_CALLS, *row)
        with self._turn.transaction(durable=False):
            self._connection.execute("DELETE FROM campaign WHERE id = ? AND status = 'loading'", (campaign,))

    def unfinished(self) -> tuple[list[CampaignId], list[CampaignId]]:
        """The campaigns that were left behind while loading, and the active ones whose contacts are not complete."""
        loading = self._connection.execute("SELECT id FROM campaign WHERE status = 'loading'").fetchall()
        active = self._connection.execute(_INCOMPLETE).fetchall()
        return [CampaignId(row[0]) for row in loading], [CampaignId(row[0]) for row in active]

    def _insert_campaign(self, acceptance: Acceptance, status: str, launch_at: int, now: int) -> Stored:
        request = acceptance.request
        size = len(request.contacts)
        self._count_calls(acceptance, size, now)
        ((first_call,),) = self._connection.execute(_RESERVE_CALLS, (size, size)).fetchall()
        duplicates = request.total_contacts - size
        cursor = self._connection.execute(
            _INSERT_CAMPAIGN,
            {
                "uuid": acceptance.uuid,
                "account": acceptance.account,
                "playbook_id": acceptance.playbook_id,
                "playbook": acceptance.playbook,
                "single": acceptance.single,
                "status": status,
                "scheduled": request.launch_at is not None,
                "launch_at": launch_at,
                "stagger_ms": acceptance.stagger_ms,
                "recall": json.dumps(request.recall),
                "first_call": first_call,
                "size": size,
                "total": request.total_contacts,
                "duplicates": duplicates,
                "expires_at": request.expires_at,
                "token": acceptance.token,
                "now": now,
            },
        )
        number = CampaignId(cursor.lastrowid or 0)
        total = request.total_contacts
        return Stored(number, acceptance.uuid, acceptance.single, first_call, total, duplicates, request.launch_at)

    def _count_calls(self, acceptance: Acceptance, calls: int, now: int) -> None:
        """Count the day's accepted calls where a limit asks for it. Raises `OverLimit`, and then nothing is stored."""
        limits = self.limits
        if limits.max_calls_per_day is None and limits.max_calls_per_day_per_token is None:
            return
        day, token = now // _DAY_MS, acceptance.token or 0
        self._connection.execute(_COUNT_CALLS, (acceptance.account, token, day, calls))
        of_account, of_token = self._connection.execute(_CALLS_OF_DAY, (token, acceptance.account, day)).fetchone()
        for found, most, name in (
            (of_account, limits.max_calls_per_day, "max_calls_per_day"),
            (of_token, limits.max_calls_per_day_per_token, "max_calls_per_day_per_token"),
        ):
            if most is not None and found > most:
                raise OverLimit(f"limits.{name}", most, found - calls, (day + 1) * _DAY_MS - now)
        self._connection.execute("DELETE FROM accepted WHERE account_id = ? AND day < ?", (acceptance.account, day - 7))

    def _keep_zones(self, stored: Stored, acceptance: Acceptance, texts: list[str]) -> None:
        """Where the campaign's people are, so that all of them can be waited for at once."""
        zones = _zones(acceptance, texts)
        if zones:
            self._connection.execute("UPDATE campaign SET zones = ? WHERE id = ?", (json.dumps(zones), stored.id))

    def look(self, acceptance: Acceptance) -> tuple[list[tuple[str, Fields]], set[str], tuple[Zones, ...]]:
        """What the campaign would be made of, with nothing stored: its people, those never dialed, and where they are."""
        phones = list(acceptance.request.contacts)
        texts, _ = self._join_known(acceptance.account, acceptance.request.contacts)
        listed: set[str] = set()
        for start in range(0, len(phones), _PHONES_PER_LOOK):
            part = phones[start : start + _PHONES_PER_LOOK]
            marks = ", ".join("?" * len(part))
            rows = self._connection.execute(_LISTED.format(marks=marks), (acceptance.account, *part))
            listed.update(row[0] for row in rows)
        people = [(phone, json.loads(text)) for phone, text in zip(phones, texts, strict=True)]
        return people, listed, _zones(acceptance, texts)

    def _insert_calls(self, stored: Stored, phones: list[str], texts: list[str], start: int, end: int) -> None:
        ids = range(stored.first_call + start, stored.first_call + end)
        self._insert_many(_INSERT_CALLS, (), ids, phones[start:end], texts[start:end])

    def _upsert(self, account: int, phones: Sequence[str], texts: Sequence[str], now: int, *, known: int) -> None:
        self._insert_many(_UPSERT_CONTACTS, (account, now, known), phones, texts)

    def _insert_many(self, statements: tuple[str, str], shared: tuple[object, ...], *columns: Sequence[object]) -> None:
        one, many = statements
        width, rows = len(columns), len(columns[0])
        # The values of all rows, one row behind the other: with a tuple for each row this takes five times as long.
        values: list[object] = [None] * (width * rows)
        for place, column in enumerate(columns):
            values[place::width] = column
        step = width * _ROWS_PER_STATEMENT
        whole = len(values) - len(values) % step
        for start in range(0, whole, step):
            self._connection.execute(many, [*shared, *values[start : start + step]])
        for start in range(whole, len(values), width):
            self._connection.execute(one, [*shared, *values[start : start + width]])

    def _keep_answer(self, key: IdempotencyKey | None, stored: Stored, compose: Compose, now: int) -> None:
        if key is None:
            return
        cutoff = now - KEY_LIFE_MS
        values = (key.account, key.endpoint, key.key, key.body_hash, compose(stored), now, cutoff)
        if self._connection.execute(_KEEP_ANSWER, values).rowcount != 1:
            raise KeyTaken
        self._connection.execute(_PRUNE_ANSWERS, (cutoff, _KEYS_TO_PRUNE))

    def _join_known(self, account: int, contacts: dict[str, str]) -> tuple[list[str], ContactWork]:
        """What the account knows of the contacts already, joined with what was given: the texts that the calls keep, in
        their order, and what the contacts get.
        """
        # By phone, as in the index: in the order of the request, looking and storing take four times as long.
        phones = sorted(contacts)
        known = self._known(account, phones)
        joined = {phone: merge_texts(before, contacts[phone]) for phone, before in known.items()}
        changed = {phone for phone, text in joined.items() if text != known[phone]}
        texts = [joined.get(phone, text) for phone, text in contacts.items()] if joined else list(contacts.values())
        if len(changed) < len(known):
            phones = [phone for phone in phones if phone not in known or phone in changed]
        return texts, ContactWork(phones, [contacts[phone] for phone in phones], changed)

    def _known(self, account: int, phones: list[str]) -> dict[str, str]:
        """The phones, which are sorted, that the account knows, with their fields."""
        known: dict[str, str] = {}
        for start in range(0, len(phones), _PHONES_PER_LOOK):
            some: list[str | None] = [*phones[start : start + _PHONES_PER_LOOK]]
            if self._connection.execute(_ANY_BETWEEN, (account, some[0], some[-1])).fetchone() is None:
                continue
            some += [None] * (_PHONES_PER_LOOK - len(some)) if len(phones) > _PHONES_PER_LOOK else ()
            marks = ",".join("?" * len(some))
            known.update(self._connection.execute(_KNOWN.format(marks=marks), (account, *some)))
        return known

    def _delete_range(self, sql: str, first: int, last: int) -> None:
        deleted = -1
        while deleted:
            with self._turn.transaction(durable=False):
                began = time.monotonic()
                deleted = self._connection.execute(sql, (first, last, self._chunk)).rowcount
            if deleted:
                self._after_chunk(deleted, time.monotonic() - began)

    def _after_chunk(self, rows: int, took_s: float) -> None:
        # Between two chunks nobody waits for it, and a WAL that is emptied on the way stays short.
        checkpoint(self._connection, enough_pages=_PAGES_WORTH_A_CHECKPOINT)
        # A slow commit now and then (the disk, a checkpoint) halves the chunk at most; growth is as careful.
        fitting = self._chunk * min(2.0, max(0.5, _CHUNK_S / max(took_s, 1e-6)))
        if rows >= self._chunk or took_s > _CHUNK_S:
            self._chunk = int(min(_LARGEST_CHUNK, max(_SMALLEST_CHUNK, fitting)))


def wall_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def _effective_launch(request: CampaignRequest, now: int) -> int:
    return now if request.launch_at is None else request.launch_at


def _status(launch_at: int, now: int) -> str:
    return "running" if launch_at <= now else "scheduled"


def _one_and_many(head: str, row: str, tail: str = "", *, shared: int) -> tuple[str, str]:
    """The statement for one row and for `_ROWS_PER_STATEMENT`; `row` has a mark for each value that is not shared."""
    width = row.count("{}")
    rows = [row.format(*(f"?{shared + 1 + i * width + j}" for j in range(width))) for i in range(_ROWS_PER_STATEMENT)]
    return f"{head} {rows[0]} {tail}", f"{head} {', '.join(rows)} {tail}"


def _zones(acceptance: Acceptance, texts: Iterable[str]) -> tuple[Zones, ...]:
    """Where the people of a campaign with calling hours are; () without hours, or where they are all over the world."""
    if acceptance.rules is None:
        return ()
    found: set[Zones] = set()
    for phone, text in zip(acceptance.request.contacts, texts, strict=True):
        zones = zones_of(phone, json.loads(text) if '"timezone"' in text else {}, acceptance.rules)
        if zones is not None:
            found.add(zones)
    return tuple(sorted(found)) if len(found) <= _ZONES_WORTH_A_GATE else ()


_COUNT_CALLS: Final = """
INSERT INTO accepted (account_id, token_id, day, calls) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET calls = calls + excluded.calls"""
_CALLS_OF_DAY: Final = """
SELECT sum(calls), sum(CASE WHEN token_id = ? THEN calls ELSE 0 END) FROM accepted WHERE account_id = ? AND day = ?"""
_LISTED: Final = "SELECT phone FROM do_not_call WHERE account_id IN (0, ?) AND phone IN ({marks})"
_PLAYBOOK: Final = "SELECT id, body FROM playbook WHERE uuid = ? AND account_id = ? AND deleted_at IS NULL"
_ANSWER: Final = """
SELECT body_hash, answer FROM idempotency WHERE account_id = ? AND endpoint = ? AND key = ? AND created_at > ?"""
_FIND: Final = """
SELECT id, single, first_call, total_contacts, duplicate_contacts, CASE scheduled WHEN 1 THEN launch_at END, status
FROM campaign WHERE uuid = ?"""
_RESERVE_CALLS: Final = "UPDATE meta SET value = value + ? WHERE key = 'next_call' RETURNING value - ?"
_INSERT_CAMPAIGN: Final = """
INSERT INTO campaign (uuid, account_id, playbook_id, playbook, single, status, scheduled, launch_at, stagger_ms, recall,
                      first_call, size, total_contacts, duplicate_contacts, expires_at, token_id, created_at)
VALUES (:uuid, :account, :playbook_id, :playbook, :single, :status, :scheduled, :launch_at, :stagger_ms, :recall,
        :first_call, :size, :total, :duplicates, :expires_at, :token, :now)"""
_INSERT_INTAKE: Final = "INSERT INTO intake (campaign_id, known_contact) SELECT ?, coalesce(max(id), 0) FROM contact"
_INSERT_CHANGE: Final = "INSERT INTO intake_change (call_id, fields) VALUES (?, ?)"
_INSERT_CALLS: Final = _one_and_many("INSERT INTO call (id, phone, contact) VALUES", "({}, {}, {})", shared=0)
_IS_LOADING: Final = """
SELECT 1 FROM campaign JOIN intake ON campaign_id = id WHERE id = ? AND status = 'loading'"""
_ACTIVATE: Final = """
UPDATE campaign SET status = ?, launch_at = ?
WHERE id = ? AND status = 'loading' AND EXISTS (SELECT 1 FROM intake WHERE campaign_id = campaign.id)"""
_KEEP_ANSWER: Final = """
INSERT INTO idempotency (account_id, endpoint, key, body_hash, answer, created_at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET body_hash = excluded.body_hash, answer = excluded.answer, created_at = excluded.created_at
WHERE idempotency.created_at <= ?"""
_PRUNE_ANSWERS: Final = """
DELETE FROM idempotency WHERE (account_id, endpoint, key) IN
    (SELECT account_id, endpoint, key FROM idempotency WHERE created_at <= ? ORDER BY created_at LIMIT ?)"""
_UNDONE: Final = """
SELECT account_id, first_call, first_call + size - 1, known_contact, stored_phone
FROM intake JOIN campaign ON id = campaign_id WHERE campaign_id = ? AND status <> 'loading'"""
_WORK_LEFT: Final = """
SELECT call.phone, coalesce(intake_change.fields, call.contact), intake_change.fields IS NOT NULL
FROM call LEFT JOIN intake_change ON intake_change.call_id = call.id
WHERE call.id BETWEEN ? AND ? AND call.phone > ? ORDER BY call.phone"""
_ADVANCE: Final = "UPDATE intake SET stored_phone = ? WHERE campaign_id = ?"
_UPSERT_CONTACTS: Final = _one_and_many(
    "INSERT INTO contact (account_id, phone, fields, created_at, updated_at) VALUES",
    "(?1, {}, {}, ?2, ?2)",
    """ON CONFLICT (account_id, phone) DO UPDATE
SET fields = merge_fields(fields, excluded.fields), updated_at = excluded.updated_at WHERE contact.id > ?3""",
    shared=3,
)
_ANY_BETWEEN: Final = "SELECT 1 FROM contact WHERE account_id = ? AND phone BETWEEN ? AND ? LIMIT 1"
_KNOWN: Final = "SELECT phone, fields FROM contact WHERE account_id = ? AND phone IN ({marks})"
_LOADING_RANGE: Final = "SELECT first_call, first_call + size - 1 FROM campaign WHERE id = ? AND status = 'loading'"
_INCOMPLETE: Final = """
SELECT campaign_id FROM intake JOIN campaign ON id = campaign_id WHERE status <> 'loading' ORDER BY campaign_id"""
_DELETE_CHANGES: Final = """
DELETE FROM intake_change WHERE call_id IN (SELECT call_id FROM intake_change WHERE call_id BETWEEN ? AND ? LIMIT ?)"""
_DELETE_CALLS: Final = "DELETE FROM call WHERE id IN (SELECT id FROM call WHERE id BETWEEN ? AND ? LIMIT ?)"
