"""What goes on at a server, on one screen: trunks, campaigns with their pace, and who is being called."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from dialer.client import Client
from dialer.follow import COLOURS
from dialer.log_lines import masked_number

Json = dict[str, Any]

GOING_ON = ("running", "paused", "scheduled")
# A campaign's pace is that of so many seconds.
PACE_SECONDS = 30.0
MOST_SHOWN = 200
_STYLES = {"running": "green", "paused": "yellow", "up": "green", "down": "bold red", "probing": "yellow"}
_SLIM, _NARROW, _WIDE = 60, 80, 110
_GAP = 2
_AIRY = 16


@dataclass(frozen=True, slots=True)
class Seen:
    """The server at one moment. `pace` is a campaign's attempts a minute, by its id; None: not known yet."""

    trunks: list[Json]
    campaigns: list[Json]
    calls: list[Json]
    pace: dict[str, float | None] = field(default_factory=dict)


class Watch:
    """Looks at a server again and again, and knows how far campaigns came in between."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._attempts: dict[str, deque[tuple[float, int]]] = {}

    def look(self) -> Seen:
        """The server now. Raises `dialer.terminal.Refused`."""
        trunks = self._client.get("/trunk")["items"]
        campaigns = [
            campaign
            for status in GOING_ON
            for campaign in self._client.get("/campaign", status=status, limit=MOST_SHOWN)["items"]
        ]
        calls = self._client.get("/call", state="live", limit=MOST_SHOWN)["items"]
        return Seen(trunks, campaigns, calls, self._paces(campaigns, time.monotonic()))

    def _paces(self, campaigns: Sequence[Json], now: float) -> dict[str, float | None]:
        self._attempts = {one["id"]: self._attempts.get(one["id"], deque()) for one in campaigns}
        paces: dict[str, float | None] = {}
        for campaign in campaigns:
            points = self._attempts[campaign["id"]]
            points.append((now, campaign["attempts"]))
            while len(points) > 2 and points[0][0] < now - PACE_SECONDS:
                points.popleft()
            then, before = points[0]
            paces[campaign["id"]] = 60 * (campaign["attempts"] - before) / (now - then) if now > then else None
        return paces


def screen(
    seen: Seen, *, width: int, height: int | None, title: str, now: datetime, numbers: bool = False
) -> RenderableType:
    """The picture, in so many columns and lines (None: as many as it takes). `numbers`: people's are shown whole."""
    lines: list[RenderableType] = [Text(title, style="bold", no_wrap=True, overflow="ellipsis")]
    sections: list[tuple[str, int, Callable[[int], RenderableType]]] = [
        ("trunks", len(seen.trunks), lambda rows: _trunks(seen.trunks[:rows], width)),
        ("campaigns going on", len(seen.campaigns), lambda rows: _campaigns(seen, rows, width)),
        ("calls under way", len(seen.calls), lambda rows: _calls(seen.calls[:rows], width, now, numbers=numbers)),
    ]
    airy = height is None or height >= _AIRY
    counts = [count for _, count, _ in sections]
    for (word, count, draw), rows in zip(sections, shares(counts, height, airy=airy), strict=True):
        if rows is None:
            continue
        shown = f" ({rows} shown)" if rows < count else ""
        lines += [
            *([Text("")] if airy else []),
            Text(f"{word}: {_count(count)}{shown}", style="bold cyan", no_wrap=True),
        ]
        if rows:
            lines.append(draw(rows))
    return Group(*lines)


