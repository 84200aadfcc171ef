"""The loader processes, real ones, on a real file: what is accepted is whole and stays, what is not leaves nothing."""

import asyncio
import io
import json
import os
import random
import resource
import signal
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import pytest

from dialer.core.intake import IntakeRules
from dialer.core.playbook import Machine
from dialer.ports import StoreUnavailable
from scheduler.connection import connect
from scheduler.ids import PublicIds
from scheduler.intake_rows import KEY_LIFE_MS
from scheduler.loading import SMALL, Answer, Loader
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


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "dialer.db")
    yield world
    world.db.close()


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


def test_an_accepted_campaign_is_running_with_its_calls_and_contacts(world: World) -> None:
    async def story() -> None:
        async with world.loader() as loader:
            before = time.time_ns() // 1_000_000
            answer = await submit(loader, campaign(2, recall=[120, 30]))
            now = time.time_ns() // 1_000_000
            uuid = answer.body["campaign_id"]
            assert answer.status == 202
            assert not answer.replayed
            assert answer.body == {
                "success": True,
                "message": "Campaign started successfully",
                "campaign_id": str(UUID(uuid)),
                "scheduled": False,
                "total_contacts": 2,
            }
            ((number, first, launch_at),) = world.rows(
                "SELECT id, first_call, launch_at FROM campaign WHERE uuid = ?", uuid
            )
            assert before <= launch_at <= now
            columns = (
                "account_id, playbook_id, single, status, scheduled, stagger_ms, recall, size, total_contacts, cursor"
            )
            assert world.rows(f"SELECT {columns} FROM campaign") == [(1, 1, 0, "running", 0, 250, "[30, 120]", 2, 2, 0)]
            assert json.loads(world.one("SELECT playbook FROM campaign"))["name"] == "Renewal"
            assert world.rows("SELECT id, phone, contact, attempts, next_at FROM call ORDER BY id") == [
                (first, phone(0), '{"first_name":"Ana 0"}', 0, None),
                (first + 1, phone(1), '{"first_name":"Ana 1"}', 0, None),
            ]
            assert world.rows("SELECT account_id, phone, fields FROM contact ORDER BY phone") == [
                (1, phone(0), '{"first_name":"Ana 0"}'),
                (1, phone(1), '{"first_name":"Ana 1"}'),
            ]
            assert world.activated == [number]
            world.nothing_left()

    run(story())


@pytest.mark.parametrize("count", [2, MANY])
def test_a_scheduled_campaign_waits_for_its_launch_and_a_past_one_runs_now(world: World, count: int) -> None:
    async def story() -> None:
        async with world.loader() as loader:
            later = await submit(loader, campaign(count, launch_at="2999-03-01T12:00:00+02:00"))
            past = await submit(loader, campaign(count, launch_at="2025-03-01T10:00:00"))
        assert later.body["launch_at"] == "2999-03-01T10:00:00.000Z"
        assert past.body == {
            "success": True,
            "message": f"Scheduled {count} calls for 01/03/2025 10:00",
            "campaign_id": past.body["campaign_id"],
            "scheduled": True,
            "launch_at": "2025-03-01T10:00:00.000Z",
            "total_contacts": count,
            "scheduled_calls": count,
            "error_calls": 0,
        }
        assert world.rows("SELECT uuid, status, scheduled, launch_at FROM campaign ORDER BY id") == [
            (later.body["campaign_id"], "scheduled", 1, 32_477_277_600_000),
            (past.body["campaign_id"], "running", 1, 1_740_823_200_000),
        ]

    run(story())


def test_a_large_campaign_is_whole_and_in_order_when_it_is_answered(world: World) -> None:
    async def story() -> None:
        async with world.loader() as loader:
            body = campaign(MANY)
            assert len(body) > SMALL
            answer = await submit(loader, body)
            assert (answer.status, answer.body["total_contacts"]) == (202, MANY)
            first = world.one("SELECT first_call FROM campaign")
            stored = world.rows("SELECT id, phone, contact FROM call ORDER BY id")
            assert stored == [(first + i, phone((i * 7919) % MANY), f'{{"first_name":"Ana {i}"}}') for i in range(MANY)]
            contacts = dict(world.rows("SELECT phone, fields FROM contact"))
            assert contacts == {phone: contact for _, phone, contact in stored}
            assert len(world.activated) == 1
            world.nothing_left()

    run(story())


