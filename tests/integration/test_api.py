"""The HTTP edge over the real database and loaders: what is posted is there, and only for its own account."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from dialer.core.intake import IntakeRules
from dialer.core.model import CampaignId
from dialer.core.phone import PhoneRules, normalize
from dialer.core.playbook import Machine
from scheduler.accounts import Accounts
from scheduler.clock import SystemClock
from scheduler.contacts import Contacts
from scheduler.database import Database
from scheduler.do_not_call import DoNotCall
from scheduler.loading import Loader
from scheduler.migrations import migrate
from scheduler.playbooks import Playbooks
from scheduler.views import Views
from tests.support.fake_backend import Fakes

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
PLAYBOOK = {"name": "Renewal", "trunks": ["pbx"], "steps": [{"do": "hangup"}]}
UNKNOWN = "99999999-9999-4999-8999-999999999999"


@dataclass
class World:
    """Two accounts' programs, and the campaigns that the engine would have been told of."""

    mine: httpx.AsyncClient
    theirs: httpx.AsyncClient
    activated: list[CampaignId]
    database: Database

    async def playbook(self) -> str:
        answer = await self.mine.post("/playbook", json=PLAYBOOK)
        assert answer.status_code == 201
        return str(answer.json()["id"])

    async def campaign(self, *phones: str, **keys: Any) -> dict[str, Any]:
        body = {"playbook_id": await self.playbook(), "contacts": [{"phone": phone} for phone in phones], **keys}
        answer = await self.mine.post("/campaign", json=body)
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    path, clock, activated = folder / "dialer.db", SystemClock(), list[CampaignId]()
    migrate(path)
    database = Database(path)
    rules = IntakeRules(max_contacts=50, phone=PhoneRules(internal=re.compile("[0-9]{3}")))
    machine = Machine({"pbx": None})
    loader = Loader(path, rules, machine, on_activated=activated.append)
    await loader.start()
    accounts = Accounts(database, clock)
    tokens = [accounts.create_token(accounts.create_account(name).id) for name in ("Mine", "Theirs")]
    backend = replace(
        Fakes().backend(),
        accounts=accounts,
        views=Views(database, clock),
        intake=loader,
        playbooks=Playbooks(database, clock),
        contacts=Contacts(database, clock),
        do_not_call=DoNotCall(database, clock),
        machine=lambda: machine,
        read_phone=lambda text: normalize(text, rules.phone),
    )
    transport = httpx.ASGITransport(create_app(backend))
    mine, theirs = (
        httpx.AsyncClient(transport=transport, base_url="http://dialer", headers={"Authorization": f"Bearer {token}"})
        for token in tokens
    )
    try:
        async with mine, theirs:
            yield World(mine, theirs, activated, database)
    finally:
        await loader.stop()
        database.close()


