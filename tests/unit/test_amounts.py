"""Amounts are told as people say them: "1 call", not "1 calls", in all that we write to people."""

import ast
import doctest
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dialer.core import amounts
from tests.support.fake_backend import CAMPAIGN
from tests.support.page_world import PageWorld, campaign_row, inside, tell

PROJECT = Path(__file__).parents[2]
THINGS = (
    "account attempt call campaign channel contact dialog event file leg number packet recall row step stream token"
)
PLURAL = re.compile(rf"^ (?:(?:{'|'.join(THINGS.split())})s|people|are|were)\b")
CODE = [path for folder in ("dialer", "api", "scheduler", "sip") for path in sorted((PROJECT / folder).rglob("*.py"))]
PAGES = sorted((PROJECT / "api" / "page" / "templates").rglob("*.html"))
# What is counted there is never one, or only a defect would ever tell of it.
ELSEWHERE = {"dialer/demo.py", "scheduler/progress.py", "sip/plan.py", "sip/build/wheel.py"}


def counted(path: Path) -> Iterator[str]:
    """Texts that put a number before a plural. After "of" that is right for one too, and so where it is a constant.

    "Scheduled N calls" is the contract's.
    """
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.JoinedStr):
            continue
        said = ""
        for value, after in zip(node.values, [*node.values[1:], None], strict=True):
            if isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant):
                constant = re.fullmatch(r"_?[A-Z_]+", ast.unparse(value.value))
                told = "amount(" in ast.unparse(value.value)
                if PLURAL.match(str(after.value)) and not (constant or told or re.search(r"\bof $|Scheduled $", said)):
                    yield ast.unparse(node)
            said = str(value.value) if isinstance(value, ast.Constant) else ""


def test_no_text_counts_things_without_a_look_at_how_many_they_are() -> None:
    paths = [path for path in CODE if str(path.relative_to(PROJECT)) not in ELSEWHERE]
    assert len(paths) > 100
    assert [(path.name, text) for path in paths for text in counted(path)] == []


def test_no_part_of_the_page_does_so_either() -> None:
    bare = re.compile(rf"(?<!of )\{{\{{[^}}]*\| count \}}\}}(?={PLURAL.pattern[1:]}).*")
    assert len(PAGES) > 10
    assert [(path.name, found) for path in PAGES for found in bare.findall(path.read_text("utf-8"))] == []


def test_the_look_finds_what_it_is_for(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text('say(f"{n} calls released"); say(f"{n} of {m} calls"); say(f"{_MOST} calls")')
    assert list(counted(tmp_path / "one.py")) == ["f'{n} calls released'"]


def test_the_examples_of_the_docstrings_hold() -> None:
    result = doctest.testmod(amounts)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    ("calls", "live", "told"),
    [
        (2, 1, "1 call will not be made; 1 that is live goes on."),
        (1200, 0, "1,200 calls will not be made; 0 that are live go on."),
    ],
)
def test_the_page_says_what_an_order_would_do_to_one_and_to_many(calls: int, live: int, told: str) -> None:
    async def story(world: PageWorld) -> None:
        world.board.campaigns_now = [campaign_row(size=calls, live=live, finished=0)]
        browser = await inside(world)
        assert told in (await browser.get(f"/page/campaign/{CAMPAIGN}/cancel")).text

    tell(story)
