"""The documented playbook is one."""

import json
import re
from pathlib import Path

import pytest

from api.playbook_reading import read_playbook
from dialer.core.playbook import Machine, Playbook
from dialer.core.step_kinds import Step

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT = (DOCS / "playbooks.md").read_text("utf-8")
EXAMPLES = re.findall(r"```json\n(.*?)```", DOCUMENT + (DOCS / "stream.md").read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_is_a_playbook_without_fault(example: str) -> None:
    assert isinstance(read_playbook(json.loads(example), Machine({"pbx": None}, frozenset(), speaks=True)), Playbook)


def test_every_step_is_in_the_table() -> None:
    kinds = {kind.model_fields["do"].annotation.__args__[0] for kind in Step.__args__[0].__args__}  # type: ignore[union-attr]
    assert set(re.findall(r"^\| `(\w+)` \|", DOCUMENT.split("## Gather")[0], re.MULTILINE)) == kinds | {"do"}
