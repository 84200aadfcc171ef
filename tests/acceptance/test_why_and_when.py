"""Why and when: a dry run foresees what a campaign does and stores nothing; explain names the rule that holds a call back."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.support.dialer_process import Client, eventually

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
LAUNCH = "2031-03-03T10:00:00.000Z"  # a Monday


def dry_run(client: Client, **body: Any) -> Any:
    answer = client.http.post("/campaign", params={"dry_run": "1"}, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("value", ["", "true", "2"])
def test_a_dry_run_that_is_not_said_clearly_calls_nobody(client: Client, value: str) -> None:
    body = {"playbook_id": client.playbook(), "contacts": [{"phone": "+34600000002"}]}
    before = client.http.get("/campaign").json()
    answer = client.http.post("/campaign", params={"dry_run": value}, json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "dry_run must be one of 0, 1")
    assert client.http.get("/campaign").json() == before


def test_a_dry_run_gives_the_timetable_and_stores_nothing(client: Client) -> None:
    book = client.playbook()
    client.http.post("/do-not-call", json={"phone": "+34600000352"})
    before = client.http.get("/campaign").json()
    hours = {"zone": "Europe/Madrid", "monday": ["09:00-20:00"], "tuesday": ["09:00-20:00"]}
    contacts = [
        {"phone": "+34600000351"},
        {"phone": "+34600000352"},
        {"phone": "+34600000353", "timezone": "America/Los_Angeles"},
        {"phone": "+34600000354"},
        {"phone": "+34600000354"},
    ]
    body = {"playbook_id": book, "contacts": contacts, "launch_at": LAUNCH, "recall": [30], "calling_hours": hours}
    seen = dry_run(client, **body)
    assert [(call["due_at"], call["disposition"]) for call in seen["calls"]] == [
        (LAUNCH, None),
        (None, "suppressed"),
        ("2031-03-03T17:00:00.000Z", None),  # 09:00 in Los Angeles
        ("2031-03-03T10:00:00.060Z", None),
    ]
    assert (seen["shifted"], seen["suppressed"], seen["expired"]) == (1, 1, 0)
    assert seen["calls"][2]["reason"] == "outside calling hours in America/Los_Angeles"
    assert (seen["total_contacts"], seen["duplicate_contacts"]) == (5, 1)
    assert (seen["first_attempt_at"], seen["last_attempt_at"]) == (LAUNCH, "2031-03-03T17:00:00.000Z")
    assert seen["estimated_end_at"] == "2031-03-03T17:30:02.000Z"
    assert client.http.get("/campaign").json() == before
    assert client.http.get("/contact", params={"phone": "+34600000353"}).json()["items"] == []


def test_a_dry_run_says_of_every_call_that_waits_for_the_hours_why(client: Client) -> None:
    hours = {"zone": "Europe/Madrid", "tuesday": ["09:00-20:00"]}
    contacts = [{"phone": f"+3460000035{n}"} for n in (7, 8, 9)]
    seen = dry_run(client, playbook_id=client.playbook(), contacts=contacts, launch_at=LAUNCH, calling_hours=hours)
    assert [call["reason"] for call in seen["calls"]] == ["outside calling hours in Europe/Madrid"] * 3
    assert (seen["shifted"], seen["first_attempt_at"]) == (3, "2031-03-04T08:00:00.000Z")


def test_a_dry_run_ends_after_the_opening_that_its_last_recall_waits_for(client: Client) -> None:
    hours = {"zone": "Europe/Madrid", "monday": ["11:00-11:30"], "tuesday": ["09:00-20:00"]}
    body = {"contacts": [{"phone": "+34600000357"}], "launch_at": LAUNCH, "recall": [60], "calling_hours": hours}
    seen = dry_run(client, playbook_id=client.playbook(), **body)
    assert (seen["last_attempt_at"], seen["estimated_end_at"]) == (LAUNCH, "2031-03-04T08:00:02.000Z")


def test_a_dry_run_refuses_what_the_real_one_would(client: Client) -> None:
    answer = client.http.post("/campaign", params={"dry_run": "1"}, json={"playbook_id": str(uuid4()), "contacts": []})
    assert answer.status_code == 400
    body = {"playbook_id": str(uuid4()), "contacts": [{"phone": "+34600000351"}]}
    assert client.http.post("/campaign", params={"dry_run": "1"}, json=body).status_code == 403
    assert client.http.post("/campaign", params={"dry_run": "perhaps"}, json=body).status_code == 400


def test_a_dry_run_of_a_campaign_that_would_expire_says_so(client: Client) -> None:
    body = {"playbook_id": client.playbook(), "contacts": [{"phone": f"+3460000035{n}"} for n in (5, 6)]}
    expires_at = "2031-03-03T10:00:00.010Z"
    seen = dry_run(client, **body, launch_at=LAUNCH, expires_at=expires_at)
    assert [call["disposition"] for call in seen["calls"]] == [None, "expired"]


def explain(client: Client, call: str) -> Any:
    answer = client.http.get(f"/call/{call}/explain")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_explain_names_the_rule_and_when_it_clears(client: Client) -> None:
    book = client.playbook()
    uuid = client.post(book, ["+34600000361"], launch_at=LAUNCH)
    [call] = client.calls(uuid).values()
    seen = explain(client, call["id"])
    assert (seen["rule"], seen["clears_at"]) == ("launch_at", LAUNCH)
    client.http.post(f"/campaign/{uuid}/pause")
    assert explain(client, call["id"])["rule"] == "paused"
    client.http.post(f"/campaign/{uuid}/cancel")
    assert explain(client, call["id"])["rule"] == "finished"
    assert client.http.get(f"/call/{uuid4()}/explain").status_code == 404


def test_explain_tells_recalls_calling_hours_and_snoozes(client: Client) -> None:
    book = client.playbook()
    call = client.http.post("/call", json={"playbook_id": book, "phone": "+34600000486", "recall": [60]}).json()[
        "call_id"
    ]
    seen = eventually(lambda: (e := explain(client, call))["rule"] == "recall" and e, 15, "the recall waits")
    assert seen["clears_at"] == client.http.get(f"/call/{call}").json()["next_attempt_at"]

    opens = datetime.now(UTC) + timedelta(days=2)
    hours = {"zone": "UTC", DAYS[opens.weekday()]: ["09:00-21:00"]}
    body = {"playbook_id": book, "phone": "+34600000362", "timezone": "UTC", "calling_hours": hours}
    call = client.http.post("/call", json=body).json()["call_id"]
    seen = explain(client, call)
    assert seen["rule"] == "calling_hours"
    assert seen["clears_at"] == opens.strftime("%Y-%m-%dT09:00:00.000Z")
