"""Campaigns in as CSV, calls out as CSV and CDR, over HTTP."""

import csv
import io
import json
from typing import Any

import httpx
import pytest

from tests.support.dialer_process import Client

LATER = "2031-01-01T00:00Z"
ROWS = "Móvil;Nombre;notes\r\n+34 600 000 371;Ana;x\r\n0034600000372;=1+1;y\r\n"
COLUMNS = json.dumps({"Móvil": "phone", "Nombre": "first_name", "notes": "custom_fields.notes"})


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_a_csv_body_with_a_mapping_makes_a_campaign(client: Client, playbook: str) -> None:
    query = {"playbook_id": playbook, "launch_at": LATER, "recall": "[30]", "columns": COLUMNS}
    sent = {"params": query, "content": ROWS.encode(), "headers": {"Content-Type": "text/csv; charset=utf-8"}}
    answer = client.http.post("/campaign", **sent)  # type: ignore[arg-type]
    assert answer.status_code == 202, answer.text
    calls = client.calls(answer.json()["campaign_id"])
    assert calls["+34600000371"]["contact"]["first_name"] == "Ana"
    assert calls["+34600000372"]["contact"]["custom_fields"] == {"notes": "y"}
    assert calls["+34600000371"]["recall"] == [30]


def test_a_form_with_a_file_makes_a_campaign(client: Client, playbook: str) -> None:
    files = {"file": ("people.csv", ROWS.encode(), "text/csv")}
    data = {"playbook_id": playbook, "launch_at": LATER, "columns": COLUMNS}
    answer = client.http.post("/campaign", files=files, data=data)
    assert answer.status_code == 202, answer.text
    assert set(client.calls(answer.json()["campaign_id"])) == {"+34600000371", "+34600000372"}


@pytest.mark.parametrize("form", [False, True])
def test_calling_hours_go_with_a_file_too(client: Client, playbook: str, form: bool) -> None:
    def post(hours: str) -> httpx.Response:
        query = {"playbook_id": playbook, "launch_at": LATER, "columns": COLUMNS, "calling_hours": hours}
        if form:
            return client.http.post("/campaign", files={"file": ("people.csv", ROWS.encode(), "text/csv")}, data=query)
        return client.http.post("/campaign", params=query, content=ROWS, headers={"Content-Type": "text/csv"})

    answer = post('{"zone": "Europe/Madrid", "saturday": ["09:00-20:00"]}')
    assert answer.status_code == 202, answer.text
    call = client.calls(answer.json()["campaign_id"])["+34600000371"]
    assert call["next_attempt_at"] == "2031-01-04T08:00:00.000Z"
    assert post("").status_code == 202
    for hours in ("{", '{"zone": "Mars/Olympus", "monday": ["09:00-20:00"]}'):
        answer = post(hours)
        assert (answer.status_code, answer.json()["error"].startswith("calling_hours")) == (400, True)


def test_a_form_or_file_that_is_sent_again_is_the_same_request_and_with_another_query_it_is_not(
    client: Client, playbook: str
) -> None:
    files = {"file": ("people.csv", ROWS.encode(), "text/csv")}
    data = {"playbook_id": playbook, "launch_at": LATER, "columns": COLUMNS}
    key = {"Idempotency-Key": "form"}
    first, again = (client.http.post("/campaign", files=files, data=data, headers=key) for _ in range(2))
    assert first.request.headers["Content-Type"] != again.request.headers["Content-Type"], "another boundary"
    assert (first.json(), again.headers["Idempotent-Replayed"]) == (again.json(), "true")
    assert client.http.post("/campaign", files=files, data={**data, "recall": "[5]"}, headers=key).status_code == 409

    key = {"Idempotency-Key": "file", "Content-Type": "text/csv"}
    first, again = (client.http.post("/campaign", params=data, content=ROWS.encode(), headers=key) for _ in range(2))
    assert (first.json(), again.headers["Idempotent-Replayed"]) == (again.json(), "true")
    later = {**data, "launch_at": "2031-01-02T00:00Z"}
    assert client.http.post("/campaign", params=later, content=ROWS.encode(), headers=key).status_code == 409


