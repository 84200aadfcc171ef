"""The screen of `dialer top`: it fits whatever the terminal is, and shows no number unless asked."""

import doctest
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from rich.console import Console

from dialer import top
from dialer.client import Client
from dialer.top import Seen, Watch, screen

NOW = datetime(2025, 3, 1, 10, 0, 40, tzinfo=UTC)


def trunk(name: str, **keys: Any) -> dict[str, Any]:
    one = {"name": name, "state": "up", "channels": 30, "channels_in_use": 12, "calls_per_second": 5.0, "fault": None}
    return {**one, "calls_per_second_now": 5.0, "last_failure": None, **keys}


def campaign(number: int, **keys: Any) -> dict[str, Any]:
    one = {
        "id": f"{number:08d}-c586-476b-bdba-e6234303298a",
        "playbook": "Renewal",
        "status": "running",
        "attempts": 25,
    }
    calls = {"calls": {"scheduled": 80, "live": 2, "finished": 18}, "dispositions": {"answered": 12, "busy": 6}}
    return {**one, **calls, "estimated_end_at": "2025-03-01T11:30:00.000Z", **keys}


def call(phone: str | None = "+34600000001", **attempt: Any) -> dict[str, Any]:
    times = {"dialed_at": "2025-03-01T10:00:00.000Z", "ringing_at": None, "answered_at": None}
    attempts = [{"number": 2, "trunk": "pbx", **times, **attempt}]
    contact = {"first_name": "Ana", "last_name": "Sanz"}
    return {"id": "581c437a-79d8-88e2-9f45-7f603af91dd4", "phone": phone, "contact": contact, "attempts": attempts}


FAILURE = {"at": "2025-03-01T09:59:31.400Z", "reason": "408 Request Timeout"}
SEEN = Seen(
    trunks=[trunk("pbx"), trunk("carrier", state="down", calls_per_second_now=0.5, last_failure=FAILURE)],
    campaigns=[campaign(1), campaign(2, status="paused")],
    calls=[
        call(answered_at="2025-03-01T10:00:10.000Z"),
        call("1001", ringing_at="2025-03-01T10:00:35.000Z"),
        call(None),
    ],
    pace={campaign(1)["id"]: 31.6, campaign(2)["id"]: None},
)


def drawn(seen: Seen, width: int, height: int | None = None, **options: Any) -> list[str]:
    console = Console(width=width, height=height or 100, record=True, force_terminal=False)
    with console.capture() as capture:
        console.print(screen(seen, width=width, height=height, title="dialer 10:00:40  q leaves", now=NOW, **options))
    return capture.get().splitlines()


def test_the_examples_of_the_docstrings_hold() -> None:
    assert doctest.testmod(top).failed == 0


def test_a_wide_screen_shows_everything() -> None:
    text = "\n".join(drawn(SEEN, 160))
    for word in (
        *("trunks: 2", "12/30", "0.5 of 5", "down", "09:59:31 408 Request Timeout"),
        *("campaigns going on: 2", "Renewal 00000001", "18/100", "32", "paused", "answered 12"),
        *(
            "calls under way: 3",
            "581c437a-79d8-88e2-9f45-7f603af91dd4",
            "talking    ",
            "30",
            "ringing",
            "Ana Sanz",
            "erased",
        ),
    ):
        assert word in text, word


def test_numbers_are_shown_only_where_that_is_wanted() -> None:
    masked, whole = ("\n".join(drawn(SEEN, 160, numbers=numbers)) for numbers in (False, True))
    assert "+…0001" in masked
    assert "…01" in masked
    assert "+34600000001" not in masked
    assert "+34600000001" in whole
    assert "1001" in whole


@pytest.mark.parametrize("width", [20, 40, 79, 80, 109, 110, 200])
@pytest.mark.parametrize("height", [1, 2, 3, 5, 8, 15, 16, 24, 60])
def test_it_fits_the_terminal(width: int, height: int) -> None:
    many = Seen(SEEN.trunks * 10, SEEN.campaigns * 20, SEEN.calls * 60)
    lines = drawn(many, width, height)
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    if height >= 15:
        assert any(line.startswith("calls under way: 180 (") for line in lines) or width < 30
        assert any("Renewal" in line for line in lines) or width < 30


def test_a_slim_terminal_keeps_states_and_figures_whole() -> None:
    text = "\n".join(drawn(SEEN, 40))
    for word in ("running", "paused", "18/100", "talking", "12/30", "0.5 of 5"):
        assert word in text, word
    assert "a minute" not in text


@pytest.mark.parametrize("width", [40, 60, 80, 110])
def test_long_names_are_cut_and_figures_are_not(width: int) -> None:
    failure = {**FAILURE, "reason": "480 Temporarily Unavailable " * 5}
    long = Seen(
        [trunk("a-trunk-with-a-long-name-abcdefg", last_failure=failure)],
        [campaign(1, playbook="Renewal of everything that is to be renewed in 2031 and before")],
        [call(answered_at="2025-03-01T10:00:10.000Z", trunk="a-trunk-with-a-long-name-abcdefg")],
    )
    text = "\n".join(drawn(long, width))
    for word in ("a-trunk-", "up", "12/30", "Renewal", "…", "running", "18/100", "talking"):
        assert word in text, word


def test_the_pace_is_what_a_campaign_did_between_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = iter([100, 110, 160])
    times = iter([0.0, 10.0, 60.0])
    monkeypatch.setattr(top.time, "monotonic", lambda: next(times))

    def handler(request: httpx.Request) -> httpx.Response:
        asked = request.url.params.get("status")
        items = [campaign(1, attempts=next(attempts))] if asked == "running" else []
        return httpx.Response(200, json={"items": items, "next_cursor": None})

    with Client("http://dialer", "secret", transport=httpx.MockTransport(handler)) as client:
        watch = Watch(client)
        uuid = campaign(1)["id"]
        assert [watch.look().pace[uuid] for _ in range(3)] == [None, 60.0, 60.0]
