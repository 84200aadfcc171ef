"""The installed server against SIPp as the called side: a stack that is neither ours nor the lab's, and a judge."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.test_on_the_wire import serving
from tests.support.dialer_process import free_port

SIPP = shutil.which("sipp")
SCENARIOS = Path(__file__).parents[1] / "support" / "sipp"

pytestmark = pytest.mark.skipif(SIPP is None, reason="sipp is not installed")


@contextmanager
def called(scenario: str, calls: int, folder: Path) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """SIPp on a port of its own, until it has carried so many calls; it ends by itself, 0 when all went as written."""
    port = free_port()
    words = ["-sf", SCENARIOS / scenario, "-i", "127.0.0.1", "-p", port, "-m", calls, "-timeout", "60s", "-nostdin"]
    process = subprocess.Popen(
        [str(SIPP), *map(str, words)], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield port, process
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize(
    ("scenario", "disposition", "status"),
    [
        ("called_answers.xml", "answered", 200),
        ("called_busy_after_183.xml", "busy", 486),
        ("called_rings_out.xml", "no_answer", 487),
    ],
)
def test_each_call_ends_as_the_scenario_says(tmp_path: Path, scenario: str, disposition: str, status: int) -> None:
    calls = 8
    with called(scenario, calls, tmp_path) as (port, sipp):
        trunk = {"uri": f"sip:127.0.0.1:{port}", "max_concurrent_calls": 8, "calls_per_second": 20}
        with serving(tmp_path, {"pbx": trunk}) as (_, client):
            playbook = client.playbook(ring_timeout_seconds=1)
            campaign = client.post(playbook, [f"+3469000000{n}" for n in range(calls)])
            assert client.finished(campaign)["dispositions"] == {disposition: calls}
            statuses = {call["attempts"][0]["sip_status"] for call in client.calls(campaign).values()}
            assert statuses == {status}
            assert sipp.wait(20) == 0


def test_a_trunk_that_refuses_gives_way_to_the_next_within_the_attempt(tmp_path: Path) -> None:
    with (
        called("called_full.xml", 1, tmp_path) as (full, refuser),
        called("called_answers.xml", 1, tmp_path) as (free, sipp),
    ):
        limits = {"max_concurrent_calls": 8, "calls_per_second": 20}
        trunks = {
            "full": {"uri": f"sip:127.0.0.1:{full}", **limits},
            "free": {"uri": f"sip:127.0.0.1:{free}", **limits},
        }
        with serving(tmp_path, trunks) as (_, client):
            campaign = client.post(client.playbook(trunks=["full", "free"]), ["+34690000100"])
            assert client.finished(campaign)["dispositions"] == {"answered": 1}
            (attempt,) = client.calls(campaign)["+34690000100"]["attempts"]
            assert (attempt["number"], attempt["trunk"]) == (1, "free")
        assert refuser.wait(20) == 0
        assert sipp.wait(20) == 0
