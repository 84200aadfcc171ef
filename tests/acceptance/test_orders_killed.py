"""The server is killed when a campaign was paused or cancelled: what was answered with 200 holds after the restart."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.crash_story import Story, numbers, template
from tests.support.dialer_process import eventually

OTHERS = ("+34699000002", "+34699100002", "+34699200002")
HOLDS = {"pause": "paused", "cancel": "cancelled"}


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    with Story.told(tmp_path / "story", template(tmp_path)) as story:
        story.begin(contacts=14)
        story.lab.wait_for("invite", 5)
        yield story


def holds(story: Story, order: str) -> None:
    """The order is kept: nothing of the campaign leaves, and a paused one goes on where it was when it is resumed."""
    assert story.client.campaign(story.campaign)["status"] == HOLDS[order]
    eventually(lambda: story.client.campaign(story.campaign)["calls"]["live"] == 0, 30, "nothing of it is under way")
    dialed = len(story.lab.invites())
    # Another campaign, with time enough for the recalls of this one to be due.
    for number in OTHERS:
        story.client.finished(story.client.post(story.playbook, [number]))
    assert len([entry for entry in story.lab.invites() if entry.number in numbers(14)]) == dialed
    if order == "pause":
        assert story.client.http.post(f"/campaign/{story.campaign}/resume").status_code == 200
        judgement = story.finish()
        for number in OTHERS:
            judgement = judgement.without(number)
        judgement.check()
    else:
        calls = story.client.calls(story.campaign).values()
        assert {call["state"] for call in calls} == {"finished"}
        invites = [entry.call_id for entry in story.lab.invites()]
        assert len(set(invites)) == len(invites)


@pytest.mark.parametrize("order", ["pause", pytest.param("cancel", marks=pytest.mark.slow)])
def test_an_order_that_was_answered_holds_after_a_kill(story: Story, order: str) -> None:
    assert story.client.http.post(f"/campaign/{story.campaign}/{order}").status_code == 200
    story.kill()
    story.restart()
    holds(story, order)


@pytest.mark.slow
@pytest.mark.parametrize("commit", range(1, 7))
@pytest.mark.parametrize("order", HOLDS)
def test_an_order_during_which_the_server_was_killed_holds_where_it_was_answered(
    story: Story, order: str, commit: int
) -> None:
    story.disk.kill_before_commit(commit)
    try:
        answered = story.client.http.post(f"/campaign/{story.campaign}/{order}").status_code == 200
    except httpx.TransportError:
        answered = False
    story.restart_once_dead()
    if answered or story.client.campaign(story.campaign)["status"] == HOLDS[order]:
        holds(story, order)
    else:
        story.finish().check()
