"""The lock of a database: one holder, by whatever path, until the kernel says that it is gone."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler import server_lock
from scheduler.server_lock import Reloads, ServedAlready, ServerLock, lock_file, reloads_told, serving_pid

HOLD = """
import subprocess, sys
from pathlib import Path
from scheduler.server_lock import ServerLock
lock = ServerLock(Path(sys.argv[1]))
child = subprocess.Popen(["sleep", "60"])
print(child.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "dialer.db"
    path.touch()
    return path


def test_a_second_holder_is_refused_and_told_who_the_first_is(database: Path) -> None:
    lock = ServerLock(database)
    with pytest.raises(ServedAlready, match=rf"pid {os.getpid()}\) serves {database}") as refused:
        ServerLock(database)
    assert refused.value.pid == os.getpid()
    lock.release()
    ServerLock(database).release()


def test_who_only_asks_keeps_no_server_from_starting(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asks = os.open(lock_file(database), os.O_RDONLY | os.O_CREAT, 0o644)
    fcntl.flock(asks, fcntl.LOCK_SH)
    monkeypatch.setattr(server_lock.time, "sleep", lambda _: os.close(asks))
    ServerLock(database).release()


def test_every_path_to_the_file_is_the_same_lock(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder := database.parent / "elsewhere").symlink_to(database.parent)
    (link := database.parent / "link.db").symlink_to(database)
    monkeypatch.chdir(database.parent)
    lock = ServerLock(folder / "dialer.db")
    for path in (database, link, Path("dialer.db"), Path("./elsewhere/link.db")):
        assert serving_pid(path) == os.getpid()
        with pytest.raises(ServedAlready):
            ServerLock(path)
    other = database.with_name("other.db")
    ServerLock(other).release()
    lock.release()


def test_a_database_that_is_not_there_yet_is_locked_too(tmp_path: Path) -> None:
    assert serving_pid(tmp_path / "new.db") is None
    lock = ServerLock(tmp_path / "new.db")
    assert serving_pid(tmp_path / "new.db") == os.getpid()
    lock.release()
    assert serving_pid(tmp_path / "new.db") is None
    assert lock_file(tmp_path / "new.db").read_text() == ""


def test_the_kernel_gives_it_back_when_the_holder_is_killed_and_its_children_do_not_keep_it(database: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, database], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            assert serving_pid(database) == holder.pid
            holder.kill()
            holder.wait(10)
            assert lock_file(database).read_text().startswith(f"{holder.pid}\n"), "it was killed: nobody wiped its pid"
            assert serving_pid(database) is None
            ServerLock(database).release()
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_holder_that_has_not_written_its_name_yet_is_a_holder(database: Path) -> None:
    lock = ServerLock(database)
    lock_file(database).write_text("")
    assert serving_pid(database) == 0
    with pytest.raises(ServedAlready, match="another server serves"):
        ServerLock(database)
    lock.release()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_leaves_the_file_to_the_owner_of_the_database(database: Path) -> None:
    os.chown(database, 12345, 12346)
    ServerLock(database).release()
    made = lock_file(database).stat()
    assert (made.st_uid, made.st_gid) == (12345, 12346)


def test_what_came_of_a_reload_is_told_beside_the_process(database: Path) -> None:
    assert reloads_told(database) is None
    lock = ServerLock(database)
    assert reloads_told(database) == Reloads()
    faults = Reloads(2, 2, faults=tuple(f"trunks.pbx{n}.uri: is required" for n in range(500)))
    lock.tell(faults)
    assert reloads_told(database) == faults
    after = Reloads(3, 3, changed=("pacing.stagger_seconds",), needs_restart=("api.port",))
    lock.tell(after)
    assert reloads_told(database) == after
    assert serving_pid(database) == os.getpid()
    lock.release()
    assert reloads_told(database) is None


@pytest.mark.parametrize("half", ["", "12", "12\n", '12\n{"begun": 1', '12\n{"begun": 1}\n', "12\n[]\n", "12\n7\n"])
def test_a_file_that_is_being_written_tells_nothing_yet(database: Path, half: str) -> None:
    lock_file(database).write_text(half)
    assert reloads_told(database) is None
