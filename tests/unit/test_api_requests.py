"""The HTTP edge over fakes: who may ask, what is refused and how, and what reaches the parts behind it."""

import errno
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ClassVar

import anyio
import httpx
import pytest
from structlog.testing import capture_logs

from api import payloads
from api.app import create_app
from api.backend import Verdict
from dialer.ports import StoreUnavailable
from tests.support import fake_backend
from tests.support.fake_backend import (
    CALL,
    CAMPAIGN,
    MAX_BODY_BYTES,
    MINE,
    NOBODYS,
    OTHER_TOKEN,
    THEIRS,
    TOKEN,
    FakeAnswer,
    Fakes,
)

Ask = Callable[..., httpx.Response]
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def fakes() -> Fakes:
    fakes = Fakes()
    fakes.campaigns = {MINE: {CAMPAIGN: {"id": CAMPAIGN, "status": "running"}}}
    fakes.calls = {MINE: {CALL: {"id": CALL, "state": "scheduled"}}}
    return fakes


@pytest.fixture
def ask(fakes: Fakes) -> Ask:
    app = create_app(fakes.backend())

    def request(method: str, path: str, *, token: str | None = TOKEN, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            headers = httpx.Headers(options.pop("headers", {}))
            if token is not None and "Authorization" not in headers:
                headers["Authorization"] = f"Bearer {token}"
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://dialer") as client:
                return await client.request(method, path, headers=headers, **options)

        return anyio.run(send)

    return request


def error_of(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) <= {"error", "details"}
    assert isinstance(body["error"], str)
    assert body["error"]
    return str(body["error"])


class TestToken:
    def test_is_required_and_the_answer_names_the_scheme(self, ask: Ask) -> None:
        answer = ask("GET", f"/campaign/{CAMPAIGN}", token=None)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "token is required" in error_of(answer)

    def test_that_is_unknown_is_refused_as_invalid(self, ask: Ask) -> None:
        answer = ask("GET", f"/campaign/{CAMPAIGN}", token="x" * 43)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
        error_of(answer)

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
    def test_scheme_has_no_case(self, ask: Ask, scheme: str) -> None:
        assert ask("GET", f"/campaign/{CAMPAIGN}", headers={"Authorization": f"{scheme} {TOKEN}"}).status_code == 200

    @pytest.mark.parametrize("header", ["Basic dTpw", "Bearer", "Bearer ", TOKEN, f"Bearer {'x' * 9000}"])
    def test_in_any_other_form_is_refused(self, ask: Ask, header: str) -> None:
        answer = ask("GET", f"/campaign/{CAMPAIGN}", headers={"Authorization": header})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")

    def test_given_twice_is_refused(self, ask: Ask) -> None:
        twice = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", f"Bearer {TOKEN}")]
        assert ask("GET", f"/campaign/{CAMPAIGN}", headers=twice).status_code == 401

    def test_is_checked_before_the_body_is_read(self, fakes: Fakes) -> None:
        app = create_app(fakes.backend())
        read = False

        async def receive() -> dict[str, Any]:
            nonlocal read
            read = True
            return {"type": "http.request", "body": b"{", "more_body": False}

        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/campaign", "headers": [], "query_string": b"bogus=1"}
        anyio.run(app, scope, receive, send)
        assert sent[0]["status"] == 401
        assert not read

    @pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
    def test_is_not_asked_of_monitors(self, ask: Ask, path: str) -> None:
        assert ask("GET", path, token=None).status_code == 200


class TestRouting:
    @pytest.mark.parametrize(
        "path", ["/", "/nothing", "/campaign/", f"/campaign/{CAMPAIGN}/nothing", "/campaign/a/b/c", "//campaign"]
    )
    def test_an_unknown_path_is_404_in_the_form_of_all_errors(self, ask: Ask, path: str) -> None:
        answer = ask("GET", f"http://dialer{path}", token=None)
        assert answer.status_code == 404
        assert path in error_of(answer)

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("PUT", "/campaign", "GET, HEAD, OPTIONS, POST"),
            ("DELETE", f"/campaign/{CAMPAIGN}", "GET, HEAD, OPTIONS"),
            ("GET", f"/campaign/{CAMPAIGN}/pause", "OPTIONS, POST"),
            ("PUT", "/call", "GET, HEAD, OPTIONS, POST"),
            ("POST", f"/playbook/{NOBODYS}", "DELETE, GET, HEAD, OPTIONS, PUT"),
            ("POST", f"/contact/{NOBODYS}", "DELETE, GET, HEAD, OPTIONS, PATCH"),
            ("PATCH", "/do-not-call", "DELETE, GET, HEAD, OPTIONS, POST"),
            ("POST", "/healthz", "GET, HEAD, OPTIONS"),
            ("BREW", "/campaign", "GET, HEAD, OPTIONS, POST"),
        ],
    )
    def test_a_wrong_method_is_405_and_told_what_is_allowed(
        self, ask: Ask, method: str, path: str, allowed: str
    ) -> None:
        answer = ask(method, path)
        assert answer.status_code == 405
        assert answer.headers["Allow"] == allowed
        error_of(answer)

    def test_options_tells_what_is_allowed(self, ask: Ask) -> None:
        answer = ask("OPTIONS", "/campaign", token=None)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["Allow"] == "GET, HEAD, OPTIONS, POST"

    def test_head_answers_like_get(self, ask: Ask) -> None:
        assert ask("HEAD", f"/campaign/{CAMPAIGN}").status_code == 200
        assert ask("HEAD", f"/campaign/{NOBODYS}").status_code == 404
        assert ask("HEAD", f"/campaign/{CAMPAIGN}", token=None).status_code == 401

    @pytest.mark.parametrize("path", ["/campaign/{}", "/campaign/{}/calls", "/call/{}", "/playbook/{}", "/contact/{}"])
    @pytest.mark.parametrize("uuid", ["x", "1", NOBODYS + "0", NOBODYS.replace("-", ""), "{" + NOBODYS + "}", "..%2f"])
    def test_an_id_that_is_no_uuid_is_not_found(self, ask: Ask, path: str, uuid: str) -> None:
        answer = ask("GET", path.format(uuid))
        assert answer.status_code == 404
        error_of(answer)

    def test_ids_are_the_same_in_upper_case(self, ask: Ask, fakes: Fakes) -> None:
        uuid = "aaaaaaaa-1111-4111-8111-111111111111"
        fakes.campaigns[MINE][uuid] = {"id": uuid, "status": "running"}
        assert ask("GET", f"/campaign/{uuid.upper()}").json() == {"id": uuid, "status": "running"}

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", f"/campaign/{CAMPAIGN}"),
            ("GET", f"/campaign/{CAMPAIGN}/calls"),
            ("POST", f"/campaign/{CAMPAIGN}/cancel"),
            ("GET", f"/call/{CALL}"),
            ("POST", f"/call/{CALL}/cancel"),
        ],
    )
    def test_what_belongs_to_another_account_is_not_found(self, ask: Ask, fakes: Fakes, method: str, path: str) -> None:
        assert ask(method, path).status_code == 200
        fakes.orders.clear()
        assert ask(method, path, token=OTHER_TOKEN).status_code == 404
        assert fakes.orders == []


