"""docs/api.md, run as it stands: every command of it against a server."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.dialer_process import Client, Dialer

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def test_every_command_of_the_page_works(dialer: Dialer, client: Client, tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    script = "\n".join(block for block in blocks if "export DIALER_URL" not in block)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "DIALER_URL": dialer.url, "DIALER_TOKEN": client.token},
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-1000:]}"
    for word in (
        '"rule":"launch_at"',
        '"dry_run": true',
        "+34600000003,",
        '"status":"paused"',
        '"disposition":"cancelled"',
    ):
        assert word in done.stdout


def test_the_python_of_the_page_works(dialer: Dialer, client: Client, tmp_path: Path) -> None:
    [block] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    done = in_python(dialer, client, tmp_path, "-c", block)
    assert done.stdout.splitlines() == ["Scheduled 1 calls for 03/03/2031 09:00", "+34600000005 scheduled None"]


def test_the_example_that_follows_a_campaign_works(dialer: Dialer, client: Client, tmp_path: Path) -> None:
    example = PAGE.with_name("examples") / "follow_campaign.py"
    done = in_python(dialer, client, tmp_path, str(example), client.playbook(), "+34600000001", "+34600000011")
    posted, *told, outcomes = done.stdout.splitlines()
    assert posted.startswith("Campaign started successfully ")
    assert "+34600000011  attempt 1: busy (486 Busy Here (Q.850 cause 17))" in told
    assert any(line.startswith("+34600000011  again at ") for line in told)
    assert json.loads(outcomes) == {"answered": 2}
    refused = in_python(dialer, client, tmp_path, str(example), client.playbook(), "nonsense", check=False)
    assert refused.returncode == 1
    assert "400 contacts[0]: phone" in refused.stderr


def in_python(
    dialer: Dialer, client: Client, folder: Path, *words: str, check: bool = True
) -> "subprocess.CompletedProcess[str]":
    access = {"DIALER_URL": dialer.url, "DIALER_TOKEN": client.token}
    command = [sys.executable, *words]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, env={**os.environ, **access}, check=False
    )
    assert not check or done.returncode == 0, done.stderr
    return done
