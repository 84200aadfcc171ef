"""POST /campaign and POST /call: what bodies are accepted, and the exact words of refusals and answers."""

import json
from typing import Any

import pytest

from dialer.core.intake import (
    CampaignRequest,
    IntakeRules,
    Refusal,
    accepted,
    accepted_call,
    read_call,
    read_campaign,
)
from dialer.core.model import WallMs

PLAYBOOK = "0E5A6C3E-6b6b-4a6e-9b1e-000000000001"
RULES = IntakeRules(max_contacts=5)
WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday")
TEN = WallMs(1_740_823_200_000)


def campaign(*contacts: Any, **more: Any) -> bytes:
    return json.dumps({"playbook_id": PLAYBOOK, "contacts": contacts, **more}).encode()


def refused(body: bytes) -> Refusal:
    refusal = read_campaign(body, RULES)
    assert isinstance(refusal, Refusal)
    return refusal


def request(body: bytes) -> CampaignRequest:
    read = read_campaign(body, RULES)
    assert isinstance(read, CampaignRequest), read
    return read


def test_a_full_campaign_is_read() -> None:
    body = campaign(
        {"phone": "0034 910000001", "first_name": "Ana"},
        {"phone": "+34910000002"},
        launch_at="2025-03-01T10:00Z",
        recall="[120,30]",
    )
    assert request(body) == CampaignRequest(
        playbook_uuid=PLAYBOOK.lower(),
        contacts={"+34910000001": '{"first_name":"Ana"}', "+34910000002": "{}"},
        total_contacts=2,
        launch_at=TEN,
        recall=(30, 120),
    )


@pytest.mark.parametrize("contacts", [[], None, {}, "x", 5, {"phone": "+34910000000"}])
def test_contacts_that_are_no_list_or_empty_are_refused(contacts: Any) -> None:
    refusal = refused(json.dumps({"playbook_id": PLAYBOOK, "contacts": contacts}).encode())
    assert (refusal.status, refusal.error) == (400, "contacts must be a non-empty array")
    assert refused(json.dumps({"playbook_id": PLAYBOOK}).encode()) == refusal


@pytest.mark.parametrize("playbook", [None, "", "  "])
def test_a_playbook_is_required(playbook: Any) -> None:
    assert refused(campaign({"phone": "+34910000000"}, playbook_id=playbook)).error == "playbook_id is required"


@pytest.mark.parametrize(
    "playbook",
    [
        5,
        True,
        [],
        {},
        "x",
        PLAYBOOK[:-1],
        PLAYBOOK + "0",
        "{" + PLAYBOOK + "}",
        PLAYBOOK + "\n",
        PLAYBOOK.replace("-", ""),
    ],
)
def test_a_playbook_id_is_a_uuid(playbook: Any) -> None:
    assert refused(campaign({"phone": "+34910000000"}, playbook_id=playbook)).error == "playbook_id must be a UUID"


@pytest.mark.parametrize(
    "contact",
    [
        {},
        {"phone": None},
        {"phone": ""},
        {"phone": "  "},
        {"phone": 34910000000},
        {"phone": ["+34910000000"]},
        "+34910000000",
        None,
        5,
        [],
    ],
)
def test_a_contact_without_a_phone_is_refused_to_the_letter(contact: Any) -> None:
    refusal = refused(campaign({"phone": "+34910000000"}, contact))
    assert refusal.status == 400
    body = refusal.body()
    assert body["error"] == "Each contact must have a non-empty phone field"
    assert [(fault["index"], fault["field"]) for fault in body["details"]] == [(1, "phone")]


def test_all_faulty_contacts_are_listed_and_a_missing_phone_decides_the_error() -> None:
    body = refused(
        campaign(
            {"phone": "12"},
            {"phone": "+34910000000"},
            {"phone": "+34910000001", "email": 5, "timezone": "Mars"},
            {"phone": ""},
        )
    ).body()
    assert body["error"] == "Each contact must have a non-empty phone field"
    assert [(fault["index"], fault["field"]) for fault in body["details"]] == [(0, "phone"), (2, "email"), (3, "phone")]
    assert all(set(fault) == {"index", "field", "reason"} for fault in body["details"])


