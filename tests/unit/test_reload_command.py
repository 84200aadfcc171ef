"""`dialer reload` beside a server of the test's: this very process, which holds the database's lock and gets the signal."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, ModuleType

import pytest

from dialer.commands import reload
from dialer.terminal import Refused
from scheduler.server_lock import Reloads, ServerLock, lock_file

DONE = Reloads(3, 3, changed=("trunks.pbx",))
OnSignal = Callable[[Callable[[], None]], None]


@pytest.fixture
def lock(tmp_path: Path) -> ServerLock:
    return ServerLock(tmp_path / "d.db")


@pytest.fixture
def on_signal() -> Iterator[OnSignal]:
    before = signal.getsignal(signal.SIGHUP)

    def answer(do: Callable[[], None]) -> None:
        def handle(_number: int, _frame: FrameType | None) -> None:
            do()

        signal.signal(signal.SIGHUP, handle)

    yield answer
    signal.signal(signal.SIGHUP, before)


def test_what_came_of_a_reload_that_began_before_is_not_taken_for_ours(
    tmp_path: Path, lock: ServerLock, on_signal: OnSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock.tell(Reloads(begun=2, ended=1))
    on_signal(lambda: lock.tell(Reloads(2, 2, faults=("of the one before",))))
    monkeypatch.setattr(reload.time, "sleep", lambda _: lock.tell(DONE))
    assert reload._ask(tmp_path / "d.db", 10) == DONE


def test_a_server_that_does_not_come_to_an_end_is_waited_for_so_long(
    tmp_path: Path, lock: ServerLock, on_signal: OnSignal
) -> None:
    on_signal(lambda: lock.tell(Reloads(1, 0)))
    with pytest.raises(Refused, match=rf"\(pid {os.getpid()}\) has not ended its reload yet: its log will tell"):
        reload._ask(tmp_path / "d.db", 0.1)
    lock.release()


def test_a_server_that_ends_meanwhile_is_not_waited_for(tmp_path: Path, lock: ServerLock, on_signal: OnSignal) -> None:
    on_signal(lock.release)
    with pytest.raises(Refused, match="ended meanwhile"):
        reload._ask(tmp_path / "d.db", 10)


def test_a_server_that_does_not_tell_is_named(tmp_path: Path, lock: ServerLock) -> None:
    lock_file(tmp_path / "d.db").write_text(f"{os.getpid()}\n")
    with pytest.raises(Refused, match="does not tell how it stands"):
        reload._ask(tmp_path / "d.db", 0.1)
    lock.release()


def refuse(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.parametrize(
    ("module", "name", "reason"),
    [
        (os, "kill", "cannot be signalled: Operation not permitted"),
        (reload, "serving_pid", "this user may not see who serves it"),
    ],
)
def test_who_may_not_look_or_signal_is_told_so(
    tmp_path: Path, lock: ServerLock, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, reason: str
) -> None:
    monkeypatch.setattr(module, name, refuse)
    with pytest.raises(Refused, match=reason):
        reload._ask(tmp_path / "d.db", 10)
    lock.release()
