"""The loader processes, real ones, on a real file: what is accepted is whole and stays, what is not leaves nothing."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from dialer.core.playbook import Machine
from dialer.log_lines import LogStyle
from scheduler.connection import connect
from scheduler.ids import PublicIds
from scheduler.intake_rows import KEY_LIFE_MS
from scheduler.loading import SMALL
from tests.support.loader_world import (
    DELETED_PLAYBOOK,
    LONG,
    MANY,
    OTHERS_PLAYBOOK,
    PLAYBOOK,
    RULES,
    UNFIT_PLAYBOOK,
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
            assert world.rows(f"SELECT {columns} FROM campaign_now") == [
                (1, 1, 0, "running", 0, 250, "[30, 120]", 2, 2, 0)
            ]
            assert json.loads(world.one("SELECT playbook FROM campaign_now"))["name"] == "Renewal"
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


def test_other_rules_hold_for_the_next_request_also_of_a_process_that_is_replaced(world: World) -> None:
    async def story() -> None:
        async with world.loader() as loader:
            assert (await submit(loader, campaign(3))).status == 202
            assert (await submit(loader, campaign(playbook_id=UNFIT_PLAYBOOK))).status == 400
            loader.follow(replace(RULES, max_contacts=2, max_calls_per_day=2), Machine({"gone": None}), LogStyle())
            for _ in range(2):
                assert (await submit(loader, campaign(3))).status == 413
                assert (await submit(loader, campaign(2))).status == 400
                assert (await submit(loader, campaign(2, playbook_id=UNFIT_PLAYBOOK), key="same")).status == 202
                assert (await submit(loader, campaign(1, playbook_id=UNFIT_PLAYBOOK))).status == 429
                killed = loader.pids["loader-small"]
                os.kill(killed, signal.SIGKILL)
                # A request that meets it while it dies is answered 503.
                await becomes(partial(has_ended, killed))

    run(story())


def has_ended(pid: int) -> bool:
    """Whether the process is no more, or waits for its parent to notice that."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


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
