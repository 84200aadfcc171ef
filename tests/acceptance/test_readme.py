"""The README's first campaign, run as it stands there, against the lab."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

from tests.support.dialer_process import DIALER, eventually, free_port
from tests.support.lab_thread import LabThread

README = Path(__file__).parents[2] / "README.md"


def test_the_first_campaign_of_the_readme_runs(tmp_path: Path) -> None:
    text = README.read_text()
    section = text[text.index("## A first campaign") :]
    block = re.search(r"```console\n(.*?)```", section, re.DOTALL)
    playbook = re.search(r"`playbook.json`: `(\{.*?\})`", section)
    config = re.search(r"```toml\n(.*?)```", section, re.DOTALL)
    assert block is not None
    assert playbook is not None
    assert config is not None
    commands = re.sub(r"^\$ ", "", re.sub(r'^\{"success.*\n', "", block[1], flags=re.MULTILINE), flags=re.MULTILINE)
    with LabThread(pace=0.1) as lab:
        port = free_port()
        here = f'[api]\nport = {port}\n[sip]\nbind_host = "127.0.0.1"\n'
        (tmp_path / "dialer.toml").write_text(config[1].replace("sip:127.0.0.1:5070", lab.trunk["uri"]) + here)
        (tmp_path / "playbook.json").write_text(playbook[1])
        script = commands.replace(". .venv/bin/activate", f'export PATH="{DIALER.parent}:$PATH"')
        script = script.replace("http://127.0.0.1:8080", f"http://127.0.0.1:{port}")
        script += "\necho\nSERVER=$!\ntrap 'kill $SERVER; wait $SERVER' EXIT\nread -r _\n"
        process = subprocess.Popen(
            ["bash", "-e", "-c", script],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "NO_COLOR": "1"},
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            # The database's path and the ids of account and answer, each on a line of its own.
            lines = []
            while not (lines and lines[-1].startswith("{")):
                line = process.stdout.readline().decode()
                assert line, lines
                lines.append(line.strip())
            answer = json.loads(lines[-1])
            shown = re.search(r'^(\{"success.*\})$', block[1], re.MULTILINE)
            assert shown is not None
            assert {**answer, "campaign_id": "…"} == json.loads(shown[1])
            eventually(lambda: lab.seen("ended"), 20, "Ana was called")
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.communicate(timeout=40)
        assert [entry.number for entry in lab.invites()] == ["+34600000001"]
