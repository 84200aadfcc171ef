"""Who answered: how often that is found out right on synthesised greetings, and what finding out costs.

The greetings go through G.711 and the code that measures and decides on calls, frame by frame. The cost is taken from
real calls: a pool with its worker processes calls the lab, and the workers' CPU time is read while they listen and while
they do not.
"""

import asyncio
import os
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from dialer.core.amd import Amd, Answerer, BeepWatch, Detector
from dialer.core.events import Answered
from dialer.core.model import LegId
from sip.lab import Lab
from sip.levels import measure
from tests.support.greetings import LINES, Greeting, Line, frames, greetings, on, silence
from tests.support.pools import Events, order, pool_to, trunk_to

_WAITS = "34600000002"
_ON_TIME_MS = 150


@dataclass(slots=True)
class Found:
    """What greetings of one kind on one kind of line came to. `tones` counts those that were found where they ended."""

    answers: Counter[Answerer] = field(default_factory=Counter)
    after_ms: list[int] = field(default_factory=list)
    tones_sent: int = 0
    tones: int = 0


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU of one call, in ms for each second: with nobody listening, and listened to; of one decision, in ms."""

    calls: int
    unheard: float
    listening: float
    decision: float


def confusion(small: bool) -> dict[tuple[str, str], Found]:
    """By kind of greeting and kind of line."""
    table: dict[tuple[str, str], Found] = {}
    for number, greeting in enumerate(greetings()):
        for line in LINES[:2] if small else LINES:
            if not small or number % 5 == 0:
                _judge(greeting, line, table.setdefault((greeting.kind, line.name), Found()))
    return table


def _heard(greeting: Greeting, line: Line) -> Iterator[tuple[int, int]]:
    for frame in frames(on(line, greeting.samples)):
        yield measure(frame)
    for frame in frames(on(line, silence(8), seed=2)):
        yield measure(frame)


def _judge(greeting: Greeting, line: Line, found: Found) -> None:
    rules = Amd(on_machine="beep")
    detector, watch = Detector(rules), BeepWatch(rules)
    for level, hertz in _heard(greeting, line):
        undecided = detector.decision is None
        decision, ready = detector.heard(level, hertz), watch.heard(level, hertz)
        if undecided and decision is not None and decision.answerer is Answerer.MACHINE:
            watch.begin(detector.speech_db)
        if decision is not None and (ready is not None or decision.answerer is not Answerer.MACHINE):
            break
    assert detector.decision is not None
    found.answers[detector.decision.answerer] += 1
    found.after_ms.append(detector.decision.after_ms)
    if greeting.tone_ends is not None and watch.ready is not None:
        found.tones_sent += 1
        late_ms = watch.ready.after_ms - greeting.tone_ends * 1_000
        found.tones += watch.ready.beep == "tone" and abs(late_ms) < _ON_TIME_MS


def cost(small: bool) -> Cost:
    """Of 100 calls at once."""
    calls, seconds, rounds = (20, 3.0, 1) if small else (100, 10.0, 3)
    unheard, listening = asyncio.run(_cpu_of_calls(calls, seconds, rounds))
    return Cost(calls, unheard, listening, _cpu_of_a_decision())


async def _cpu_of_calls(calls: int, seconds: float, rounds: int) -> tuple[float, float]:
    with TemporaryDirectory() as folder:
        async with Lab(pace=0.05) as lab:
            trunk = trunk_to(lab.port)
            async with pool_to(trunk, media=Path(folder), max_concurrent_calls=calls) as (pool, events):
                legs = [LegId(n) for n in range(calls)]
                for leg in legs:
                    pool.dial(leg, order(_WAITS))
                    await asyncio.sleep(0.02)
                await _all_answered(events, legs)
                unheard = [await _cpu_ms(calls, seconds) for _ in range(rounds)]
                for leg in legs:
                    pool.listen_to(leg)
                heard = [await _cpu_ms(calls, seconds) for _ in range(rounds)]
                for leg in legs:
                    pool.hang_up(leg)
                for leg in legs:
                    await events.over(leg, 60)
    return statistics.median(unheard), statistics.median(heard)


async def _all_answered(events: Events, legs: Sequence[LegId]) -> None:
    for leg in legs:
        await events.wait(Answered, leg, 60)


async def _cpu_ms(calls: int, seconds: float) -> float:
    """What the workers spend in so many seconds: ms for each call and second."""
    await asyncio.sleep(0.5)
    before, began = worker_cpu_s(), time.monotonic()
    await asyncio.sleep(seconds)
    return (worker_cpu_s() - before) * 1_000 / calls / (time.monotonic() - began)


def worker_cpu_s() -> float:
    """What this process's SIP workers have spent so far."""
    spent = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            is_worker = int(fields[1]) == os.getpid() and b"sip.worker" in stat.with_name("cmdline").read_bytes()
        except OSError:  # it has just ended
            continue
        spent += int(fields[11]) + int(fields[12]) if is_worker else 0
    return spent / os.sysconf("SC_CLK_TCK")


def _cpu_of_a_decision() -> float:
    heard = [list(_heard(greeting, LINES[0])) for greeting in list(greetings())[::10]]
    began = time.process_time()
    for line in heard:
        detector = Detector(Amd())
        for level, hertz in line:
            if detector.heard(level, hertz) is not None:
                break
    return (time.process_time() - began) * 1_000 / len(heard)
