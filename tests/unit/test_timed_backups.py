"""Backups on a timer: taken when due, counted over restarts, only the newest kept, and failures told."""

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from dialer.core.model import WallMs
from scheduler import timed_backups
from scheduler.clock import SystemClock
from scheduler.migrations import check, migrate
from scheduler.timed_backups import TimedBackups, newest_backup
from tests.support.clock import EPOCH, FakeClock, run_in_fake_time
from tests.support.event_world import until

HOUR = 3600.0
OTHERS = ("notes.txt", "dialer-20240101.db", "dialer-20249999T000000Z.db", "dialer-202411T000000Z.db")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    migrate(tmp_path / "dialer.db")
    return tmp_path / "dialer.db"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def in_fake_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(test)
    def run(**named: Any) -> None:
        run_in_fake_time(named["clock"], test(**named))

    return run


def by_hand(monkeypatch: pytest.MonkeyPatch, faults: list[str | None]) -> list[Path]:
    """Backups without a process: each of `faults` is what the next comes to, and after the last all are good."""
    taken: list[Path] = []

    async def take(_: Path, file: Path) -> str | None:
        fault = faults.pop(0) if faults else None
        if fault is None:
            make(file)
            taken.append(file)
        return fault

    monkeypatch.setattr(timed_backups, "_in_a_process", take)
    monkeypatch.setattr(timed_backups.asyncio, "to_thread", lambda act, *words: asyncio.sleep(0, act(*words)))
    return taken


def make(file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"x" * 100)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@in_fake_time
async def test_one_is_taken_at_once_and_then_each_interval_and_the_newest_are_kept(
    database: Path, folder: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = by_hand(monkeypatch, [])
    backups = TimedBackups(database, folder, interval_seconds=6 * HOUR, keep=2, clock=clock)
    backups.start()
    await asyncio.sleep(1)
    for others in OTHERS:
        make(folder / others)
    make(folder / ".dialer-20250301T000000Z.db.xyz.part")
    await asyncio.sleep(24 * HOUR)
    await backups.stop()
    assert [file.name for file in taken] == [
        "dialer-20250301T100000Z.db",
        "dialer-20250301T160000Z.db",
        "dialer-20250301T220000Z.db",
        "dialer-20250302T040000Z.db",
        "dialer-20250302T100000Z.db",
    ]
    assert names(folder) == sorted(["dialer-20250302T040000Z.db", "dialer-20250302T100000Z.db", *OTHERS])
    assert (backups.state.size_bytes, backups.state.failures) == (100, 0)


@in_fake_time
async def test_a_restart_does_not_take_another_before_its_time(
    database: Path, folder: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = by_hand(monkeypatch, [])
    make(folder / "dialer-20250301T080000Z.db")
    backups = TimedBackups(database, folder, interval_seconds=6 * HOUR, keep=2, clock=clock)
    backups.start()
    await asyncio.sleep(3.9 * HOUR)
    assert backups.state.succeeded_at == EPOCH - 2 * HOUR * 1000
    assert taken == []
    await asyncio.sleep(0.2 * HOUR)
    await backups.stop()
    assert [file.name for file in taken] == ["dialer-20250301T140000Z.db"]


@in_fake_time
async def test_a_name_from_the_future_puts_nothing_off_for_more_than_an_interval(
    database: Path, folder: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = by_hand(monkeypatch, [])
    make(folder / "dialer-20990101T000000Z.db")
    backups = TimedBackups(database, folder, interval_seconds=HOUR, keep=9, clock=clock)
    backups.start()
    await asyncio.sleep(1.5 * HOUR)
    await backups.stop()
    assert len(taken) == 1


@in_fake_time
async def test_one_that_fails_is_told_and_tried_again_soon_and_takes_no_old_one_away(
    database: Path, folder: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    taken = by_hand(monkeypatch, [None, "the disk is full", "the disk is full"])
    backups = TimedBackups(database, folder, interval_seconds=24 * HOUR, keep=1, clock=clock)
    backups.start()
    with caplog.at_level(logging.ERROR):
        await asyncio.sleep(24.1 * HOUR)
    assert caplog.messages == ["there is no backup: the disk is full"]
    assert backups.state.failures == 1
    assert (backups.state.succeeded_at, backups.state.failed_at) == (EPOCH, WallMs(EPOCH + round(24 * HOUR * 1000)))
    assert names(folder) == ["dialer-20250301T100000Z.db"]
    await asyncio.sleep(0.3 * HOUR)
    await backups.stop()
    assert len(taken) == 2
    assert names(folder) == ["dialer-20250302T102000Z.db"]


@in_fake_time
async def test_a_folder_that_cannot_be_made_is_a_failure(
    database: Path, tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    by_hand(monkeypatch, [])
    backups = TimedBackups(database, tmp_path / "no" / "where", interval_seconds=HOUR, keep=1, clock=clock)
    backups.start()
    await asyncio.sleep(1)
    await backups.stop()
    assert backups.state.failures == 1
    assert f"{tmp_path}/no/where: No such file or directory" in caplog.text


def run_for_real(database: Path, folder: Path, done: Callable[[TimedBackups], bool]) -> TimedBackups:
    async def main() -> TimedBackups:
        backups = TimedBackups(database, folder, interval_seconds=0.3, keep=2, clock=SystemClock())
        backups.start()
        await until(lambda: done(backups), 60)
        await backups.stop()
        return backups

    return asyncio.run(main())


def test_a_process_takes_a_backup_that_can_be_opened(database: Path, folder: Path) -> None:
    backups = run_for_real(database, folder, lambda b: b.state.size_bytes > 0)
    newest = max(folder.glob("dialer-*.db"))
    assert check(newest) == []
    assert backups.state.size_bytes == newest.stat().st_size
    assert newest_backup(folder) is not None
    assert folder.stat().st_mode & 0o777 == 0o700


def test_what_the_process_says_when_it_fails_is_told(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backups = run_for_real(tmp_path / "none.db", folder, lambda b: b.state.failures > 0)
    assert backups.state.succeeded_at is None
    assert f"there is no backup: {tmp_path}/none.db: no such file" in caplog.text


def test_stopping_gives_up_a_backup_that_is_under_way(
    database: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text(
        f"import pathlib, time\npathlib.Path({json.dumps(str(tmp_path / 'up'))}).touch()\ntime.sleep(600)\n"
    )
    real = asyncio.create_subprocess_exec

    async def instead(program: str, *_: str, **options: Any) -> Any:
        return await real(program, str(slow), **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", instead)
    run_for_real(database, folder, lambda _: (tmp_path / "up").exists())
    assert list(folder.iterdir()) == []
