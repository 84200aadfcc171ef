"""Where a person is, as far as time goes: from the contact's `timezone`, else from the number.

A number's beginning often leaves several zones open (+1, or +34 with the Canaries). Zones whose clocks always agree count as
one (Jersey and London).
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


def zones_of(phone: str, contact: Mapping[str, Any], rules: Rules) -> Zones | None:
    """The zones that the person may be in; None: unknown, and the rules ask for it.

    The contact's own, else that of the number where it is one, else the one that the rules give; without such a one, all
    that the number leaves open.
    """
    own = contact.get("timezone")
    if isinstance(own, str):
        return (own,)
    found = zones_of_number(phone[:_PREFIX_DIGITS]) if phone.startswith("+") else ()
    if len(found) == 1:
        return found
    return (rules.zone,) if rules.zone is not None else found or None


@lru_cache(maxsize=65_536)
def zones_of_number(prefix: str) -> Zones:
    """The zones that numbers beginning with `prefix` (E.164, ten characters tell enough) may be in; () for none known."""
    from phonenumbers.tzdata import TIMEZONE_DATA, TIMEZONE_LONGEST_PREFIX  # 20 ms that only calling hours pay

    digits = prefix.removeprefix("+")
    for length in range(min(TIMEZONE_LONGEST_PREFIX, len(digits)), 0, -1):
        found = TIMEZONE_DATA.get(digits[:length])
        if found is not None:
            return _distinct(found)
    return ()


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
