"""The JSON Schema of playbooks: the one that is served, the one that is shipped, and the models are one."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from api.playbook_schema import playbook_schema

DOCS = Path(__file__).parents[2] / "docs"
PAGES = "".join((DOCS / page).read_text("utf-8") for page in ("playbooks.md", "stream.md", "webhook-step.md"))
EXAMPLES = re.findall(r"```json\n(.*?)```", PAGES, re.DOTALL)
BASE = {"name": "Renewal", "trunks": ["pbx"]}


def faults(playbook: Any) -> list[str]:
    schema = jsonschema_rs.Draft202012Validator(json.loads(playbook_schema()))
    return [".".join(map(str, fault.instance_path)) for fault in schema.iter_errors(playbook)]


def test_the_shipped_file_is_what_is_served() -> None:
    shipped = (DOCS / "playbook.schema.json").read_text("utf-8")
    assert shipped == playbook_schema(), "write it anew: dialer playbook schema > docs/playbook.schema.json"


def test_it_is_a_schema_itself() -> None:
    assert jsonschema_rs.meta.is_valid(json.loads(playbook_schema()))


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_documented_playbooks_fulfil_it(example: str) -> None:
    assert faults(json.loads(example)) == []


@pytest.mark.parametrize(
    ("playbook", "path"),
    [
        ({"name": "x"}, ""),
        ({**BASE, "trunk": "pbx"}, ""),
        ({**BASE, "ring_timeout_seconds": 0}, "ring_timeout_seconds"),
        ({**BASE, "steps": [{"do": "dance"}]}, "steps.0"),
        ({**BASE, "steps": [{"do": "wait", "seconds": "1"}]}, "steps.0"),
        ({**BASE, "steps": [{"do": "set", "custom_fields": {"not a word": "x"}}]}, "steps.0"),
    ],
)
def test_what_the_server_refuses_for_its_form_the_schema_refuses(playbook: dict[str, Any], path: str) -> None:
    assert path in faults(playbook)
