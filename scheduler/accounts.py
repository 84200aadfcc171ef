"""Accounts, and the bearer tokens by which programs act for one.

A token is `dlr_<number>_<secret>`: the number finds its row, the secret is 256 random bits in base64url. Only the
secret's SHA-256 is stored; it needs no salt or stretching, because nobody can list 2**256 secrets.
"""

import hashlib
import hmac
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from dialer.core.model import AccountId, WallMs
from dialer.ports import Clock
from scheduler.connection import sqlite3
from scheduler.database import Database

_PREFIX: Final = "dlr"
_SECRET_BYTES: Final = 32
_LARGEST_ROW_ID_DIGITS: Final = 18
_NO_HASH: Final = bytes(32)


class AccountRefused(ValueError):
    """The account cannot be made as asked; the text says why."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whom campaigns, contacts and playbooks belong to."""

    id: AccountId
    uuid: str
    name: str
    created_at: WallMs


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token; its secret is not. `expires_at` None: never. `revoked_at` None: it was not."""

    id: int
    name: str
    created_at: WallMs
    expires_at: WallMs | None
    revoked_at: WallMs | None
    scope: str


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a valid token stands for."""

    account_id: AccountId
    account_uuid: str
    account_name: str
    token_id: int
    scope: str


class Accounts:
    """The accounts of one database. Every method raises `StoreUnavailable` when the disk refuses."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def create_account(self, name: str) -> Account:
        """A new account. Raises `AccountRefused` for a name that is taken, empty or longer than 200 characters."""
        name = name.strip()
        if not 1 <= len(name) <= 200:
            raise AccountRefused("an account's name must have 1 to 200 characters")
        made_at, made_uuid = self._clock.now().wall, str(uuid.uuid4())
        with self._database.write() as connection:
            try:
                row = connection.execute(
                    "INSERT INTO account (uuid, name, created_at) VALUES (?, ?, ?) RETURNING id",
                    (made_uuid, name, made_at),
                ).fetchone()
            except sqlite3.IntegrityError as error:
                raise AccountRefused(f"there is an account named {name!r} already") from error
        return Account(AccountId(row[0]), made_uuid, name, made_at)

    def accounts(self) -> list[Account]:
        """All accounts, oldest first."""
        with self._database.read() as connection:
            return [Account(*row) for row in connection.execute(_ACCOUNT + " ORDER BY id")]

    def find_account(self, name_or_uuid: str) -> Account | None:
        """The account with this name, else the one with this UUID; None when there is neither."""
        with self._database.read() as connection:
            row = connection.execute(
                _ACCOUNT + " WHERE name = ? OR uuid = ? ORDER BY name = ? DESC LIMIT 1",
                (name_or_uuid, name_or_uuid.lower(), name_or_uuid),
            ).fetchone()
        return None if row is None else Account(*row)

    def create_token(
        self, account: AccountId, *, name: str = "", expires_at: WallMs | None = None, scope: str = "admin"
    ) -> str:
        """A new token's text, which nobody can read again. `scope` is read, submit or admin.

        Raises `AccountRefused` for an unknown account.
        """
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        with self._database.write() as connection:
            try:
                row = connection.execute(
                    "INSERT INTO token (account_id, name, hash, created_at, expires_at, scope)"
                    " VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
                    (account, name, _hash(secret), self._clock.now().wall, expires_at, scope),
                ).fetchone()
            except sqlite3.IntegrityError as error:
                raise AccountRefused("there is no such account") from error
        return f"{_PREFIX}_{row[0]}_{secret}"

    def tokens(self, account: AccountId) -> list[Token]:
        """The account's tokens, oldest first, revoked and expired ones too."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT id, name, created_at, expires_at, revoked_at, scope FROM token WHERE account_id = ? ORDER BY id",
                (account,),
            )
            return [Token(*row) for row in rows]

    def revoke(self, token: int) -> bool:
        """Make the token worthless from now on; False when there is none of this number.

        Repeating it changes nothing.
        """
        with self._database.write() as connection:
            changed = connection.execute(
                "UPDATE token SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?", (self._clock.now().wall, token)
            )
            return changed.rowcount == 1

    def verify(self, token: str) -> Principal | None:
        """Whom the token stands for; None for one that is malformed, unknown, expired or revoked.

        The secret is compared in constant time, against nothing where there is no such row.
        """
        prefix, _, rest = token.partition("_")
        number, _, secret = rest.partition("_")
        if prefix != _PREFIX or not (number.isascii() and number.isdigit()) or len(number) > _LARGEST_ROW_ID_DIGITS:
            return None
        with self._database.read() as connection:
            row = connection.execute(_VERIFY, (int(number),)).fetchone()
        genuine = hmac.compare_digest(_hash(secret), _NO_HASH if row is None else row[0])
        if row is None or not genuine:
            return None
        return self._principal(int(number), row)

    def standing(self, token: int) -> Principal | None:
        """Whom the token of this number stands for now; None once it is expired or revoked. No secret is asked for."""
        with self._database.read() as connection:
            row = connection.execute(_VERIFY, (token,)).fetchone()
        return None if row is None else self._principal(token, row)

    def _principal(self, token: int, row: Sequence[Any]) -> Principal | None:
        _, expires_at, revoked_at, account_id, account_uuid, account_name, scope = row
        if revoked_at is not None or (expires_at is not None and expires_at <= self._clock.now().wall):
            return None
        return Principal(AccountId(account_id), account_uuid, account_name, token, scope)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


_ACCOUNT: Final = "SELECT id, uuid, name, created_at FROM account"
_VERIFY: Final = """
SELECT hash, expires_at, revoked_at, account_id, account.uuid, account.name, scope
FROM token JOIN account ON account.id = account_id WHERE token.id = ?"""
