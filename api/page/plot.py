"""What attempts came to over time, as bars: stacked bands in an SVG that stretches to any width, and the same in figures.

Pure. The SVG holds shapes only; what is written beside it is HTML, which stays readable when the bars get narrow.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dialer.core.model import Disposition

HEIGHT = 100
_BAR, _GAP = 0.84, 0.16
_MINUTE_MS = 60_000
_LINES_OF_TABLE = 12

# From the ground up. The key is the class that gives the band its colour.
BANDS: Mapping[str, tuple[str, frozenset[str]]] = {
    "answered": ("Answered", frozenset({Disposition.ANSWERED, Disposition.MACHINE})),
    "no-answer": ("No answer", frozenset({Disposition.NO_ANSWER})),
    "busy": ("Busy or declined", frozenset({Disposition.BUSY, Disposition.DECLINED})),
    "unreachable": ("Unreachable or invalid", frozenset({Disposition.UNREACHABLE, Disposition.INVALID_NUMBER})),
    "trunk-failure": ("Trunk failure", frozenset({Disposition.TRUNK_FAILURE})),
    "other": ("Other", frozenset()),
}
_BAND_OF = {disposition: key for key, (_, dispositions) in BANDS.items() for disposition in dispositions}


@dataclass(frozen=True, slots=True)
class Bar:
    """One step of time: attempts by band, in the order of `BANDS`. `at` is its beginning in Unix milliseconds."""

    at: int
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """All its attempts."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Band:
    """One outcome: the class of its colour, what it is called, its attempts in all, and its bars as an SVG path."""

    key: str
    title: str
    total: int
    path: str


@dataclass(frozen=True, slots=True)
class Plot:
    """All of it. `top` is where the scale ends, a round number. `lines` are the bars put together to few, for a table."""

    bars: Sequence[Bar]
    bands: Sequence[Band]
    lines: Sequence[Bar]
    top: int
    step_minutes: int

    @property
    def total(self) -> int:
        """All attempts."""
        return sum(bar.total for bar in self.bars)

    @property
    def end_at(self) -> int:
        """When the last bar ends."""
        return self.bars[-1].at + self.step_minutes * _MINUTE_MS


def plot(outcomes: Iterable[tuple[int, str, int]], *, since: int, steps: int, step: int) -> Plot:
    """The plot of [minute, disposition, attempts], in `steps` steps of `step` minutes from the minute `since` on."""
    keys = list(BANDS)
    counts = [[0] * len(keys) for _ in range(steps)]
    for minute, disposition, attempts in outcomes:
        position = (minute - since) // step
        if 0 <= position < steps:
            counts[position][keys.index(_BAND_OF.get(disposition, "other"))] += attempts
    bars = [Bar((since + i * step) * _MINUTE_MS, tuple(counts[i])) for i in range(steps)]
    top = nice(max(bar.total for bar in bars))
    bands = [
        Band(key, BANDS[key][0], sum(bar.counts[i] for bar in bars), _path(bars, i, top)) for i, key in enumerate(keys)
    ]
    return Plot(bars, bands, _together(bars), top, step)


def nice(number: int) -> int:
    """The first of 4, 6, 8, 10, 12, 16, 20, 40, 60 .. that is not below; each has a whole half.

    >>> nice(0), nice(5), nice(10), nice(11), nice(399), nice(401)
    (4, 6, 10, 12, 400, 600)
    """
    scale = 1
    while True:
        for head in (4, 6, 8, 10, 12, 16, 20):
            if head * scale >= number:
                return head * scale
        scale *= 10


def _path(bars: Sequence[Bar], band: int, top: int) -> str:
    """Each bar's part of the band: a rectangle on those below it. Bars are one unit wide."""
    parts = []
    for i, bar in enumerate(bars):
        if bar.counts[band]:
            below = sum(bar.counts[:band])
            upper = HEIGHT - (below + bar.counts[band]) / top * HEIGHT
            height = bar.counts[band] / top * HEIGHT
            parts.append(f"M{i + _GAP / 2:g} {upper:.4g}h{_BAR}v{height:.4g}h-{_BAR}z")
    return "".join(parts)


def _together(bars: Sequence[Bar]) -> list[Bar]:
    size = max(1, len(bars) // _LINES_OF_TABLE)
    groups = [bars[i : i + size] for i in range(0, len(bars), size)]
    return [Bar(group[0].at, tuple(map(sum, zip(*(bar.counts for bar in group), strict=True)))) for group in groups]