@pytest.mark.parametrize(
    ("text", "columns", "word"),
    [
        ("phone,shoe\n+34600000371,43\n", "", "shoe"),
        ("name\nAna\n", "", "phone"),
        ("phone,first_name\n+34600000371\n", "", "line 2"),
        ("phone\n+34600000371\n", '{"Tel": "phone"}', "Tel"),
        ("phone\n+34600000371\n", "{", "columns"),
        ("phone\n+34600000371\n", "[" * 20_000, "columns"),
        ("", "", "phone"),
        ("phone\n", "", "contacts"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_reason(
    client: Client, playbook: str, text: str, columns: str, word: str
) -> None:
    query = {"playbook_id": playbook, "columns": columns}
    answer = client.http.post("/campaign", params=query, content=text, headers={"Content-Type": "text/csv"})
    assert answer.status_code == 400
    assert word in answer.json()["error"]


@pytest.mark.parametrize("name", ["file", "playbook_id"])
def test_a_form_that_gives_a_part_twice_is_refused_and_none_of_the_two_is_left_out(
    client: Client, playbook: str, name: str
) -> None:
    parts = {"file": ("people.csv", b"phone\n+34600000372\n"), "playbook_id": (None, playbook.encode())}
    answer = client.http.post("/campaign", files=[*parts.items(), (name, parts[name])])
    assert (answer.status_code, answer.json()) == (400, {"error": f"The form has two parts '{name}'"})


def test_each_row_that_does_not_fit_the_first_is_named_by_its_line(client: Client, playbook: str) -> None:
    text = "phone,city\n+34600000002\n+34600000102,Vigo\n+34600000202,Vigo,Lugo\n"
    query = {"playbook_id": playbook}
    answer = client.http.post("/campaign", params=query, content=text, headers={"Content-Type": "text/csv"})
    reasons = [f"has {cells} cells, the first row names 2 columns" for cells in (1, 3)]
    assert (answer.status_code, answer.json()) == (
        400,
        {
            "error": f"line 2 {reasons[0]} (and 1 more)",
            "details": [
                {"line": 2, "field": "contacts", "reason": reasons[0]},
                {"line": 4, "field": "contacts", "reason": reasons[1]},
            ],
        },
    )


def test_each_row_that_is_wrong_is_named_by_its_line(client: Client, playbook: str) -> None:
    text = "phone,timezone\n+34600000371,Mars/Olympus\n\nnobody,\n"
    query = {"playbook_id": playbook}
    answer = client.http.post("/campaign", params=query, content=text, headers={"Content-Type": "text/csv"})
    assert answer.status_code == 400
    found = [(d["index"], d["line"], d["field"]) for d in answer.json()["details"]]
    assert found == [(0, 2, "timezone"), (1, 4, "phone")]


def test_calls_and_attempts_go_out_as_files_that_a_spreadsheet_may_open(client: Client) -> None:
    book = client.playbook(caller_id="+34910000000")
    ana = {"phone": "+34600000301", "first_name": "=HYPERLINK(1)", "state": "Lugo", "custom_fields": {"=a": "é"}}
    contacts = [ana, {"phone": "+34600000486"}]
    uuid = client.http.post("/campaign", json={"playbook_id": book, "contacts": contacts}).json()["campaign_id"]
    client.finished(uuid)

    def file(wanted: str) -> list[list[str]]:
        answer = client.http.get(f"/campaign/{uuid}/calls", params={"format": wanted})
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        return rows(answer.text)

    head, *calls = file("csv")
    seen = [dict(zip(head, call, strict=True)) for call in calls]
    assert [(call["phone"], call["disposition"]) for call in seen] == [
        ("+34600000301", "answered"),
        ("+34600000486", "busy"),
    ]
    assert seen[0]["contact_first_name"] == "'=HYPERLINK(1)"
    assert [call["contact_custom_fields"] for call in seen] == ['{"=a":"é"}', ""]
    assert (seen[0]["state"], seen[0]["contact_state"]) == ("finished", "Lugo")
    head, *attempts = file("attempts")
    assert [dict(zip(head, one, strict=True))["sip_status"] for one in attempts] == ["200", "486"]
    answered, busy = file("cdr")
    assert len(answered) == len(busy) == 18
    assert (answered[1], answered[2], answered[14], answered[15]) == (
        "+34910000000",
        "+34600000301",
        "ANSWERED",
        "DOCUMENTATION",
    )
    assert (busy[10], busy[13], busy[14]) == ("", "0", "BUSY")
    assert int(answered[12]) >= int(answered[13])
    missing: Any = client.http.get(f"/campaign/{book}/calls", params={"format": "csv"})
    assert missing.status_code == 404
