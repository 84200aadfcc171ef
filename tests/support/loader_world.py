"""A database for loader processes, looked at from beside them, and the requests that tests give them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from dialer.core.intake import IntakeRules
from dialer.core.playbook import Machine
from scheduler.connection import connect
from scheduler.loading import Answer, Loader
from scheduler.migrations import migrate

PLAYBOOK = "0e5a6c3e-6b6b-4a6e-9b1e-000000000001"
OTHERS_PLAYBOOK = "0e5a6c3e-6b6b-4a6e-9b1e-000000000002"
DELETED_PLAYBOOK = "0e5a6c3e-6b6b-4a6e-9b1e-000000000003"
UNFIT_PLAYBOOK = "0e5a6c3e-6b6b-4a6e-9b1e-000000000004"
MACHINE = Machine({"pbx": None})
RULES = IntakeRules(max_contacts=100_000, stagger_ms=250)
# Too large to be small; and so large that there is time to interfere.
MANY, LONG = 8_000, 60_000


class World:
    """A database with two accounts, looked at from beside the loaders."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.activated: list[int] = []
        migrate(path)
        self.db = connect(path)
        self.db.execute("INSERT INTO account VALUES (1, 'a', 'Acme', 0), (2, 'b', 'Bolt', 0)")
        fit, unfit = (json.dumps({"name": "Renewal", "trunks": [trunk]}) for trunk in ("pbx", "gone"))
        self.db.executemany(
            "INSERT INTO playbook VALUES (?, ?, ?, ?, 0, 0, ?)",
            [
                (1, PLAYBOOK, 1, fit, None),
                (2, OTHERS_PLAYBOOK, 2, fit, None),
                (3, DELETED_PLAYBOOK, 1, fit, 5),
                (4, UNFIT_PLAYBOOK, 1, unfit, None),
            ],
        )

    @asynccontextmanager
    async def loader(self, lock_wanted: Any = None) -> AsyncIterator[Loader]:
        loader = Loader(self.path, RULES, MACHINE, on_activated=self.activated.append, lock_wanted=lock_wanted)
        await loader.start()
        try:
            yield loader
        finally:
            await loader.stop()

    def rows(self, sql: str, *values: object) -> list[Any]:
        return self.db.execute(sql, values).fetchall()

    def one(self, sql: str, *values: object) -> Any:
        ((value,),) = self.rows(sql, *values)
        return value

    def nothing_left(self) -> None:
        """No call without its campaign, nothing unfinished."""
        assert self.one("SELECT count(*) FROM campaign WHERE status = 'loading'") == 0
        assert self.one("SELECT count(*) FROM intake") == self.one("SELECT count(*) FROM intake_change") == 0
        assert self.one("SELECT count(*) FROM call") == self.one("SELECT coalesce(sum(size), 0) FROM campaign")
        owned = (
            "SELECT coalesce(sum((SELECT count(*) FROM call WHERE id BETWEEN first_call AND first_call + size - 1)), 0)"
        )
        assert self.one(f"{owned} FROM campaign") == self.one("SELECT count(*) FROM call")


def phone(i: int) -> str:
    return f"+3491{i:07d}"


def campaign(count: int = 2, first: int = 0, fields: dict[str, Any] | None = None, **more: Any) -> bytes:
    # Not in the order of the phones.
    contacts = [
        {"phone": phone(first + (i * 7919) % count), "first_name": f"Ana {i}", **(fields or {})} for i in range(count)
    ]
    return json.dumps({"playbook_id": PLAYBOOK, "contacts": contacts, **more}).encode()


def call(number: str = "+34910000000", **more: Any) -> bytes:
    return json.dumps({"playbook_id": PLAYBOOK, "phone": number, **more}).encode()


async def submit(
    loader: Loader,
    body: bytes,
    *,
    key: str | None = None,
    account: int = 1,
    endpoint: Literal["campaign", "call"] = "campaign",
) -> Answer:
    with loader.spool() as spool:
        spool.write(body)
        spool.seek(0)
        return await loader.submit(account, endpoint, spool, key)


async def becomes(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not come true in time"
        await asyncio.sleep(0.001)


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 100))
