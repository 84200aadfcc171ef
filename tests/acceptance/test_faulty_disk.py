"""A disk that is full, or fails at writes or at syncs, under a running server: it stops, says so, and goes on by itself.

At which operation it begins to fail is `test_fault_sweep.py`'s subject.
"""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.crash_story import Story, template
from tests.support.dialer_process import eventually
from tests.support.faulty_disk import SYNCS, WRITES

FAULTS = {
    "full": (errno.ENOSPC, WRITES),
    "write": (errno.EIO, WRITES),
    "sync": (errno.EIO, SYNCS),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def story(tmp_path: Path, prepared: Path) -> Iterator[Story]:
    with Story.told(tmp_path / "story", prepared) as story:
        yield story


@pytest.mark.parametrize(("fault", "works_for"), [("full", 0), ("write", 4), ("sync", 1)])
def test_dialing_stops_nothing_is_accepted_and_all_goes_on_when_the_disk_works_again(
    story: Story, fault: str, works_for: int
) -> None:
    story.begin(contacts=30)
    story.lab.wait_for("invite", 6)
    story.disk.fail(*FAULTS[fault], after=works_for)
    reason = story.not_ready().json()["error"]
    assert "database" in reason
    assert {"full": "disk is full"}.get(fault, "disk failed") in reason
    # What was on disk already may leave; then nothing does.
    dialed = len(story.lab.invites())
    body = {"playbook_id": story.playbook, "contacts": [{"phone": "+34699000002"}]}
    for _ in range(3):
        refused = story.client.http.post("/campaign", json=body)
        assert refused.status_code == 503
        assert refused.headers["Retry-After"]
        assert set(refused.json()) == {"error"}
    assert story.client.http.post(f"/campaign/{story.campaign}/cancel").status_code == 503
    eventually(lambda: story.lab.lab.calls_now == 0, 10, "the calls that were out are over")
    assert len(story.lab.invites()) == dialed
    assert story.readiness().status_code == 503
    assert story.disk.failed > 0

    story.disk.heal()
    story.ready()
    accepted = story.client.http.post("/campaign", json=body)
    assert accepted.status_code == 202
    story.client.finished(accepted.json()["campaign_id"])
    judgement = story.finish()
    assert judgement.interrupted == 0
    assert len(story.lab.invites("+34699000002")) == 1
    assert len(story.client.http.get("/campaign").json()["items"]) == 2
    judgement.without("+34699000002").check()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_noticed_by_an_idle_server(story: Story, fault: str) -> None:
    story.dialer.start()
    story.disk.fail(*FAULTS[fault])
    story.not_ready()
    story.disk.heal()
    story.ready()


def test_what_a_failed_sync_refused_does_not_come_back_after_a_crash(story: Story) -> None:
    """SQLite has written the refused transaction into the WAL by then: the engine's own tries must have written over it."""
    story.dialer.start()
    story.disk.fail(errno.EIO, SYNCS)
    body = {"playbook_id": story.playbook, "contacts": [{"phone": "+34699000002"}]}
    assert story.client.http.post("/campaign", json=body).status_code == 503
    story.not_ready()
    story.dialer.kill()
    story.disk.heal()
    story.dialer.start()
    assert story.client.http.get("/campaign").json()["items"] == []
    assert story.lab.invites() == []
