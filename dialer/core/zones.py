"""Where a person is, as far as time goes: from the contact's `timezone`, else from the number.

A number's beginning often leaves several zones open (+1, or +34 with the Canaries). Zones whose clocks always agree count as
one (Jersey and London). What a number tells is what most of its people have. Rules that ask for each person's own zone want
every one that it may be: in North America a number of an exchange that is not listed may be anywhere in its area code, of
which some have two zones (219, 270, 850). Mobile numbers of Spain go by Madrid's time: those of the Canaries look alike, which
only the contact's `timezone` can tell.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dialer.core.hours import Rules

Zones = tuple[str, ...]

# Two days of which one has summer time, whatever the hemisphere.
_WINTER, _SUMMER = datetime(2025, 1, 15, tzinfo=UTC), datetime(2025, 7, 15, tzinfo=UTC)
_UNKNOWN = "Etc/Unknown"
# Of zones whose clocks agree, the one that people know.
_KNOWN = (
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "Europe/London",
    "Europe/Madrid",
)
_PREFIX_DIGITS = 10
# Of the North American Numbering Plan: how many digits, the leading 1 among them, name an area code and an exchange.
_AREA, _EXCHANGE = 4, 7


def zones_of(phone: str, contact: Mapping[str, Any], rules: Rules) -> Zones | None:
    """The zones that the person may be in; None: unknown, and the rules ask for it.

    The contact's own, else that of the number where it is one, else the one that the rules give; where they give none, all
    that the number leaves open.
    """
    own = contact.get("timezone")
    if isinstance(own, str):
        return (own,)
    prefix = phone[:_PREFIX_DIGITS] if phone.startswith("+") else ""
    if rules.zone is None:
        return every_zone_of_number(prefix) or None
    found = zones_of_number(prefix)
    return found if len(found) == 1 else (rules.zone,)


@lru_cache(maxsize=65_536)
def zones_of_number(prefix: str) -> Zones:
    """The zones of most people whose numbers begin with `prefix` (E.164, ten characters tell enough); () for none known."""
    return _distinct(_listed(prefix)[1])


@lru_cache(maxsize=65_536)
def every_zone_of_number(prefix: str) -> Zones:
    """As `zones_of_number`, and those of the few."""
    listed, names = _listed(prefix)
    if listed.startswith("1") and len(listed) < _EXCHANGE:
        return _zones_in_area(prefix[1 : 1 + _AREA]) or _distinct(names)
    return _distinct(names)


def _listed(prefix: str) -> tuple[str, tuple[str, ...]]:
    """The longest beginning of the number that is listed, and its zones."""
    from phonenumbers.tzdata import TIMEZONE_DATA, TIMEZONE_LONGEST_PREFIX  # 20 ms that only calling hours pay

    digits = prefix.removeprefix("+")
    for length in range(min(TIMEZONE_LONGEST_PREFIX, len(digits)), 0, -1):
        found = TIMEZONE_DATA.get(digits[:length])
        if found is not None:
            return digits[:length], found
    return "", ()


@lru_cache(maxsize=1024)
def _zones_in_area(area: str) -> Zones:
    """All zones of a North American area code; () for one that is nowhere, such as 1800."""
    from phonenumbers.tzdata import TIMEZONE_DATA

    return _distinct(
        sorted({name for prefix, names in TIMEZONE_DATA.items() if prefix.startswith(area) for name in names})
    )


def _distinct(names: Iterable[str]) -> Zones:
    by_clock: dict[object, str] = {}
    for name in sorted(names, key=lambda name: name not in _KNOWN):
        if name == _UNKNOWN:
            continue
        try:
            zone = ZoneInfo(name)
        except ZoneInfoNotFoundError:
            continue
        by_clock.setdefault((_WINTER.astimezone(zone).utcoffset(), _SUMMER.astimezone(zone).utcoffset()), name)
    return tuple(by_clock.values())
