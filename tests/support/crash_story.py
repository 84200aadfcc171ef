"""A campaign whose server is killed while it runs, and the judgement over what the called side saw of the whole story."""

import itertools
import os
import shutil
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import httpx

from sip.lab import Entry
from sip.lab.behaviours import behaviour_table
from tests.support.dialer_process import Client, Dialer, eventually
from tests.support.faulty_disk import FaultyDisk
from tests.support.judge import most_at_once, most_in_any_second, shortest_gap
from tests.support.lab_thread import LabThread

STAGGER, CPS, CHANNELS, RING_SECONDS = 0.03, 20, 6, 1.0
RECALL_SECONDS = (1.2, 2.4)
GAP_SECONDS = 0.2
ENDINGS = ("02", "11", "01", "486", "14", "02", "404", "10", "480", "01", "603", "12")
# Between what the called side sees and what is on disk: a worker's turn, the engine's, and the milliseconds of gathering.
UNSURE_SECONDS = 0.3
JITTER = 0.008
BEHAVIOURS = sorted(behaviour_table(), key=lambda row: -len(row.ending))
RECALL_ON = ("busy", "no_answer", "declined", "unreachable")


def numbers(count: int) -> list[str]:
    return [f"+34600{n:04d}{ENDINGS[n % len(ENDINGS)]:0>3}" for n in range(count)]


def template(folder: Path) -> Path:
    """A folder with a migrated database, an account and its token, to copy for each story."""
    with LabThread() as lab:
        dialer = Dialer(folder, {"pbx": lab.trunk})
        dialer.run("db", "migrate")
        client = dialer.account()
        playbook = client.playbook(ring_timeout_seconds=RING_SECONDS)
        (folder / "token").write_text(client.token)
        (folder / "playbook").write_text(playbook)
        client.close()
    return folder


@dataclass
class Story:
    """One campaign from its POST to its end, over as many lives of the server as it takes."""

    dialer: Dialer
    disk: FaultyDisk
    lab: LabThread
    client: Client
    playbook: str
    campaign: str = ""
    recall_on: Sequence[str] = RECALL_ON
    kills: list[float] = field(default_factory=list)

    @classmethod
    @contextmanager
    def told(cls, folder: Path, template: Path) -> Iterator[Self]:
        folder.mkdir()
        for file in template.glob("dialer.db*"):
            shutil.copy(file, folder)
        with LabThread(pace=0.1, t1=0.05, max_ring_seconds=1.5 * RING_SECONDS) as lab:
            trunk = {**lab.trunk, "calls_per_second": CPS, "max_concurrent_calls": CHANNELS}
            pacing = {"stagger_seconds": STAGGER, "min_recall_gap_seconds": GAP_SECONDS}
            dialer = Dialer(folder, {"pbx": trunk}, pacing=pacing)
            disk = FaultyDisk(folder, folder / "dialer.db")
            dialer.environment.update(disk.environment)
            client = Client(dialer, "Test", (template / "token").read_text())
            try:
                yield cls(dialer, disk, lab, client, (template / "playbook").read_text())
            finally:
                client.close()
                dialer.stop()

    def recall_only(self, *dispositions: str) -> None:
        """Its playbook is one that recalls after these."""
        self.recall_on = dispositions
        self.playbook = self.client.playbook(ring_timeout_seconds=RING_SECONDS, recall_on=dispositions)

    def begin(self, contacts: int) -> None:
        self.dialer.start()
        self.campaign = self.client.post(
            self.playbook, numbers(contacts), recall=[seconds / 60 for seconds in RECALL_SECONDS]
        )

    def died(self, seconds: float = 30) -> bool:
        """Whether the switch at the disk has killed the server, or the campaign came to its end before."""

        def look() -> str | None:
            if self.dialer.ended():
                return "dead"
            try:
                done = self.client.campaign(self.campaign)["status"] == "completed"
            except Exception:  # noqa: BLE001 - it dies while it answers
                return None
            return "done" if done else None

        if eventually(look, seconds, "the server has died or has finished") == "done":
            return False
        self._noted()
        return True

    def kill(self) -> None:
        self.dialer.kill()
        self._noted()

    def suspend(self, seconds: float, *, workers: bool) -> None:
        """SIGSTOP for so long: to the server alone, or to all its processes."""
        send = os.killpg if workers else os.kill
        send(self.dialer.pid, signal.SIGSTOP)
        time.sleep(seconds)
        send(self.dialer.pid, signal.SIGCONT)

    def _noted(self) -> None:
        if not self.dialer.is_down:
            self.dialer.kill()
        self.kills.append(time.time())

    def restart(self) -> None:
        self.dialer.start()

    def restart_once_dead(self) -> None:
        """Wait for the server to die at the commit it was told; the next one lives."""
        eventually(self.dialer.ended, 60, "the server has died")
        self.kill()
        self.disk.kill_before_commit(0)
        self.restart()

    def readiness(self) -> httpx.Response:
        return httpx.get(f"{self.dialer.url}/readyz", timeout=10)

    def not_ready(self) -> httpx.Response:
        """What /readyz answers once the server knows of a fault."""

        def look() -> httpx.Response | None:
            answer = self.readiness()
            return answer if answer.status_code == 503 else None

        return eventually(look, 10, "/readyz answers 503")

    def ready(self) -> None:
        """The server works again."""
        eventually(lambda: self.readiness().status_code == 200, 10, "/readyz answers 200")

    def finish(self) -> "Judgement":
        self.client.finished(self.campaign, 60)
        calls = self.client.calls(self.campaign)
        eventually(lambda: self.lab.lab.calls_now == 0, 10, "nobody is left in a call")
        campaign = self.client.campaign(self.campaign)
        return Judgement(self.kills, calls, list(self.lab.lab.log), campaign, self.recall_on)


