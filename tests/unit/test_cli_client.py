"""The command line as a client of the API: retries, refusals, progress."""

import io
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from rich.console import Console

from dialer import client as client_module
from dialer.client import ApiRefused, Client
from dialer.follow import follow, summary, view
from dialer.terminal import Refused

Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PAUSE_SECONDS", 0.0)


def connected(handler: Handler) -> Client:
    return Client("http://dialer", "secret", transport=httpx.MockTransport(handler))


def test_a_post_whose_connection_broke_is_sent_again_under_the_same_key() -> None:
    keys = []

    def handler(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        assert request.headers["Authorization"] == "Bearer secret"
        if len(keys) < 3:
            raise httpx.ReadError("reset")
        return httpx.Response(202, json={"success": True})

    with connected(handler) as client:
        assert client.post("/campaign", {}) == {"success": True}
        assert len(keys) == 3
        assert len(set(keys)) == 1
        client.post("/campaign", {})
        assert keys[3] != keys[0]


def test_a_connection_that_keeps_breaking_is_given_up() -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow")

    with connected(handler) as client, pytest.raises(Refused, match="the connection broke"):
        client.post("/campaign", {})


def test_nobody_there_is_told_at_once() -> None:
    tries = []

    def handler(_: httpx.Request) -> httpx.Response:
        tries.append(1)
        raise httpx.ConnectError("refused")

    with connected(handler) as client, pytest.raises(Refused, match="is `dialer serve` running"):
        client.get("/campaign")
    assert len(tries) == 1


def test_a_refusal_names_the_lines_of_the_file_and_does_not_flood() -> None:
    details = [{"index": i, "field": "phone", "reason": "is bad"} for i in range(30)]

    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(400, json={"error": "No good", "details": details})

    with connected(handler) as client, pytest.raises(ApiRefused) as caught:
        client.post("/campaign", {})
    assert caught.value.status == 400
    lines = str(caught.value.told(lambda i: f"line {i + 2}")).splitlines()
    assert lines[:2] == ["No good", "  line 2: phone: is bad"]
    assert lines[-1] == "  and 10 more"
    assert len(lines) == 22


@pytest.mark.parametrize("answer", [httpx.Response(200, text="<html>"), httpx.Response(502, json=["x"])])
def test_an_answer_that_is_not_a_dialers_is_refused(answer: httpx.Response) -> None:
    with connected(lambda _: answer) as client, pytest.raises(Refused, match="not the answer of a dialer"):
        client.get("/campaign")


def test_pages_are_fetched_until_the_limit_or_the_end() -> None:
    asked = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(dict(request.url.params))
        start = int(request.url.params.get("cursor", "0"))
        limit = int(request.url.params["limit"])
        items = [{"n": n} for n in range(start, min(start + limit, 2500))]
        end = start + len(items)
        return httpx.Response(200, json={"items": items, "next_cursor": str(end) if end < 2500 else None})

    with connected(handler) as client:
        assert [item["n"] for item in client.pages("/x", 1500, status=None)] == list(range(1500))
        assert [one["limit"] for one in asked] == ["1000", "500"]
        assert len(list(client.pages("/x", 10_000, status="running"))) == 2500
        assert asked[-1]["status"] == "running"


def campaign(finished: int, status: str = "running") -> dict[str, Any]:
    return {
        "status": status,
        "calls": {"scheduled": 3 - finished, "live": 0, "finished": finished},
        "dispositions": {"answered": finished},
        "attempts": finished,
        "next_attempt_at": None,
    }


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("end", ["completed", "cancelled"])
def test_following_ends_with_the_campaign_and_shows_how_it_ended(terminal: bool, end: str) -> None:
    looks = iter([campaign(0), campaign(1), campaign(3, end)])
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120, color_system=None)
    assert follow(lambda: next(looks), console, poll_seconds=0)["status"] == end
    assert next(looks, None) is None
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert end in shown
    assert "3 of 3 finished" in shown
    assert "answered 3" in shown


