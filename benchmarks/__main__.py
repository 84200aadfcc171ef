"""`python -m benchmarks [TABLE ...]`: measure, print tables, and with --write put them into docs/performance.md.

Figures of one table are taken in one run, in turns where that is possible, and compared as ratios: times of different
machines, or of one machine on different days, say little.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import (
    amd,
    backups,
    capacity,
    claims,
    intake,
    lateness,
    page,
    peers,
    pending,
    requests,
    soak,
    soak_report,
    stream,
    tracing,
)
from dialer.core.amd import Answerer
from scheduler.connection import sqlite3

_DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
_SECTION = "<!-- table: {} -->"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; floats with three significant figures."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def lateness_table(small: bool) -> str:
    seconds, load = (4, lateness.Load(2, 5_000)) if small else (20, lateness.Load(10, 100_000))
    total = load.requests * load.contacts
    rows = []
    for rate in (100, 500):
        for loaded in (None, load):
            r = lateness.measure(rate, seconds, loaded)
            late = [lateness.percentile(r.late_ms, share) for share in (0.5, 0.99)]
            small_p99 = lateness.percentile(r.small_ms, 0.99)
            what = "nothing else" if loaded is None else f"{load.requests} requests of {load.contacts:,} contacts"
            took = "" if loaded is None else f"{total / r.load_seconds:,.0f}"
            rows.append([rate, what, r.calls, *late, max(r.late_ms), took, statistics.median(r.small_ms), small_p99])
    head = "calls a second|meanwhile|calls|late p50 ms|p99 ms|max ms|contacts stored a second|POST /call p50 ms|p99 ms"
    return table(head.split("|"), rows)


def intake_table(small: bool) -> str:
    contacts, a_request, rounds = (20_000, 10_000, 1) if small else (1_000_000, 100_000, 3)
    r = intake.measure(contacts, a_request, rounds)
    rows = [
        ["bare insert of narrow rows, one transaction", r.floor_s, 1.0],
        ["from body to active with all contacts, below HTTP", r.below_s, r.below_ratio],
        ["the same by CPU time", "", r.below_cpu_ratio],
        [f"over HTTP, requests of {a_request:,}", r.http_s, r.http_ratio],
    ]
    return f"{contacts:,} contacts.\n\n" + table(["way", "seconds", "times the floor"], rows)


def claims_table(small: bool) -> str:
    batches, campaign = {1: 20_000, 10: 100_000, 100: 400_000}, 1_000_000
    if small:
        batches, campaign = {batch: calls // 20 for batch, calls in batches.items()}, 50_000
    rows = [[r.batch, r.floor, r.ours, r.ratio] for r in claims.measure(batches, campaign)]
    return table(["calls a commit", "bare UPDATE, calls a second", "claims a second", "ratio"], rows)


def pending_table(small: bool) -> str:
    rows = []
    for count in (100, 10_000) if small else (1_000, 100_000, 1_000_000):
        claim = pending.claim_ms(count)
        for kind in pending.Kind:
            runs = [pending.start(kind, count) for _ in range(1 if small else 3)]
            ready = statistics.median(run.ready_s for run in runs)
            resident = max(run.resident_mb for run in runs)
            rows.append([count, kind, ready, resident, claim if kind is pending.Kind.OVERDUE else ""])
    return table(["calls that wait", "as", "start to ready s", "main process MB", "one claim ms"], rows)


def peers_table(small: bool) -> str:
    found = peers.measure(200 if small else 5_000)
    ours = found[0]
    rows: list[Sequence[object]] = []
    for peer in found:
        if peer.missing:
            rows.append([peer.name, peer.missing, "", "", ""])
        else:
            rows.append([peer.name, peer.put, peer.done, peer.put / ours.put, peer.done / ours.done])
    head = ["scheduler", "jobs put in a second", "jobs done a second", "put, of ours", "done, of ours"]
    return table(head, rows)


def capacity_table(small: bool) -> str:
    rates, counts, seconds = ((100, 200), (100,), 4) if small else ((100, 200, 400, 600, 850), (400, 1_000), 20)
    rows = [list(astuple(found)) for found in capacity.set_up(rates, seconds)]
    head = ["who calls", "calls a second asked", "reached", "calls not set up", "CPU, ms a call"]
    parts = [table(head, rows)]
    rows = [list(astuple(found)) for found in capacity.talking(counts, seconds)]
    head = ["who calls", "calls that play at once", "cores", "memory MB"]
    heard = ["packets looked at", "of them missing", "longest time between two, ms"]
    parts.append(table(head + heard, rows))
    r = capacity.refused(200, seconds if small else 60)
    refused = [["INVITEs", r.calls], ["told as refused", r.finished], ["most in any second", r.most]]
    refused += [["CPU, ms a call", r.cpu_ms], ["workers lost", r.restarts]]
    refused += [["memory grown by until timer D ends, MB", r.filled_mb], ["after that, MB", r.grown_mb]]
    parts.append(table(["200 calls a second that get 503 at once", ""], refused))
    return "\n\n".join(parts)


def amd_table(small: bool) -> str:
    rows: list[Sequence[object]] = []
    for (kind, line), found in amd.confusion(small).items():
        answers = [found.answers[answerer] or "" for answerer in Answerer]
        tones = f"{found.tones} of {found.tones_sent}" if found.tones_sent else ""
        rows.append([kind, line, *answers, float(statistics.median(found.after_ms)), max(found.after_ms), tones])
    head = (
        "what answers|the line|human|machine|unknown|decided after, median ms|longest ms|tones found where they ended"
    )
    spent = amd.cost(small)
    costs = [
        [f"a call that nobody listens to, {spent.calls} at once", spent.unheard, ""],
        ["a call that is listened to", spent.listening, spent.listening - spent.unheard],
    ]
    cost_table = table(["in the SIP worker", "CPU, ms a second", "by listening"], costs)
    decided = f"The decision itself takes {spent.decision:.2g} ms of the main process, once a call."
    return f"{table(head.split('|'), rows)}\n\n{cost_table}\n\n{decided}"


def api_table(small: bool) -> str:
    rows: list[Sequence[object]] = []
    for r in requests.measure(4 if small else 20):
        late = [lateness.percentile(r.late_ms, share) for share in (0.5, 0.99)]
        asked = f"{r.asked:g}" if r.asked else "as many as are answered, from 16 connections"
        if r.answered is None:
            rows.append([r.what, "", "", "", "", "", "", *late, max(r.late_ms)])
            continue
        a = r.answered
        took = [lateness.percentile(a.took_ms, share) for share in (0.5, 0.99)]
        rows.append([r.what, asked, len(a.took_ms) / a.seconds, *took, max(a.took_ms), a.errors, *late, max(r.late_ms)])
    head = "requests|asked a second|answered a second|p50 ms|p99 ms|max ms|errors|INVITE late p50 ms|p99 ms|max ms"
    return table(head.split("|"), rows)


def sizes_table(small: bool) -> str:
    counts, seconds = ((30,), 5) if small else ((30, 100, 300, 1000), 20)
    rows = [[r.calls, r.cores, r.resident_mb, r.missing, r.longest_ms] for r in capacity.sizes(counts, seconds)]
    head = "calls that play audio at once|cores in use|resident MB, all processes|packets missing|longest gap ms"
    return table(head.split("|"), rows)


def trace_table(small: bool) -> str:
    found = tracing.measure(200 if small else 2_000, 1 if small else 5)
    plain = found[tracing.CASES[0]]
    return table(
        ["while", "worker CPU for a call, ms", "ratio"], [[case, ms, ms / plain] for case, ms in found.items()]
    )


def backup_table(small: bool) -> str:
    seconds, waiting = (5, 20_000) if small else (20, 1_000_000)
    rows: list[Sequence[object]] = []
    for _ in range(1 if small else 3):
        for taking in (False, True):
            r = backups.measure(seconds, waiting, taking=taking)
            late = [lateness.percentile(r.late_ms, share) for share in (0.5, 0.99)]
            what = "one backup after the other" if taking else "nothing else"
            taken = [len(r.took_s), statistics.median(r.took_s), r.size_mb] if taking else ["", "", ""]
            rows.append([what, len(r.late_ms), *late, max(r.late_ms), *taken])
    head = "meanwhile|calls|late p50 ms|p99 ms|max ms|backups|one takes s|MB"
    return table(head.split("|"), rows)


def soak_table(small: bool) -> str:
    report = soak.run(60 if small else soak.SECONDS, say=lambda sample: print(sample, file=sys.stderr, flush=True))
    head, rows = soak_report.HEAD.split("|"), soak_report.rows(report, 4 if small else 10)
    return f"{soak_report.told(report)}\n\n{table(head, rows)}"


def stream_table(small: bool) -> str:
    rows: list[Sequence[object]] = []
    for beside in (0, 20) if small else (0, 50, 100):
        r = stream.measure(beside, 5 if small else 45)
        ways = [
            lateness.percentile(way, share)
            for way in (r.to_server_ms, r.to_callee_ms, r.cleared_ms)
            for share in (0.5, 0.99)
        ]
        rows.append([beside, len(r.to_server_ms), r.lost, *ways, r.worker_cpu_ms, r.process_cpu_ms])
    head = (
        "other streams|words each way|lost|to the server p50 ms|p99 ms|to the callee p50 ms|p99 ms"
        "|heard after clear p50 ms|p99 ms|CPU in the SIP worker, ms a second|in the stream process"
    )
    return table(head.split("|"), rows)


def page_table(small: bool) -> str:
    load = page.Load(10, 2) if small else page.Load(100, 2)
    rows = []
    for cost in page.measure(load, 5, *((1, 3) if small else (6, 10))):
        late = [lateness.percentile(cost.late_ms, share) for share in (0.5, 0.99)]
        sent = statistics.median(cost.bytes_a_second) / 1024 if cost.pages else ""
        rows.append(
            [cost.pages, 100 * statistics.median(cost.cores), len(cost.late_ms), *late, max(cost.late_ms), sent]
        )
    head = "open pages|CPU of the main process, % of a core|INVITEs|late p50 ms|p99 ms|max ms|KB a second to a page"
    return f"{load.live:,} live calls of {load.campaigns} campaigns.\n\n" + table(head.split("|"), rows)


TABLES: dict[str, Callable[[bool], str]] = {
    "lateness": lateness_table,
    "api": api_table,
    "intake": intake_table,
    "claims": claims_table,
    "pending": pending_table,
    "page": page_table,
    "peers": peers_table,
    "capacity": capacity_table,
    "amd": amd_table,
    "stream": stream_table,
    "trace": trace_table,
    "backup": backup_table,
    "soak": soak_table,
    "sizes": sizes_table,
}
# Only where it is named.
_HOURS = {"soak"}


def machine() -> str:
    """What the figures are of."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit.stdout.strip() or 'unknown'}, {os.cpu_count()} cores,"
        f" Linux {platform.release()}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )


