from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.asterisk import Asterisk
from tests.support.dialer_process import Client, Dialer
from tests.support.lab_thread import LabThread
from tests.support.sweep_report import Report


@pytest.fixture(scope="module")
def lab() -> Iterator[LabThread]:
    with LabThread(pace=0.1) as lab:
        yield lab


@pytest.fixture(scope="module")
def asterisk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asterisk]:
    """A real Asterisk that runs. Its tests are skipped where there is none: see tests/support/asterisk.py."""
    peer = Asterisk(tmp_path_factory.getbasetemp() / "asterisk")  # installed once for all
    peer.do("install")
    peer.do("start")
    try:
        yield peer
    finally:
        peer.do("stop")


@pytest.fixture(scope="module")
def dialer(lab: LabThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dialer]:
    """A running server with one trunk, `pbx`, to the lab."""
    folder: Path = tmp_path_factory.mktemp("dialer")
    dialer = Dialer(folder, {"pbx": lab.trunk})
    dialer.run("db", "migrate")
    try:
        yield dialer.start()
    finally:
        dialer.stop()


@pytest.fixture(scope="module")
def client(dialer: Dialer) -> Iterator[Client]:
    client = dialer.account("Acceptance")
    yield client
    client.close()


@pytest.fixture(scope="module")
def playbook(client: Client) -> str:
    return client.playbook()


@pytest.fixture
def keep(request: pytest.FixtureRequest) -> Callable[[Report], None]:
    """Keeps what a sweep came to, where that was asked for."""

    def write(report: Report) -> None:
        if request.config.getoption("write"):
            report.keep()

    return write
