"""A SIP worker that dies, is stopped or aborts: its own calls end, on the wire too, the others never notice, it is replaced."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sip.lab import Entry
from tests.support.dialer_process import Client, Dialer, eventually
from tests.support.judge import most_at_once, shortest_gap
from tests.support.lab_thread import LabThread

CHANNELS = 8


@pytest.fixture
def lab() -> Iterator[LabThread]:
    with LabThread(pace=0.1) as lab:
        yield lab


@pytest.fixture
def client(tmp_path: Path, lab: LabThread) -> Iterator[Client]:
    """A server with two workers."""
    pacing = {"max_concurrent_calls": CHANNELS, "stagger_seconds": 0.02}
    dialer = Dialer(tmp_path, {"pbx": lab.trunk}, pacing=pacing, sip={"workers": 2})
    dialer.run("db", "migrate")
    try:
        client = dialer.start().account()
        eventually(lambda: len(dialer.workers()) == 2, 10, "both workers run")
        yield client
        client.close()
    finally:
        dialer.stop()


def sources(entries: list[Entry]) -> dict[str, list[Entry]]:
    """The calls of each worker: each has a SIP port of its own."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.source, []).append(entry)
    return found


def port_of(worker: int) -> str:
    """The UDP port that a worker's SIP stack is bound to, and that the lab sees as the source of its calls."""
    ours = {str(link.readlink()) for link in Path(f"/proc/{worker}/fd").iterdir() if link.is_symlink()}
    ports = []
    for line in Path(f"/proc/{worker}/net/udp").read_text().splitlines()[1:]:
        words = line.split()
        if f"socket:[{words[9]}]" in ours:
            ports.append(int(words[1].partition(":")[2], 16))
    return " ".join(map(str, ports))


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP], ids=lambda fault: fault.name)
def test_only_the_calls_of_the_faulty_worker_end(client: Client, lab: LabThread, fault: signal.Signals) -> None:
    dialer = client.dialer
    playbook = client.playbook(steps=[{"do": "wait", "seconds": 9}], max_call_seconds=30)
    # More calls than channels: the next ones show when a channel is free again.
    campaign = client.post(playbook, [f"+346001{n:03d}02" for n in range(CHANNELS + 4)])
    lab.wait_for("answered", CHANNELS)
    first = lab.invites()
    by_worker = sources(first)
    assert len(by_worker) == 2
    workers = dialer.workers()
    victim = workers[0]
    victims_ports = port_of(victim).split()
    (source,) = (source for source in by_worker if source.rpartition(":")[2] in victims_ports)
    hit = {entry.call_id for entry in by_worker[source]}
    spared = {entry.call_id for entry in first} - hit
    os.kill(victim, fault)

    # The called side is let go: by a BYE in the dead worker's place.
    def let_go() -> bool:
        return hit <= {entry.call_id for entry in lab.seen("bye_received")}

    eventually(let_go, 12, "the called side gets a BYE for each of its calls")
    assert not spared & {entry.call_id for entry in lab.seen("ended") if entry.at < lab.seen("bye_received")[-1].at - 5}
    eventually(lambda: victim not in dialer.workers() and len(dialer.workers()) == 2, 10, "the worker is replaced")

    seen = client.finished(campaign, 60)
    assert seen["dispositions"] == {"answered": CHANNELS + 4 - len(hit), "interrupted": len(hit)}
    interrupted = {
        attempt["sip_call_id"]
        for call in client.calls(campaign).values()
        for attempt in call["attempts"]
        if attempt["disposition"] == "interrupted"
    }
    assert interrupted == {call_id.partition("@")[0] for call_id in hit}
    ends = {entry.call_id: entry.at for entry in lab.seen("ended")}
    answered = {entry.call_id: entry.at for entry in lab.seen("answered")}
    for call_id in spared:
        assert ends[call_id] - answered[call_id] > 8.5, "a call of the other worker was cut short"
    assert most_at_once(lab.seen("invite", "ended")) <= CHANNELS
    assert len(lab.invites()) == CHANNELS + 4


def test_the_watchdogs_signal_ends_the_server_and_its_workers_end_their_calls(client: Client, lab: LabThread) -> None:
    """systemd sends it to every process of the service (systemd.kill(5))."""
    client.post(client.playbook(steps=[{"do": "wait", "seconds": 60}]), [f"+346003{n:03d}02" for n in range(4)])
    answered = lab.wait_for("answered", 4)
    os.killpg(client.dialer.pid, signal.SIGABRT)
    assert client.dialer.wait(10) == -signal.SIGABRT
    ended = lab.wait_for("bye_received", 4)
    assert {entry.call_id for entry in ended} == {entry.call_id for entry in answered}


def test_dialing_goes_on_while_a_worker_hangs(client: Client, lab: LabThread) -> None:
    stopped = client.dialer.workers()[0]
    os.kill(stopped, signal.SIGSTOP)
    campaign = client.post(client.playbook(ring_timeout_seconds=3), [f"+346002{n:03d}02" for n in range(40)])
    seen = client.finished(campaign, 60)
    # What was given to the worker before it was known to hang is interrupted; that it took nothing is not known.
    assert sum(seen["dispositions"].values()) == 40
    assert seen["dispositions"]["answered"] >= 40 - CHANNELS
    assert len(lab.invites()) == seen["dispositions"]["answered"]
    eventually(lambda: stopped not in client.dialer.workers(), 20, "the worker that hangs is killed")
    eventually(lambda: len(client.dialer.workers()) == 2, 10, "it is replaced")


def test_a_worker_that_was_held_up_lets_no_burst_go_and_everybody_is_called_once(
    tmp_path: Path, lab: LabThread
) -> None:
    stagger, count = 0.3, 14
    dialer = Dialer(tmp_path, {"pbx": lab.trunk}, pacing={"stagger_seconds": stagger}, sip={"workers": 1})
    dialer.run("db", "migrate")
    try:
        client = dialer.start().account()
        campaign = client.post(client.playbook(), [f"+346004{n:03d}02" for n in range(count)])
        lab.wait_for("invite", 3)
        (worker,) = dialer.workers()
        os.kill(worker, signal.SIGSTOP)

        def armed() -> int:
            return sum(len(call["attempts"]) for call in client.calls(campaign).values())

        held = len(lab.invites())
        eventually(lambda: armed() >= held + 2, 10, "calls are ordered of the worker that does not read")
        os.kill(worker, signal.SIGCONT)
        seen = client.finished(campaign, 60)
        client.close()
    finally:
        dialer.stop()
    assert seen["dispositions"] == {"answered": count}
    assert seen["attempts"] == count
    invites = lab.invites()
    assert len({entry.number for entry in invites}) == len(invites) == count
    assert shortest_gap([entry.monotonic_at for entry in invites]) > stagger - 0.05
