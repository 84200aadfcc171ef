"""The store on SQLite in a fresh file, with what tests do to it: campaigns put in as the loader would, counts read back."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from dialer.core.model import AccountId, CallId, Campaign, CampaignId, CampaignStatus, WallMs
from dialer.core.playbook import Playbook
from scheduler.connection import connect, transaction
from scheduler.migrations import migrate
from scheduler.new_life import review
from scheduler.store import SqliteStore
from tests.support.fake_store import PLAYBOOK, Counts


@cache
def _blank() -> bytes:
    """A database without anything in it. Migrating takes a fifth of a second, and thousands of examples want one."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "dialer.db"
        migrate(path)
        return path.read_bytes()


class SqliteWorld:
    """One database and the store on it; the same surface as `FakeStore` has for tests."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.write_bytes(_blank())
        self.connection = connect(path)
        self.store = SqliteStore(path)

    def close(self) -> None:
        self.store.close()
        self.connection.close()

    def reopen(self) -> None:
        self.store.close()
        self.store = SqliteStore(self.path)

    def add_account(self, account: int) -> None:
        self.connection.execute(
            "INSERT OR IGNORE INTO account (id, uuid, name, created_at) VALUES (?, ?, ?, 0)",
            (account, f"account-{account}", f"account {account}"),
        )

    def add_playbook(self, account: int, playbook: Playbook) -> int:
        self.add_account(account)
        row = self.connection.execute(
            "INSERT INTO playbook (uuid, account_id, body, created_at, updated_at)"
            " VALUES (lower(hex(randomblob(16))), ?, ?, 0, 0) RETURNING id",
            (account, playbook.model_dump_json()),
        ).fetchone()
        return int(row[0])

    def add_campaign(
        self,
        *,
        size: int = 1,
        launch_at: int = 0,
        stagger_ms: int = 0,
        recall_ms: tuple[int, ...] = (),
        scheduled: bool = False,
        account: int = 1,
        playbook: Playbook = PLAYBOOK,
        phones: Sequence[str] | None = None,
        single: bool = False,
        status: str = "scheduled",
        created_at: int = 0,
    ) -> Campaign:
        with transaction(self.connection):
            playbook_id = self.add_playbook(account, playbook)
            (first,) = self.connection.execute("SELECT value FROM meta WHERE key = 'next_call'").fetchone()
            uuid = f"{first:032x}"
            (campaign,) = self.connection.execute(
                "INSERT INTO campaign (uuid, account_id, playbook_id, playbook, single, status, scheduled, launch_at,"
                " stagger_ms, recall, first_call, size, total_contacts, duplicate_contacts, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?) RETURNING id",
                (
                    uuid,
                    account,
                    playbook_id,
                    playbook.model_dump_json(),
                    single,
                    status,
                    scheduled,
                    launch_at,
                    stagger_ms,
                    json.dumps([ms / 60_000 for ms in recall_ms]),
                    first,
                    size,
                    size,
                    created_at,
                ),
            ).fetchone()
            self.connection.executemany(
                "INSERT INTO call (id, phone, contact) VALUES (?, ?, ?)",
                [
                    (i, phones[i - first] if phones else f"+3491{i:07}", json.dumps({"first_name": f"No {i}"}))
                    for i in range(first, first + size)
                ],
            )
            self.connection.execute("UPDATE meta SET value = ? WHERE key = 'next_call'", (first + size,))
        return Campaign(
            CampaignId(campaign),
            AccountId(account),
            WallMs(launch_at),
            stagger_ms,
            CallId(first),
            size,
            recall_ms,
            scheduled,
            playbook,
            uuid=None if single else uuid,
        )

    def forbid(self, phone: str) -> None:
        self.connection.execute("INSERT INTO do_not_call VALUES (0, ?, 0)", (phone,))

    def hold(self, until: int) -> None:
        """What restoring does: all that is due by then comes under review. The store is opened anew."""
        ended = {CampaignStatus.COMPLETED, CampaignStatus.CANCELLED}
        active = [stored for stored in self.store.active_campaigns() if stored.status not in ended]
        self.store.close()
        with transaction(self.connection):
            review(self.connection, active, WallMs(until))
        self.store = SqliteStore(self.path)

    def counts(self, campaign: CampaignId) -> Counts:
        size, live, finished, attempts = self.connection.execute(
            "SELECT size, live, finished, attempts FROM campaign_now WHERE id = ?", (campaign,)
        ).fetchone()
        outcomes = dict(
            self.connection.execute("SELECT disposition, calls FROM outcome WHERE campaign_id = ?", (campaign,))
        )
        return Counts(size - live - finished, live, finished, attempts, outcomes)


def nth(c: Campaign, position: int) -> CallId:
    """The id of a campaign's call."""
    return CallId(c.first_call + position)