def write(name: str, text: str, command: str) -> None:
    """Put a table into its place in the document: from its mark to the next heading."""
    document = _DOCUMENT.read_text(encoding="utf-8")
    mark = _SECTION.format(name)
    before, found, after = document.partition(mark)
    if not found:
        raise SystemExit(f"{_DOCUMENT.name} has no place for {name}: {mark}")
    end = after.find("\n## ")
    rest = after[end:] if end >= 0 else ""
    _DOCUMENT.write_text(f"{before}{mark}\n\n{text}\n\n`{command}`; {machine()}\n{rest}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument(
        "tables",
        nargs="*",
        metavar="TABLE",
        help=f"{', '.join(TABLES)}; all but {', '.join(_HOURS)} when none is named",
    )
    parser.add_argument("--small", action="store_true", help="a look at whether all of it works, in a minute")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    wanted = parser.parse_args()
    if unknown := set(wanted.tables) - TABLES.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if wanted.small and wanted.write:
        parser.error("figures of --small are not worth keeping")
    for name in wanted.tables or [name for name in TABLES if name not in _HOURS]:
        text = TABLES[name](wanted.small)
        print(f"## {name}\n\n{text}\n", flush=True)
        if wanted.write:
            write(name, text, f"python -m benchmarks {name} --write")
    return 0


if __name__ == "__main__":
    sys.exit(main())
