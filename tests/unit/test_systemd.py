"""What is told to a service manager, and the pulse that feeds its watchdog."""

import asyncio
import os
import socket
import time
from pathlib import Path

import pytest

from dialer.pulse import TURNS_MISSED_SECONDS, WORKERS_MISSED_SECONDS, Pulse
from dialer.systemd import ServiceManager
from tests.support.labs import async_test
from tests.support.manager import Manager


def test_where_nobody_listens_nothing_is_said_and_nothing_is_watched() -> None:
    environment = {"WATCHDOG_USEC": "1000000", "HOME": "/"}
    manager = ServiceManager(environment)
    assert not manager.listens
    assert manager.watchdog_seconds is None
    assert environment == {"HOME": "/"}
    manager.ready("well")
    manager.stopping(1)


def test_everything_is_told_in_the_words_of_the_manual(tmp_path: Path) -> None:
    with Manager(tmp_path, watchdog_seconds=30) as there:
        environment = {**there.environment, "WATCHDOG_PID": str(os.getpid())}
        manager = ServiceManager(environment)
        assert environment == {}, "a child that inherits it would speak for the server"
        assert manager.watchdog_seconds == 30
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        manager.ready("serving")
        manager.status("3 calls live")
        manager.alive()
        manager.reloading()
        manager.stopping(42.5)
        there.wait_for("STOPPING")
        words = [words for _, words in there.told]
        assert words[:3] == [{"READY": "1", "STATUS": "serving"}, {"STATUS": "3 calls live"}, {"WATCHDOG": "1"}]
        assert words[3]["RELOADING"] == "1"
        assert before <= int(words[3]["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        assert words[4]["EXTEND_TIMEOUT_USEC"] == "42500000"


def test_a_watchdog_that_is_meant_for_another_process_is_none_of_ours(tmp_path: Path) -> None:
    address = {"NOTIFY_SOCKET": str(tmp_path / "nobody")}
    assert ServiceManager({**address, "WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}).watchdog_seconds is None
    assert ServiceManager({**address, "WATCHDOG_USEC": "soon"}).watchdog_seconds is None
    assert ServiceManager(dict(address)).watchdog_seconds is None
    ServiceManager(dict(address)).ready("a listener that is gone ends nobody")


def test_an_abstract_address_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
        there.bind(f"\0dialer-tests-{os.getpid()}")
        ServiceManager({"NOTIFY_SOCKET": f"@dialer-tests-{os.getpid()}"}).alive()
        assert there.recv(100) == b"WATCHDOG=1"


class World:
    """A pulse, and what it looks at."""

    def __init__(self, folder: Path) -> None:
        self.there = Manager(folder, watchdog_seconds=0.04)
        self.turned_at = self.answered_at = 1000.0
        self.standing = "2 of 2 trunks usable"
        self.pulse = Pulse(
            ServiceManager(dict(self.there.environment)),
            turned_at=lambda: self.turned_at,
            answered_at=lambda: self.answered_at,
            standing=lambda: self.standing,
        )


@pytest.mark.parametrize(
    ("turned_before", "answered_before", "fault"),
    [
        (0.0, 0.0, None),
        (TURNS_MISSED_SECONDS - 1, WORKERS_MISSED_SECONDS - 1, None),
        (TURNS_MISSED_SECONDS + 1, 0.0, "the engine takes no turns"),
        (0.0, WORKERS_MISSED_SECONDS + 1, "no SIP worker answers"),
    ],
)
def test_the_watchdog_is_fed_while_engine_and_workers_answer(
    tmp_path: Path, turned_before: float, answered_before: float, fault: str | None
) -> None:
    world = World(tmp_path)
    with world.there as there:
        world.turned_at, world.answered_at = 1000 - turned_before, 1000 - answered_before
        world.pulse.beat(1000)
        there.wait_for("STATUS")
        assert bool(there.of("WATCHDOG")) == (fault is None)
        assert there.of("STATUS") == [{"STATUS": fault or world.standing}]
        # What has come back is fed again.
        world.turned_at = world.answered_at = 1001.0
        world.pulse.beat(1001)
        there.wait_for("WATCHDOG", 2 if fault is None else 1)


def test_how_the_server_stands_is_told_when_it_changes(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.there as there:
        for standing in ("a", "a", "b"):
            world.standing = standing
            world.pulse.beat(1000)
        there.wait_for("WATCHDOG", 3)
        assert [words["STATUS"] for words in there.of("STATUS")] == ["a", "b"]


@async_test
async def test_a_loop_that_stands_still_feeds_nobody(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.there as there:
        world.turned_at = world.answered_at = asyncio.get_running_loop().time()
        task = asyncio.create_task(world.pulse.run())
        async with asyncio.timeout(10):
            while len(there.of("WATCHDOG")) < 4:  # noqa: ASYNC110 - a thread counts them
                await asyncio.sleep(0.01)
        stands_still_from = time.monotonic()
        time.sleep(0.3)  # noqa: ASYNC251 - this is what is tested
        assert there.of("WATCHDOG", since=stands_still_from + 0.02) == []
        task.cancel()
