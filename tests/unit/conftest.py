"""What unit tests share: a schedule on SQLite, and the database that others read it by."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.database import Database
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
