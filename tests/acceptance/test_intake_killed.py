"""The server is killed while it takes a list in: all of it is there or nothing; sent again, it is one campaign."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from scheduler.connection import connect
from tests.support.crash_story import RECALL_SECONDS, Story, numbers, template


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    with Story.told(tmp_path / "story", template(tmp_path)) as story:
        story.dialer.start()
        yield story


def post(story: Story, key: str, phones: list[str], **more: Any) -> httpx.Response | None:
    """The answer; None where the server died before it gave one."""
    body = {"playbook_id": story.playbook, "contacts": [{"phone": phone} for phone in phones], **more}
    try:
        answer = story.client.http.post("/campaign", json=body, headers={"Idempotency-Key": key}, timeout=120)
    except httpx.TransportError:
        return None
    assert answer.status_code == 202, answer.text
    return answer


WRITES_KILLED = 12
"""Of the thousands that a long list takes."""


class Lists:
    """Lists of so many people whom nobody knew before, to be dialed tomorrow."""

    def __init__(self, story: Story, size: int) -> None:
        self._story = story
        self._size = size
        self._lists: dict[str, list[str]] = {}
        self._launch_at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        self._stored = 0

    def post(self, key: str) -> httpx.Response | None:
        first = self._size * len(self._lists)
        phones = self._lists.setdefault(key, [f"+3462{n:07d}" for n in range(first, first + self._size)])
        return post(self._story, key, phones, launch_at=self._launch_at)

    def cost(self) -> tuple[int, int]:
        """How many commits and writes it takes to store the list."""
        commits, writes = self._story.disk.commits, self._story.disk.writes
        assert self.post("unharmed") is not None
        self._stored += 1
        return self._story.disk.commits - commits, self._story.disk.writes - writes

    def killed_before_commit(self, number: int) -> None:
        self._story.disk.kill_before_commit(number)
        self._sent_again(f"commit {number}", self.post(f"commit {number}"))

    def killed_before_write(self, number: int) -> None:
        self._story.disk.kill_before_write(number)
        self._sent_again(f"write {number}", self.post(f"write {number}"))

    def killed_after_the_answer(self) -> None:
        answer = self.post("answered")
        self._story.kill()
        self._sent_again("answered", answer)

    def _sent_again(self, key: str, answer: httpx.Response | None) -> None:
        if not self._story.dialer.is_down:
            self._story.restart_once_dead()
        else:
            self._story.restart()
        found = self._whole()
        assert found - self._stored in ((0, 1) if answer is None else (1,))
        again = self.post(key)
        assert again is not None
        assert ("Idempotent-Replayed" in again.headers) is (found > self._stored)
        self._stored += 1
        assert self._whole() == self._stored

    def _whole(self) -> int:
        """How many campaigns there are, each of them with every call of its list."""
        items = self._story.client.http.get("/campaign", params={"limit": "1000"}).json()["items"]
        size = self._size
        assert all(item["calls"] == {"scheduled": size, "live": 0, "finished": 0} for item in items)
        with closing(connect(self._story.dialer.folder / "dialer.db", query_only=True)) as database:
            calls, phones = database.execute("SELECT count(*), count(DISTINCT phone) FROM call").fetchone()
        assert calls == phones == size * len(items)
        return len(items)


def test_a_list_whose_intake_was_killed_is_there_whole_or_not_at_all(story: Story) -> None:
    lists = Lists(story, 8_000)
    commits, writes = lists.cost()
    lists.killed_before_commit(commits // 2)
    lists.killed_before_write(writes // 2)
    lists.killed_after_the_answer()
    story.dialer.run("db", "check")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_long_list_whose_intake_was_killed_at_each_commit_is_there_whole_or_not_at_all(story: Story) -> None:
    lists = Lists(story, 100_000)
    commits, writes = lists.cost()
    for number in range(1, commits + 2):
        lists.killed_before_commit(number)
    for number in range(1, writes, writes // WRITES_KILLED):
        lists.killed_before_write(number)
    lists.killed_after_the_answer()
    story.dialer.run("db", "check")


@pytest.mark.parametrize(
    "commit", [2, *(pytest.param(number, marks=pytest.mark.slow) for number in (1, 3, 4, 5, 6, 8, 12))]
)
def test_each_contact_is_called_once_though_its_request_was_cut_off_and_sent_again(story: Story, commit: int) -> None:
    recall = [seconds / 60 for seconds in RECALL_SECONDS]
    story.disk.kill_before_commit(commit)
    post(story, "k", numbers(14), recall=recall)
    story.restart_once_dead()
    again = post(story, "k", numbers(14), recall=recall)
    assert again is not None
    story.campaign = again.json()["campaign_id"]
    story.finish().check()
    assert len(story.client.http.get("/campaign").json()["items"]) == 1