def shares(counts: Sequence[int], height: int | None, *, airy: bool = True) -> list[int | None]:
    """How many rows each section may show below the title where there are so many lines in all; None: not even its head.

    A head takes a line (`airy`: and an empty one above), and one more for the columns' names where there are rows. Sections
    that need less leave theirs to the others.

    >>> shares([2, 40, 40], 25), shares([1, 1, 0], 25), shares([5, 5, 5], 8, airy=False)
    ([2, 7, 6], [1, 1, 0], [1, 1, 0])
    """
    if height is None:
        return list(counts)
    head = 2 if airy else 1
    heads = min(len(counts), (height - 1) // head)
    left = height - 1 - heads * head
    given = [0] * heads
    growing = [i for i in range(heads) if counts[i]][: left // 2]
    left -= len(growing)
    while left > 0 and growing:
        for i in growing[:left]:
            given[i] += 1
        left -= len(growing)
        growing = [i for i in growing if given[i] < counts[i]]
    return [*given, *[None] * (len(counts) - heads)]


def _trunks(trunks: Sequence[Json], width: int) -> Table:
    table = _table(("trunk", "state", "channels", "CPS"), figures={"channels", "CPS"})
    if width >= _NARROW:
        table.add_column("last failure", no_wrap=True, overflow="ellipsis", ratio=1)
    for one in trunks:
        state = str(one["state"])
        row: list[RenderableType] = [
            Text(one["name"]),
            Text(state, style=_STYLES.get(state, "")),
            f"{one['channels_in_use']}/{one['channels']}",
            _least(one["calls_per_second_now"], one["calls_per_second"]),
        ]
        failure = one["last_failure"]
        why = one["fault"] or (f"{failure['at'][11:19]} {failure['reason']}" if failure else "")
        table.add_row(*row, *([Text(why, style="dim")] if width >= _NARROW else []))
    return _fitted(table, width)


def _least(now: float, usual: float) -> str:
    """What is allowed now, and of what that is a part while the trunk is overloaded."""
    return f"{usual:g}" if now == usual else f"{now:g} of {usual:g}"


def _campaigns(seen: Seen, rows: int, width: int) -> Table:
    table = _table(("campaign", "status", "finished"), figures={"finished"})
    if width >= _SLIM:
        table.add_column("live", justify="right", no_wrap=True)
        table.add_column("a minute", justify="right", no_wrap=True)
    if width >= _NARROW:
        table.add_column("", width=16)
        table.add_column("ends", no_wrap=True)
    if width >= _WIDE:
        table.add_column("outcomes", no_wrap=True, overflow="ellipsis", ratio=1)
    for one in seen.campaigns[:rows]:
        calls, pace = one["calls"], seen.pace.get(one["id"])
        total = sum(calls.values())
        row: list[RenderableType] = [
            Text(f"{one['playbook']} {one['id'][:8]}"),
            Text(one["status"], style=_STYLES.get(one["status"], "dim")),
            f"{_count(calls['finished'])}/{_count(total)}",
        ]
        if width >= _SLIM:
            row += [_count(calls["live"]), "-" if pace is None else f"{pace:.0f}"]
        if width >= _NARROW:
            row += [ProgressBar(max(total, 1), calls["finished"], 16), _clock(one["estimated_end_at"])]
        if width >= _WIDE:
            row.append(_outcomes(one["dispositions"]))
        table.add_row(*row)
    return _fitted(table, width)


def _outcomes(dispositions: Json) -> Text:
    text = Text()
    for word, count in sorted(dispositions.items(), key=lambda item: -item[1]):
        if count:
            text.append(f"{word} {_count(count)}  ", style=COLOURS.get(word, "yellow"))
    return text


def _calls(calls: Sequence[Json], width: int, now: datetime, *, numbers: bool) -> Table:
    table = _table(("number", "call", "is", "for s"), figures={"for s"})
    if width >= _SLIM:
        table.add_column("try", justify="right", no_wrap=True)
    if width >= _NARROW:
        table.add_column("trunk", no_wrap=True)
        table.add_column("who", no_wrap=True, overflow="ellipsis", ratio=1)
    for one in calls:
        attempt = one["attempts"][-1]
        word, since = _stage(attempt)
        seconds = "" if since is None else f"{max(0.0, (now - datetime.fromisoformat(since)).total_seconds()):.0f}"
        phone = one["phone"] or "erased"
        row: list[RenderableType] = [
            Text(phone if numbers or not one["phone"] else masked_number(phone)),
            Text(one["id"] if width >= _WIDE else one["id"][:8], style="dim"),
            Text(word, style="green" if word == "talking" else ""),
            seconds,
        ]
        if width >= _SLIM:
            row.append(str(attempt["number"]))
        if width >= _NARROW:
            contact = one["contact"]
            who = " ".join(filter(None, (contact.get("first_name"), contact.get("last_name")))) or contact.get(
                "company", ""
            )
            row += [Text(attempt["trunk"]), Text(str(who))]
        table.add_row(*row)
    return _fitted(table, width)


def _stage(attempt: Json) -> tuple[str, str | None]:
    """What an attempt under way is at, and since when."""
    for word, key in (("talking", "answered_at"), ("ringing", "ringing_at"), ("dialing", "dialed_at")):
        if attempt[key] is not None:
            return word, attempt[key]
    return "waiting", None


def _table(columns: Sequence[str], *, figures: set[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, _GAP, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in figures else "left", no_wrap=True, overflow="ellipsis")
    return table


def _fitted(table: Table, width: int) -> Table:
    """Cut the names and texts where there is too little room: the first column and the one with a ratio, never the figures."""
    first, *others = table.columns
    text = next((column for column in others if column.ratio), None)
    fixed = sum(_natural(column) for column in others if column is not text)
    room = width - fixed - _GAP * len(others)
    first.max_width = max(1, min(_natural(first), room if text is None else max(room // 2, room - _natural(text))))
    if text is not None:
        text.max_width = max(1, room - first.max_width)
    return table


def _natural(column: Column) -> int:
    """How wide it would be."""
    return column.width or max(cell_len(str(cell)) for cell in (column.header, *column.cells))


def _clock(at: str | None) -> str:
    """The time of day, here; with the date where that is another."""
    if at is None:
        return "-"
    moment = datetime.fromisoformat(at).astimezone()
    return f"{moment:%H:%M}" if moment.date() == datetime.now(UTC).astimezone().date() else f"{moment:%d %b %H:%M}"


def _count(number: int) -> str:
    return f"{number:,}"
