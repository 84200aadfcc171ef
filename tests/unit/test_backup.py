"""Backups: one moment of the database, whole, for its owner alone; where there can be none, what was there stays."""

import json
import os
import stat
from pathlib import Path

import pytest
from sqlite_utils import Database as SqliteUtils

from scheduler import backup, migrations
from scheduler.backup import NoBackup, back_up
from scheduler.connection import connect, sqlite3, transaction
from scheduler.migrations import VERSION, DatabaseNotReady, DatabaseTooNew, check
from tests.support.clock import EPOCH, FakeClock
from tests.support.fsyncs import watch_fsync
from tests.support.sqlite_world import SqliteWorld


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder / "one.db"


def numbers(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        found = [phone for (phone,) in connection.execute("SELECT phone FROM call ORDER BY id")]
    connection.close()
    return found


def alone(file: Path) -> bool:
    """Whether nothing else lies in the file's folder: no journal, nothing half done."""
    return list(file.parent.iterdir()) == [file]


def test_a_backup_is_a_sound_database_of_this_moment_in_one_file_that_only_its_owner_reads(
    world: SqliteWorld, file: Path
) -> None:
    world.add_campaign(size=2, phones=["+34600000001", "+34600000002"])
    taken = back_up(world.path, file, clock=FakeClock())
    world.add_campaign(size=1, phones=["+34600000003"])
    assert (taken.file, taken.size_bytes) == (file, file.stat().st_size)
    assert numbers(file) == ["+34600000001", "+34600000002"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert alone(file)
    with sqlite3.connect(file) as connection:
        (stamp,) = connection.execute("SELECT value FROM meta WHERE key = 'backup'").fetchone()
    connection.close()
    assert json.loads(stamp)["at"] == EPOCH
    assert check(file) == []


def test_it_is_on_disk_before_it_has_its_name_and_so_is_the_name(
    world: SqliteWorld, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = watch_fsync(monkeypatch)
    back_up(world.path, file)
    assert synced == [file.stat().st_ino, file.parent.stat().st_ino]


def test_what_is_written_while_it_is_copied_is_neither_held_up_nor_in_it(
    world: SqliteWorld, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "_STEPS", 1000)
    # More than SQLite keeps in memory before it writes.
    world.add_campaign(size=40_000)
    before, rests = numbers(world.path), 0

    def rest(seconds: float) -> None:
        nonlocal rests
        assert seconds >= backup._REST_SECONDS
        rests += 1
        world.add_campaign(size=1)

    back_up(world.path, file, rest=rest)
    assert rests >= 1
    assert numbers(file) == before
    assert len(numbers(world.path)) == 40_000 + rests


def test_a_file_that_is_there_is_replaced_only_when_that_is_asked_for(world: SqliteWorld, file: Path) -> None:
    file.write_text("precious")
    with pytest.raises(NoBackup, match=r"one\.db is there already; --force"):
        back_up(world.path, file)
    assert file.read_text() == "precious"
    back_up(world.path, file, replace=True)
    assert check(file) == []


def test_a_file_that_somebody_made_meanwhile_stays(
    world: SqliteWorld, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "_finish", lambda *_: file.write_text("precious"))
    with pytest.raises(NoBackup, match="by somebody else meanwhile"):
        back_up(world.path, file)
    assert file.read_text() == "precious"
    assert alone(file)


def test_a_file_system_without_hard_links_takes_backups_too(
    world: SqliteWorld, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, os.strerror(1))

    monkeypatch.setattr(os, "link", refuse)
    back_up(world.path, file)
    assert check(file) == []
    assert alone(file)


def test_the_database_is_never_its_own_backup(world: SqliteWorld, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(world.path)
    for name in (world.path, tmp_path / "link.db"):
        with pytest.raises(NoBackup, match="is the database itself"):
            back_up(world.path, name, replace=True)
    with pytest.raises(NoBackup, match="is a folder"):
        back_up(world.path, tmp_path, replace=True)


def test_a_damaged_database_gives_no_backup_and_takes_none_away(world: SqliteWorld, file: Path) -> None:
    world.add_campaign(size=4000)
    world.close()
    content = bytearray(world.path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    world.path.write_bytes(content)
    file.write_text("the good one of yesterday")
    with pytest.raises(NoBackup, match="damaged"):
        back_up(world.path, file, replace=True)
    assert file.read_text() == "the good one of yesterday"
    assert alone(file)
    world.path.unlink()
    world.__init__(world.path)  # type: ignore[misc]


def test_counts_that_contradict_each_other_are_no_backup(world: SqliteWorld, file: Path) -> None:
    campaign = world.add_campaign(size=3)
    world.connection.execute("UPDATE campaign SET finished = 1 WHERE id = ?", (campaign.id,))
    with pytest.raises(NoBackup, match=r"`dialer db check`\): campaign .* calls finished by its count 1"):
        back_up(world.path, file)
    assert list(file.parent.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(world: SqliteWorld, tmp_path: Path) -> None:
    with pytest.raises(NoBackup, match=r"nowhere: No such file or directory"):
        back_up(world.path, tmp_path / "nowhere" / "one.db")
    with pytest.raises(NoBackup, match=r"other\.db: no such file"):
        back_up(tmp_path / "other.db", tmp_path / "one.db")


def test_a_full_disk_leaves_nothing_behind(world: SqliteWorld, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(backup, "_finish", full)
    with pytest.raises(NoBackup, match=r"one\.db: No space left on device"):
        back_up(world.path, file)
    assert list(file.parent.iterdir()) == []


def test_what_was_deleted_is_in_no_backup(world: SqliteWorld, file: Path) -> None:
    world.add_campaign(size=500, phones=[f"+3460000{n:04}" for n in range(500)])
    with transaction(world.connection):
        world.connection.execute("DELETE FROM call")
    assert b"+34600000123" in world.path.with_name("dialer.db-wal").read_bytes()
    back_up(world.path, file)
    assert b"+34600000123" not in file.read_bytes()


def test_an_older_version_can_be_backed_up_and_a_newer_one_or_none_cannot(tmp_path: Path, file: Path) -> None:
    old = connect(tmp_path / "old.db", create=True)
    with transaction(old):
        migrations._migrations.apply(SqliteUtils(old, execute_plugins=False), stop_before="m002_events")
        old.execute("PRAGMA user_version = 1")
    back_up(tmp_path / "old.db", file)
    old.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(DatabaseTooNew):
        back_up(tmp_path / "old.db", file, replace=True)
    old.execute("PRAGMA user_version = 0")
    with pytest.raises(DatabaseNotReady, match="is no database of a dialer"):
        back_up(tmp_path / "old.db", file, replace=True)
    old.close()
    assert migrations.migrate(file)[0] == "m002_events"
