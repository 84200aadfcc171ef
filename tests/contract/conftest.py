"""The two stores: the contract's tests of them run on each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_store import FakeStore
from tests.support.sqlite_world import SqliteWorld
from tests.support.store_world import World


@pytest.fixture(params=["sqlite", "fake"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "fake":
        yield World(FakeStore())
        return
    sqlite = SqliteWorld(tmp_path / "dialer.db")
    yield World(sqlite)
    sqlite.close()
