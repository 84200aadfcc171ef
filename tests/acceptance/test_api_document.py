"""docs/api.md, run as it stands: every command of it against a server."""

import os
import re
import subprocess
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
