"""How many calls: set up in a second, talking at once, refused at once; the whole engine, and Asterisk making the same calls.

Both call the same far end of `benchmarks.far_end`, one after the other in one run. CPU is user and system time of all
processes of the one or the other, from its order to the end of the last call, so that storing the contacts is in it, and
SQLite with fsync, and the events' outbox. Asterisk is the peer of the interop suite, ordered over its manager interface; it
keeps no record and knows no limits, so that it does less.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.far_end import FarEnd, Manner, Seen
from benchmarks.lateness import numbers, resident_mb
from tests.integration.test_sip_media import write_tone
from tests.support.asterisk import PEER, Asterisk
from tests.support.dialer_process import Client, Dialer, eventually
from tests.support.judge import most_in_any_second

_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE_S = 40.0  # for the last calls, from the last that ended: longer than a transaction lives
_RAMP = 100  # calls a second, until all talk
_SETTLED_S = 2.0
_TIMER_D_S = 32


@dataclass(frozen=True, slots=True)
class SetUp:
    """Calls that were answered and hung up at once. `reached` is INVITEs a second on the wire, `cpu_ms` is per call."""

    who: str
    asked: int
    reached: float
    failed: int
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class Talking:
    """Calls that play a file, all at once. `cores` are in use; of the calls listened to, what was missing and late."""

    who: str
    calls: int
    cores: float
    resident_mb: float
    packets: int
    missing: int
    longest_ms: float


@dataclass(frozen=True, slots=True)
class Refused:
    """Calls that got 503 at once. `most` in any second; workers that were lost meanwhile.

    `filled_mb`: how much memory grew while transactions that have ended were still kept for what comes late (RFC 3261
    17.1.1.2, timer D); `grown_mb`: from then to the end.
    """

    calls: int
    finished: int
    most: int
    cpu_ms: float
    restarts: int
    filled_mb: float
    grown_mb: float


def set_up(rates: tuple[int, ...], seconds: int) -> Iterator[SetUp]:
    """So many calls a second for so long, by each of the two; by ours alone where there is no script for the peer."""
    for rate in rates:
        yield _ours(rate, seconds)
    if not PEER:
        return
    with _asterisk(100) as asterisk:
        for rate in rates:
            yield _theirs(asterisk, rate, seconds)


def _ours(rate: int, seconds: int) -> SetUp:
    calls = rate * seconds
    with _dialing(rate, 1000, Manner.ANSWERS) as (dialer, client, far_end):
        playbook = client.playbook(ring_timeout_seconds=20, steps=[{"do": "hangup"}])
        began = cpu_seconds(family(dialer.pid))
        campaign = client.post(playbook, numbers(0, calls))
        _until_over(far_end, calls)
        spent = cpu_seconds(family(dialer.pid)) - began
        answered = client.finished(campaign, 60)["dispositions"].get("answered", 0)
        return SetUp("dialer", rate, _a_second(far_end), calls - answered, 1000 * spent / calls)


def _theirs(asterisk: Asterisk, rate: int, seconds: int) -> SetUp:
    calls = rate * seconds
    with _far_end(Manner.ANSWERS) as far_end:
        began = cpu_seconds([asterisk.pid])
        _originate(asterisk, far_end.port, calls, rate, "wait000")
        seen = _until_over(far_end, calls)
        spent = cpu_seconds([asterisk.pid]) - began
        return SetUp("Asterisk", rate, _a_second(far_end), calls - seen.ended, 1000 * spent / calls)


def talking(counts: tuple[int, ...], seconds: int) -> Iterator[Talking]:
    """So many calls at once, looked at for so long while all of them play."""
    for calls in counts:
        yield _ours_talking(calls, seconds)
    if not PEER:
        return
    with _asterisk(max(counts)) as asterisk:
        for calls in counts:
            yield _theirs_talking(asterisk, calls, seconds)


def sizes(counts: tuple[int, ...], seconds: int) -> Iterator[Talking]:
    """What a machine for so many calls at once needs: ours alone."""
    for calls in counts:
        yield _ours_talking(calls, seconds)


def _ours_talking(calls: int, seconds: int) -> Talking:
    with _dialing(_RAMP, calls, Manner.ANSWERS) as (dialer, client, far_end):
        plays_s = calls / _RAMP + 2 * _SETTLED_S + seconds
        write_tone(dialer.media / "tone.wav", 440, plays_s)
        steps = [{"do": "play", "audio": "tone.wav"}]
        playbook = client.playbook(ring_timeout_seconds=20, max_call_seconds=600, steps=steps)
        client.post(playbook, numbers(0, calls))
        return _look(far_end, "dialer", calls, seconds, lambda: family(dialer.pid))


def _theirs_talking(asterisk: Asterisk, calls: int, seconds: int) -> Talking:
    with _far_end(Manner.ANSWERS) as far_end:
        plays_s = round(calls / _RAMP + 2 * _SETTLED_S + seconds)
        _originate(asterisk, far_end.port, calls, _RAMP, f"play{plays_s:03d}")
        found = _look(far_end, "Asterisk", calls, seconds, lambda: [asterisk.pid])
        _until_over(far_end, calls)
        return found


def _look(far_end: FarEnd, who: str, calls: int, seconds: int, processes: Callable[[], list[int]]) -> Talking:
    """Wait until all talk, and look at them for so long. Those that never came are not waited for."""
    far_end_sees: Callable[[], bool] = lambda: far_end.seen().acknowledged >= calls  # noqa: E731
    try:
        eventually(far_end_sees, calls / _RAMP + 5, "all talk")
    except AssertionError:
        calls = far_end.seen().acknowledged
    time.sleep(_SETTLED_S)
    began, began_cpu = time.monotonic(), cpu_seconds(processes())
    time.sleep(seconds)
    spent = (cpu_seconds(processes()) - began_cpu) / (time.monotonic() - began)
    resident = sum(resident_mb(pid) for pid in processes())
    streams = far_end.seen().streams
    packets, missing = sum(int(one["packets"]) for one in streams), sum(int(one["missing"]) for one in streams)
    return Talking(who, calls, spent, resident, packets, missing, max(one["longest_ms"] for one in streams))


def refused(rate: int, seconds: int) -> Refused:
    """So many calls a second that get 503 at once. The trunk takes 503 for the callee's word, or its breaker would open."""
    calls = rate * seconds
    with _dialing(rate, 1000, Manner.FULL, **{"dispositions.503": "unreachable"}) as (dialer, client, far_end):
        playbook = client.playbook(ring_timeout_seconds=20, recall_on=[])
        pids = family(dialer.pid)
        empty = sum(resident_mb(pid) for pid in pids)
        began = cpu_seconds(pids)
        campaign = client.post(playbook, numbers(0, calls))
        time.sleep(min(_TIMER_D_S + _SETTLED_S, seconds))
        full = sum(resident_mb(pid) for pid in family(dialer.pid))
        finished = client.finished(campaign, seconds + 60)["dispositions"].get("unreachable", 0)
        spent = cpu_seconds(family(dialer.pid)) - began
        grown = sum(resident_mb(pid) for pid in family(dialer.pid)) - full
        restarts = _restarts(client)
        arrivals = sorted(at / 1000 for at in far_end.received().values())
    return Refused(calls, finished, most_in_any_second(arrivals), 1000 * spent / calls, restarts, full - empty, grown)


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system time that the processes have spent."""
    spent = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        spent += int(fields[11]) + int(fields[12])
    return spent / _TICKS


@contextmanager
def _dialing(rate: int, channels: int, manner: Manner, **trunk: object) -> Iterator[tuple[Dialer, Client, FarEnd]]:
    """A dialer with one trunk to a far end, of that rate and so many channels."""
    with tempfile.TemporaryDirectory(prefix="dialer-bench-") as name, _far_end(manner) as far_end:
        limits = {"max_concurrent_calls": channels, "calls_per_second": rate}
        trunks = {"pbx": {"uri": f"sip:127.0.0.1:{far_end.port}", **limits, **trunk}}
        pacing = {"stagger_seconds": 0, "max_concurrent_calls": channels}
        dialer = Dialer(Path(name), trunks, pacing=pacing)
        dialer.run("db", "migrate")
        client = dialer.account()
        dialer.start()
        try:
            yield dialer, client, far_end
        finally:
            client.close()
            dialer.stop()


@contextmanager
def _far_end(manner: Manner) -> Iterator[FarEnd]:
    with tempfile.TemporaryDirectory(prefix="dialer-bench-") as name, FarEnd(Path(name), manner) as far_end:
        yield far_end


@contextmanager
def _asterisk(calls: int) -> Iterator[Asterisk]:
    """The peer while it runs."""
    with tempfile.TemporaryDirectory(prefix="dialer-bench-") as name:
        asterisk = Asterisk(Path(name), 2 * calls)
        asterisk.do("install")
        asterisk.do("start")
        try:
            yield asterisk
        finally:
            asterisk.do("stop")


def _originate(asterisk: Asterisk, port: int, calls: int, rate: int, extension: str) -> None:
    """Order so many calls of Asterisk, evenly."""
    with asterisk.manager() as manager:
        began = time.monotonic()
        for n in range(calls):
            time.sleep(max(0.0, began + n / rate - time.monotonic()))
            manager.order(
                "Originate",
                Channel=f"PJSIP/load/sip:{n}@127.0.0.1:{port}",
                Context="play",
                Exten=extension,
                Priority="1",
                Async="true",
                Timeout="30000",
            )


def _until_over(far_end: FarEnd, calls: int) -> Seen:
    """Wait for the end of that many calls, or until none has ended for long."""
    seen, since = far_end.seen(), time.monotonic()
    while seen.ended < calls and time.monotonic() - since < _PATIENCE_S:
        time.sleep(0.2)
        later = far_end.seen()
        if later.ended > seen.ended:
            since = time.monotonic()
        seen = later
    return seen


def _a_second(far_end: FarEnd) -> float:
    arrivals = sorted(far_end.received().values())
    return (len(arrivals) - 1) * 1000 / (arrivals[-1] - arrivals[0])


def _restarts(client: Client) -> int:
    (line,) = [
        line
        for line in client.http.get("/metrics").text.splitlines()
        if line.startswith("dialer_sip_worker_restarts_total")
    ]
    return round(float(line.split()[-1]))
