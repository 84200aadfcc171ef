"""The HTTP edge over fakes: orders, lists and what the account keeps: playbooks, contacts, numbers, calls under review."""

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from api import payloads
from api.backend import Verdict
from tests.support.asking import Ask, error_of
from tests.support.fake_backend import (
    CALL,
    CAMPAIGN,
    MINE,
    NOBODYS,
    OTHER_TOKEN,
    Fakes,
)


class TestOrders:
    @pytest.mark.parametrize("word", ["pause", "resume", "cancel"])
    def test_to_a_campaign_are_carried_out_and_answered_with_it(self, ask: Ask, fakes: Fakes, word: str) -> None:
        answer = ask("POST", f"/campaign/{CAMPAIGN}/{word}")
        assert (answer.status_code, answer.json()["id"]) == (200, CAMPAIGN)
        assert fakes.orders == [(word, MINE, CAMPAIGN)]

    def test_to_a_campaign_that_is_over_conflict(self, ask: Ask, fakes: Fakes) -> None:
        fakes.verdict = Verdict.FINAL
        answer = ask("POST", f"/campaign/{CAMPAIGN}/pause")
        assert answer.status_code == 409
        error_of(answer)

    def test_cancel_a_call(self, ask: Ask, fakes: Fakes) -> None:
        assert ask("POST", f"/call/{CALL}/cancel").json()["id"] == CALL
        assert fakes.orders == [("cancel_call", MINE, CALL)]
        fakes.verdict = Verdict.FINAL
        assert ask("POST", f"/call/{CALL}/cancel").status_code == 409
        assert ask("POST", f"/call/{NOBODYS}/cancel").status_code == 404


class TestLists:
    @pytest.fixture(autouse=True)
    def _many(self, fakes: Fakes) -> None:
        statuses = ["running", "completed"]
        ids = [f"00000000-0000-4000-8000-{i:012d}" for i in range(250)]
        fakes.campaigns = {MINE: {u: {"id": u, "status": statuses[i % 2]} for i, u in enumerate(ids)}}
        fakes.campaigns[MINE][CAMPAIGN] = {"id": CAMPAIGN, "status": "scheduled"}

    def test_are_walked_by_their_cursors_to_the_end(self, ask: Ask) -> None:
        def walk() -> Iterator[list[str]]:
            cursor = ""
            while True:
                body = ask("GET", f"/campaign?cursor={cursor}").json()
                assert set(body) == {"items", "next_cursor"}
                yield [item["id"] for item in body["items"]]
                if body["next_cursor"] is None:
                    return
                cursor = body["next_cursor"]

        pages = list(walk())
        assert [len(ids) for ids in pages] == [100, 100, 51]
        assert len({uuid for ids in pages for uuid in ids}) == 251

    def test_filter_and_limit(self, ask: Ask) -> None:
        items = ask("GET", "/campaign?status=completed&limit=1000").json()["items"]
        assert {item["status"] for item in items} == {"completed"}
        assert len(items) == 125
        assert len(ask("GET", "/campaign?limit=1").json()["items"]) == 1

    def test_calls_pass_their_filters_on(self, ask: Ask, fakes: Fakes) -> None:
        assert ask("GET", f"/campaign/{CAMPAIGN}/calls?state=live&disposition=busy&limit=7").status_code == 200
        assert fakes.asked == {"state": "live", "disposition": "busy", "limit": 7, "after": None}

    def test_calls_under_way_are_a_list_of_their_own(self, ask: Ask, fakes: Fakes) -> None:
        fakes.calls = {MINE: {f"{i}": {"id": f"{i}"} for i in range(3)}}
        first = ask("GET", "/call?state=live&limit=2").json()
        assert [call["id"] for call in first["items"]] == ["0", "1"]
        assert ask("GET", f"/call?cursor={first['next_cursor']}").json()["next_cursor"] is None
        assert ask("GET", "/call?state=finished").status_code == 400

    @pytest.mark.parametrize(
        ("query", "word"),
        [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=-1", "limit"),
            ("limit=1.0", "limit"),
            ("limit=", "limit"),
            ("limit=%C2%B2", "limit"),
            ("limit=1&limit=2", "twice"),
            ("status=loading", "status"),
            ("state=live", "state"),
            ("cursor=!!!", "cursor"),
            ("cursor=AAAA", "cursor"),
            ("cursor=" + payloads.cursor("calls", 3), "cursor"),
            ("cursor=" + payloads.cursor("campaign", "x"), "cursor"),
            ("cursor=" + payloads.cursor("campaign", "9" * 19), "cursor"),
            ("cursor=" + payloads.cursor("campaign", 3) + "=", "cursor"),
        ],
    )
    def test_refuse_what_they_do_not_understand(self, ask: Ask, query: str, word: str) -> None:
        answer = ask("GET", f"/campaign?{query}")
        assert answer.status_code == 400
        assert word in error_of(answer)