class TestSubmission:
    def test_hands_the_body_over_as_it_came_and_gives_the_answer_back(self, ask: Ask, fakes: Fakes) -> None:
        fakes.answer = FakeAnswer(202, {"success": True, "campaign_id": CAMPAIGN})
        answer = ask("POST", "/campaign", content=b' {"a": 1} ', headers={"Idempotency-Key": "k-1"})
        assert answer.status_code == 202
        assert answer.json() == fakes.answer.body
        assert answer.content == fakes.answer.content
        assert "Idempotent-Replayed" not in answer.headers
        ask("POST", "/call", content=b"{}", token=OTHER_TOKEN)
        assert fakes.submitted == [(MINE, "campaign", b' {"a": 1} ', "k-1"), (THEIRS, "call", b"{}", None)]

    def test_marks_an_answer_that_was_given_before(self, ask: Ask, fakes: Fakes) -> None:
        fakes.answer = FakeAnswer(replayed=True)
        assert ask("POST", "/campaign", content=b"{}").headers["Idempotent-Replayed"] == "true"

    def test_passes_refusals_of_the_intake_on(self, ask: Ask, fakes: Fakes) -> None:
        refusal = {"error": "Unknown playbook", "details": [{"index": 0, "field": "phone", "reason": "x"}]}
        fakes.answer = FakeAnswer(403, refusal)
        answer = ask("POST", "/campaign", content=b"{}")
        assert (answer.status_code, answer.json()) == (403, refusal)

    @pytest.mark.parametrize("size", [0, 1, payloads._PIECE_BYTES + 1, MAX_BODY_BYTES])
    def test_takes_bodies_up_to_the_limit_whole(self, ask: Ask, fakes: Fakes, size: int) -> None:
        body = bytes(i % 251 for i in range(1000)) * (size // 1000 + 1)
        assert ask("POST", "/campaign", content=body[:size]).status_code == 202
        assert fakes.submitted[0][2] == body[:size]

    def test_refuses_a_larger_one_by_its_announced_length(self, ask: Ask, fakes: Fakes) -> None:
        answer = ask("POST", "/campaign", content=b"x" * (MAX_BODY_BYTES + 1))
        assert answer.status_code == 413
        assert str(MAX_BODY_BYTES) in error_of(answer)
        assert fakes.submitted == []

    def test_refuses_a_larger_one_that_comes_in_chunks(self, ask: Ask, fakes: Fakes) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(MAX_BODY_BYTES // 65_536 + 1):
                yield b"x" * 65_536

        answer = ask("POST", "/campaign", content=chunks())
        assert answer.status_code == 413
        error_of(answer)
        assert fakes.submitted == []

    def test_refuses_a_content_coding(self, ask: Ask) -> None:
        answer = ask("POST", "/campaign", content=b"{}", headers={"Content-Encoding": "gzip"})
        assert answer.status_code == 415
        assert "gzip" in error_of(answer)
        assert answer.headers["Accept-Encoding"] == "identity"

    def test_a_disk_without_room_for_the_body_is_503(
        self, ask: Ask, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Full(io.BytesIO):
            def write(self, _: object) -> int:
                raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(fake_backend._Intake, "spool", lambda _: Full())
        with capture_logs():
            assert ask("POST", "/campaign", content=b"{}").status_code == 503
        assert fakes.submitted == []

    @pytest.mark.parametrize("key", ["", " ", "x" * 256, "a\tb", "ñ".encode()])
    def test_refuses_an_idempotency_key_out_of_form(self, ask: Ask, fakes: Fakes, key: str | bytes) -> None:
        raw = key if isinstance(key, bytes) else key.encode()
        answer = ask("POST", "/campaign", content=b"{}", headers=[(b"Idempotency-Key", raw)])
        assert answer.status_code == 400
        assert "Idempotency-Key" in error_of(answer)
        assert fakes.submitted == []

    @pytest.mark.parametrize("key", ["x", "x" * 255, "a b"])
    def test_takes_keys_up_to_255_characters(self, ask: Ask, fakes: Fakes, key: str) -> None:
        assert ask("POST", "/campaign", content=b"{}", headers={"Idempotency-Key": key}).status_code == 202
        assert fakes.submitted[0][3] == key

    def test_refuses_two_idempotency_keys(self, ask: Ask) -> None:
        keys = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
        assert ask("POST", "/campaign", content=b"{}", headers=keys).status_code == 400

    def test_gives_up_a_body_that_stalls(self, fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(payloads, "_STALL_SECONDS", 0.01)

        async def stalled() -> int:
            async def body() -> AsyncIterator[bytes]:
                yield b"{"
                await anyio.sleep_forever()

            transport = httpx.ASGITransport(create_app(fakes.backend()))
            async with httpx.AsyncClient(transport=transport, base_url="http://dialer") as client:
                answer = await client.post("/campaign", content=body(), headers=BEARER)
                error_of(answer)
                return answer.status_code

        assert anyio.run(stalled) == 408
        assert fakes.submitted == []

    def test_a_database_that_refuses_writes_is_503_and_worth_another_try(self, ask: Ask, fakes: Fakes) -> None:
        fakes.fault = StoreUnavailable("disk full")
        with capture_logs() as logs:
            answer = ask("POST", "/campaign", content=b"{}")
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"
        assert "nothing was stored" in error_of(answer)
        assert [entry["reason"] for entry in logs] == ["disk full"]


def test_a_fault_of_ours_is_logged_and_not_shown(ask: Ask, fakes: Fakes) -> None:
    fakes.fault = RuntimeError("secret detail")
    with capture_logs() as logs:
        answer = ask("GET", f"/campaign/{CAMPAIGN}")
    assert answer.status_code == 500
    assert error_of(answer) == "Internal error"
    assert logs[0]["exc_info"] is fakes.fault
    assert logs[0]["path"] == f"/campaign/{CAMPAIGN}"


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


class TestHealth:
    def test_alive_while_it_answers(self, ask: Ask, fakes: Fakes) -> None:
        fakes.reasons = ["no trunk is usable"]
        assert ask("GET", "/healthz", token=None).status_code == 200

    def test_not_ready_tells_why(self, ask: Ask, fakes: Fakes) -> None:
        assert ask("GET", "/readyz", token=None).json() == {"status": "ready"}
        fakes.reasons = ["no trunk is usable", "no worker is up"]
        answer = ask("GET", "/readyz", token=None)
        assert answer.status_code == 503
        assert error_of(answer) == "Not ready: no trunk is usable; no worker is up"
        assert [detail["reason"] for detail in answer.json()["details"]] == fakes.reasons

    def test_metrics_show_the_snapshot(self, ask: Ask) -> None:
        lines = ask("GET", "/metrics", token=None).text.splitlines()
        assert 'dialer_attempts_total{disposition="answered"} 3.0' in lines
        assert 'dialer_attempts_total{disposition="busy"} 0.0' in lines
        assert "dialer_attempts_live 2.0" in lines
        assert "dialer_calls_talking 1.0" in lines
        assert "dialer_database_writable 1.0" in lines
        assert "dialer_sip_workers 4.0" in lines
        assert "dialer_sip_free_places 30.0" in lines
        assert 'dialer_trunk_channels_in_use{trunk="pbx"} 2.0' in lines
        assert 'dialer_trunk_channels{trunk="pbx"} 30.0' in lines
        assert any(line.startswith("process_resident_memory_bytes") for line in lines)


def test_answers_are_utf_8_and_half_a_surrogate_pair_stays_an_escape(ask: Ask, fakes: Fakes) -> None:
    fakes.campaigns[MINE][CAMPAIGN] = {"id": CAMPAIGN, "playbook": "ñandú"}
    assert "ñandú".encode() in ask("GET", f"/campaign/{CAMPAIGN}").content
    fakes.campaigns[MINE][CAMPAIGN] = {"id": CAMPAIGN, "playbook": "bad \ud800"}
    assert json.loads(ask("GET", f"/campaign/{CAMPAIGN}").content.decode("utf-8"))["playbook"] == "bad \ud800"


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
