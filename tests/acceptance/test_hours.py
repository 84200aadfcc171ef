"""Calling hours and expiry over HTTP, with a real server: open hours are kept, closed ones waited for, too late is expired."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.support.dialer_process import Client, eventually

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
ALWAYS = {"zone": "UTC", **{day: ["00:00-24:00"] for day in DAYS}}
NUMBERS = ["+34600000301", "+34600000302"]


def in_days(days: int) -> dict[str, Any]:
    """Hours that open in so many days, at 09:00 in Madrid."""
    return {"zone": "Europe/Madrid", DAYS[(datetime.now(UTC) + timedelta(days=days)).weekday()]: ["09:00-21:00"]}


def test_hours_that_are_open_change_nothing(client: Client) -> None:
    book = client.playbook(calling_hours=ALWAYS)
    assert client.finished(client.post(book, NUMBERS[:1]))["dispositions"] == {"answered": 1}


def test_a_campaign_outside_its_hours_makes_no_attempt_and_the_campaigns_own_hours_count(client: Client) -> None:
    book = client.playbook(calling_hours=ALWAYS)
    closed = client.post(book, NUMBERS, calling_hours=in_days(2))
    client.finished(client.post(book, ["+34600000303"]))
    seen = client.campaign(closed)
    assert (seen["attempts"], seen["calls"]["scheduled"]) == (0, 2)
    assert client.http.post(f"/campaign/{closed}/cancel").json()["dispositions"] == {"cancelled": 2}


def test_people_in_other_zones_are_put_off_one_by_one(client: Client) -> None:
    # Open in UTC now, and for somebody whose day is another one not: twelve hours and more apart.
    now = datetime.now(UTC)
    hours = {"zone": "UTC", DAYS[now.weekday()]: ["00:00-24:00"]}
    far = "Pacific/Kiritimati" if now.hour >= 10 else "Pacific/Pago_Pago"  # UTC+14, UTC-11
    contacts = [{"phone": NUMBERS[0]}, {"phone": NUMBERS[1], "timezone": far}]
    body = {"playbook_id": client.playbook(), "contacts": contacts, "calling_hours": hours}
    uuid = client.http.post("/campaign", json=body).json()["campaign_id"]
    near = client.calls(uuid)[NUMBERS[0]]["id"]
    call = client.calls(uuid)[NUMBERS[1]]["id"]
    assert client.http.get(f"/call/{near}").status_code == 200
    seen = client.http.get(f"/call/{call}").json()
    assert (seen["state"], seen["attempts"]) == ("scheduled", [])
    # Put off once its turn came, and still for that rule.
    eventually(lambda: client.calls(uuid)[NUMBERS[0]]["state"] == "finished", 10, "the one who may be called was")
    seen, why = client.http.get(f"/call/{call}").json(), client.http.get(f"/call/{call}/explain").json()
    assert (why["rule"], why["clears_at"]) == ("calling_hours", seen["next_attempt_at"])
    assert why["reason"] == f"outside calling hours in {far}"
    shown = client.campaign(uuid)
    assert shown["next_attempt_at"] == seen["next_attempt_at"] < shown["estimated_end_at"]
    client.http.post(f"/campaign/{uuid}/cancel")


def test_calls_that_find_no_opening_before_the_expiry_are_expired(client: Client) -> None:
    expires_at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    uuid = client.post(client.playbook(), NUMBERS, calling_hours=in_days(2), expires_at=expires_at)
    seen = client.finished(uuid)
    assert seen["dispositions"] == {"expired": 2}
    assert seen["attempts"] == 0


def test_a_person_whose_zone_nobody_knows_is_not_called_where_the_pack_asks_for_it(client: Client) -> None:
    uuid = client.post(client.playbook(calling_hours={"rules": "us-tcpa"}, caller_id="+12125550100"), ["+99912345678"])
    assert client.finished(uuid)["dispositions"] == {"suppressed": 1}


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ({"calling_hours": {"rules": "fr"}}, "calling_hours.rules"),
        ({"calling_hours": {"zone": "UTC", "monday": ["9-5"]}}, "calling_hours.monday"),
        ({"calling_hours": []}, "calling_hours"),
        ({"calling_hours": {"zone": "UTC", "monday": []}}, "calling_hours"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"expires_at": "2031-03-01T10:00Z", "launch_at": "2031-03-01T10:00Z"}, "expires_at"),
        ({"calling_hours": {"rules": "es"}}, "playbook.caller_id"),
    ],
)
def test_hours_that_cannot_be_kept_are_refused_by_the_name_of_the_field(
    client: Client, keys: dict[str, Any], field: str
) -> None:
    body = {"playbook_id": client.playbook(caller_id="+34600000000"), "contacts": [{"phone": NUMBERS[0]}], **keys}
    answer: httpx.Response = client.http.post("/campaign", json=body)
    assert answer.status_code == 400
    assert field in [detail["field"] for detail in answer.json()["details"]]
