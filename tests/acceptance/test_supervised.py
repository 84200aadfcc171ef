"""The server under a service manager: what it tells, and what stops the watchdog's food and what does not."""

import errno
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dialer_process import HARDENED, Dialer, eventually, free_port
from tests.support.faulty_disk import SYNCS, WRITES, FaultyDisk
from tests.support.manager import Manager

WATCHDOG_SECONDS = 1.2


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with Manager(tmp_path, watchdog_seconds=WATCHDOG_SECONDS) as manager:
        yield manager


@pytest.mark.skipif(tuple(map(int, platform.release().split(".")[:2])) < (6, 3), reason="needs Linux 6.3")
def test_servers_of_these_tests_may_not_have_memory_that_is_written_and_executed() -> None:
    """Nor does systemd's unit let them (MemoryDenyWriteExecute=)."""
    words = [*HARDENED, sys.executable, "-c", "import mmap; mmap.mmap(-1, 4096, prot=7)"]
    refused = subprocess.run(words, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "PermissionError" in refused.stderr


def fed(manager: Manager, seconds: float = WATCHDOG_SECONDS) -> None:
    """The watchdog is fed in each of its periods."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        manager.wait_for("WATCHDOG", since=time.monotonic(), seconds=WATCHDOG_SECONDS)


def test_a_server_that_waits_properly_feeds_the_watchdog_and_one_that_stands_still_does_not(
    tmp_path: Path, manager: Manager
) -> None:
    # Its only trunk is dead all the time.
    dialer = Dialer(tmp_path, {"pbx": {"uri": f"sip:127.0.0.1:{free_port()}", "options_interval_seconds": 1}})
    dialer.run("db", "migrate")
    disk = FaultyDisk(tmp_path, tmp_path / "dialer.db")
    dialer.environment |= disk.environment | manager.environment
    try:
        dialer.launch()
        manager.wait_for("READY")
        environment = Path(f"/proc/{dialer.workers()[0]}/environ").read_text()
        assert "NOTIFY_SOCKET" not in environment, "a worker could speak for the server"
        fed(manager)

        disk.fail(errno.ENOSPC, WRITES)
        eventually(lambda: disk.failed > 1, 10, "the disk refuses")
        fed(manager)
        assert any("the database refuses" in words["STATUS"] for words in manager.of("STATUS"))
        disk.heal()

        stopped = dialer.workers()
        for worker in stopped:
            os.kill(worker, signal.SIGSTOP)
        while any(worker in dialer.workers() for worker in stopped):
            fed(manager, 0.1)
        assert not dialer.ended()

        asked = time.monotonic()
        dialer.signal(signal.SIGHUP)
        (reloading,) = manager.wait_for("RELOADING", since=asked)
        assert int(reloading["MONOTONIC_USEC"]) >= asked * 1_000_000
        manager.wait_for("READY", since=asked)
        eventually(dialer.workers, 10, "workers are there again")

        disk.hang(SYNCS)
        eventually(
            lambda: not manager.of("WATCHDOG", since=time.monotonic() - 1.5 * WATCHDOG_SECONDS), 20, "it starves"
        )
        disk.heal()
        fed(manager)

        dialer.terminate()
        (stopping,) = manager.wait_for("STOPPING")
        assert int(stopping["EXTEND_TIMEOUT_USEC"]) > 30_000_000, "the drain, and the good-byes"
        assert dialer.wait(20) == 0
    finally:
        disk.heal()
        dialer.stop()
