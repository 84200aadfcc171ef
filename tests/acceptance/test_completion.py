"""Shell completion as a person gets it: installed by the command, then a word begun and the tab key pressed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.dialer_process import DIALER, Client, Dialer
from tests.support.terminal import on_a_terminal

# How each shell starts without anything of this machine's.
SHELLS = {"bash": ["bash", "--noprofile", "-i"], "zsh": ["zsh", "-i"], "fish": ["fish", "-i", "--private"]}


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return name


def test_the_tab_key_completes_commands_and_words_of_options(shell: str, tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "ZDOTDIR": str(tmp_path), "PATH": f"{DIALER.parent}:{os.environ['PATH']}"}
    (tmp_path / ".bashrc").write_text("PS1='ready> '\n")
    (tmp_path / ".zshrc").write_text("PS1='ready> '\n")
    (tmp_path / ".config/fish").mkdir(parents=True)
    (tmp_path / ".config/fish/config.fish").write_text("function fish_prompt; echo -n 'ready> '; end\n")
    # In a shell, which is how the command knows for which.
    installed = subprocess.run(
        [shell, "-c", "dialer --install-completion; echo done"],
        env={**os.environ, **home},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "completion installed" in installed.stdout
    with on_a_terminal(200, 30, *SHELLS[shell], XDG_CONFIG_HOME=str(tmp_path / ".config"), **home) as terminal:
        terminal.until("ready>")
        terminal.press("dialer camp\t")
        terminal.until("dialer campaign")
        terminal.press("list --status comp\t")
        terminal.until("completed")
        terminal.press("\x03exit\n")


def test_ids_of_campaigns_come_from_the_server(dialer: Dialer, client: Client) -> None:
    campaign = client.post(client.playbook(), ["+34600003001"], launch_at="2031-01-01T00:00Z")

    def offered(begun: str, **access: str) -> list[str]:
        asked = {"_DIALER_COMPLETE": "complete_bash", "COMP_WORDS": f"dialer campaign pause {begun}", "COMP_CWORD": "3"}
        return dialer.run(check=False, **{**asked, **access}).stdout.split()

    access = {"DIALER_URL": dialer.url, "DIALER_TOKEN": client.token}
    assert offered(campaign[:6], **access) == [campaign]
    assert offered("", DIALER_URL=dialer.url, DIALER_TOKEN="wrong") == []
    # Without an address: where the configuration has the API, as for the command itself.
    assert offered(campaign[:6], DIALER_TOKEN=client.token, DIALER_CONFIG=str(dialer.config)) == [campaign]
