"""Every answer and error of POST /campaign and its neighbours, as a program sees them over HTTP."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.support.dialer_process import Client, Dialer, eventually

PHONE_ERROR = "Each contact must have a non-empty phone field"
ONE = [{"phone": "+34600000301"}]
# The id of nothing. It is part of names of tests, which several processes have to agree on.
NOBODY = "0f5c1d0e-7a34-4b7e-9d0a-3c1f5e2b8a66"


def post(client: Client, **body: Any) -> httpx.Response:
    return client.http.post("/campaign", json=body)


def test_an_immediate_campaign_is_answered_with_exactly_these_keys(client: Client, playbook: str) -> None:
    answer = post(client, playbook_id=playbook, contacts=[{"phone": "+34 600-000 (101)"}, {"phone": "0034600000102"}])
    assert answer.status_code == 202
    body = answer.json()
    UUID(body.pop("campaign_id"))
    assert body == {
        "success": True,
        "message": "Campaign started successfully",
        "scheduled": False,
        "total_contacts": 2,
    }


def test_a_scheduled_campaign_is_answered_in_the_scheduled_form(client: Client, playbook: str) -> None:
    answer = post(
        client, playbook_id=playbook, contacts=[*ONE, {"phone": "+34600000302"}], launch_at="2031-03-01T10:00"
    )
    assert answer.status_code == 202
    body = answer.json()
    UUID(body.pop("campaign_id"))
    assert body == {
        "success": True,
        "message": "Scheduled 2 calls for 01/03/2031 10:00",
        "scheduled": True,
        "launch_at": "2031-03-01T10:00:00.000Z",
        "total_contacts": 2,
        "scheduled_calls": 2,
        "error_calls": 0,
    }


@pytest.mark.parametrize(
    ("given", "echoed"),
    [
        ("2031-03-01T10:00:00Z", "2031-03-01T10:00:00.000Z"),
        ("2031-03-01T10:00:00+02:00", "2031-03-01T08:00:00.000Z"),
        ("2031-03-01T10:00:00.5-05:30", "2031-03-01T15:30:00.500Z"),
        ("2031-03-01 10:00:00", "2031-03-01T10:00:00.000Z"),
    ],
)
def test_launch_at_is_echoed_in_utc(client: Client, playbook: str, given: str, echoed: str) -> None:
    body = post(client, playbook_id=playbook, contacts=ONE, launch_at=given).json()
    assert body["launch_at"] == echoed


def test_a_past_launch_runs_now_and_is_answered_in_the_scheduled_form(client: Client, playbook: str) -> None:
    body = post(client, playbook_id=playbook, contacts=ONE, launch_at="2025-03-01T10:00:00Z").json()
    assert (body["scheduled"], body["launch_at"]) == (True, "2025-03-01T10:00:00.000Z")
    assert client.finished(body["campaign_id"])["dispositions"] == {"answered": 1}


@pytest.mark.parametrize("launch_at", [None, "missing"])
def test_no_launch_means_now(client: Client, playbook: str, launch_at: str | None) -> None:
    given = {} if launch_at == "missing" else {"launch_at": launch_at}
    assert post(client, playbook_id=playbook, contacts=ONE, **given).json()["scheduled"] is False


@pytest.mark.parametrize(
    "launch_at", ["tomorrow", "2031-03-01", "", 5, True, [], {}, "2031-13-01T10:00:00Z", "2031-03-01T25:00"]
)
def test_a_launch_that_is_no_date_with_a_time_is_refused(client: Client, playbook: str, launch_at: Any) -> None:
    answer = post(client, playbook_id=playbook, contacts=ONE, launch_at=launch_at)
    assert answer.status_code == 400
    assert "launch_at" in json.dumps(answer.json())


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([120, 30, 30], [30, 120]),
        ("[0.5, 2]", [0.5, 2]),
        (None, []),
        ("", []),
        ([], []),
        ("[]", []),
        ([43200], [43200]),
    ],
)
def test_recall_is_sorted_and_without_repeats(client: Client, playbook: str, given: Any, kept: list[float]) -> None:
    body = post(client, playbook_id=playbook, contacts=ONE, recall=given, launch_at="2031-01-01T00:00Z").json()
    assert client.campaign(body["campaign_id"])["recall"] == kept


@pytest.mark.parametrize(
    "recall",
    [[0], [-1], [True], ["30"], "30", 30, True, {"a": 1}, [43200.5], list(range(1, 12)), "[1,", "null", [None], [[1]]],
)
def test_any_other_recall_is_refused(client: Client, playbook: str, recall: Any) -> None:
    answer = post(client, playbook_id=playbook, contacts=ONE, recall=recall)
    assert answer.status_code == 400
    assert "recall" in json.dumps(answer.json())


@pytest.mark.parametrize("contact", [{}, {"phone": ""}, {"phone": "   "}, {"phone": None}, {"phone": 34600000001}])
def test_a_contact_without_a_phone_is_refused_to_the_letter(client: Client, playbook: str, contact: Any) -> None:
    answer = post(client, playbook_id=playbook, contacts=[*ONE, contact])
    assert answer.status_code == 400
    assert answer.json()["error"] == PHONE_ERROR
    assert [(d["index"], d["field"]) for d in answer.json()["details"]] == [(1, "phone")]


@pytest.mark.parametrize(
    "phone", ["600", "+0600000001", "call me", "+346000000011111111", "+34600;000001", "+34\r\n600"]
)
def test_a_phone_that_is_no_number_is_refused_with_its_place(client: Client, playbook: str, phone: str) -> None:
    answer = post(client, playbook_id=playbook, contacts=[*ONE, {"phone": phone}])
    assert answer.status_code == 400
    assert answer.json()["details"][0]["index"] == 1


def test_all_faulty_contacts_are_listed_and_nothing_is_stored(client: Client, playbook: str) -> None:
    before = [item["id"] for item in client.http.get("/campaign").json()["items"]]
    contacts = [
        {"phone": "+34600000101", "timezone": "Mars/Olympus"},
        {"phone": "x"},
        {"phone": "+34600000102", "first_name": 7},
        {"phone": "+34600000103", "custom_fields": []},
        {"phone": "+34600000104"},
    ]
    answer = post(client, playbook_id=playbook, contacts=contacts)
    assert answer.status_code == 400
    places = [(d["index"], d["field"]) for d in answer.json()["details"]]
    assert places == [(0, "timezone"), (1, "phone"), (2, "first_name"), (3, "custom_fields")]
    assert all(d["reason"] for d in answer.json()["details"])
    assert [item["id"] for item in client.http.get("/campaign").json()["items"]] == before


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"contacts": ONE}, "playbook_id"),
        ({"playbook_id": "no uuid", "contacts": ONE}, "playbook_id"),
        ({"playbook_id": 5, "contacts": ONE}, "playbook_id"),
        ({"playbook_id": str(uuid4())}, "contacts"),
        ({"playbook_id": str(uuid4()), "contacts": []}, "contacts"),
        ({"playbook_id": str(uuid4()), "contacts": {}}, "contacts"),
        ({"playbook_id": str(uuid4()), "contacts": [5]}, "contact"),
    ],
)
def test_a_body_that_lacks_something_is_refused_by_the_name_of_the_field(client: Client, body: Any, word: str) -> None:
    answer = client.http.post("/campaign", json=body)
    assert answer.status_code == 400
    assert word in json.dumps(answer.json())


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"contacts": NaN}'])
def test_a_body_that_is_no_json_object_is_refused(client: Client, body: bytes) -> None:
    answer = client.http.post("/campaign", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_an_unknown_playbook_is_forbidden_but_only_after_the_body_is_right(client: Client) -> None:
    assert post(client, playbook_id=str(uuid4()), contacts=ONE).status_code == 403
    assert post(client, playbook_id=str(uuid4()), contacts=[{"phone": "x"}]).status_code == 400


def test_unknown_fields_are_ignored(client: Client, playbook: str) -> None:
    contacts = [{"phone": "+34600000301", "shoe_size": 43}]
    assert post(client, playbook_id=playbook, contacts=contacts, colour="red").status_code == 202


def test_the_same_phone_twice_makes_one_call_with_the_later_fields(client: Client, playbook: str) -> None:
    contacts = [
        {"phone": "+34600000901", "first_name": "Ana", "custom_fields": {"a": 1}},
        {"phone": "+34 600 000 901", "last_name": "Ruiz", "first_name": "Anna", "custom_fields": {"b": 2}},
        {"phone": "+34600000902"},
    ]
    body = post(client, playbook_id=playbook, contacts=contacts, launch_at="2031-01-01T00:00Z").json()
    assert body["total_contacts"] == 3
    assert body["duplicate_contacts"] == 1
    assert body["scheduled_calls"] + body["error_calls"] + body["duplicate_contacts"] == 3
    call = client.calls(body["campaign_id"])["+34600000901"]
    assert call["contact"]["first_name"] == "Anna"
    assert call["contact"]["last_name"] == "Ruiz"
    assert call["contact"]["custom_fields"] == {"a": 1, "b": 2}


def test_contacts_are_updated_and_a_call_keeps_the_values_of_its_creation(client: Client, playbook: str) -> None:
    later = {"launch_at": "2031-01-01T00:00Z"}
    first = post(client, playbook_id=playbook, contacts=[{"phone": "+34600000911", "city": "Lugo"}], **later).json()
    contacts = [{"phone": "+34600000911", "city": "Vigo", "company": "ACME"}]
    post(client, playbook_id=playbook, contacts=contacts, **later)
    third = post(client, playbook_id=playbook, contacts=[{"phone": "+34600000911"}], **later).json()
    assert client.calls(first["campaign_id"])["+34600000911"]["contact"]["city"] == "Lugo"
    seen = client.calls(third["campaign_id"])["+34600000911"]["contact"]
    assert (seen["city"], seen["company"]) == ("Vigo", "ACME")


def test_without_a_good_token_nothing_is_answered_but_401(dialer: Dialer) -> None:
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic eDp5"}):
        answer = httpx.post(f"{dialer.url}/campaign", content=b"{", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert set(answer.json()) == {"error"}


def test_a_revoked_token_is_worth_nothing(dialer: Dialer) -> None:
    client = dialer.account("Short lived")
    assert client.http.get("/campaign").status_code == 200
    number = re.match(r"[a-z]+_(\d+)_", client.token)
    assert number is not None
    dialer.run("token", "revoke", number[1])
    assert client.http.get("/campaign").status_code == 401
    client.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("DELETE", "/campaign", 405),
        ("GET", f"/campaign/{NOBODY}", 404),
        ("GET", "/campaign/17", 404),
        ("GET", f"/call/{NOBODY}", 404),
        ("GET", "/campaign?limit=0", 400),
        ("GET", "/campaign?limit=1001", 400),
        ("GET", "/campaign?cursor=%00", 400),
        ("GET", "/campaign?status=asleep", 400),
    ],
)
def test_every_error_has_the_same_form(client: Client, method: str, path: str, status: int) -> None:
    answer = client.http.request(method, path)
    assert answer.status_code == status
    assert isinstance(answer.json()["error"], str)
    assert answer.headers["Content-Type"].startswith("application/json")


def test_the_same_key_and_body_get_the_stored_answer(client: Client, playbook: str) -> None:
    body = {"playbook_id": playbook, "contacts": ONE, "launch_at": "2031-01-01T00:00Z"}
    first = client.http.post("/campaign", json=body, headers={"Idempotency-Key": "one"})
    again = client.http.post("/campaign", json=body, headers={"Idempotency-Key": "one"})
    other = client.http.post("/campaign", json={**body, "recall": [5]}, headers={"Idempotency-Key": "one"})
    assert first.status_code == again.status_code == 202
    assert first.json() == again.json()
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert other.status_code == 409


def test_accounts_cannot_see_each_other(dialer: Dialer, client: Client, playbook: str) -> None:
    mine = client.post(playbook, ["+34600000301"])
    call = next(iter(client.calls(mine).values()))["id"]
    stranger = dialer.account("Stranger")
    for path in (f"/campaign/{mine}", f"/campaign/{mine}/calls", f"/call/{call}"):
        assert stranger.http.get(path).status_code == 404
        assert client.http.get(path).status_code == 200
    for path in (f"/campaign/{mine}/cancel", f"/call/{call}/cancel"):
        assert stranger.http.post(path).status_code == 404
    assert stranger.http.get("/campaign").json()["items"] == []
    assert stranger.http.post("/campaign", json={"playbook_id": playbook, "contacts": ONE}).status_code == 403
    stranger.close()


def test_a_single_call_is_placed_and_shown(client: Client, playbook: str) -> None:
    asked = {"playbook_id": playbook, "phone": "+34600000303", "first_name": "Eva"}
    answer = client.http.post("/call", json=asked)
    assert answer.status_code == 202
    call = answer.json()["call_id"]
    assert answer.json() == {"success": True, "call_id": call, "scheduled": False}

    def look() -> Any:
        seen = client.http.get(f"/call/{call}").json()
        return seen if seen["state"] == "finished" else None

    seen = eventually(look, 10, "the call is finished")
    assert seen["disposition"] == "answered"
    assert seen["campaign_id"] is None
    assert seen["playbook_id"] == playbook
    assert seen["contact"]["first_name"] == "Eva"
    attempt = seen["attempts"][0]
    times = [attempt[key] for key in ("due_at", "dialed_at", "answered_at", "ended_at")]
    assert times == sorted(times)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", at) for at in times)
    assert (attempt["number"], attempt["trunk"], attempt["sip_status"]) == (1, "pbx", 200)


def test_a_single_call_can_be_scheduled_and_cancelled(client: Client, playbook: str) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    body = {"playbook_id": playbook, "phone": "+34600000304", "launch_at": later, "recall": "[5]"}
    answer = client.http.post("/call", json=body).json()
    assert answer["scheduled"] is True
    call = answer["call_id"]
    assert client.http.get(f"/call/{call}").json()["state"] == "scheduled"
    assert client.http.post(f"/call/{call}/cancel").status_code == 200
    seen = client.http.get(f"/call/{call}").json()
    assert (seen["state"], seen["disposition"], seen["attempts"]) == ("finished", "cancelled", [])


def test_too_many_contacts_and_too_large_bodies_are_413(lab: Any, tmp_path: Any) -> None:
    small = Dialer(tmp_path, {"pbx": lab.trunk}, api={"max_contacts": 3, "max_body_bytes": 2000})
    small.run("db", "migrate")
    try:
        client = small.start().account("Small")
        playbook = client.playbook()
        four = [{"phone": f"+3460000030{n}"} for n in range(4)]
        answers = [
            post(client, playbook_id=playbook, contacts=four),
            client.http.post("/campaign", content=b" " * 2001),
            client.http.post("/campaign", content=iter([b" " * 1500, b" " * 1500])),
        ]
        assert [answer.status_code for answer in answers] == [413, 413, 413]
        named = ["api.max_contacts", "api.max_body_bytes", "api.max_body_bytes"]
        assert all(rule in answer.json()["error"] for rule, answer in zip(named, answers, strict=True))
        assert post(client, playbook_id=playbook, contacts=four[:3]).status_code == 202
        client.close()
    finally:
        small.stop()


def test_health_is_open_to_all_and_says_ready(dialer: Dialer) -> None:
    assert httpx.get(f"{dialer.url}/healthz").status_code == 200
    assert httpx.get(f"{dialer.url}/readyz").status_code == 200
    assert b"dialer_" in httpx.get(f"{dialer.url}/metrics").content


def test_listing_pages_through_all_campaigns_newest_first(dialer: Dialer, playbook: str) -> None:
    client = dialer.account("Lister")
    book = client.playbook()
    made = [client.post(book, ["+34600000301"], launch_at=f"2031-01-0{n}T00:00Z") for n in range(1, 6)]
    seen: list[str] = []
    cursor = None
    started = time.monotonic()
    while True:
        page = client.http.get("/campaign", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        assert time.monotonic() - started < 20
    assert seen == made[::-1]
    client.close()
