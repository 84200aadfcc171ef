"""`dialer campaign` against an HTTP server: what it sends, and what it prints where."""

import asyncio
import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from api.app import create_app
from api.backend import Verdict
from api.server import serve_http
from dialer.cli import main
from tests.support.fake_backend import CALL, CAMPAIGN, MINE, NOBODYS, TOKEN, FakeAnswer, Fakes

RECORD = {
    "id": CAMPAIGN,
    "status": "completed",
    "created_at": "2025-03-01T10:00:00.000Z",
    "calls": {"scheduled": 0, "live": 0, "finished": 2},
    "dispositions": {"answered": 2},
    "attempts": 2,
    "next_attempt_at": None,
}
ACCEPTED = {"success": True, "message": "Campaign started successfully", "campaign_id": CAMPAIGN, "total_contacts": 2}


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def fakes() -> Iterator[Fakes]:
    """A server over fakes, whose address is in `$DIALER_URL`."""
    fakes = Fakes(campaigns={MINE: {CAMPAIGN: dict(RECORD)}}, answer=FakeAnswer(202, ACCEPTED))
    up, over = threading.Event(), asyncio.Event()
    place: dict[str, str] = {}
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        server = await serve_http(create_app(fakes.backend()), "127.0.0.1", 0)
        place["url"] = server.url
        up.set()
        await over.wait()
        await server.stop(1)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert up.wait(10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIALER_URL", place["url"])
        patch.setenv("DIALER_TOKEN", TOKEN)
        patch.setenv("COLUMNS", "200")
        yield fakes
    loop.call_soon_threadsafe(over.set)
    thread.join(10)
    loop.close()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    def dialer(*words: str, group: str = "campaign") -> Done:
        monkeypatch.setattr(sys, "argv", ["dialer", group, *words])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return Done(code if isinstance(code, int) else int(code is not None), *capfd.readouterr())

    return dialer


Run = Callable[..., Done]


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "contacts.csv"
    path.write_text("phone,first_name\n+34910000001,Ana\n+34910000002,\n")
    return str(path)


def test_submit_posts_the_file_and_prints_the_id_alone(fakes: Fakes, run: Run, file: str) -> None:
    done = run("submit", file, "--playbook", NOBODYS, "--recall", "30,0.5", "--launch-at", "2025-03-01T10:00")
    assert (done.returncode, done.stdout) == (0, CAMPAIGN + "\n")
    assert done.stderr == "Campaign started successfully\n"
    [(account, endpoint, body, key)] = fakes.submitted
    assert (account, endpoint) == (MINE, "campaign")
    assert key is not None
    assert json.loads(body) == {
        "playbook_id": NOBODYS,
        "contacts": [{"phone": "+34910000001", "first_name": "Ana"}, {"phone": "+34910000002"}],
        "recall": [30, 0.5],
        "launch_at": "2025-03-01T10:00",
    }


def test_submit_follow_shows_the_end_on_standard_error(fakes: Fakes, run: Run, file: str) -> None:
    done = run("submit", file, "--playbook", NOBODYS, "--follow")
    assert (done.returncode, done.stdout) == (0, CAMPAIGN + "\n")
    assert "completed: 2 of 2 finished" in done.stderr
    fakes.campaigns[MINE][CAMPAIGN]["status"] = "cancelled"
    done = run("submit", file, "--playbook", NOBODYS, "--follow")
    assert (done.returncode, done.stdout) == (1, CAMPAIGN + "\n")
    assert "the campaign was cancelled" in done.stderr


def test_a_refused_contact_is_named_by_its_line(fakes: Fakes, run: Run, file: str) -> None:
    fakes.answer = FakeAnswer(400, {"error": "Bad", "details": [{"index": 1, "field": "phone", "reason": "is none"}]})
    done = run("submit", file, "--playbook", NOBODYS)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Bad\n  line 3: phone: is none\n"


def test_list_and_show_print_on_standard_output(fakes: Fakes, run: Run) -> None:
    done = run("list", "--status", "completed")
    assert (done.returncode, done.stdout) == (0, f"{CAMPAIGN}\tcompleted\t{RECORD['created_at']}\t2/2\n")
    assert json.loads(run("show", CAMPAIGN).stdout) == RECORD
    assert run("show", NOBODYS).stderr == "No such campaign\n"


@pytest.mark.parametrize("word", ["pause", "resume", "cancel"])
def test_orders_are_given_and_their_result_is_told(fakes: Fakes, run: Run, word: str) -> None:
    done = run(word, CAMPAIGN)
    assert (done.returncode, done.stdout) == (0, "")
    assert fakes.orders == [(word, MINE, CAMPAIGN)]
    assert done.stderr.startswith("completed: ")
    fakes.verdict = Verdict.FINAL
    done = run(word, CAMPAIGN)
    assert done.returncode == 1
    assert done.stderr == "The campaign is over: it was completed or cancelled\n"


def test_review_lists_and_decides(fakes: Fakes, run: Run) -> None:
    call = {"id": CALL, "phone": None, "campaign_id": CAMPAIGN, "attempts": [{}], "next_attempt_at": "T"}
    fakes.calls = {MINE: {CALL: call}}
    listed = run("list", "--campaign", CAMPAIGN, group="review")
    assert (listed.returncode, listed.stdout) == (0, f"{CALL}\t\t{CAMPAIGN}\t1\tT\n")
    for words, asked in (
        (("--all",), (None, [])),
        (("--campaign", CAMPAIGN), (CAMPAIGN, [])),
        (("--call", CALL, "--call", CALL), (None, [CALL])),
    ):
        fakes.reviews.clear()
        assert run("release", *words, group="review").stderr == "1 call released\n"
        assert run("cancel", *words, group="review").stderr == "1 call cancelled\n"
        assert fakes.reviews == [("release", MINE, *asked), ("cancel_under_review", MINE, *asked)]
    for words in ((), ("--all", "--call", CALL), ("--call", "x")):
        assert run("release", *words, group="review").returncode == 2


def test_a_token_that_is_not_ours_is_refused(fakes: Fakes, run: Run) -> None:
    done = run("list", "--token", "other")
    assert (done.returncode, done.stderr) == (1, "The token is unknown, expired or revoked\n")