def test_without_a_missing_phone_the_first_faulty_contact_is_the_error() -> None:
    refusal = refused(
        campaign({"phone": "+34910000000"}, {"phone": "+34910000001", "timezone": "Mars"}, {"phone": "12"})
    )
    assert refusal.error == "contacts[1]: timezone is not an IANA time zone, such as Europe/Madrid"
    assert [fault.index for fault in refusal.faults] == [1, 2]


def test_faults_beside_the_contacts_come_first_and_have_no_index() -> None:
    body = refused(campaign({"phone": ""}, playbook_id=None, launch_at="2025-03-01", recall=[0])).body()
    assert body["error"] == "playbook_id is required"
    assert [fault["field"] for fault in body["details"]] == ["playbook_id", "launch_at", "recall", "phone"]
    assert "index" not in body["details"][0]


@pytest.mark.parametrize(
    "more", [{"launch_at": "2025-03-01"}, {"launch_at": 5}, {"recall": True}, {"recall": "x"}, {"recall": [1] * 11}]
)
def test_a_bad_time_refuses_the_campaign_by_its_name(more: dict[str, Any]) -> None:
    refusal = refused(campaign({"phone": "+34910000000"}, **more))
    assert refusal.status == 400
    assert refusal.error.startswith(next(iter(more)))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1,]",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b"\xff{}",
        b'{"a":"\xff"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"{'a':1}",
        b'{"a":' + b"9" * 5000 + b"}",
        b"nul",
        "{}".encode("utf-16"),
    ],
)
def test_what_is_not_json_is_refused_without_harm(body: bytes) -> None:
    for read in (read_campaign, read_call):
        refusal = read(body, RULES)
        assert isinstance(refusal, Refusal)
        assert refusal.status == 400
        assert refusal.error.startswith("The body is not")


@pytest.mark.parametrize("body", [b"[]", b"null", b"5", b'"x"', b"true"])
def test_a_body_is_an_object(body: bytes) -> None:
    assert refused(body) == Refusal(400, "The body must be a JSON object")


def test_a_byte_order_mark_is_ignored() -> None:
    body = campaign({"phone": "+34910000000"})
    assert request(b"\xef\xbb\xbf" + body) == request(body)


def test_more_contacts_than_allowed_are_too_large() -> None:
    assert refused(campaign(*[{"phone": f"+3491000000{i}"} for i in range(6)])).status == 413
    assert request(campaign(*[{"phone": f"+3491000000{i}"} for i in range(5)])).total_contacts == 5


def test_a_bomb_of_tiny_values_is_refused_before_it_is_unpacked() -> None:
    bomb = b'{"contacts":[' + b"[]," * 200_000 + b"[]]}"
    assert refused(bomb) == Refusal(413, "The body holds too many values")


def test_unknown_fields_are_ignored_wherever_they_are() -> None:
    body = campaign({"phone": "+34910000000", "vip": {"deep": [[[]]]}, "city": "Vigo"}, note=None)
    assert request(body).contacts == {"+34910000000": '{"city":"Vigo"}'}


def test_the_same_phone_twice_is_one_call_in_the_first_place_with_the_later_values() -> None:
    body = campaign(
        {"phone": "+34910000001", "city": "Vigo", "email": "a@b.example", "custom_fields": {"a": 1, "b": 1}},
        {"phone": "+34910000002"},
        {"phone": "0034 91 0000001", "city": "Lugo", "custom_fields": {"b": 2}},
    )
    read = request(body)
    assert list(read.contacts) == ["+34910000001", "+34910000002"]
    fields = json.loads(read.contacts["+34910000001"])
    assert fields == {"city": "Lugo", "email": "a@b.example", "custom_fields": {"a": 1, "b": 2}}
    assert read.total_contacts == 3


