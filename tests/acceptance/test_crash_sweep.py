"""The server and all its processes are killed at every commit and at random instants; the campaign goes on as promised."""

import random
import time
from pathlib import Path

import pytest

from tests.support.crash_story import Story, template


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template(tmp_path_factory.mktemp("template"))


@pytest.mark.parametrize("commits", [1, 4, 9])
def test_killed_at_a_commit_again_and_again(tmp_path: Path, prepared: Path, commits: int) -> None:
    with Story.told(tmp_path / "story", prepared) as story:
        story.begin(contacts=18)
        for _ in range(3):
            story.disk.kill_before_sync(commits)
            if not story.died():
                break
            story.restart()
        story.disk.kill_before_sync(0)
        story.finish().check()
        assert story.kills


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_instants(tmp_path: Path, prepared: Path, seed: int) -> None:
    dice = random.Random(seed)
    with Story.told(tmp_path / "story", prepared) as story:
        story.begin(contacts=24)
        for _ in range(3):
            time.sleep(dice.uniform(0.1, 2.5))
            story.kill()
            story.restart()
        story.finish().check()