@pytest.mark.parametrize("terminal", [True, False])
def test_following_goes_on_when_the_server_is_back(terminal: bool) -> None:
    away = [Refused("cannot reach http://dialer"), ApiRefused(503, "The disk is full", [])]
    looks = iter([campaign(1), *away, campaign(3, "completed")])

    def look() -> dict[str, Any]:
        seen = next(looks)
        if isinstance(seen, Refused):
            raise seen
        return seen

    console = Console(file=io.StringIO(), force_terminal=terminal, width=120, color_system=None)
    assert follow(look, console, poll_seconds=0)["status"] == "completed"
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for word in ("cannot reach http://dialer; trying again", "The disk is full; trying again", "3 of 3 finished"):
        assert word in shown


@pytest.mark.parametrize(
    ("before", "refused"),
    [
        ([], Refused("cannot reach http://dialer")),  # never reached: a wrong address
        ([campaign(1)], ApiRefused(401, "The token is unknown, expired or revoked", [])),
        ([campaign(1)], ApiRefused(404, "No such campaign", [])),
    ],
)
def test_following_ends_with_what_does_not_pass(before: list[dict[str, Any]], refused: Refused) -> None:
    looks = iter(before)

    def look() -> dict[str, Any]:
        if (seen := next(looks, None)) is None:
            raise refused
        return seen

    with pytest.raises(Refused) as raised:
        follow(look, Console(file=io.StringIO()), poll_seconds=0)
    assert raised.value is refused


def test_what_is_followed_on_a_narrow_terminal_goes_on_in_the_next_line() -> None:
    out = io.StringIO()
    # As the commands' own console, which leaves long lines to the terminal.
    console = Console(file=out, force_terminal=True, width=40, color_system=None, soft_wrap=True)
    looks: list[Callable[[], dict[str, Any]]] = [lambda: campaign(1), _away, lambda: campaign(3, "completed")]

    def look() -> dict[str, Any]:
        return looks.pop(0)()

    follow(look, console, poll_seconds=0)
    shown = " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).split())
    assert "1 of 3 finished, 0 live, 2 scheduled" in shown
    assert "Connection refused); trying again" in shown


def _away() -> dict[str, Any]:
    raise Refused("cannot reach http://127.0.0.1:8080 ([Errno 111] Connection refused)")


def test_following_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dialer.follow.PATIENCE_SECONDS", -1.0)
    looks = iter([campaign(1)])

    def look() -> dict[str, Any]:
        if (seen := next(looks, None)) is None:
            raise Refused("cannot reach http://dialer")
        return seen

    with pytest.raises(Refused, match="cannot reach"):
        follow(look, Console(file=io.StringIO()), poll_seconds=0)


@pytest.mark.parametrize("width", [20, 40, 79, 80, 120])
def test_a_followed_campaign_fits_its_terminal(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(view({**campaign(2), "under_review": 1}, width=width))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert all(len(line) <= width for line in lines)
    assert "2 of 3 finished," in " ".join(" ".join(lines).split()) or width >= 80
    assert not any("…" in line for line in lines)


@pytest.mark.parametrize(
    ("url", "token", "reason"),
    [
        ("127.0.0.1:8080", "secret", "begins with http:// or https://"),
        ("ftp://dialer", "secret", "begins with http:// or https://"),
        ("http://[::1", "secret", "http://[::1"),
        ("http://dialer", "ñandú", "no token"),
        ("http://dialer", "a\nb", "no token"),
    ],
)
def test_what_can_be_no_address_or_token_is_named_before_anything_is_sent(url: str, token: str, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        Client(url, token)
    assert reason in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_campaign_in_one_line() -> None:
    assert summary(campaign(2)) == "running: 2 of 3 finished, 0 live, 1 scheduled, 2 attempts (answered 2)"
    reviewed = {**campaign(2), "under_review": 1}
    assert summary(reviewed).startswith("running: 2 of 3 finished, 0 live, 1 scheduled (1 under review), 2 attempts")