class TestPlaybooks:
    BODY: ClassVar[dict[str, Any]] = {
        "name": "Renewal",
        "trunks": ["pbx"],
        "steps": [{"do": "play", "audio": "hello.wav"}],
    }

    def test_live_from_post_to_delete(self, ask: Ask) -> None:
        created = ask("POST", "/playbook", json=self.BODY)
        assert created.status_code == 201
        uuid = created.json()["id"]
        assert created.headers["Location"] == f"/playbook/{uuid}"
        assert ask("GET", f"/playbook/{uuid}").json()["name"] == "Renewal"
        assert ask("PUT", f"/playbook/{uuid}", json={**self.BODY, "name": "New"}).json()["name"] == "New"
        assert [item["name"] for item in ask("GET", "/playbook").json()["items"]] == ["New"]
        assert ask("GET", f"/playbook/{uuid}", token=OTHER_TOKEN).status_code == 404
        assert ask("DELETE", f"/playbook/{uuid}").status_code == 204
        assert ask("DELETE", f"/playbook/{uuid}").status_code == 404
        assert ask("PUT", f"/playbook/{uuid}", json=self.BODY).status_code == 404

    def test_name_every_fault_by_its_path(self, ask: Ask, fakes: Fakes) -> None:
        bad = {"trunks": [], "bogus": 1, "steps": [{"do": "play"}, {"do": "dance"}, {"do": "wait", "seconds": 0}]}
        answer = ask("POST", "/playbook", json=bad)
        assert answer.status_code == 400
        assert {detail["field"] for detail in answer.json()["details"]} == {
            "name",
            "trunks",
            "bogus",
            "steps.0.audio",
            "steps.1",
            "steps.2.seconds",
        }
        assert fakes.stored_playbooks == {}

    def test_must_fit_this_machine(self, ask: Ask) -> None:
        body = {"name": "x", "trunks": ["nope", "pbx"], "caller_id": "+1", "steps": [{"do": "play", "audio": "no.wav"}]}
        answer = ask("POST", "/playbook", json=body)
        assert answer.status_code == 400
        assert [detail["field"] for detail in answer.json()["details"]] == ["trunks.0", "caller_id", "steps.0.audio"]

    @pytest.mark.parametrize(
        ("body", "word"),
        [
            (b"", "Malformed JSON"),
            (b'{"name": ', "line 1"),
            (b"[]", "object"),
            (b"null", "object"),
            (b'{"name": "\xff"}', "UTF-8"),
            (b'{"a": NaN}', "NaN"),
            (b'{"a": ' + b"1" * 5000 + b"}", "Malformed JSON"),
            (b"[" * 100_000, "nested"),
        ],
    )
    def test_that_are_no_json_are_refused(self, ask: Ask, body: bytes, word: str) -> None:
        answer = ask("POST", "/playbook", content=body)
        assert answer.status_code == 400
        assert word in error_of(answer)


class TestContacts:
    @pytest.fixture(autouse=True)
    def _one(self, fakes: Fakes) -> None:
        fakes.stored_contacts = {MINE: {CALL: {"id": CALL, "phone": "+34910000001", "city": "Vigo"}}}

    @pytest.mark.parametrize("phone", ["%2B34910000001", "+34910000001", "0034 910 000 001"])
    def test_are_found_by_phone_however_it_is_written(self, ask: Ask, phone: str) -> None:
        assert [item["id"] for item in ask("GET", f"/contact?phone={phone}").json()["items"]] == [CALL]
        assert ask("GET", f"/contact?phone={phone}", token=OTHER_TOKEN).json()["items"] == []

    def test_change_and_are_erased(self, ask: Ask) -> None:
        assert ask("PATCH", f"/contact/{CALL}", json={"city": "Lugo"}).json()["city"] == "Lugo"
        assert ask("PATCH", f"/contact/{NOBODYS}", json={"city": "Lugo"}).status_code == 404
        assert ask("DELETE", f"/contact/{CALL}").status_code == 204
        assert ask("GET", f"/contact/{CALL}").status_code == 404

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"city": 3}, "city"),
            ({"phone": "+34910000002"}, "phone"),
            ({"cty": "x"}, "cty"),
            ({"timezone": "Mars/Olympus"}, "timezone"),
            ({"custom_fields": []}, "custom_fields"),
        ],
    )
    def test_refuse_a_change_by_its_field(self, ask: Ask, fakes: Fakes, change: dict[str, Any], field: str) -> None:
        answer = ask("PATCH", f"/contact/{CALL}", json=change)
        assert answer.status_code == 400
        assert [detail["field"] for detail in answer.json()["details"]] == [field]
        assert fakes.stored_contacts[MINE][CALL]["city"] == "Vigo"

    def test_a_phone_that_is_none_is_refused(self, ask: Ask) -> None:
        answer = ask("GET", "/contact?phone=abc")
        assert answer.status_code == 400
        assert error_of(answer).startswith("phone: ")


