"""Somebody sets the wall clock of the running server by hours (libfaketime): nothing early, nothing twice, no burst."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.dialer_process import Client, Dialer
from tests.support.faketime import LIBRARY, needs_faketime
from tests.support.judge import shortest_gap
from tests.support.lab_thread import LabThread

pytestmark = needs_faketime


class SetClock:
    """The server's wall clock, `offset` seconds ahead of the true one."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)

    def set(self, offset: int) -> None:
        # Replaced in one step, so that no reader ever sees half of it.
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset:+d}\n")
        new.replace(self._file)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            # Only the wall clock is set, as an administrator or NTP would do it.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }


@pytest.fixture
def lab() -> Iterator[LabThread]:
    with LabThread(pace=0.1) as lab:
        yield lab


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SetClock:
    clock = SetClock(tmp_path / "offset")
    for name, value in clock.environment.items():
        monkeypatch.setitem(os.environ, name, value)
    return clock


@pytest.fixture
def client(tmp_path: Path, lab: LabThread, clock: SetClock) -> Iterator[Client]:
    dialer = Dialer(tmp_path, {"pbx": lab.trunk}, pacing={"stagger_seconds": 0.5})
    try:
        client = dialer.start().account()
        yield client
        client.close()
    finally:
        dialer.stop()


def busy_numbers(count: int) -> list[str]:
    return [f"+3460{n:04d}486" for n in range(count)]


@pytest.mark.parametrize("hours", [3, -3])
def test_a_running_campaign_and_its_recalls_keep_their_distances(
    client: Client, lab: LabThread, clock: SetClock, hours: int
) -> None:
    numbers = busy_numbers(6)
    campaign = client.post(client.playbook(), numbers, recall=[5 / 60, 10 / 60])
    lab.wait_for("invite", 3)
    clock.set(hours * 3600)
    seen = client.finished(campaign, 60)
    assert (seen["attempts"], seen["dispositions"]) == (18, {"busy": 6})
    began = lab.invites()[0].monotonic_at
    for index, number in enumerate(numbers):
        first, second, third = (entry.monotonic_at - began for entry in lab.invites(number))
        # Late by as much as this machine is busy, but not by hours; and never early.
        assert -0.01 <= first - index * 0.5 < 5
        assert 4.995 <= second - first < 10
        assert 9.995 <= third - first < 15
    assert shortest_gap([entry.monotonic_at for n in numbers for entry in lab.invites(n)[:1]]) > 0.48


@pytest.mark.parametrize("hours", [3, pytest.param(-3, marks=pytest.mark.slow)])
def test_recalls_keep_their_distances_over_a_kill_with_the_clock_set_before_the_next_start(
    client: Client, lab: LabThread, clock: SetClock, hours: int
) -> None:
    numbers = busy_numbers(6)
    campaign = client.post(client.playbook(), numbers, recall=[4 / 60, 8 / 60])
    lab.wait_for("invite", 3)
    client.dialer.kill()
    clock.set(hours * 3600)
    client.dialer.start()
    seen = client.finished(campaign, 60)
    assert seen["attempts"] == 18
    firsts: list[float] = []
    for call in client.calls(campaign).values():
        sent = {
            number: [
                e.monotonic_at for e in lab.invites(call["phone"]) if e.call_id.startswith(f"{call['id']}-{number}")
            ]
            for number in (1, 2, 3)
        }
        assert all(len(times) <= 1 for times in sent.values()), "an attempt left twice"
        assert len(sent[2]) == len(sent[3]) == 1
        for number, seconds in ((2, 4), (3, 8)):
            for first in sent[1]:
                assert seconds - 0.01 <= sent[number][0] - first < seconds + 10
        firsts += sent[1]
    assert len(firsts) >= 4, "at most those that were in flight may not have left"
    assert shortest_gap(firsts) > 0.48


def test_a_launch_to_come_follows_the_clock_that_was_set(client: Client, lab: LabThread, clock: SetClock) -> None:
    launch = datetime.now(UTC) + timedelta(hours=3)
    campaign: Any = client.post(client.playbook(), ["+34600000003"], launch_at=launch.isoformat())
    assert client.campaign(campaign)["status"] == "scheduled"
    clock.set(3 * 3600 - 3)
    client.finished(campaign, 15)
    (invite,) = lab.invites()
    # By its own clock, which is three hours ahead of the lab's.
    assert 0 <= invite.at + 3 * 3600 - 3 - launch.timestamp() < 5
