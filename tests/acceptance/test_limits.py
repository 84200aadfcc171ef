"""Limits that protect, each by its setting and over HTTP: every refusal names the rule."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.dialer_process import Client, Dialer, eventually
from tests.support.lab_thread import LabThread

QUICK = {"name": "Quick", "trunks": ["pbx"], "steps": [{"do": "wait", "seconds": 0.2}]}


@contextmanager
def limited(lab: LabThread, folder: Path, **sections: Any) -> Iterator[Dialer]:
    dialer = Dialer(folder, {"pbx": lab.trunk}, **sections)
    dialer.run("db", "migrate")
    try:
        yield dialer.start()
    finally:
        dialer.stop()


def with_scope(dialer: Dialer, account: str, scope: str) -> httpx.Client:
    token = dialer.run("token", "create", "--account", account, "--scope", scope).stdout.strip()
    return httpx.Client(base_url=dialer.url, headers={"Authorization": f"Bearer {token}"})


def test_scopes_let_a_token_look_or_submit_or_do_everything(dialer: Dialer, client: Client, playbook: str) -> None:
    body = {"playbook_id": playbook, "phone": "+34600000301", "launch_at": "2031-01-01T00:00Z"}
    asks = (("GET", "/playbook", None), ("POST", "/call", body), ("POST", "/do-not-call", {"phone": "+34600000399"}))
    for scope, answers in (("read", [200, 403, 403]), ("submit", [200, 202, 403]), ("admin", [200, 202, 200])):
        with with_scope(dialer, client.name, scope) as http:
            seen = [http.request(method, path, json=json) for method, path, json in asks]
            faulty = http.post("/call", json={**body, "phone": "x"})
        assert [answer.status_code for answer in seen] == answers
        assert faulty.status_code == 400, "before 403, whoever asks"
        assert all(scope in answer.json()["error"] for answer in seen if answer.status_code == 403)
    client.http.delete("/do-not-call", params={"phone": "+34600000399"})
    refused = dialer.run("token", "create", "--account", client.name, "--scope", "root", check=False)
    assert refused.returncode == 2


def test_a_token_that_asks_too_often_is_told_to_wait(lab: LabThread, tmp_path: Path) -> None:
    with limited(lab, tmp_path, limits={"requests_per_second": 1}) as dialer:
        mine, other = dialer.account("Mine"), dialer.account("Other")
        answers = [mine.http.get("/campaign") for _ in range(8)]
        slow = [answer for answer in answers if answer.status_code == 429]
        assert slow
        assert "limits.requests_per_second" in slow[0].json()["error"]
        assert int(slow[0].headers["Retry-After"]) >= 1
        assert other.http.get("/campaign").status_code == 200
        for client in (mine, other):
            client.close()


def test_numbers_and_days_are_limited_where_the_operator_says_so(lab: LabThread, tmp_path: Path) -> None:
    limits = {
        "destinations": ["+34", "+44"],
        "international": False,
        "max_calls_per_day": 3,
        "max_calls_per_day_per_token": 2,
    }
    with limited(lab, tmp_path, limits=limits, phone={"default_region": "ES"}) as dialer:
        client = dialer.account("Mine")
        book = client.playbook()

        def post(*phones: str, http: httpx.Client = client.http) -> httpx.Response:
            contacts = [{"phone": phone} for phone in phones]
            body = {"playbook_id": book, "contacts": contacts, "launch_at": "2031-01-01T00:00Z"}
            return http.post("/campaign", json=body)

        for phone, rule in (
            ("+351910000000", "destinations"),
            ("+442071234567", "international"),
            ("+34803123456", "premium"),
        ):
            answer = post("+34600000301", phone)
            assert answer.status_code == 403
            [detail] = answer.json()["details"]
            assert f"limits.{rule}" in detail["reason"]
            assert phone in detail["reason"]
            assert (detail["index"], detail["field"]) == (1, "phone")
        assert post("+34600000301", "+34600000302").status_code == 202
        answer = post("+34600000301", "+34600000302", "+34600000303")
        assert (answer.status_code, "limits.max_calls_per_day_per_token" in answer.json()["error"]) == (403, True)
        assert "Retry-After" not in answer.headers
        answer = post("+34600000303")
        assert (answer.status_code, "per_token" in answer.json()["error"]) == (429, True)
        assert 0 < int(answer.headers["Retry-After"]) <= 86_400
        with with_scope(dialer, "Mine", "submit") as http:
            answer = post("+34600000303", "+34600000304", http=http)
            assert (answer.status_code, "limits.max_calls_per_day)" in answer.json()["error"]) == (429, True)
            assert post("+34600000303", http=http).status_code == 202
        assert len(client.http.get("/campaign").json()["items"]) == 2
        client.close()


@pytest.mark.parametrize("whose", ["account", "token"])
def test_calls_at_once_of_one_wait_and_explain_says_why_and_others_do_not(
    whose: str, lab: LabThread, tmp_path: Path
) -> None:
    with limited(lab, tmp_path, limits={f"max_concurrent_calls_per_{whose}": 1}) as dialer:
        client = dialer.account("Mine")
        book = client.playbook(steps=[{"do": "wait", "seconds": 3}])
        other = dialer.account("Other").http if whose == "account" else with_scope(dialer, "Mine", "submit")
        others_book = book if whose == "token" else other.post("/playbook", json=QUICK).json()["id"]
        uuid = client.post(book, ["+34600000302", "+34600000402"])
        asked = other.post("/call", json={"playbook_id": others_book, "phone": "+34600000502"}).json()

        def held() -> Any:
            waiting = client.http.get(f"/campaign/{uuid}/calls", params={"state": "scheduled"}).json()["items"]
            live = client.http.get(f"/campaign/{uuid}/calls", params={"state": "live"}).json()["items"]
            if not waiting or not live:
                return None
            why = client.http.get(f"/call/{waiting[0]['id']}/explain").json()
            # At first it waits for its slot, a stagger behind the other.
            return why if why["rule"] == "concurrent_calls" else None

        seen = eventually(held, 15, "one call waits for the other")
        assert f"limits.max_concurrent_calls_per_{whose}" in seen["reason"]
        assert client.finished(uuid)["dispositions"] == {"answered": 2}
        first, second = sorted(call["attempts"][0]["dialed_at"] for call in client.calls(uuid).values())
        ended = min(call["attempts"][0]["ended_at"] for call in client.calls(uuid).values())
        assert first < ended <= second
        [attempt] = other.get(f"/call/{asked['call_id']}").json()["attempts"]
        assert attempt["dialed_at"] < ended
        client.close()
        other.close()
