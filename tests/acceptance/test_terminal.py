"""`dialer top` on a real terminal and into a pipe, and what else people look at from a shell."""

import json

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
