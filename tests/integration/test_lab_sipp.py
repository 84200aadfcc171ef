"""The called party against SIPp, which shares no code with it."""

import asyncio
import shutil
from pathlib import Path

import pytest

from sip.lab import Lab
from tests.support.labs import ANSWERS, FAST, RINGS_OUT, WAITS, async_test

SCENARIOS = Path(__file__).parent.parent / "support" / "sipp"

pytestmark = pytest.mark.skipif(shutil.which("sipp") is None, reason="sipp is not installed")


async def sipp_calls(lab: Lab, scenario: str, number: str, tmp_path: Path, *, calls: int, per_second: int) -> None:
    """Place `calls` calls by one scenario; fails with SIPp's own words when one of them did not go as it says."""
    arguments = ["-sf", str(SCENARIOS / scenario), "-s", number, "-m", str(calls), "-r", str(per_second), "-l", "2000"]
    process = await asyncio.create_subprocess_exec(
        "sipp", f"127.0.0.1:{lab.port}", "-i", "127.0.0.1", *arguments, "-nostdin", "-trace_err", "-timeout", "60",
        cwd=tmp_path, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert await process.wait() == 0, errors_in(tmp_path)


def errors_in(directory: Path) -> str:
    return "\n".join(file.read_text()[:2_000] for file in directory.glob("*errors.log"))


@pytest.mark.parametrize(
    ("scenario", "number", "events"),
    [
        ("caller_stays.xml", ANSWERS, {"answered", "ack", "bye_sent"}),
        ("caller_hangs_up.xml", WAITS, {"answered", "ack", "bye_received"}),
        ("caller_cancels.xml", RINGS_OUT, {"cancel", "ack"}),
    ],
)
@async_test
async def test_a_scenario_goes_through_and_each_of_its_calls_is_seen_once(
    scenario: str, number: str, events: set[str], tmp_path: Path
) -> None:
    async with Lab(pace=FAST) as lab:
        await sipp_calls(lab, scenario, number, tmp_path, calls=20, per_second=50)
        await lab.log.wait_until(lambda log: log.count("ended") == 20, seconds=5)
        assert {event: lab.log.count(event) for event in events} == dict.fromkeys(events, 20)  # type: ignore[arg-type]
        assert (lab.log.count("invite"), lab.calls_now, lab.malformed) == (20, 0, 0)


@async_test
async def test_sipp_s_own_digest_is_accepted(tmp_path: Path) -> None:
    async with Lab(pace=FAST, auth=("dialer", "secret")) as lab:
        await sipp_calls(lab, "caller_with_credentials.xml", ANSWERS, tmp_path, calls=5, per_second=20)
        assert (lab.log.count("challenged"), lab.log.count("answered")) == (5, 5)


@async_test
async def test_two_hundred_calls_a_second_are_all_answered_and_ended_once(tmp_path: Path) -> None:
    async with Lab(pace=0.1) as lab:
        await sipp_calls(lab, "caller_stays.xml", ANSWERS, tmp_path, calls=600, per_second=200)
        await lab.log.wait_until(lambda log: log.count("ended") == 600, seconds=5)
        assert lab.log.count("invite") == lab.log.count("ack") == lab.log.count("bye_sent") == 600
        assert {(entry.reason, entry.status) for entry in lab.log.of("ended")} == {("called_hung_up", 200)}
        assert lab.peak_calls > 50