class Judgement:
    """What the called side's log says of a story. `check` raises AssertionError; the rest is for the report."""

    def __init__(
        self,
        kills: Sequence[float],
        calls: dict[str, dict[str, Any]],
        log: Sequence[Entry],
        campaign: dict[str, Any],
        recall_on: Sequence[str] = RECALL_ON,
    ) -> None:
        self.kills, self.calls, self.log, self.campaign, self.recall_on = kills, calls, log, campaign, recall_on
        self.recall_seconds = [60 * minutes for minutes in campaign["recall"]]
        self.invites = sorted((e for e in log if e.event == "invite"), key=lambda e: e.at)
        self.ends = {e.call_id: e for e in log if e.event == "ended"}
        self.by_attempt: defaultdict[tuple[str, int], list[Entry]] = defaultdict(list)
        for entry in self.invites:
            uuid, _, tail = entry.call_id.partition("@")[0].rpartition("-")
            self.by_attempt[uuid, int(tail.partition(".")[0])].append(entry)
        self.attempts = {(call["id"], a["number"]): a for call in calls.values() for a in call["attempts"]}
        self.interrupted = sum(a["disposition"] == "interrupted" for a in self.attempts.values())
        self.untraced = {
            entry.call_id
            for key, attempt in self.attempts.items()
            if attempt["disposition"] == "interrupted" and attempt["dialed_at"] is None
            for entry in self.by_attempt.get(key, [])
        }

    def without(self, number: str) -> Self:
        """The same without what another campaign did to this number."""
        log = [e for e in self.log if e.number != number]
        return type(self)(self.kills, self.calls, log, self.campaign, self.recall_on)

    def check(self) -> None:
        self._nobody_called_twice()
        self._nobody_called_early()
        self._pace()
        self._one_call_for_a_number()
        self._ends()

    def _nobody_called_twice(self) -> None:
        assert len({e.call_id for e in self.invites}) == len(self.invites), "an INVITE left twice"
        unknown = self.by_attempt.keys() - self.attempts.keys()
        assert not unknown, f"INVITEs of attempts that are not on record: {unknown}"
        twice = {key: entries for key, entries in self.by_attempt.items() if len(entries) > 1}
        assert not twice, f"attempts with more than one INVITE: {twice}"

    def _nobody_called_early(self) -> None:
        for key, entries in self.by_attempt.items():
            early = at(self.attempts[key]["due_at"]) - entries[0].at
            assert early <= 0, f"{key} left {early * 1000:.1f} ms before it was due"
        for call in self.calls.values():
            first = call["attempts"][0]
            for attempt in call["attempts"][1:]:
                before = call["attempts"][attempt["number"] - 2]
                waited = at(attempt["due_at"]) - at(before["ended_at"])
                assert waited >= GAP_SECONDS - 0.001, f"a recall {waited} s after the attempt before it: {call}"
                anchor = first["dialed_at"] or first["due_at"]
                offset = at(attempt["due_at"]) - at(anchor)
                assert offset >= self.recall_seconds[attempt["number"] - 2] - 0.002, (
                    f"a recall ahead of its time: {call}"
                )

    def _pace(self) -> None:
        firsts = [e.monotonic_at for key, entries in self.by_attempt.items() if key[1] == 1 for e in entries]
        assert shortest_gap(firsts) >= STAGGER - JITTER, f"stagger broken: {shortest_gap(firsts)}"
        times = [e.monotonic_at for e in self.invites]
        assert most_in_any_second(times) <= CPS, f"{most_in_any_second(times)} calls in a second"
        assert most_at_once(self._held(self.invites)) <= CHANNELS, "more calls at once than channels"

    def _held(self, invites: Sequence[Entry]) -> list[Entry]:
        """The calls as channels. One that left in the last moment of a process, whose dialog nobody knows, counts for the
        ring timeout, however long the called side then goes on."""
        ends = [self.ends[e.call_id] for e in invites]
        # The server counts from when the INVITE was to leave, the called side from when it came.
        limits = {e.call_id: e.monotonic_at + RING_SECONDS - 0.05 for e in invites if e.call_id in self.untraced}
        return [
            *invites,
            *(
                e
                if e.monotonic_at <= limits.get(e.call_id, e.monotonic_at)
                else replace(e, monotonic_at=limits[e.call_id])
                for e in ends
            ),
        ]

    def _one_call_for_a_number(self) -> None:
        for number, entries in itertools.groupby(sorted(self.invites, key=lambda e: e.number), lambda e: e.number):
            assert most_at_once(self._held(list(entries))) == 1, f"{number} was in two calls at once"

    def _ends(self) -> None:
        for call in self.calls.values():
            last = call["attempts"][-1]["disposition"]
            assert call["state"] == "finished"
            assert call["disposition"] == last, call
            recalled = {*self.recall_on, "interrupted"}
            if last in recalled:
                assert len(call["attempts"]) == 1 + len(self.recall_seconds), f"a recall was lost: {call}"
            for attempt in call["attempts"][:-1]:
                assert attempt["disposition"] in recalled, f"a recall that nobody asked for: {call}"
            arrived = 0
            for attempt in call["attempts"]:
                entries = self.by_attempt.get((call["id"], attempt["number"]), [])
                if attempt["disposition"] == "interrupted":
                    assert self._in_flight(attempt, entries), f"interrupted, but not in flight at any kill: {attempt}"
                else:
                    assert attempt["disposition"] == expected(call["phone"], arrived), f"attempt {attempt} of {call}"
                arrived += len(entries)
        dispositions = Counter(call["disposition"] for call in self.calls.values())
        assert self.campaign["dispositions"] == dict(dispositions)
        assert self.campaign["attempts"] == len(self.attempts)
        assert self.campaign["calls"] == {"scheduled": 0, "live": 0, "finished": len(self.calls)}

    def _in_flight(self, attempt: dict[str, Any], entries: Sequence[Entry]) -> bool:
        begins = entries[0].at if entries else at(attempt["due_at"])
        ends = self.ends[entries[0].call_id].at if entries else float("inf")
        return any(begins - UNSURE_SECONDS <= kill <= ends + UNSURE_SECONDS for kill in self.kills)


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def expected(number: str, earlier: int) -> str:
    """What the lab's table says that a dialer makes of the next call to a number that has had so many."""
    row = next(row for row in BEHAVIOURS if number.endswith(row.ending))
    return str(row.dispositions[min(earlier, len(row.dispositions) - 1)])
