"""The HTTP edge over fakes: who may ask, what is refused and how, and what reaches the parts behind it."""

import errno
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest
from structlog.testing import capture_logs

from api import payloads
from api.app import create_app
from dialer.ports import StoreUnavailable
from tests.support import fake_backend
from tests.support.asking import Ask, error_of
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

BEARER = {"Authorization": f"Bearer {TOKEN}"}


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
