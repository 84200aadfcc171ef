"""One server for one database: a second one is refused; what a killed one leaves behind places no calls beside the next."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.dialer_process import Client, Dialer, eventually, toml
from tests.support.lab_thread import LabThread

CHANNELS = 6
ANSWERED = [f"+346001{n:03d}02" for n in range(4)]
ORDERED = ["+34600200002", "+34600200102"]
NEXT = [f"+346003{n:03d}02" for n in range(6)]


def children_of(process: int) -> list[int]:
    """All processes that it has started, and theirs."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == process:
                found += [int(stat.parent.name), *children_of(int(stat.parent.name))]
    return found


def runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_second_server_ends_with_one_line_that_names_the_first(
    dialer: Dialer, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(dialer.folder)
    path = tmp_path / "link" / "dialer.db"
    second = tmp_path / "second.toml"
    second.write_text(toml({"database": {"path": str(path)}, "api": {"port": 0}}))
    refused = dialer.run("--config", str(second), "serve", check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.splitlines() == [
        f"another server (pid {dialer.pid}) serves {path} already: two would call everybody twice"
    ]
    checked = dialer.run("check").stderr
    assert f"ports: a server (pid {dialer.pid}) serves this database; its ports were not tried" in checked
    assert client.finished(client.post(client.playbook(), ["+34600000101"]))["dispositions"] == {"answered": 1}


@pytest.fixture
def client_of_killed(tmp_path: Path) -> Iterator[tuple[Client, LabThread]]:
    with LabThread(pace=0.1) as lab:
        dialer = Dialer(tmp_path, {"pbx": lab.trunk}, pacing={"max_concurrent_calls": CHANNELS})
        dialer.run("db", "migrate")
        try:
            client = dialer.start().account()
            yield client, lab
            client.close()
        finally:
            dialer.stop()


def test_what_outlives_a_killed_server_neither_hinders_the_next_one_nor_dials_beside_it(
    client_of_killed: tuple[Client, LabThread],
) -> None:
    client, lab = client_of_killed
    dialer = client.dialer
    book = client.playbook(steps=[{"do": "wait", "seconds": 10}], max_call_seconds=30)
    answered = client.post(book, ANSWERED)
    lab.wait_for("answered", len(ANSWERED))
    left = children_of(dialer.pid)
    assert len(left) >= 3, "workers and two loaders"
    workers = dialer.workers()
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    ordered = client.post(book, ORDERED)
    eventually(lambda: client.campaign(ordered)["calls"]["live"] == 2, 10, "both calls were given to a worker")
    for process in left:
        os.kill(process, signal.SIGSTOP)
    dialer.signal(signal.SIGKILL)
    dialer.wait(10)
    try:
        dialer.start()
        after = client.post(client.playbook(), NEXT)
        fifth = lab.wait_for("invite", len(ANSWERED) + 1)[len(ANSWERED)]
    finally:
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)
    ends = {entry.number: entry.at for entry in lab.seen("ended")}
    assert all(ends[number] <= fifth.at for number in ANSWERED), "one more call beside the old ones"
    eventually(lambda: not any(map(runs, left)), 20, "they end when they find themselves alone")
    # Whether these had left is not known: each is held for its ring timeout, and then it is over.
    assert client.finished(ordered)["dispositions"] == {"interrupted": 2}
    assert client.finished(answered)["dispositions"] == {"interrupted": 4}
    assert client.finished(after, 60)["dispositions"] == {"answered": 6}
    assert {entry.number for entry in lab.invites()}.isdisjoint(ORDERED)
    assert len(lab.invites()) == len(ANSWERED) + len(NEXT)
