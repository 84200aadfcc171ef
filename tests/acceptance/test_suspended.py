"""A server that gets no time for some seconds (SIGSTOP, as a paused machine): it goes on, late, and breaks no promise."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.crash_story import Story, template


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def story(tmp_path: Path, prepared: Path) -> Iterator[Story]:
    with Story.told(tmp_path / "story", prepared) as story:
        yield story


@pytest.mark.parametrize("workers", [False, True], ids=["the server alone", "with its workers"])
def test_what_fell_due_meanwhile_leaves_at_the_usual_pace_and_no_call_is_lost(story: Story, *, workers: bool) -> None:
    story.begin(contacts=20)
    story.lab.wait_for("invite", 8)
    story.suspend(3, workers=workers)
    judgement = story.finish()
    judgement.check()
    assert judgement.interrupted == 0
