"""docs/connecting/carrier.md, tried: calls through a Kamailio that is configured as the page says, to a carrier."""

import asyncio
import re
import shutil
import socket
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sip.options import NoAnswer, probe
from sip.trunk import TrunkProfile
from tests.support.dialer_process import Dialer, eventually
from tests.support.lab_thread import LabThread

KAMAILIO = shutil.which("kamailio") or shutil.which("kamailio", path="/usr/sbin")
pytestmark = pytest.mark.skipif(KAMAILIO is None, reason="kamailio is not installed (Debian package kamailio)")

PAGE = (Path(__file__).parents[2] / "docs/connecting/carrier.md").read_text("utf-8")
OUR_OWN = PAGE.partition("## An SBC of your own")[2]


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", OUR_OWN, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def lab() -> Iterator[LabThread]:
    with LabThread(pace=0.1) as lab:
        yield lab


@pytest.fixture
def sbc(lab: LabThread, tmp_path: Path) -> Iterator[int]:
    """The page's Kamailio; its port."""
    assert KAMAILIO is not None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
    text = block("kamailio").replace("10.0.0.7:5060", f"127.0.0.1:{port}")
    text = text.replace("10.0.0.8:5060", lab.trunk["uri"].partition(":")[2])
    file = tmp_path / "kamailio.cfg"
    file.write_text(text)
    log = (tmp_path / "kamailio.log").open("wb")
    # In the foreground, its words on standard error, and as little memory as it needs.
    process = subprocess.Popen([KAMAILIO, "-f", file, "-DD", "-E", "-m", "32", "-Y", tmp_path], stdout=log, stderr=log)

    async def answers() -> bool:
        try:
            return (await probe(TrunkProfile("sbc", f"sip:127.0.0.1:{port}"), "127.0.0.1")).status == 200
        except NoAnswer:
            return False

    try:
        eventually(lambda: process.poll() is not None or asyncio.run(answers()), 30, "Kamailio answers")
        assert process.poll() is None, (tmp_path / "kamailio.log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def test_calls_go_through_the_sbc_with_credentials_and_its_answers_come_back(
    sbc: int, lab: LabThread, tmp_path: Path
) -> None:
    trunks = tomllib.loads(block("toml").replace("10.0.0.7:5060", f"127.0.0.1:{sbc}"))["trunks"]
    dialer = Dialer(tmp_path, {"sbc": {**trunks["sbc"], "calls_per_second": 50}})
    dialer.run("db", "migrate")
    numbers = {
        "+34600010002": (200, "answered"),
        "+34600010010": (487, "no_answer"),
        "+34600010404": (404, "invalid_number"),
        "+34600010480": (480, "unreachable"),
        "+34600010486": (486, "busy"),
        "+34600010603": (603, "declined"),
    }
    try:
        client = dialer.start().account()
        assert "answered OPTIONS with 200" in dialer.run("check", check=False).stderr
        campaign = client.post(client.playbook(trunks=["sbc"]), list(numbers))
        client.finished(campaign, 60)
        calls = client.calls(campaign)
        client.close()
    finally:
        dialer.stop()
    assert {n: (call["attempts"][0]["sip_status"], call["disposition"]) for n, call in calls.items()} == numbers
    assert {entry.caller for entry in lab.invites()} == {"+34910000000"}
    assert len(lab.invites()) == len(numbers), "the challenged ones did not get there"
    eventually(lambda: len(lab.seen("ended")) == len(numbers), 10, "nobody is left in a call")
