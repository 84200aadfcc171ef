"""`dialer top` on a real terminal and into a pipe, and what else people look at from a shell."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.dialer_process import DIALER, Client, Dialer, eventually
from tests.support.terminal import on_a_terminal


def test_top_shows_who_is_called_and_leaves_at_q(dialer: Dialer, client: Client) -> None:
    book = client.playbook(name="Long talk", steps=[{"do": "wait", "seconds": 15}])
    campaign = client.post(book, ["+34600001002", "+34600001102"])
    access = {"DIALER_URL": dialer.url, "DIALER_TOKEN": client.token}
    with on_a_terminal(120, 30, DIALER, "top", "--interval", "0.2", **access) as terminal:
        terminal.until("talking")
        terminal.until("Long talk")
        assert "pbx" in terminal.seen
        assert "+…1002" in terminal.seen
        assert "+34600001002" not in terminal.seen
        terminal.press("q")
        assert terminal.process.wait(10) == 0
    piped = dialer.run("top", "--numbers", **access).stdout
    assert "calls under way: 2" in piped
    assert "+34600001102" in piped
    assert "\x1b" not in piped
    client.http.post(f"/campaign/{campaign}/cancel")
    for call in client.calls(campaign).values():
        client.http.post(f"/call/{call['id']}/cancel")


def test_top_waits_for_a_server_that_is_away_and_says_of_when_its_picture_is(dialer: Dialer, client: Client) -> None:
    access = {"DIALER_URL": dialer.url, "DIALER_TOKEN": client.token}
    with on_a_terminal(60, 24, DIALER, "top", "--interval", "0.2", **access) as terminal:
        terminal.until("calls under way: ")
        dialer.stop()
        terminal.until("cannot reach http://127.0.0.1:")
        assert re.search(r"As of \d\d:\d\d:\d\d: cannot reach", terminal.seen)
        dialer.start()
        terminal.seen = ""
        terminal.until("q leaves")
        terminal.press("q")
        assert terminal.process.wait(10) == 0


def test_an_interrupt_at_any_time_ends_with_130_and_a_sane_terminal(dialer: Dialer, client: Client) -> None:
    access = {"DIALER_URL": dialer.url, "DIALER_TOKEN": client.token}
    campaign = client.post(client.playbook(), ["+34600001002"], launch_at="2031-01-01T00:00Z")
    for words, there in (
        (("top",), "q leaves"),
        (("campaign", "show", campaign, "--follow"), "0 of 1 finished"),
        (("trace", "--next-call"), "waiting for the next call"),
    ):
        with on_a_terminal(80, 24, DIALER, *words, **access) as terminal:
            before = terminal.modes
            terminal.until(there)
            terminal.press("\x03")
            assert terminal.process.wait(10) == 130, words
            assert terminal.modes == before
    client.http.post(f"/campaign/{campaign}/cancel")


def test_the_demo_is_interrupted_within_seconds_and_leaves_nothing(tmp_path: Path) -> None:
    with on_a_terminal(60, 24, DIALER, "demo", TMPDIR=str(tmp_path)) as terminal:
        terminal.until("live,", 60)
        assert any(tmp_path.glob("dialer-demo-*"))
        terminal.press("\x03")
        # Its calls are hung up, not waited for: nobody wants them any more.
        assert terminal.process.wait(15) == 130
    assert not any(tmp_path.glob("dialer-demo-*"))


def test_an_interrupt_while_the_command_is_loaded_leaves_no_traceback(tmp_path: Path) -> None:
    # As if Ctrl-C came in the middle of the imports.
    (tmp_path / "interrupted.py").write_text(
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'dialer.cli': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from dialer.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, tmp_path / "interrupted.py"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_streams_that_are_closed_are_no_fault(dialer: Dialer, client: Client) -> None:
    environment = {**os.environ, "DIALER_URL": dialer.url, "DIALER_TOKEN": client.token, "COLUMNS": "0"}
    for words in ("campaign list", "top"):
        for closed in (">&-", "<&- >&-", "<&- >&- 2>&-"):
            done = subprocess.run(
                f"exec {DIALER} {words} {closed}",
                shell=True,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), (words, closed)


@pytest.mark.parametrize("columns", ["0", "-5", "wide", ""])
def test_a_width_that_is_none_is_passed_over(dialer: Dialer, client: Client, columns: str) -> None:
    shown = dialer.run("top", DIALER_URL=dialer.url, DIALER_TOKEN=client.token, COLUMNS=columns).stdout
    assert "trunk  state  channels  CPS  last failure" in shown
    # Whoever reads it somewhere else knows of which zone its time is.
    assert re.match(rf"{re.escape(dialer.url)}  \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d \S+\n", shown)


def test_on_a_terminal_that_can_do_nothing_top_is_shown_once(dialer: Dialer, client: Client) -> None:
    access = {"DIALER_URL": dialer.url, "DIALER_TOKEN": client.token, "TERM": "dumb"}
    with on_a_terminal(80, 24, DIALER, "top", **access) as terminal:
        terminal.until("calls under way: ")
        assert terminal.process.wait(10) == 0


def test_top_says_why_it_cannot_look(dialer: Dialer, client: Client) -> None:
    nobody = dialer.run("top", check=False, DIALER_URL="http://127.0.0.1:9", DIALER_TOKEN=client.token)
    assert (nobody.returncode, "cannot reach" in nobody.stderr) == (1, True)
    stranger = dialer.run("top", check=False, DIALER_URL=dialer.url, DIALER_TOKEN="wrong")
    assert (stranger.returncode, "token" in stranger.stderr) == (1, True)


def test_a_campaign_is_followed_to_its_end_and_then_shown(dialer: Dialer, client: Client) -> None:
    campaign = client.post(client.playbook(), ["+34600002001", "+34600002011"])
    access = {"DIALER_URL": dialer.url, "DIALER_TOKEN": client.token}
    done = dialer.run("campaign", "show", campaign, "--follow", **access)
    assert json.loads(done.stdout)["status"] == "completed"
    assert "completed: 2 of 2 finished" in done.stderr
    cancelled = client.post(client.playbook(), ["+34600002001"], launch_at="2031-01-01T00:00Z")
    client.http.post(f"/campaign/{cancelled}/cancel")
    eventually(lambda: client.campaign(cancelled)["status"] == "cancelled", 5, "it is cancelled")
    shown = dialer.run("campaign", "show", cancelled, "--follow", **access)
    assert json.loads(shown.stdout)["status"] == "cancelled"