@pytest.fixture
def tell(tmp_path: Path) -> Callable[[Callable[[World], Coroutine[Any, Any, None]]], None]:
    """Run a story in a world of its own."""

    def run(story: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        async def within() -> None:
            async with world(tmp_path) as there:
                await asyncio.wait_for(story(there), 60)

        asyncio.run(within())

    return run


Tell = Callable[[Callable[[World], Coroutine[Any, Any, None]]], None]


def test_an_immediate_campaign_is_answered_to_the_letter_and_can_be_followed(tell: Tell) -> None:
    async def story(there: World) -> None:
        posted = await there.campaign("+34910000001", "+34910000002", recall=[120, 30])
        uuid = posted["campaign_id"]
        assert UUID.fullmatch(uuid)
        assert posted == {
            "success": True,
            "message": "Campaign started successfully",
            "campaign_id": uuid,
            "scheduled": False,
            "total_contacts": 2,
        }
        assert len(there.activated) == 1
        seen = (await there.mine.get(f"/campaign/{uuid}")).json()
        assert (seen["id"], seen["status"], seen["recall"]) == (uuid, "running", [30, 120])
        assert seen["calls"] == {"scheduled": 2, "live": 0, "finished": 0}
        calls = (await there.mine.get(f"/campaign/{uuid}/calls")).json()
        assert [call["phone"] for call in calls["items"]] == ["+34910000001", "+34910000002"]
        assert calls["next_cursor"] is None
        call = (await there.mine.get(f"/call/{calls['items'][0]['id']}")).json()
        assert (call["campaign_id"], call["state"], call["disposition"]) == (uuid, "scheduled", None)
        assert [one["id"] for one in (await there.mine.get("/campaign")).json()["items"]] == [uuid]

    tell(story)


def test_a_scheduled_campaign_is_answered_to_the_letter(tell: Tell) -> None:
    async def story(there: World) -> None:
        posted = await there.campaign("+34910000001", "0034 910 000 001", launch_at="2095-03-01T12:00:00+02:00")
        assert posted == {
            "success": True,
            "message": "Scheduled 1 calls for 01/03/2095 10:00",
            "campaign_id": posted["campaign_id"],
            "scheduled": True,
            "launch_at": "2095-03-01T10:00:00.000Z",
            "total_contacts": 2,
            "duplicate_contacts": 1,
            "scheduled_calls": 1,
            "error_calls": 0,
        }

    tell(story)


def test_nothing_of_one_account_exists_for_another(tell: Tell) -> None:
    async def story(there: World) -> None:
        playbook = await there.playbook()
        uuid = (await there.campaign("+34910000001"))["campaign_id"]
        call = (await there.mine.get(f"/campaign/{uuid}/calls")).json()["items"][0]["id"]
        contact = (await there.mine.get("/contact")).json()["items"][0]["id"]
        for path in (f"/campaign/{uuid}", f"/campaign/{uuid}/calls", f"/call/{call}", f"/playbook/{playbook}"):
            assert (await there.mine.get(path)).status_code == 200
            assert (await there.theirs.get(path)).status_code == 404
        assert (await there.theirs.patch(f"/contact/{contact}", json={"city": "x"})).status_code == 404
        assert (await there.theirs.delete(f"/contact/{contact}")).status_code == 404
        for path in ("/campaign", "/playbook", "/contact", "/do-not-call"):
            assert (await there.theirs.get(path)).json() == {"items": [], "next_cursor": None}
        body = {"playbook_id": playbook, "contacts": [{"phone": "+34910000001"}]}
        refused = await there.theirs.post("/campaign", json=body)
        assert refused.status_code == 403
        assert set(refused.json()) == {"error"}

    tell(story)


def test_what_is_refused_stores_nothing(tell: Tell) -> None:
    async def story(there: World) -> None:
        playbook = await there.playbook()
        good = {"phone": "+34910000001"}
        for body, status, error in (
            (b"{", 400, None),
            (b"\xff", 400, None),
            ({"playbook_id": "x", "contacts": [good]}, 400, None),
            ({"playbook_id": UNKNOWN, "contacts": [good]}, 403, None),
            ({"playbook_id": UNKNOWN, "contacts": []}, 400, None),
            (
                {"playbook_id": playbook, "contacts": [good, {"phone": ""}]},
                400,
                "Each contact must have a non-empty phone field",
            ),
            ({"playbook_id": playbook, "contacts": [good], "recall": [True]}, 400, None),
            ({"playbook_id": playbook, "contacts": [{"phone": f"+349100{i:05d}"} for i in range(51)]}, 413, None),
        ):
            options: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
            answer = await there.mine.post("/campaign", **options)
            assert answer.status_code == status, answer.text
            assert set(answer.json()) <= {"error", "details"}
            assert error is None or answer.json()["error"] == error
        assert there.activated == []
        assert (await there.mine.get("/campaign")).json()["items"] == []
        assert (await there.mine.get("/contact")).json()["items"] == []

    tell(story)


def test_the_same_key_gives_the_same_answer_and_another_body_conflicts(tell: Tell) -> None:
    async def story(there: World) -> None:
        body = {"playbook_id": await there.playbook(), "contacts": [{"phone": "+34910000001"}]}
        key = {"Idempotency-Key": "order 7"}
        first = await there.mine.post("/campaign", json=body, headers=key)
        again = await there.mine.post("/campaign", json=body, headers=key)
        assert (again.status_code, again.json()) == (202, first.json())
        assert again.headers["Idempotent-Replayed"] == "true"
        assert "Idempotent-Replayed" not in first.headers
        other = await there.mine.post("/campaign", json={**body, "recall": [5]}, headers=key)
        assert other.status_code == 409
        assert set(other.json()) == {"error"}
        assert len(there.activated) == 1

    tell(story)


def test_a_single_call_is_accepted_and_shown_without_a_campaign(tell: Tell) -> None:
    async def story(there: World) -> None:
        body = {"playbook_id": await there.playbook(), "phone": "100", "first_name": "Ana"}
        posted = await there.mine.post("/call", json=body)
        assert posted.status_code == 202
        uuid = posted.json()["call_id"]
        assert posted.json() == {"success": True, "call_id": uuid, "scheduled": False}
        call = (await there.mine.get(f"/call/{uuid}")).json()
        assert (call["phone"], call["campaign_id"], call["contact"]["first_name"]) == ("100", None, "Ana")
        assert (await there.mine.get("/campaign")).json()["items"] == []

    tell(story)


def test_a_contact_is_corrected_and_erased_with_its_calls(tell: Tell) -> None:
    async def story(there: World) -> None:
        uuid = (await there.campaign("+34910000001"))["campaign_id"]
        found = (await there.mine.get("/contact", params={"phone": "+34 910 000 001"})).json()["items"]
        path = f"/contact/{found[0]['id']}"
        changed = await there.mine.patch(path, json={"city": "Vigo", "custom_fields": {"a": 1}})
        assert (changed.json()["city"], changed.json()["custom_fields"]) == ("Vigo", {"a": 1})
        changed = await there.mine.patch(path, json={"city": None, "custom_fields": {"b": 2}})
        assert "city" not in changed.json()
        assert changed.json()["custom_fields"] == {"a": 1, "b": 2}
        assert (await there.mine.delete(path)).status_code == 204
        assert (await there.mine.get(path)).status_code == 404
        [call] = (await there.mine.get(f"/campaign/{uuid}/calls")).json()["items"]
        assert (call["phone"], call["contact"]) == (None, {})

    tell(story)


def test_lists_of_the_database_are_walked_by_their_cursors(tell: Tell) -> None:
    async def story(there: World) -> None:
        phones = [f"+3491000{i:04d}" for i in range(25)]
        uuid = (await there.campaign(*phones))["campaign_id"]
        await there.mine.post("/do-not-call", json={"phones": phones})
        for path in (f"/campaign/{uuid}/calls", "/contact", "/do-not-call"):
            seen: list[str] = []
            cursor: str | None = ""
            while cursor is not None:
                page = (await there.mine.get(path, params={"limit": 10, "cursor": cursor})).json()
                seen += [item["phone"] for item in page["items"]]
                cursor = page["next_cursor"]
            assert sorted(seen) == phones
        assert (await there.mine.delete("/do-not-call", params={"phone": phones[3]})).json()["removed"] == 1
        assert len((await there.mine.get("/do-not-call")).json()["items"]) == 24

    tell(story)


def test_a_deleted_playbook_takes_no_more_campaigns(tell: Tell) -> None:
    async def story(there: World) -> None:
        playbook = await there.playbook()
        assert (await there.mine.put(f"/playbook/{playbook}", json={**PLAYBOOK, "name": "New"})).json()["name"] == "New"
        assert (await there.mine.delete(f"/playbook/{playbook}")).status_code == 204
        body = {"playbook_id": playbook, "contacts": [{"phone": "+34910000001"}]}
        assert (await there.mine.post("/campaign", json=body)).status_code == 403

    tell(story)


def test_a_token_that_is_revoked_ends_at_once(tell: Tell) -> None:
    async def story(there: World) -> None:
        assert (await there.mine.get("/campaign")).status_code == 200
        Accounts(there.database, SystemClock()).revoke(1)
        refused = await there.mine.get("/campaign")
        assert refused.status_code == 401
        assert (await there.theirs.get("/campaign")).status_code == 200

    tell(story)