class TestDoNotCall:
    def test_numbers_are_added_listed_and_removed(self, ask: Ask) -> None:
        numbers = ["+34 910 000 002", "0034910000001", "+34910000001"]
        assert ask("POST", "/do-not-call", json={"phones": numbers}).json() == {"success": True, "added": 2}
        assert ask("POST", "/do-not-call", json={"phone": "100"}).json() == {"success": True, "added": 1}
        first = ask("GET", "/do-not-call?limit=2").json()
        second = ask("GET", f"/do-not-call?cursor={first['next_cursor']}").json()
        assert [item["phone"] for item in first["items"] + second["items"]] == ["+34910000001", "+34910000002", "100"]
        assert second["next_cursor"] is None
        assert ask("DELETE", "/do-not-call?phone=%2B34910000001").json() == {"success": True, "removed": 1}
        assert ask("DELETE", "/do-not-call?phone=%2B34910000001").json() == {"success": True, "removed": 0}
        assert ask("GET", "/do-not-call?phone=100").json()["items"] == [{"phone": "100"}]

    def test_one_bad_number_adds_none(self, ask: Ask, fakes: Fakes) -> None:
        answer = ask("POST", "/do-not-call", json={"phones": ["+34910000001", "abc", 5]})
        assert answer.status_code == 400
        assert [detail["index"] for detail in answer.json()["details"]] == [1, 2]
        assert fakes.numbers == {}

    @pytest.mark.parametrize("body", [{}, {"phones": []}, {"phones": "x"}, {"phone": "+34910000001", "x": 1}, {"x": 1}])
    def test_refuses_other_bodies(self, ask: Ask, body: dict[str, Any]) -> None:
        answer = ask("POST", "/do-not-call", json=body)
        assert answer.status_code == 400
        error_of(answer)

    def test_removing_needs_a_number(self, ask: Ask) -> None:
        assert ask("DELETE", "/do-not-call").status_code == 400


# Calls under review


def test_calls_under_review_are_listed_by_campaign_or_all(ask: Ask, fakes: Fakes) -> None:
    assert ask("GET", "/review").json() == {"items": [{"id": CALL, "state": "scheduled"}], "next_cursor": None}
    ask("GET", f"/review?campaign_id={CAMPAIGN.upper()}&limit=7")
    assert fakes.asked == {"campaign": CAMPAIGN, "limit": 7, "after": None}
    for unknown in (NOBODYS, "nonsense"):
        assert ask("GET", f"/review?campaign_id={unknown}").json() == {"error": "No such campaign"}
    assert ask("GET", "/review?state=live").status_code == 400


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ({"all": True}, (None, [])),
        ({"campaign_id": CAMPAIGN.upper()}, (CAMPAIGN, [])),
        ({"call_ids": [CALL, CALL.upper()]}, (None, [CALL])),
    ],
)
def test_a_review_is_decided_for_calls_a_campaign_or_all(
    ask: Ask, fakes: Fakes, body: dict[str, Any], asked: tuple[str | None, list[str]]
) -> None:
    assert ask("POST", "/review/release", json=body).json() == {"released": 1}
    assert ask("POST", "/review/cancel", json=body).json() == {"cancelled": 1}
    assert fakes.reviews == [("release", MINE, *asked), ("cancel_under_review", MINE, *asked)]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"all": False},
        {"all": True, "campaign_id": CAMPAIGN},
        {"call_ids": []},
        {"call_ids": CALL},
        {"call_ids": [CALL] * 1001},
        {"campaign_id": 7},
        {"everything": True},
    ],
)
def test_what_names_no_calls_decides_nothing(ask: Ask, fakes: Fakes, body: dict[str, Any]) -> None:
    answer = ask("POST", "/review/release", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("The body must be one of")
    assert fakes.reviews == []


def test_calls_and_campaigns_of_others_are_not_reviewed(ask: Ask, fakes: Fakes) -> None:
    for body, what in (({"campaign_id": NOBODYS}, "campaign"), ({"call_ids": [CALL, "nonsense"]}, "call")):
        answer = ask("POST", "/review/release", json=body)
        assert (answer.status_code, answer.json()) == (404, {"error": f"No such {what}"})
    assert fakes.reviews == []
