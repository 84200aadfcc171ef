"""Killed while recalls wait: each disposition climbs the ladder, or ends its call, as its playbook says, over the restart."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.crash_story import RECALL_ON, RECALL_SECONDS, Story, at, numbers, template

# Numbers of which every call comes to the same.
ALWAYS = {"busy": "486", "no_answer": "010", "declined": "603", "unreachable": "480"}
CONTACTS = 24


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    with Story.told(tmp_path / "story", template(tmp_path)) as story:
        yield story


@pytest.mark.parametrize(
    "recall_on",
    [
        ("busy", "unreachable"),
        *(pytest.param((disposition,), marks=pytest.mark.slow) for disposition in RECALL_ON),
        pytest.param(("no_answer", "declined"), marks=pytest.mark.slow),
        pytest.param(RECALL_ON, marks=pytest.mark.slow),
    ],
    ids="+".join,
)
def test_each_disposition_is_recalled_as_its_playbook_says_over_two_kills(
    story: Story, recall_on: tuple[str, ...]
) -> None:
    story.recall_only(*recall_on)
    story.begin(CONTACTS)
    # The first calls have ended, and wait for their recalls.
    story.lab.wait_for("ended", 8)
    story.kill()
    story.restart()
    # The first recalls have left, and wait for the next.
    story.lab.wait_for("ended", CONTACTS - 4)
    story.kill()
    story.restart()
    judgement = story.finish()
    judgement.check()
    unharmed = {
        phone: call
        for phone, call in judgement.calls.items()
        if all(attempt["disposition"] != "interrupted" for attempt in call["attempts"])
    }
    seen = set()
    for phone, call in unharmed.items():
        for disposition, ending in ALWAYS.items():
            if not phone.endswith(ending):
                continue
            rungs = len(RECALL_SECONDS) if disposition in recall_on else 0
            sent = story.lab.invites(phone)
            assert len(sent) == 1 + rungs, f"{disposition}, recalled on {recall_on}: {call}"
            for entry, seconds in zip(sent[1:], RECALL_SECONDS, strict=False):
                anchor = at(call["attempts"][0]["dialed_at"])
                assert entry.at - anchor >= seconds - 0.002, f"recalled early: {call}"
            seen.add(disposition)
    assert len(seen) >= 2, "hardly a call that no kill has hit"
    assert set(numbers(CONTACTS)) == judgement.calls.keys()