@pytest.mark.parametrize("exactly", [False, True])
def test_what_is_wrong_with_a_phone_is_told_of_the_contact_that_has_it_first(exactly: bool) -> None:
    entries = [{"phone": f"+3491000000{n}"} for n in (1, 2, 1, 3)]
    # A number among the custom fields of an unknown kind is beyond the quick way.
    # A byte order mark is beyond the quick way.
    body = b"\xef\xbb\xbf" * exactly + campaign(*entries)
    found = request(body).faults({"+34910000003": "is far away", "+34910000009": "is not there"})
    assert [fault.detail() for fault in found] == [{"index": 3, "field": "phone", "reason": "is far away"}]


@pytest.mark.parametrize(
    "hours", [{"zone": "UTC", "monday": []}, {"rules": "es", "saturday": ["10:00-12:00"]} | {day: [] for day in WEEK}]
)
def test_calling_hours_that_leave_no_time_are_refused(hours: dict[str, Any]) -> None:
    refusal = refused(campaign({"phone": "+34910000001"}, calling_hours=hours))
    assert refusal.error == "calling_hours leaves no time at all: nobody could ever be called"
    assert [fault.field for fault in refusal.faults] == ["calling_hours"]


def test_one_line_that_hides_two_phones_is_no_phone() -> None:
    refusal = refused(campaign({"phone": "+34910000000\n+34910000001"}, {"phone": "+34910000002"}))
    assert [fault.field for fault in refusal.faults] == ["phone"]


def test_a_call_has_its_contact_at_the_top_level() -> None:
    body = {
        "playbook_id": PLAYBOOK,
        "phone": "+34 910000000",
        "city": "Vigo",
        "launch_at": "2025-03-01T10:00Z",
        "recall": [5],
        "x": 1,
    }
    assert read_call(json.dumps(body).encode(), RULES) == CampaignRequest(
        PLAYBOOK.lower(), {"+34910000000": '{"city":"Vigo"}'}, 1, TEN, (5,)
    )


def test_a_call_without_a_phone_is_refused_in_the_same_words_and_without_an_index() -> None:
    refusal = read_call(json.dumps({"playbook_id": PLAYBOOK}).encode(), RULES)
    assert isinstance(refusal, Refusal)
    assert refusal.body() == {
        "error": "Each contact must have a non-empty phone field",
        "details": [{"field": "phone", "reason": "is missing"}],
    }


def test_a_call_with_a_bad_field_names_it() -> None:
    refusal = read_call(json.dumps({"playbook_id": PLAYBOOK, "phone": "+34910000000", "email": 1}).encode(), RULES)
    assert isinstance(refusal, Refusal)
    assert refusal.error == "email must be a string"


def test_the_answer_to_an_immediate_campaign_has_exactly_these_keys() -> None:
    assert accepted("id", total_contacts=2, duplicate_contacts=0, launch_at=None) == {
        "success": True,
        "message": "Campaign started successfully",
        "campaign_id": "id",
        "scheduled": False,
        "total_contacts": 2,
    }


def test_the_answer_to_a_scheduled_campaign_has_exactly_these_keys() -> None:
    assert accepted("id", total_contacts=2, duplicate_contacts=0, launch_at=TEN) == {
        "success": True,
        "message": "Scheduled 2 calls for 01/03/2025 10:00",
        "campaign_id": "id",
        "scheduled": True,
        "launch_at": "2025-03-01T10:00:00.000Z",
        "total_contacts": 2,
        "scheduled_calls": 2,
        "error_calls": 0,
    }


def test_duplicates_are_told_only_if_there_were_any_and_the_sum_closes() -> None:
    answer = accepted("id", total_contacts=5, duplicate_contacts=2, launch_at=TEN)
    assert answer["message"] == "Scheduled 3 calls for 01/03/2025 10:00"
    assert (
        answer["scheduled_calls"] + answer["error_calls"] + answer["duplicate_contacts"]
        == answer["total_contacts"]
        == 5
    )
    assert accepted("id", total_contacts=5, duplicate_contacts=2, launch_at=None)["duplicate_contacts"] == 2


def test_the_answer_to_a_call_has_exactly_these_keys() -> None:
    assert accepted_call("id", launch_at=None) == {"success": True, "call_id": "id", "scheduled": False}
    assert accepted_call("id", launch_at=TEN) == {"success": True, "call_id": "id", "scheduled": True}
