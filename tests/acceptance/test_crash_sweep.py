"""The server and all its processes are killed at commits, in the middle of writes and at random instants.

After each restart the campaign goes on, and at its end the called side's log is held against every promise. The long sweep
is for `pytest -m slow -s --write tests/acceptance/test_crash_sweep.py`, which puts its result into docs/durability.md.
"""

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.crash_story import Judgement, Story, template

CONTACTS = 40
CONTACTS_EACH_COMMIT = 20  # a story for each commit: two hundred of them
WRITES_BETWEEN_KILLS = 40
RANDOM_STORIES, RANDOM_KILLS = 40, 5
DOCUMENT = Path(__file__).parents[2] / "docs" / "durability.md"


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


class Report:
    """What a sweep came to, over all its stories."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.sums: Counter[str] = Counter()

    def add(self, judgement: Judgement) -> None:
        judgement.check()
        self.sums += Counter(
            stories=1,
            kills=len(judgement.kills),
            attempts=len(judgement.attempts),
            INVITEs=len(judgement.invites),
            interrupted=judgement.interrupted,
            untraced=len(judgement.untraced),
        )
        sys.stdout.write(f"\r{self}")
        sys.stdout.flush()

    def __str__(self) -> str:
        return f"{self.title}: {self._counts()}"

    def _counts(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in self.sums.items())

    def keep(self, row: str, document: Path) -> None:
        """Put the result into its row of the document's table."""
        head, text = f"| {row} |", document.read_text("utf-8")
        (old,) = [line for line in text.splitlines() if line.startswith(head)]
        new = f"{head} {self._counts()} | {datetime.now(UTC):%Y-%m-%d} |"
        document.write_text(text.replace(old, new), "utf-8")


@pytest.fixture
def keep(request: pytest.FixtureRequest) -> Callable[[Report, str], None]:
    """Keeps what a sweep came to, where that was asked for."""

    def write(report: Report, row: str) -> None:
        if request.config.getoption("write"):
            report.keep(row, DOCUMENT)

    return write


@pytest.mark.parametrize("row", ["each commit", "each sync", "each 40th write", "random instants"])
def test_a_sweeps_result_has_a_row_in_the_document(tmp_path: Path, row: str) -> None:
    document = tmp_path / "durability.md"
    document.write_text(DOCUMENT.read_text("utf-8"), "utf-8")
    report = Report("killed")
    report.sums.update(stories=3, kills=7)
    report.keep(row, document)
    old, new = DOCUMENT.read_text("utf-8").splitlines(), document.read_text("utf-8").splitlines()
    (changed,) = [after for before, after in zip(old, new, strict=True) if before != after]
    assert changed.startswith(f"| {row} | 3 stories, 7 kills | 2")


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("point", ["commit", "sync"])
def test_long_sweep_killed_at_every_commit_in_turn(
    tmp_path: Path, prepared: Path, keep: Callable[[Report, str], None], point: str
) -> None:
    with Story.told(tmp_path / "whole", prepared) as whole:
        whole.begin(CONTACTS_EACH_COMMIT)
        begun = whole.disk.commits
        whole.finish().check()
        commits = whole.disk.commits - begun
    report = Report(f"killed before the {point} of each of {commits} commits".replace("commit of", "writes of"))
    for commit in range(1, commits + 1):
        with Story.told(tmp_path / f"commit{commit}", prepared) as story:
            story.begin(CONTACTS_EACH_COMMIT)
            kill = story.disk.kill_before_commit if point == "commit" else story.disk.kill_before_sync
            kill(commit)
            if story.died():
                story.restart()
            kill(0)
            report.add(story.finish())
    keep(report, f"each {point}")


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
def test_long_sweep_killed_in_the_middle_of_writes(
    tmp_path: Path, prepared: Path, keep: Callable[[Report, str], None]
) -> None:
    report = Report(f"killed at every {WRITES_BETWEEN_KILLS}th write")
    write = 1
    while True:
        with Story.told(tmp_path / f"write{write}", prepared) as story:
            story.begin(CONTACTS)
            story.disk.kill_before_write(write)
            died = story.died()
            if died:
                story.restart()
            report.add(story.finish())
        if not died:
            break
        write += WRITES_BETWEEN_KILLS
    keep(report, f"each {WRITES_BETWEEN_KILLS}th write")


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
def test_long_sweep_killed_at_random_instants(
    tmp_path: Path, prepared: Path, keep: Callable[[Report, str], None]
) -> None:
    dice = random.Random(20_260_101)
    report = Report("killed at random instants")
    for number in range(RANDOM_STORIES):
        with Story.told(tmp_path / f"random{number}", prepared) as story:
            story.begin(CONTACTS)
            for _ in range(RANDOM_KILLS):
                time.sleep(dice.uniform(0.05, 2.0))
                story.kill()
                story.restart()
            report.add(story.finish())
    keep(report, "random instants")