@pytest.mark.parametrize("count", [3, MANY])
def test_known_contacts_change_only_in_what_was_given_and_calls_keep_what_they_were_made_with(
    world: World, count: int
) -> None:
    async def story() -> None:
        async with world.loader() as loader:
            await submit(loader, campaign(count, fields={"city": "Vigo", "custom_fields": {"a": 1, "b": 1}}))
            # The same again changes nothing; the last third is new.
            await submit(loader, campaign(count, fields={"city": "Vigo", "custom_fields": {"a": 1, "b": 1}}))
            await submit(loader, campaign(count, first=count // 3, fields={"city": "Lugo", "custom_fields": {"b": 2}}))
        assert world.one("SELECT count(*) FROM contact") == count + count // 3
        first, _, third = (row[0] for row in world.rows("SELECT first_call FROM campaign ORDER BY id"))
        old, merged = (
            {"city": "Vigo", "custom_fields": {"a": 1, "b": 1}},
            {"city": "Lugo", "custom_fields": {"a": 1, "b": 2}},
        )
        new = {"city": "Lugo", "custom_fields": {"b": 2}}

        def fields_of(table: str, column: str, number: str) -> dict[str, Any]:
            where = f"phone = ? AND id >= {third}" if table == "call" else "phone = ?"
            fields: dict[str, Any] = json.loads(world.one(f"SELECT {column} FROM {table} WHERE {where}", number))
            fields.pop("first_name")
            return fields

        for table, column in (("contact", "fields"), ("call", "contact")):
            assert fields_of(table, column, phone(count // 3)) == merged
            assert fields_of(table, column, phone(count + count // 3 - 1)) == new
        assert fields_of("contact", "fields", phone(0)) == old
        kept = json.loads(world.one("SELECT contact FROM call WHERE id = ?", first))
        assert kept == {"first_name": "Ana 0", **old}
        world.nothing_left()

    run(story())


def test_duplicates_are_one_call_and_are_counted(world: World) -> None:
    async def story() -> None:
        contacts = [{"phone": phone(1), "city": "Vigo"}, {"phone": phone(2)}, {"phone": phone(1), "city": "Lugo"}]
        async with world.loader() as loader:
            answer = await submit(loader, json.dumps({"playbook_id": PLAYBOOK, "contacts": contacts}).encode())
        assert (answer.body["total_contacts"], answer.body["duplicate_contacts"]) == (3, 1)
        assert world.rows("SELECT size, total_contacts, duplicate_contacts FROM campaign") == [(2, 3, 1)]
        assert world.rows("SELECT phone, contact FROM call ORDER BY id") == [
            (phone(1), '{"city":"Lugo"}'),
            (phone(2), "{}"),
        ]

    run(story())


def test_a_call_is_a_campaign_of_one_with_a_public_id(world: World) -> None:
    async def story() -> None:
        async with world.loader() as loader:
            now = await submit(loader, call(city="Vigo"), endpoint="call")
            later = await submit(loader, call(launch_at="2999-01-01T00:00Z"), endpoint="call")
        assert (now.status, later.status) == (202, 202)
        ids = PublicIds.of(world.db)
        first, second = (row[0] for row in world.rows("SELECT id FROM call ORDER BY id"))
        assert now.body == {"success": True, "call_id": ids.call_uuid(first), "scheduled": False}
        assert later.body == {"success": True, "call_id": ids.call_uuid(second), "scheduled": True}
        assert world.rows("SELECT single, status, size FROM campaign ORDER BY id") == [
            (1, "running", 1),
            (1, "scheduled", 1),
        ]

    run(story())


def test_refusals_store_nothing_and_400_comes_before_403(world: World) -> None:
    async def story() -> None:
        async with world.loader() as loader:
            for playbook in (OTHERS_PLAYBOOK, DELETED_PLAYBOOK, "0e5a6c3e-6b6b-4a6e-9b1e-00000000000f"):
                assert (await submit(loader, campaign(playbook_id=playbook))).status == 403
                assert (await submit(loader, campaign(playbook_id=playbook, recall=True))).status == 400
                assert (await submit(loader, call(playbook_id=playbook), endpoint="call")).status == 403
            unfit = await submit(loader, campaign(playbook_id=UNFIT_PLAYBOOK))
            assert unfit.status == 400
            assert unfit.body["details"][0]["field"] == "playbook.trunks.0"
            missing = await submit(loader, json.dumps({"playbook_id": PLAYBOOK, "contacts": [{}]}).encode())
            assert (missing.status, missing.body["error"]) == (400, "Each contact must have a non-empty phone field")
            many = await submit(loader, campaign(100_001))
            assert many.status == 413
            for table in ("campaign", "call", "contact", "idempotency", "intake"):
                assert world.one(f"SELECT count(*) FROM {table}") == 0
            assert world.activated == []

    run(story())


def test_every_faulty_contact_of_a_large_request_is_listed(world: World) -> None:
    async def story() -> None:
        contacts = [{"phone": phone(i) if i % 2 else "x"} for i in range(MANY)]
        async with world.loader() as loader:
            answer = await submit(loader, json.dumps({"playbook_id": PLAYBOOK, "contacts": contacts}).encode())
        assert answer.status == 400
        assert [fault["index"] for fault in answer.body["details"]] == list(range(0, MANY, 2))

    run(story())


@pytest.mark.parametrize("count", [2, MANY])
def test_the_same_key_and_body_get_the_stored_answer_also_after_a_restart(world: World, count: int) -> None:
    async def story() -> None:
        body = campaign(count)
        async with world.loader() as loader:
            first = await submit(loader, body, key="k")
            again = await submit(loader, body, key="k")
            assert (first.status, first.replayed, again.status, again.replayed) == (202, False, 202, True)
            assert again.body == first.body
            assert (await submit(loader, campaign(count + 1), key="k")).status == 409
            # A key belongs to an account and an endpoint.
            assert (await submit(loader, call(), key="k", endpoint="call")).status == 202
            other = await submit(loader, campaign(count, playbook_id=OTHERS_PLAYBOOK), key="k", account=2)
            assert (other.status, other.replayed) == (202, False)
        world.db.execute("UPDATE playbook SET deleted_at = 1 WHERE id = 1")
        async with world.loader() as loader:
            late = await submit(loader, body, key="k")
            assert (late.status, late.replayed, late.body) == (202, True, first.body)
        assert world.one("SELECT count(*) FROM campaign WHERE single = 0") == 2

    run(story())


def test_a_key_can_be_used_again_after_24_hours_and_old_ones_are_pruned(world: World) -> None:
    async def story() -> None:
        async with world.loader() as loader:
            await submit(loader, campaign(2), key="k")
            await submit(loader, campaign(2), key="old")
            world.db.execute("UPDATE idempotency SET created_at = created_at - ?", (KEY_LIFE_MS,))
            answer = await submit(loader, campaign(3), key="k")
            assert (answer.status, answer.replayed) == (202, False)
            assert world.rows("SELECT key FROM idempotency") == [("k",)]

    run(story())


def test_a_refused_request_does_not_use_up_its_key(world: World) -> None:
    async def story() -> None:
        async with world.loader() as loader:
            assert (await submit(loader, campaign(recall=True), key="k")).status == 400
            assert (await submit(loader, campaign(), key="k")).status == 202
            assert (await submit(loader, campaign(), key="x" * 256)).status == 400

    run(story())


def test_requests_with_one_key_at_the_same_time_make_one_campaign(world: World) -> None:
    async def story() -> None:
        small, large = campaign(2), campaign(MANY)
        async with world.loader() as loader:
            answers = await asyncio.gather(
                *(submit(loader, body, key="k") for body in (large, small, large, small, large))
            )
            assert sorted(answer.status for answer in answers) in ([202, 202, 409, 409, 409], [202, 202, 202, 409, 409])
            assert sum(answer.status == 202 and not answer.replayed for answer in answers) == 1
            assert world.one("SELECT count(*) FROM campaign") == 1
            world.nothing_left()

    run(story())


def test_ten_large_requests_at_once_are_all_stored_and_small_ones_pass_them(world: World) -> None:
    async def story() -> None:
        async with world.loader() as loader:
            large = [asyncio.create_task(submit(loader, campaign(MANY, first=i * MANY))) for i in range(10)]
            small = 0
            while not any(task.done() for task in large):
                assert (await submit(loader, call(phone(small)), endpoint="call")).status == 202
                small += 1
            # More than one small request went through while not even one large one did.
            assert small > 3
            answers = await asyncio.gather(*large)
            assert [answer.status for answer in answers] == [202] * 10
            assert world.one("SELECT count(*) FROM call") == 10 * MANY + small
            assert world.one("SELECT count(*) FROM contact") == 10 * MANY
            assert len(world.activated) == 10 + small
            world.nothing_left()

    run(story())


def test_a_large_load_stands_still_while_the_dispatcher_wants_the_lock(world: World) -> None:
    async def story() -> None:
        wanted = get_context("spawn").RawValue("b", 0)
        async with world.loader(wanted) as loader:
            task = asyncio.create_task(submit(loader, campaign(LONG)))
            await becomes(lambda: world.one("SELECT count(*) FROM call") > 0)
            wanted.value = 1
            # One transaction may be under way; the lock is free after it and stays so.
            with_lock = connect(world.path)
            with_lock.execute("BEGIN IMMEDIATE")
            with_lock.execute("COMMIT")
            there = world.one("SELECT count(*) FROM call")
            assert there < LONG
            done, _ = await asyncio.wait({task}, timeout=0.3)
            assert not done
            assert world.one("SELECT count(*) FROM call") == there
            wanted.value = 0
            assert (await task).status == 202
            with_lock.close()

    run(story())


def test_a_loader_killed_in_the_middle_of_a_load_leaves_nothing_and_is_replaced(world: World) -> None:
    async def story() -> None:
        async with world.loader() as loader:
            await submit(loader, campaign(2))
            task = asyncio.create_task(submit(loader, campaign(LONG), key="k"))
            await becomes(lambda: world.one("SELECT count(*) FROM call") > 2)
            os.kill(loader.pids["loader-large"], signal.SIGKILL)
            answer = await task
            assert answer.status == 503
            assert "error" in answer.body
            assert world.one("SELECT count(*) FROM call") == world.one("SELECT count(*) FROM contact") == 2
            world.nothing_left()
            again = await submit(loader, campaign(LONG), key="k")
            assert (again.status, again.replayed) == (202, False)
            assert len(world.activated) == 2
            world.nothing_left()

    run(story())


def test_killed_at_any_moment_a_request_is_answered_by_what_is_stored(world: World) -> None:
    async def story() -> None:
        dice = random.Random(5)
        expected = 0
        statuses = set()
        async with world.loader() as loader:
            started = time.monotonic()
            assert (await submit(loader, campaign(MANY))).status == 202
            took = time.monotonic() - started
            expected = 1
            for turn in range(12):
                task = asyncio.create_task(
                    submit(loader, campaign(MANY, first=turn * MANY // 2, fields={"city": f"C{turn}"}))
                )
                await asyncio.wait({task}, timeout=dice.uniform(0.1, 1.1) * took)
                os.kill(loader.pids["loader-large"], signal.SIGKILL)
                status = (await task).status
                statuses.add(status)
                expected += status == 202
                assert world.one("SELECT count(*) FROM campaign") == expected == len(world.activated)
                world.nothing_left()
                if status == 202:
                    wrong = "SELECT count(*) FROM contact WHERE phone BETWEEN ? AND ? AND fields ->> 'city' IS NOT ?"
                    numbers = phone(turn * MANY // 2), phone(turn * MANY // 2 + MANY - 1)
                    assert world.one(wrong, *numbers, f"C{turn}") == 0
        assert statuses == {202, 503}

    run(story())


def test_a_killed_small_loader_is_replaced_and_holds_nobody_up(world: World) -> None:
    async def story() -> None:
        async with world.loader() as loader:
            for _ in range(5):
                task = asyncio.create_task(submit(loader, campaign(2)))
                await asyncio.sleep(0)
                os.kill(loader.pids["loader-small"], signal.SIGKILL)
                assert (await task).status in {202, 503}
                assert (await submit(loader, campaign(MANY))).status == 202
                assert (await submit(loader, call(), endpoint="call")).status == 202
            world.nothing_left()

    run(story())


SERVICE = """
import asyncio, sys
from dialer.core.intake import IntakeRules
from dialer.core.playbook import Machine
from scheduler.loading import Loader

async def serve():
    loader = Loader(sys.argv[1], IntakeRules(), Machine({"pbx": None}), on_activated=lambda _: None)
    await loader.start()
    print(*loader.pids.values(), flush=True)
    await loader.submit(1, "campaign", open(sys.argv[2], "rb"), None)

if __name__ == "__main__":
    asyncio.run(serve())
"""


def test_when_the_whole_service_is_killed_its_loaders_end_and_the_next_start_finds_all_or_nothing(world: World) -> None:
    async def story() -> None:
        script, body = world.path.with_name("service.py"), world.path.with_name("body.json")
        script.write_text(SERVICE)
        body.write_bytes(campaign(LONG))
        service = await asyncio.create_subprocess_exec(
            sys.executable,
            str(script),
            str(world.path),
            str(body),
            stdout=PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert service.stdout is not None
        pids = [int(pid) for pid in (await service.stdout.readline()).split()]
        await becomes(lambda: world.one("SELECT count(*) FROM call") > 0)
        service.kill()
        await service.wait()
        async with world.loader() as loader:
            world.nothing_left()
            assert world.one("SELECT count(*) FROM campaign") == world.one("SELECT count(*) FROM call") == 0
            assert (await submit(loader, campaign(2))).status == 202
            await becomes(lambda: not any(running(pid) for pid in pids))
            world.nothing_left()

    run(story())


def running(pid: int) -> bool:
    try:
        # An orphan may stay a zombie where nobody reaps it.
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def half_done(world: World, status: str) -> None:
    """What a service that was killed leaves: a campaign of three calls, and contacts stored up to the first phone."""
    world.db.execute(
        f"""INSERT INTO campaign (uuid, account_id, playbook_id, playbook, status, scheduled, launch_at, stagger_ms, recall,
                first_call, size, total_contacts, duplicate_contacts, created_at)
            VALUES ('half', 1, 1, '{{}}', '{status}', 0, 0, 0, '[]', 1, 3, 3, 0, 0)"""
    )
    world.db.execute("UPDATE meta SET value = 4 WHERE key = 'next_call'")
    world.db.execute('INSERT INTO contact VALUES (1, 1, ?, \'{"city":"Vigo","state":"PO"}\', 0, 0)', (phone(2),))
    calls = [(1, phone(1), '{"city":"A"}'), (2, phone(2), '{"city":"B","state":"PO"}'), (3, phone(3), '{"city":"C"}')]
    world.db.executemany("INSERT INTO call (id, phone, contact) VALUES (?, ?, ?)", calls)
    world.db.execute("INSERT INTO intake SELECT id, 1, ? FROM campaign", (phone(1),))
    world.db.execute('INSERT INTO intake_change VALUES (2, \'{"city":"B"}\')')


def test_a_start_removes_what_was_still_loading(world: World) -> None:
    async def story() -> None:
        half_done(world, "loading")
        async with world.loader():
            assert world.one("SELECT count(*) FROM campaign") == world.one("SELECT count(*) FROM call") == 0
            assert world.rows("SELECT fields FROM contact") == [('{"city":"Vigo","state":"PO"}',)]
            world.nothing_left()

    run(story())


def test_a_start_completes_the_contacts_of_what_was_accepted(world: World) -> None:
    async def story() -> None:
        half_done(world, "running")
        # Changed by somebody else since: what was not given stays theirs.
        world.db.execute('UPDATE contact SET fields = \'{"city":"X","state":"LU"}\'')
        async with world.loader():
            assert world.rows("SELECT phone, fields FROM contact ORDER BY phone") == [
                (phone(2), '{"city":"B","state":"LU"}'),
                (phone(3), '{"city":"C"}'),
            ]
            world.nothing_left()

    run(story())


def test_a_disk_that_takes_no_more_is_a_503_and_recovers_by_itself(world: World) -> None:
    async def story() -> None:
        async with world.loader() as loader:
            await submit(loader, campaign(2))
            for name in ("loader-small", "loader-large"):
                pid = loader.pids[name]
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                # Room for the campaign's row and some chunks, then the disk refuses.
                room = world.path.with_name("dialer.db-wal").stat().st_size + (0 if name == "loader-small" else 400_000)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (room, hard))
                body = campaign(2 if name == "loader-small" else MANY)
                answer = await submit(loader, body, key=name)
                assert answer.status == 503
                assert "error" in answer.body
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
                again = await submit(loader, body, key=name)
                assert (again.status, again.replayed) == (202, False)
                assert loader.pids[name] == pid
            assert world.one("SELECT count(*) FROM campaign") == 3
            world.nothing_left()

    run(story())


def test_a_database_that_is_locked_for_good_is_a_503(world: World) -> None:
    async def story() -> None:
        async with world.loader() as loader:
            world.db.execute("BEGIN IMMEDIATE")
            task = asyncio.create_task(submit(loader, campaign(2)))
            assert (await task).status == 503
            world.db.execute("ROLLBACK")
            assert (await submit(loader, campaign(2))).status == 202

    run(story())


def test_a_body_that_is_no_file_is_taken_too(world: World) -> None:
    async def story() -> None:
        async with world.loader() as loader:
            for count in (2, MANY):
                assert (await loader.submit(1, "campaign", io.BytesIO(campaign(count)), None)).status == 202

    run(story())


def test_a_caller_that_goes_away_does_not_stop_its_request(world: World) -> None:
    async def story() -> None:
        async with world.loader() as loader:
            task = asyncio.create_task(submit(loader, campaign(LONG)))
            await becomes(lambda: world.one("SELECT count(*) FROM call") > 0)
            task.cancel()
            await becomes(lambda: world.one("SELECT count(*) FROM campaign WHERE status = 'running'") == 1)
            await becomes(lambda: world.one("SELECT count(*) FROM contact") == LONG)

    run(story())


def test_stopping_finishes_what_is_being_stored_and_gives_up_what_waits(world: World) -> None:
    async def story() -> None:
        async with world.loader() as loader:
            first = asyncio.create_task(submit(loader, campaign(LONG)))
            waiting = asyncio.create_task(submit(loader, campaign(LONG)))
            await becomes(lambda: world.one("SELECT count(*) FROM call") > 0)
            await loader.stop()
            assert ((await first).status, (await waiting).status) == (202, 503)
            assert (await submit(loader, campaign(2))).status == 503
        world.nothing_left()

    run(story())


def test_a_database_that_is_not_there_or_was_never_migrated_stops_the_start(tmp_path: Path) -> None:
    async def story() -> None:
        connect(tmp_path / "empty.db", create=True).close()
        for name, reason in (("missing.db", "cannot be opened"), ("empty.db", "no such table")):
            loader = Loader(tmp_path / name, RULES, MACHINE, on_activated=lambda _: None)
            with pytest.raises(StoreUnavailable, match=reason):
                await loader.start()

    run(story())


def test_the_wal_stays_short_over_many_large_loads(world: World) -> None:
    async def story() -> None:
        async with world.loader() as loader:
            for i in range(4):
                # With the small loader writing in between, a checkpoint never finds the WAL at rest.
                large = asyncio.create_task(
                    submit(loader, campaign(2 * MANY, first=i * 2 * MANY, fields={"address": "x" * 900}))
                )
                while not large.done():
                    await submit(loader, call(), endpoint="call")
                assert (await large).status == 202
        assert world.one("SELECT count(*) FROM call") >= 4 * 2 * MANY
        assert world.path.with_name("dialer.db-wal").stat().st_size < 120_000_000

    run(story())
