"""What a soak saw, and the judgement over it: the called side's log against what the database told of every attempt."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from benchmarks.lateness import percentile
from benchmarks.mixture import sort_of
from tests.support.judge import most_in_any_second

# Two thirds of the attempts are first ones: with the recalls they make fifty a second.
STAGGER_S: Final = 0.03
CAMPAIGN_S: Final = 60
CPS: Final = 400


@dataclass(frozen=True, slots=True)
class Sample:
    """The server at one moment, `at_s` after the beginning. `waiting` events have not reached the broker."""

    at_s: float
    main_mb: float
    workers_mb: float
    loaders_mb: float
    files: int
    threads: int
    database_mb: float
    wal_mb: float
    waiting: int
    request_ms: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the database told of one. Times in milliseconds; `fire_at` is when its first INVITE was let go."""

    phone: str
    due_at: int
    fire_at: int
    disposition: str


@dataclass
class Report:
    """What a soak came to. `began_at` is Unix time in milliseconds; `invites` are (Call-ID, ms, number) at the called side.

    `tracebacks` are the last lines of those in the server's log: nothing that happens to it is unexpected.
    """

    seconds: float
    began_at: float
    samples: list[Sample] = field(default_factory=list)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    invites: list[tuple[str, float, str]] = field(default_factory=list)
    calls: int = 0
    backups: int = 0
    kills: int = 0
    outages: int = 0
    given_up: int = 0
    tracebacks: list[str] = field(default_factory=list)

    def faults(self) -> list[str]:
        """Every promise that was broken, in words; empty where all held."""
        faults = []
        by_attempt: defaultdict[str, list[float]] = defaultdict(list)
        sent = Counter(call_id for call_id, _, _ in self.invites)
        faults += [f"{call_id} left {n} times" for call_id, n in sent.items() if n > 1]
        for call_id, at, _ in self.invites:
            by_attempt[attempt_of(call_id)].append(at)
        faults += [
            f"{name}: an INVITE of an attempt that is not on record" for name in by_attempt.keys() - self.attempts
        ]
        for name, attempt in self.attempts.items():
            arrived = by_attempt.get(name)
            wanted = sort_of(attempt.phone).disposition
            if attempt.disposition not in {wanted, "interrupted"}:
                faults.append(f"{name} to {attempt.phone} was {attempt.disposition} and not {wanted}")
            if arrived is None:
                if attempt.disposition != "interrupted":
                    faults.append(f"{name} to {attempt.phone} was {attempt.disposition}, and never reached it")
                continue
            if min(arrived) < attempt.due_at:
                faults.append(f"{name} left {attempt.due_at - min(arrived):.1f} ms early")
            if len(arrived) > 1 and not sort_of(attempt.phone).retried:
                faults.append(f"{name} to {attempt.phone} was made {len(arrived)} times")
        most = most_in_any_second([at / 1000 for _, at, _ in self.invites])
        if most > CPS:
            faults.append(f"{most} INVITEs in one second")
        if self.given_up:
            faults.append(f"{self.given_up} events were given up")
        faults += [f"a traceback in the server's log: {fault}" for fault in self.tracebacks]
        return faults

    def gaps_ms(self) -> list[float]:
        """Between the first attempts of each campaign, which are neighbours in the order of their numbers."""
        campaigns: defaultdict[int, list[float]] = defaultdict(list)
        for call_id, at, number in self.invites:
            if call_id.endswith("-1"):
                campaigns[(int(number[3:]) - 600_000_000) // campaign_size()].append(at)
        return [later - earlier for one in campaigns.values() for earlier, later in pairwise(sorted(one))]

    def lateness_ms(self, start_s: float, end_s: float) -> list[tuple[float, float]]:
        """Of attempts that were due in that part of the soak: from due to the wire, and from being let go to the wire."""
        first: dict[str, float] = {}
        for call_id, at, _ in self.invites:
            first.setdefault(attempt_of(call_id), at)
        return [
            (first[name] - one.due_at, first[name] - one.fire_at)
            for name, one in self.attempts.items()
            if name in first and start_s <= (one.due_at - self.began_at) / 1000 < end_s
        ]

    def part(self, start_s: float, end_s: float) -> list[Sample]:
        """The samples of that part of the soak."""
        return [sample for sample in self.samples if start_s <= sample.at_s < end_s]


def growth(report: Report, of: Callable[[Sample], float]) -> tuple[float, float]:
    """The median of the soak's second quarter, and of its last: the first is warming up."""
    quarter = report.seconds / 4
    early, late = report.part(quarter, 2 * quarter), report.part(3 * quarter, report.seconds)
    return statistics.median(map(of, early)), statistics.median(map(of, late))


def slowing(report: Report) -> tuple[float, float]:
    """The median milliseconds of INVITEs from being let go to the wire, of the same two quarters."""
    quarter = report.seconds / 4
    early, late = ([way for _, way in report.lateness_ms(start, start + quarter)] for start in (quarter, 3 * quarter))
    return statistics.median(early), statistics.median(late)


def told(report: Report) -> str:
    """What happened, in a sentence, and every promise that was broken."""
    interrupted = sum(attempt.disposition == "interrupted" for attempt in report.attempts.values())
    faults = report.faults()
    held = "None was made twice, none was early, each came to what its number does" if not faults else "; ".join(faults)
    return (
        f"{report.calls:,} calls took {len(report.attempts):,} attempts and {len(report.invites):,} INVITEs;"
        f" {report.kills} SIP workers were killed, which interrupted {interrupted:,} attempts, and the broker"
        f" {report.outages} times. {held}. The stagger of {STAGGER_S * 1000:.0f} ms was"
        f" {percentile(report.gaps_ms(), 0.001):.1f} ms or more on the wire, but for one in a thousand."
    )


HEAD: Final = (
    "minutes|attempts a second|late p50 ms|p99 ms|let go to wire p50 ms|p99 ms|GET /campaign p50 ms|main MB|SIP workers MB"
    "|loaders MB|files|threads|database MB|WAL MB|events waiting, most"
)


def rows(report: Report, parts: int) -> Iterator[list[object]]:
    """The soak in so many parts of equal length, as a table has them."""
    length = report.seconds / parts
    for number in range(parts):
        start, end = number * length, (number + 1) * length
        late, samples = report.lateness_ms(start, end), report.part(start, end)
        yield [
            f"{start / 60:.3g} to {end / 60:.3g}",
            len(late) / length,
            *(percentile([due for due, _ in late], share) for share in (0.5, 0.99)),
            *(percentile([way for _, way in late], share) for share in (0.5, 0.99)),
            percentile([sample.request_ms for sample in samples], 0.5),
            *(statistics.median(getattr(sample, name) for sample in samples) for name in _LEVELS),
            max(sample.wal_mb for sample in samples),
            max(sample.waiting for sample in samples),
        ]


_LEVELS: Final = ("main_mb", "workers_mb", "loaders_mb", "files", "threads", "database_mb")


def campaign_size() -> int:
    """Contacts of a campaign that begins to dial when the one before it has dialed its last for the first time."""
    return round(CAMPAIGN_S / STAGGER_S)


def attempt_of(call_id: str) -> str:
    """The attempt that an INVITE belongs to: technical retries have a number of their own behind it."""
    return call_id.partition(".")[0]
