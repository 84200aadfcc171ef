"""What unit tests share: a schedule on SQLite, the database that others read it by, and an API that serves from fakes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.database import Database
from tests.support.asking import Ask, asking
from tests.support.fake_backend import CALL, CAMPAIGN, MINE, Fakes
from tests.support.sqlite_world import SqliteWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SqliteWorld]:
    world = SqliteWorld(tmp_path / "dialer.db")
    yield world
    world.close()


@pytest.fixture
def database(world: SqliteWorld) -> Iterator[Database]:
    database = Database(world.path)
    yield database
    database.close()


@pytest.fixture
def fakes() -> Fakes:
    fakes = Fakes()
    fakes.campaigns = {MINE: {CAMPAIGN: {"id": CAMPAIGN, "status": "running"}}}
    fakes.calls = {MINE: {CALL: {"id": CALL, "state": "scheduled"}}}
    return fakes


@pytest.fixture
def ask(fakes: Fakes) -> Ask:
    return asking(fakes)
