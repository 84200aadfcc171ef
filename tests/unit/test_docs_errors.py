"""docs/errors.md has everything that an operator may be told: what the code says is looked for there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dialer.core.disposition import Why
from dialer.core.explain import Rule
from dialer.core.model import Disposition

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "errors.md").read_text("utf-8")
LOG = PAGE.partition("## The log")[2]
CODE = [
    path
    for folder in ("dialer", "sip", "api", "scheduler")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not path.is_relative_to(ROOT / "sip" / "lab") and not path.is_relative_to(ROOT / "sip" / "build")
]
# What a client can mend from the text alone.
SELF_EXPLAINING = {"BAD_REQUEST"}


def template(node: ast.expr) -> str | None:
    """The text of a constant or an f-string, its values as an ellipsis; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[srd.\dg]+", "…", node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return None


def calls() -> Iterator[tuple[Path, ast.Call]]:
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                yield path, node


def logged() -> Iterator[str]:
    """What the log may say at warning and above."""
    for _, call in calls():
        function = call.func
        if (
            isinstance(function, ast.Attribute)
            and isinstance(function.value, ast.Name)
            and function.value.id in {"log", "_log"}
            and function.attr in {"warning", "error", "exception", "critical"}
            and (text := template(call.args[0])) not in {None, "…"}
        ):
            yield str(text)


def refused() -> Iterator[str]:
    """What the API may answer, but for 400."""
    for _, call in calls():
        name = call.func.id if isinstance(call.func, ast.Name) else ""
        if name not in {"Problem", "Refusal"} or len(call.args) < 2:
            continue
        status = call.args[0]
        clear = isinstance(status, ast.Attribute) and status.attr in SELF_EXPLAINING
        if clear or (isinstance(status, ast.Constant) and status.value == 400):
            continue
        if (text := template(call.args[1])) is not None:
            yield text


@pytest.mark.parametrize("text", sorted(set(logged())))
def test_what_the_log_may_say_is_explained(text: str) -> None:
    assert f"`{text}`" in LOG, "a line of docs/errors.md, with what to do about it"


@pytest.mark.parametrize("text", sorted(set(refused())))
def test_what_the_api_may_answer_is_explained(text: str) -> None:
    assert f"`{text}`" in PAGE


def test_every_reason_of_readyz_is_explained() -> None:
    sources = {"dialer/condition.py": "not_ready", "sip/trunk_table.py": "faults", "sip/pool.py": "state"}
    section = PAGE.partition("## One call")[0]
    found = set()
    for name, function in sources.items():
        for node in ast.walk(ast.parse((ROOT / name).read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name == function:
                texts = [template(part) for part in ast.walk(node) if isinstance(part, ast.expr)]
                found |= {
                    text for text in texts if text and " " in text and text != ast.get_docstring(node, clean=False)
                }
    starts = {re.split(r"[:…]", text.removeprefix("trunk … "))[0].strip() for text in found} - {""}
    assert {"no trunk is configured", "the database refuses", "no SIP worker is up", "is not registered"} <= starts
    for start in starts:
        assert start in section, start


def test_every_rule_every_disposition_and_every_reason_of_ours_is_explained() -> None:
    for words, kind in ((Rule, "## One call"), (Disposition, "## What an attempt"), (Why, "## What an attempt")):
        section = PAGE.partition(kind)[2].partition("\n## ")[0]
        for word in words:
            assert f"`{word}`" in section.replace("\n", " "), word


def test_what_the_package_says_is_explained() -> None:
    said = [
        text
        for script in sorted((ROOT / "deb").iterdir())
        if script.suffix != ".py"
        for text in re.findall(r'echo "dialer: (.*)" >&2', script.read_text("utf-8"))
    ]
    assert len(said) >= 4
    section = PAGE.partition("While the Debian package")[2]
    for text in said:
        assert f"`{re.sub(r'; its backups.*', '; …', text)}`" in section
