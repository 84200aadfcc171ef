"""Legal calling hours: when a person may be called, in the time of where the person is.

Worked example. Rules Monday to Friday 09:00-13:00 and 15:00-20:00 in Europe/Madrid. An attempt due on Friday at 13:30 goes
at 15:00; one due on Friday at 20:00 (the end is closed) goes on Monday at 09:00, which is 07:00 UTC in summer and 08:00 in
winter. If Monday is a holiday of a country that the rules name, it goes on Tuesday.

Where the clocks change, a time that is there twice opens with the second and closes with the first, and one that is not
there counts as the moment of the change: nobody is called in a minute that any reading of the rules forbids.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from dialer.core.hours import Rules
from dialer.core.model import WallMs

# A year of holidays and weekends has an opening, or the rules have none at all.
HORIZON_DAYS = 370
_DAY_MS = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Opening:
    """A time in which calls are allowed: from `opens` on, before `closes`."""

    opens: WallMs
    closes: WallMs


def next_opening(at: WallMs, zones: Sequence[str], rules: Rules) -> WallMs | None:
    """When a call that is due at `at` may go to somebody in one of `zones`; None: never within a year.

    It is `at` itself where that is allowed. Of several zones it is not known which is the person's: all must allow it.
    """
    opening = opening_at(at, zones, rules)
    return None if opening is None else WallMs(max(at, opening.opens))


def opening_at(at: WallMs, zones: Sequence[str], rules: Rules) -> Opening | None:
    """The opening that holds `at`, else the next one after it; None: there is none within a year."""
    moment = at
    while moment < at + HORIZON_DAYS * _DAY_MS:
        found = [_opening_in(moment, zone, rules) for zone in zones]
        openings = [opening for opening in found if opening is not None]
        if not openings or len(openings) < len(found):
            return None
        opens = max(opening.opens for opening in openings)
        if opens <= moment or len(openings) == 1:
            return Opening(WallMs(opens), min(opening.closes for opening in openings))
        moment = WallMs(opens)
    return None


def _opening_in(at: WallMs, zone: str, rules: Rules) -> Opening | None:
    today = (_EPOCH + timedelta(milliseconds=at)).astimezone(_zone(zone)).date()
    # Yesterday too: where the clocks go back at midnight, its last hour is there again.
    day = today - timedelta(days=1)
    for _ in range(HORIZON_DAYS):
        for opening in _openings_of(day, zone, rules):
            if at < opening.closes:
                return opening
        day += timedelta(days=1)
    return None


@lru_cache(maxsize=4096)
def _openings_of(day: date, zone: str, rules: Rules) -> tuple[Opening, ...]:
    if any(_is_holiday(code, day) for code in rules.holidays):
        return ()
    return tuple(_spans_of(day, _zone(zone), rules))


def _spans_of(day: date, zone: ZoneInfo, rules: Rules) -> Iterator[Opening]:
    for start, end in rules.week[day.weekday()]:
        opens, closes = _moments(day, start, zone)[1], _moments(day, end, zone)[0]
        if opens < closes:
            yield Opening(opens, closes)


def _moments(day: date, minute: int, zone: ZoneInfo) -> tuple[WallMs, WallMs]:
    """The first and the last moment at which the clocks show this minute of the day; as a rule they are the same."""
    shown = datetime(day.year, day.month, day.day) + timedelta(minutes=minute)  # noqa: DTZ001 - what clocks show
    first, last = (shown.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if last < first:
        # The clocks skip it. zoneinfo gives the moments by the offsets after and before; the change lies between.
        first = last = _change_between(last, first, zone)
    return _wall(first), _wall(last)


def _change_between(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    before = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


def _wall(moment: datetime) -> WallMs:
    return WallMs((moment - _EPOCH) // _MS)


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


@cache
def _calendar(code: str) -> Any:  # noqa: ANN401 - the library's types are not exported
    import holidays  # 50 ms that only those who name holidays pay

    country, _, part = code.partition("-")
    return holidays.country_holidays(country, subdiv=part or None)


def _is_holiday(code: str, day: date) -> bool:
    return day in _calendar(code)
