"""The documented playbook is one."""

import json
import re
from pathlib import Path

import pytest

from dialer.core.playbook import Machine, Playbook
from dialer.core.playbook_reading import read_playbook
from dialer.core.step_kinds import Step

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT = (DOCS / "playbooks.md").read_text("utf-8")
AUDIO = frozenset({"music.wav"})
EXAMPLES = re.findall(
    r"```json\n(.*?)```",
    DOCUMENT + "".join((DOCS / page).read_text("utf-8") for page in ("stream.md", "webhook-step.md")),
    re.DOTALL,
)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_is_a_playbook_without_fault(example: str) -> None:
    assert isinstance(
        read_playbook(json.loads(example), Machine({"pbx": None}, AUDIO, speaks=True, asks=True)), Playbook
    )


def test_every_step_is_in_the_table() -> None:
    kinds = {kind.model_fields["do"].annotation.__args__[0] for kind in Step.__args__[0].__args__}  # type: ignore[union-attr]
    assert set(re.findall(r"^\| `(\w+)` \|", DOCUMENT.split("## Gather")[0], re.MULTILINE)) == kinds | {"do"}
