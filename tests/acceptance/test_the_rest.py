"""What stands under "The rest" of the API, over HTTP with a real server and a real called party."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.support.dialer_process import Client, Dialer, eventually

LATER = {"launch_at": "2031-03-01T10:00:00Z"}
ANSWERS_LONG = "+34600000302"  # answers, and stays until it is hung up


@pytest.fixture
def fresh(dialer: Dialer, request: pytest.FixtureRequest) -> Iterator[Client]:
    """An account that nobody used before."""
    client = dialer.account(f"{request.node.name} {uuid4()}")
    yield client
    client.close()


def finished(client: Client, call: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        seen: dict[str, Any] = client.http.get(f"/call/{call}").json()
        return seen if seen["state"] == "finished" else None

    return eventually(look, 20, f"call {call} is finished")


def test_campaigns_are_filtered_by_status(fresh: Client) -> None:
    book = fresh.playbook()
    waits = fresh.post(book, ["+34600000301"], **LATER)
    done = fresh.post(book, ["+34600000301"])
    fresh.finished(done)
    for status, ids in (("scheduled", [waits]), ("completed", [done]), ("paused", [])):
        page = fresh.http.get("/campaign", params={"status": status}).json()
        assert [item["id"] for item in page["items"]] == ids
        assert page["next_cursor"] is None


def test_a_campaign_shows_everything_that_the_contract_names(fresh: Client) -> None:
    uuid = fresh.post(fresh.playbook(name="Renewal"), ["+34600000301"], recall=[30, 120], **LATER)
    seen = fresh.campaign(uuid)
    assert (seen["playbook"], seen["status"], seen["launch_at"]) == ("Renewal", "scheduled", "2031-03-01T10:00:00.000Z")
    assert seen["calls"] == {"scheduled": 1, "live": 0, "finished": 0}
    assert (seen["recall"], seen["dispositions"], seen["attempts"]) == ([30, 120], {}, 0)
    assert seen["next_attempt_at"] == "2031-03-01T10:00:00.000Z"
    assert seen["estimated_end_at"] > "2031-03-01T12:00"
    assert {"id", "created_at", "total_contacts", "duplicate_contacts"} <= set(seen)


def test_calls_are_filtered_by_state_and_disposition_and_paged(fresh: Client) -> None:
    uuid = fresh.post(fresh.playbook(), ["+34600000301", "+34600000318", "+34600000001"])
    fresh.finished(uuid)
    path = f"/campaign/{uuid}/calls"
    answered = fresh.http.get(path, params={"disposition": "answered"}).json()["items"]
    assert {call["disposition"] for call in answered} == {"answered"}
    assert fresh.http.get(path, params={"state": "scheduled"}).json()["items"] == []
    first = fresh.http.get(path, params={"limit": 2}).json()
    rest = fresh.http.get(path, params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert (len(first["items"]), len(rest["items"]), rest["next_cursor"]) == (2, 1, None)
    assert fresh.http.get("/campaign", params={"cursor": first["next_cursor"]}).status_code == 400


def test_pausing_and_cancelling_repeat_with_the_same_answer(fresh: Client) -> None:
    uuid = fresh.post(fresh.playbook(), ["+34600000301"], **LATER)
    for word, status in (("pause", "paused"), ("resume", "scheduled"), ("pause", "paused"), ("cancel", "cancelled")):
        answers = [fresh.http.post(f"/campaign/{uuid}/{word}") for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        first, again = (answer.json() for answer in answers)
        # The estimate moves with the clock.
        assert {**first, "estimated_end_at": None} == {**again, "estimated_end_at": None}
        assert first["status"] == status
    assert first["calls"] == {"scheduled": 0, "live": 0, "finished": 1}
    assert first["dispositions"] == {"cancelled": 1}
    assert fresh.http.post(f"/campaign/{uuid}/resume").status_code == 409
    assert fresh.http.post(f"/campaign/{uuid4()}/pause").status_code == 404


def test_a_paused_campaign_makes_no_attempt_until_it_is_resumed(fresh: Client) -> None:
    uuid = fresh.post(fresh.playbook(), [f"+346000003{n:02d}" for n in range(20)], **LATER)
    fresh.http.post(f"/campaign/{uuid}/pause")
    other = fresh.post(fresh.playbook(), ["+34600000301"])
    fresh.finished(other)
    assert fresh.campaign(uuid)["attempts"] == 0
    assert fresh.campaign(uuid)["next_attempt_at"] is None


def test_a_live_call_is_hung_up_and_stays_answered_by_what_was_heard(fresh: Client) -> None:
    book = fresh.playbook(steps=[{"do": "wait", "seconds": 15}])
    call = fresh.http.post("/call", json={"playbook_id": book, "phone": ANSWERS_LONG, "recall": [5]}).json()["call_id"]

    def answered() -> bool:
        attempts = fresh.http.get(f"/call/{call}").json()["attempts"]
        return bool(attempts and attempts[0]["answered_at"])

    eventually(answered, 15, "the call is answered")
    assert fresh.http.get(f"/call/{call}").json()["state"] == "live"
    assert fresh.http.post(f"/call/{call}/cancel").status_code == 200
    seen = finished(fresh, call)
    assert (seen["disposition"], len(seen["attempts"])) == ("answered", 1)
    assert seen["next_attempt_at"] is None
    assert fresh.http.post(f"/call/{call}/cancel").status_code == 409


def test_a_playbook_is_created_shown_changed_and_deleted(fresh: Client) -> None:
    body = {"name": "Renewal", "trunks": ["pbx"], "ring_timeout_seconds": 20, "steps": [{"do": "hangup"}]}
    made = fresh.http.post("/playbook", json=body)
    assert made.status_code == 201
    path = made.headers["Location"]
    assert fresh.http.get(path).json() == made.json()
    assert {**made.json(), **body} == made.json()
    assert fresh.http.put(path, json={**body, "name": "Later"}).json()["name"] == "Later"
    assert [one["name"] for one in fresh.http.get("/playbook").json()["items"]] == ["Later"]
    assert fresh.http.delete(path).status_code == 204
    assert fresh.http.get(path).status_code == 404
    assert fresh.http.get("/playbook").json() == {"items": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"trunks": ["nowhere"]}, "trunks.0"),
        ({"steps": [{"do": "dance"}]}, "steps.0"),
        ({"steps": [{"do": "wait", "seconds": -1}]}, "steps.0.seconds"),
        ({"steps": [{"do": "play", "audio": "missing.wav"}]}, "steps.0.audio"),
        ({"colour": "red"}, "colour"),
        ({"recall_on": ["answered"]}, "recall_on.0"),
    ],
)
def test_a_playbook_that_cannot_be_carried_out_is_refused_with_the_path(
    client: Client, change: dict[str, Any], path: str
) -> None:
    body = {"name": "Renewal", "trunks": ["pbx"], "steps": [{"do": "hangup"}], **change}
    answer = client.http.post("/playbook", json=body)
    assert answer.status_code == 400
    assert path in [detail["field"] for detail in answer.json()["details"]]


def test_erasing_a_contact_erases_the_person_in_past_calls_and_stops_those_to_come(fresh: Client) -> None:
    book = fresh.playbook()
    contacts = [{"phone": "+34600000301", "first_name": "Ana"}]
    past = fresh.http.post("/campaign", json={"playbook_id": book, "contacts": contacts}).json()["campaign_id"]
    fresh.finished(past)
    to_come = fresh.post(book, ["+34600000301"], **LATER)
    [contact] = fresh.http.get("/contact", params={"phone": "+34600000301"}).json()["items"]
    assert contact["first_name"] == "Ana"
    assert fresh.http.delete(f"/contact/{contact['id']}").status_code == 204
    for uuid in (past, to_come):
        [call] = fresh.http.get(f"/campaign/{uuid}/calls").json()["items"]
        assert (call["phone"], call["contact"]) == (None, {})
    [call] = fresh.http.get(f"/campaign/{past}/calls").json()["items"]
    assert (call["disposition"], len(call["attempts"])) == ("answered", 1)
    assert fresh.http.get("/contact", params={"phone": "+34600000301"}).json()["items"] == []


def test_an_erased_person_leaves_no_bytes_behind_beside_a_running_server(dialer: Dialer, fresh: Client) -> None:
    number, name = "+34600077302", "Zenobia"
    contacts = [{"phone": number, "first_name": name}]
    made = fresh.http.post("/campaign", json={"playbook_id": fresh.playbook(), "contacts": contacts}).json()
    fresh.finished(made["campaign_id"])

    def files_with_it() -> list[str]:
        files = [file for file in dialer.folder.glob("dialer.db*") if file.is_file()]
        return [file.name for file in files if any(it.encode() in file.read_bytes() for it in (number[1:], name))]

    assert files_with_it()
    [contact] = fresh.http.get("/contact", params={"phone": number}).json()["items"]
    assert fresh.http.delete(f"/contact/{contact['id']}").status_code == 204
    eventually(lambda: not files_with_it(), 30, "neither database nor WAL holds the person")


def test_a_number_on_the_list_is_suppressed_before_every_attempt(dialer: Dialer, fresh: Client) -> None:
    book = fresh.playbook()
    assert fresh.http.post("/do-not-call", json={"phone": "+34 600 000 341"}).json() == {"success": True, "added": 1}
    dialer.run("do-not-call", "add", "--everyone", "+34600000342")
    try:
        uuid = fresh.post(book, ["+34600000341", "+34600000342", "+34600000301"])
        assert fresh.finished(uuid)["dispositions"] == {"answered": 1, "suppressed": 2}
        assert [call["attempts"] for call in fresh.calls(uuid).values() if call["disposition"] == "suppressed"] == [
            [],
            [],
        ]
    finally:
        dialer.run("do-not-call", "remove", "--everyone", "+34600000342")
    # The list that holds for every account is the operator's, and no account's program sees or changes it.
    assert [one["phone"] for one in fresh.http.get("/do-not-call").json()["items"]] == ["+34600000341"]
    assert fresh.http.delete("/do-not-call", params={"phone": "+34600000341"}).json()["removed"] == 1


def test_the_list_goes_out_as_csv_and_comes_back_in(fresh: Client) -> None:
    csv_text = "name;phone\r\nAna;+34 600-000-343\r\n\r\nBea;0034600000344\r\n"
    sent = fresh.http.post("/do-not-call", content=csv_text, headers={"Content-Type": "text/csv; charset=utf-8"})
    assert sent.json() == {"success": True, "added": 2}
    answer = fresh.http.get("/do-not-call", params={"format": "csv"})
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert [line.split(",")[0] for line in answer.text.splitlines()] == ["phone", "+34600000343", "+34600000344"]
    again = fresh.http.post("/do-not-call", content=answer.content, headers={"Content-Type": "text/csv"})
    assert again.json() == {"success": True, "added": 0}


def test_a_line_that_is_no_number_is_named_and_nothing_is_added(fresh: Client) -> None:
    body = "phone\n+34600000343\nnobody\n"
    answer = fresh.http.post("/do-not-call", content=body, headers={"Content-Type": "text/csv"})
    assert answer.status_code == 400
    [detail] = answer.json()["details"]
    assert (detail["line"], detail["field"]) == (3, "phone")
    assert fresh.http.get("/do-not-call").json()["items"] == []


def test_the_command_line_keeps_the_same_lists(dialer: Dialer, fresh: Client, tmp_path: Any) -> None:
    file = tmp_path / "numbers.csv"
    file.write_text("+34600000345\n+34600000346\n")
    dialer.run("do-not-call", "import", "--account", fresh.name, str(file))
    assert [one["phone"] for one in fresh.http.get("/do-not-call").json()["items"]] == ["+34600000345", "+34600000346"]
    out = dialer.run("do-not-call", "export", "--account", fresh.name).stdout
    assert [line.split(",")[0] for line in out.splitlines()] == ["phone", "+34600000345", "+34600000346"]
    file.write_text("phone\n+34600000347\nx\n")
    refused = dialer.run("do-not-call", "import", "--account", fresh.name, str(file), check=False)
    assert refused.returncode == 1
    assert "line 3" in refused.stderr
    assert dialer.run("do-not-call", "add", "+34600000347", check=False).returncode == 2
