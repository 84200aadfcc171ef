"""What a database that is to be replaced by a backup still tells: who was called, and what protects people since the backup.

It may be damaged, or be another's: what cannot be read, or is not surely about the same people, is left.
"""

from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dialer.core.model import WallMs
from scheduler.connection import connect, sqlite3, transaction
from scheduler.contacts import calls_to, erase_person
from scheduler.migrations import VERSION, require_some_version


@dataclass(frozen=True, slots=True)
class Carried:
    """What the replaced database told, where it could still be read.

    Calls that were up when it was last written, as `sip.orphans` reads them; campaigns with calls that were accepted after the
    backup, and are lost; numbers put on do-not-call lists, tokens revoked and people erased after it, which were carried over.
    """

    dialogs: tuple[str, ...] = ()
    lost_campaigns: int = 0
    lost_calls: int = 0
    numbers: int = 0
    tokens: int = 0
    people: int = 0


def last_attempt(database: Path) -> WallMs:
    """When the last attempt of the database that is to be replaced was to leave, by the clock of then; 0: it does not tell."""
    with suppress(Exception), closing(_read_only(database)) as old:  # see `carry_over`
        (at,) = old.execute("SELECT max(fire_at) FROM attempt").fetchone()
        return WallMs(at or 0)
    return WallMs(0)


def _read_only(database: Path) -> sqlite3.Connection:
    # The last one out of a WAL database that may write would put its WAL into a damaged file.
    return sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)


def carry_over(database: Path, copy: Path) -> Carried | None:
    """Take what protects people and accounts from the database that is to be replaced; None: there is none to be read."""
    try:
        with closing(_read_only(database)) as old, closing(connect(copy)) as new, transaction(new):
            # An older version keeps them elsewhere; its calls have ended since.
            current = require_some_version(old, database) == VERSION
            dialogs = tuple(dialog for (dialog,) in old.execute(_DIALOGS)) if current else ()
            known = {uuid for (uuid,) in new.execute("SELECT uuid FROM campaign")}
            lost = [size for uuid, size in old.execute(_ACCEPTED) if uuid not in known]
            # Where it is no later life of the backup's, its numbers may be others'.
            same = set(old.execute(_ACCOUNTS)) & set(new.execute(_ACCOUNTS))
            accounts = {0, *(number for number, _ in same)}
            listed = [row for row in old.execute(_LISTED) if row[0] in accounts]
            numbers = new.executemany("INSERT OR IGNORE INTO do_not_call VALUES (?, ?, ?)", listed).rowcount
            tokens = new.executemany(_REVOKE, old.execute(_REVOKED).fetchall()).rowcount
            people = _erase_again(old, new)
    except Exception:  # noqa: BLE001 - a damaged file may fail in any way, and is why people restore
        return None
    return Carried(dialogs, len(lost), sum(lost), max(0, numbers), max(0, tokens), people)


def _erase_again(old: sqlite3.Connection, new: sqlite3.Connection) -> int:
    """Erase from `new` whose calls have no number any more in `old`; how many people that were."""
    people = set()
    for uuid, call in old.execute(_NAMELESS):
        people |= set(new.execute(_PERSON, (uuid, call)))
    for account, phone in people:
        erase_person(new, account, phone, calls_to(new, account, phone))
    return len(people)


_DIALOGS: Final = """
SELECT dialog FROM open_attempt WHERE dialog IS NOT NULL
UNION ALL SELECT dialog FROM agent_leg WHERE ended_at IS NULL AND dialog IS NOT NULL"""
_ACCEPTED: Final = "SELECT uuid, size FROM campaign WHERE status <> 'loading'"
_LISTED: Final = "SELECT account_id, phone, added_at FROM do_not_call"
_ACCOUNTS: Final = "SELECT id, uuid FROM account"
_NAMELESS: Final = """
SELECT uuid, call.id FROM campaign JOIN call ON call.id >= first_call AND call.id < first_call + size WHERE phone = ''"""
_PERSON: Final = """
SELECT account_id, phone FROM campaign JOIN call ON call.id >= first_call AND call.id < first_call + size
WHERE uuid = ? AND call.id = ? AND phone <> ''"""
_REVOKED: Final = "SELECT revoked_at, hash FROM token WHERE revoked_at IS NOT NULL"
_REVOKE: Final = "UPDATE token SET revoked_at = ? WHERE hash = ? AND revoked_at IS NULL"
