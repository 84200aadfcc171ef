"""The server and all its processes are killed at commits, in the middle of writes and at random instants.

After each restart the campaign goes on, and at its end the called side's log is held against every promise. The long sweep
is for `pytest -m slow -s --write tests/acceptance/test_crash_sweep.py`, which puts its result into docs/durability.md.
"""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.crash_story import Judgement, Story, template
from tests.support.sweep_report import Report

CONTACTS = 40
CONTACTS_EACH_COMMIT = 20  # a story for each commit: two hundred of them
WRITES_BETWEEN_KILLS = 40
RANDOM_STORIES, RANDOM_KILLS = 40, 5


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def story(tmp_path: Path, prepared: Path) -> Iterator[Story]:
    with Story.told(tmp_path / "story", prepared) as story:
        yield story


def test_killed_before_a_commit_and_before_its_sync(story: Story) -> None:
    story.begin(contacts=14)
    for kill in (story.disk.kill_before_commit, story.disk.kill_before_sync):
        kill(7)
        assert story.died()
        story.restart()
    story.finish().check()


def test_killed_in_the_middle_of_a_commit(story: Story) -> None:
    story.begin(contacts=14)
    for writes in (14, 33):
        story.disk.kill_before_write(writes)
        assert story.died()
        story.restart()
    story.finish().check()


def test_killed_at_random_instants(story: Story) -> None:
    dice = random.Random(1)
    story.begin(contacts=24)
    for _ in range(2):
        time.sleep(dice.uniform(0.1, 1.5))
        story.kill()
        story.restart()
    story.finish().check()


def count(report: Report, judgement: Judgement) -> None:
    judgement.check()
    report.add(
        stories=1,
        kills=len(judgement.kills),
        attempts=len(judgement.attempts),
        INVITEs=len(judgement.invites),
        interrupted=judgement.interrupted,
        untraced=len(judgement.untraced),
    )


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("point", ["commit", "sync"])
def test_long_sweep_killed_at_every_commit_in_turn(
    tmp_path: Path, prepared: Path, keep: Callable[[Report], None], point: str
) -> None:
    with Story.told(tmp_path / "whole", prepared) as whole:
        whole.begin(CONTACTS_EACH_COMMIT)
        begun = whole.disk.commits
        whole.finish().check()
        commits = whole.disk.commits - begun
    report = Report(f"each {point}")
    for commit in range(1, commits + 1):
        with Story.told(tmp_path / f"commit{commit}", prepared) as story:
            story.begin(CONTACTS_EACH_COMMIT)
            kill = story.disk.kill_before_commit if point == "commit" else story.disk.kill_before_sync
            kill(commit)
            if story.died():
                story.restart()
            kill(0)
            count(report, story.finish())
    keep(report)


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
def test_long_sweep_killed_in_the_middle_of_writes(
    tmp_path: Path, prepared: Path, keep: Callable[[Report], None]
) -> None:
    report = Report(f"each {WRITES_BETWEEN_KILLS}th write")
    write = 1
    while True:
        with Story.told(tmp_path / f"write{write}", prepared) as story:
            story.begin(CONTACTS)
            story.disk.kill_before_write(write)
            died = story.died()
            if died:
                story.restart()
            count(report, story.finish())
        if not died:
            break
        write += WRITES_BETWEEN_KILLS
    keep(report)


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
def test_long_sweep_killed_at_random_instants(tmp_path: Path, prepared: Path, keep: Callable[[Report], None]) -> None:
    dice = random.Random(20_260_101)
    report = Report("random instants")
    for number in range(RANDOM_STORIES):
        with Story.told(tmp_path / f"random{number}", prepared) as story:
            story.begin(CONTACTS)
            for _ in range(RANDOM_KILLS):
                time.sleep(dice.uniform(0.05, 2.0))
                story.kill()
                story.restart()
            count(report, story.finish())
    keep(report)
