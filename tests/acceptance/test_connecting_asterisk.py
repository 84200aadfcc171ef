"""docs/connecting/asterisk.md, tried: calls through an Asterisk that is configured as the page says, to a carrier."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.asterisk import PEER, Asterisk
from tests.support.dialer_process import Client, Dialer, eventually
from tests.support.lab_thread import LabThread

pytestmark = [
    pytest.mark.asterisk,
    pytest.mark.skipif(not PEER, reason="$ASTERISK_PEER names no Asterisk peer script"),
    pytest.mark.timeout(400),
]

PAGE = (Path(__file__).parents[2] / "docs/connecting/asterisk.md").read_text("utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")}
# The lab answers these, and stays in the call.
ANSWERS = "002"
CARRIER = """
[carrier]
type=endpoint
context=nowhere
disallow=all
allow=alaw
aors=carrier
[carrier]
type=aor
contact=sip:127.0.0.1:{port}
"""


def block(section: str, language: str) -> str:
    """The page's block, with what is this machine's in the place of the page's addresses."""
    found = re.search(rf"```{language}\n(.*?)```", SECTIONS[section], re.DOTALL)
    assert found is not None, section
    return found[1].replace("10.0.0.9", "127.0.0.1")


def rows(*, of_the_trunk: bool) -> dict[str, tuple[int, str]]:
    """What is dialed for each status that a carrier may say: the status that we get and what it counts as."""
    found = {}
    for said, got, disposition in re.findall(r"^\| ([0-9][^|]*) \| ([0-9]{3})[^|]* \| (\w+) \|$", PAGE, re.MULTILINE):
        if (disposition == "trunk_failure") == of_the_trunk:
            for status in re.findall(r"\b[2-6][0-9]{2}\b", said):
                found[f"+34600010{ANSWERS if status == '200' else status}"] = int(got), disposition
    assert found
    return found


@pytest.fixture(scope="module")
def lab() -> Iterator[LabThread]:
    with LabThread(pace=0.1) as lab:
        yield lab


@contextmanager
def connected(way: str, asterisk: Asterisk, lab: LabThread, folder: Path) -> Iterator[tuple[Dialer, Client]]:
    """A server and a PBX that know each other as the page says."""
    etc = asterisk.home / "etc"
    transports = (etc / "pjsip.conf").read_text().partition("[base](!)")[0].partition("[dialer]")[0]
    whole = "Known by a password" if way == "Registered" else way
    carrier = CARRIER.format(port=lab.trunk["uri"].rpartition(":")[2])
    (etc / "pjsip.conf").write_text(f"{transports}\n{block(whole, 'ini')}\n{carrier}")
    (etc / "extensions.conf").write_text(f"[general]\nstatic=yes\nwriteprotect=yes\n{block('The dialplan', 'ini')}")
    asterisk.do("cli", "module reload res_pjsip.so")
    asterisk.do("cli", "dialplan reload")
    eventually(lambda: "from-dialer" in asterisk.do("cli", "pjsip show endpoint dialer"), 20, "the endpoint is there")

    toml = block(whole, "toml") + (block(way, "toml") if way == "Registered" else "")
    trunk = tomllib.loads(toml.replace("10.0.0.5:5060", f"127.0.0.1:{asterisk.port}"))["trunks"]["pbx"]
    outcomes = trunk.pop("dispositions")
    trunk |= {f"dispositions.{status}": word for status, word in outcomes.items()}
    dialer = Dialer(folder, {"pbx": {**trunk, "calls_per_second": 20}})
    dialer.run("db", "migrate")
    try:
        client = dialer.start().account()
        yield dialer, client
        client.close()
    finally:
        dialer.stop()


def outcomes_of(client: Client, numbers: Iterable[str]) -> dict[str, dict[str, Any]]:
    book = client.playbook(steps=[{"do": "wait", "seconds": 1}], ring_timeout_seconds=5)
    campaign = client.post(book, list(numbers))
    client.finished(campaign, 150)
    return client.calls(campaign)


def seen(calls: dict[str, dict[str, Any]]) -> dict[str, tuple[int, str]]:
    return {number: (call["attempts"][0]["sip_status"], call["disposition"]) for number, call in calls.items()}


@pytest.mark.parametrize("way", ["Known by address", "Known by a password", "Registered"])
def test_each_way_of_the_page_works(way: str, asterisk: Asterisk, lab: LabThread, tmp_path: Path) -> None:
    with connected(way, asterisk, lab, tmp_path) as (dialer, client):
        if way == "Registered":

            def registered() -> bool:
                return bool(client.http.get("/trunk").json()["items"][0]["registration"] == "registered")

            eventually(registered, 20, "the trunk is registered")
        assert "answered OPTIONS" in dialer.run("check", check=False).stderr
        expected = rows(of_the_trunk=False)
        number = next(iter(expected))
        if way != "Known by address":
            expected = {number: expected[number]}
        calls = outcomes_of(client, expected)
    assert seen(calls) == expected
    # The carrier saw our caller id, and the PBX's record leads to our call.
    [invite] = [entry for entry in lab.invites() if entry.call_id and entry.number == number][-1:]
    assert invite.caller == "+34910000000"
    assert f"{calls[number]['id']}-1" in (asterisk.home / "log/cdr-csv/Master.csv").read_text()


@pytest.mark.slow
def test_what_asterisk_makes_of_a_carrier_that_fails(asterisk: Asterisk, lab: LabThread, tmp_path: Path) -> None:
    expected = rows(of_the_trunk=True)
    with connected("Known by address", asterisk, lab, tmp_path) as (_, client):
        assert seen(outcomes_of(client, expected)) == expected
