from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dialer_process import Client, Dialer
from tests.support.lab_thread import LabThread


@pytest.fixture(scope="module")
def lab() -> Iterator[LabThread]:
    with LabThread(pace=0.1) as lab:
        yield lab


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
