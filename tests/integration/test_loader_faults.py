"""Loader processes that are killed, starved or stopped in the middle: all of a request is stored, or nothing."""

import asyncio
import io
import os
import random
import resource
import signal
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path

import pytest

from dialer.ports import StoreUnavailable
from scheduler.connection import connect
from scheduler.loading import Loader
from tests.support.loader_world import (
    LONG,
    MACHINE,
    MANY,
    RULES,
    World,
    becomes,
    call,
    campaign,
    phone,
    run,
    submit,
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "dialer.db")
    yield world
    world.db.close()


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
