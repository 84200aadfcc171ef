"""Playbooks, contacts and do-not-call lists, as the API and the command line use them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dialer.core.changes import AttemptArmed, AttemptDialed
from dialer.core.model import Campaign, WallMs
from dialer.core.playbook import Playbook
from scheduler.checkpoint import Checkpointer
from scheduler.contacts import Contacts, changed_fields
from scheduler.database import Database
from scheduler.do_not_call import EVERY_ACCOUNT, DoNotCall
from scheduler.playbooks import Playbooks
from scheduler.views import Views
from tests.support.clock import EPOCH, FakeClock
from tests.support.sqlite_world import SqliteWorld
from tests.support.wait import until

PHONE = "+34910000001"
CREATED = "2025-03-01T10:00:00.000Z"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SqliteWorld]:
    world = SqliteWorld(tmp_path / "dialer.db")
    world.add_account(1)
    world.add_account(2)
    yield world
    world.close()


def add_contact(world: SqliteWorld, phone: str, fields: dict[str, Any] | None = None, account: int = 1) -> None:
    world.connection.execute(
        "INSERT INTO contact (account_id, phone, fields, created_at, updated_at) VALUES (?, ?, ?, ?, ?)",
        (account, phone, json.dumps(fields or {}), EPOCH, EPOCH),
    )


# Playbooks


@pytest.fixture
def playbooks(database: Database) -> Playbooks:
    return Playbooks(database, FakeClock())


RENEWAL = Playbook.model_validate({"name": "Renewal", "trunks": ["pbx"], "steps": [{"do": "wait", "seconds": 1}]})


def test_a_playbook_is_shown_with_all_its_keys(playbooks: Playbooks) -> None:
    made = playbooks.create(1, RENEWAL)
    assert made == {"id": made["id"], **RENEWAL.model_dump(), "created_at": CREATED, "updated_at": CREATED}
    assert playbooks.get(1, made["id"]) == made
    assert playbooks.get(1, made["id"].upper()) == made


def test_playbooks_are_listed_newest_first_page_by_page(playbooks: Playbooks) -> None:
    made = [playbooks.create(1, RENEWAL.model_copy(update={"name": str(i)})) for i in range(5)]
    playbooks.create(2, RENEWAL)
    assert playbooks.delete(1, made[3]["id"])
    names, after = [], None
    while True:
        items, after = playbooks.list(1, limit=2, after=after)
        names.append([item["name"] for item in items])
        if after is None:
            break
    assert names == [["4", "2"], ["1", "0"]]


def test_a_playbook_is_replaced_and_deleted_by_its_account_only(playbooks: Playbooks) -> None:
    made = playbooks.create(1, RENEWAL)
    later = RENEWAL.model_copy(update={"name": "Later"})
    assert playbooks.update(2, made["id"], later) is None
    assert playbooks.get(2, made["id"]) is None
    assert not playbooks.delete(2, made["id"])
    changed = playbooks.update(1, made["id"], later)
    assert changed is not None
    assert changed["name"] == "Later"
    assert playbooks.delete(1, made["id"])
    assert not playbooks.delete(1, made["id"])
    assert playbooks.get(1, made["id"]) is None
    assert playbooks.update(1, made["id"], later) is None


# Contacts


@pytest.fixture
def contacts(database: Database) -> Contacts:
    return Contacts(database, FakeClock())


def only(contacts: Contacts, phone: str = PHONE, account: int = 1) -> dict[str, Any]:
    items, after = contacts.list(account, phone=phone, limit=100, after=None)
    assert after is None
    (item,) = items
    return item


def test_a_contact_is_found_by_phone_and_by_id(world: SqliteWorld, contacts: Contacts) -> None:
    add_contact(world, PHONE, {"first_name": "Ana", "custom_fields": {"n": 1}})
    found = only(contacts)
    assert found == {
        "id": found["id"],
        "phone": PHONE,
        "first_name": "Ana",
        "custom_fields": {"n": 1},
        "created_at": CREATED,
        "updated_at": CREATED,
    }
    assert contacts.get(1, found["id"]) == found
    assert contacts.get(1, "11111111-1111-8111-8111-111111111111") is None
    assert contacts.list(1, phone="+34999999999", limit=10, after=None) == ([], None)


def test_contacts_are_listed_newest_first_page_by_page(world: SqliteWorld, contacts: Contacts) -> None:
    for i in range(5):
        add_contact(world, f"+3491000000{i}", account=1)
    add_contact(world, PHONE, account=2)
    first, after = contacts.list(1, phone=None, limit=3, after=None)
    rest, end = contacts.list(1, phone=None, limit=3, after=after)
    assert [item["phone"][-1] for item in first + rest] == ["4", "3", "2", "1", "0"]
    assert end is None


def test_a_contact_is_corrected_field_by_field(world: SqliteWorld, contacts: Contacts) -> None:
    add_contact(world, PHONE, {"first_name": "Ana", "city": "Vigo", "custom_fields": {"a": 1, "b": 2}})
    found = only(contacts)
    changed = contacts.update(1, found["id"], {"city": None, "last_name": "Gil", "custom_fields": {"a": None, "c": 3}})
    assert changed is not None
    assert contacts.get(1, found["id"]) == changed
    fields = {name: changed.get(name) for name in ("first_name", "last_name", "city", "custom_fields")}
    assert fields == {"first_name": "Ana", "last_name": "Gil", "city": None, "custom_fields": {"b": 2, "c": 3}}
    assert "city" not in changed


def test_taking_all_custom_fields_away_leaves_none() -> None:
    assert changed_fields({"custom_fields": {"a": 1}}, {"custom_fields": None}) == {}
    assert changed_fields({}, {"custom_fields": {"a": None}}) == {"custom_fields": {}}


def test_a_contact_of_another_account_is_nobody(world: SqliteWorld, contacts: Contacts) -> None:
    add_contact(world, PHONE, {"first_name": "Ana"})
    uuid = only(contacts)["id"]
    assert contacts.get(2, uuid) is None
    assert contacts.update(2, uuid, {"first_name": "Eve"}) is None
    assert not contacts.erase(2, uuid)
    assert only(contacts)["first_name"] == "Ana"


def dialed(campaign: Campaign, position: int) -> list[AttemptArmed | AttemptDialed]:
    call = type(campaign.first_call)(campaign.first_call + position)
    return [
        AttemptArmed(call, campaign.id, 1, WallMs(EPOCH), WallMs(EPOCH), "pbx", "", "x"),
        AttemptDialed(call, campaign.id, 1, WallMs(EPOCH), f"sip:{PHONE}@pbx"),
    ]


def test_erasing_a_contact_leaves_nothing_of_the_person_in_any_call(
    world: SqliteWorld, contacts: Contacts, database: Database
) -> None:
    add_contact(world, PHONE, {"first_name": "Ana"})
    add_contact(world, PHONE, {"first_name": "Ana"}, account=2)
    mine = world.add_campaign(size=2, phones=["+34910000009", PHONE])
    again = world.add_campaign(size=1, phones=[PHONE])
    theirs = world.add_campaign(size=1, phones=[PHONE], account=2)
    world.store.apply([*dialed(mine, 0), *dialed(mine, 1)])
    assert contacts.erase(1, only(contacts)["id"])
    assert contacts.list(1, phone=None, limit=10, after=None) == ([], None)
    views = Views(database, FakeClock())
    erased = views.call(1, database.ids.call_uuid(mine.first_call + 1))
    assert erased is not None
    assert (erased["phone"], erased["contact"], len(erased["attempts"])) == (None, {}, 1)
    kept = views.call(1, database.ids.call_uuid(mine.first_call))
    assert kept is not None
    assert kept["phone"] == "+34910000009"
    assert only(contacts, account=2)["first_name"] == "Ana"
    rows = world.connection.execute("SELECT id FROM call WHERE phone = ?", (PHONE,)).fetchall()
    assert rows == [(theirs.first_call,)]
    dialogs = world.connection.execute("SELECT dialog FROM open_attempt ORDER BY call_id").fetchall()
    assert dialogs == [(f"sip:{PHONE}@pbx",), (None,)]
    pending = world.store.call(again.first_call)
    assert (pending.phone, pending.suppressed) == ("", True)


def test_an_erased_person_is_not_left_behind_in_the_bytes_of_the_files(
    world: SqliteWorld, database: Database, tmp_path: Path
) -> None:
    checkpointer = Checkpointer(world.path)
    contacts = Contacts(database, FakeClock(), on_erased=checkpointer.wipe)
    # In no order, so that pages are split and rows move between them; and changed, so that rows are written anew.
    phones = [f"+34{600_000_000 + 7_919 * i % 1_000_003}" for i in range(3_000)]
    for phone in phones:
        add_contact(world, phone, {"first_name": f"Zoe{phone[3:]}"})
    mine = world.add_campaign(size=len(phones), phones=phones)
    world.store.apply([*dialed(mine, 0), *dialed(mine, 1)])
    for phone in phones[:20]:
        contacts.update(1, only(contacts, phone=phone)["id"], {"city": "Vigo" * 30})

    def left() -> list[str]:
        files = [file.read_bytes() for file in tmp_path.iterdir()]
        return [phone for phone in phones[:20] if any(phone[3:].encode() in read for read in files)]

    assert len(left()) == 20
    checkpointer.start()
    try:
        for phone in phones[:20]:
            assert contacts.erase(1, only(contacts, phone=phone)["id"])
        # The first wipe comes at once; what was erased after it waits for the next.
        # And SQLite leaves a copy in the unused part of a page where it moved a row to another one: one in hundreds.
        until(lambda: len(left()) <= 1, seconds=30)
    finally:
        checkpointer.stop()
    assert any(phones[20][3:].encode() in file.read_bytes() for file in tmp_path.iterdir())


# Do-not-call


@pytest.fixture
def do_not_call(database: Database) -> DoNotCall:
    return DoNotCall(database, FakeClock())


def test_a_number_is_added_once_listed_and_removed(do_not_call: DoNotCall) -> None:
    assert do_not_call.add(1, [PHONE, "+34910000000", PHONE]) == 2
    assert do_not_call.add(1, [PHONE]) == 0
    assert do_not_call.list(1, phone=None, limit=10, after=None) == (
        [{"phone": "+34910000000", "added_at": CREATED}, {"phone": PHONE, "added_at": CREATED}],
        None,
    )
    items, after = do_not_call.list(1, phone=None, limit=1, after=None)
    assert (items[0]["phone"], after) == ("+34910000000", "+34910000000")
    assert do_not_call.list(1, phone=None, limit=1, after=after)[0][0]["phone"] == PHONE
    assert do_not_call.list(1, phone=PHONE, limit=10, after=None)[0] == [{"phone": PHONE, "added_at": CREATED}]
    assert do_not_call.remove(1, PHONE)
    assert not do_not_call.remove(1, PHONE)


def test_a_list_counts_for_its_account_and_the_common_one_for_all(world: SqliteWorld, do_not_call: DoNotCall) -> None:
    mine = world.add_campaign(phones=[PHONE], account=1)
    theirs = world.add_campaign(phones=[PHONE], account=2)
    do_not_call.add(1, [PHONE])
    assert [do_not_call.is_listed(account, PHONE) for account in (1, 2)] == [True, False]
    assert [world.store.call(c.first_call).suppressed for c in (mine, theirs)] == [True, False]
    do_not_call.add(EVERY_ACCOUNT, [PHONE])
    assert [do_not_call.is_listed(account, PHONE) for account in (1, 2)] == [True, True]
    assert [world.store.call(c.first_call).suppressed for c in (mine, theirs)] == [True, True]
