"""What stands in blocks of the documents can be used: settings are accepted, commands and metrics exist."""

import re
import tomllib
from pathlib import Path

import pytest
import typer.main

from api.metrics import Snapshot, make_registry
from config.settings import Settings
from dialer.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {str(page.relative_to(ROOT)): page.read_text("utf-8") for page in PAGES}
TOML = [
    (name, block)
    for name, text in TEXTS.items()
    for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    if block.startswith("[")  # else it is a line more for the block before it
]
# What a page says of files on the reader's machine is not on this one.
_FILES = re.compile(r'^(password_file|ca_file|directory) = ".*"$', re.MULTILINE)


@pytest.mark.parametrize(("page", "block"), TOML)
def test_settings_in_the_documents_are_accepted(page: str, block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = tomllib.loads(_FILES.sub("", block))
    assert Settings(**tables)
    assert tomllib.loads(block)


def commands() -> list[tuple[str, str]]:
    """(page, the words behind `dialer`) of every command line."""
    return [
        (name, line)
        for name, text in TEXTS.items()
        for block in re.findall(r"```(?:sh|console)\n(.*?)```", text, re.DOTALL)
        for line in re.findall(r"(?:^|[$(;&|]\s*)dialer (.*?)(?:$|[;&|)]| #)", block, re.MULTILINE)
    ]


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_in_the_documents_exist_with_their_options(page: str, line: str) -> None:
    assert wrong(line) is None, page


def wrong(line: str) -> str | None:
    """What is wrong with the words behind `dialer`."""
    command = typer.main.get_command(app)
    known = set()
    words = [word for word in line.split() if word not in {"--config", "dialer.toml"}]
    while hasattr(command, "commands"):
        known |= {option for parameter in command.params for option in parameter.opts}
        if not words or words[0].startswith(("-", "`", "…", ".")):
            break
        if words[0] not in command.commands:
            return f"there is no {words[0]}"
        command = command.commands[words.pop(0)]
    known |= {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]
    return f"no option {unknown[0]}" if unknown else None


def test_metrics_in_the_documents_are_served() -> None:
    from api.metrics import Outbox

    served = {family.name for family in make_registry(lambda: Snapshot(outbox=Outbox(mqtt_connected=True))).collect()}
    for name, text in TEXTS.items():
        for metric in re.findall(r"\bdialer_(?:[a-z]+_)+[a-z]+\b", text):
            short = re.sub(r"_(total|bucket|sum|count)$", "", metric)
            assert short in served or short.startswith("dialer_backup"), f"{name}: {metric}"
