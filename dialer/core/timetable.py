"""When a campaign's calls are due, as programs write it: `launch_at`, the `recall` list, and the way times are shown."""

import json
import re
from datetime import UTC, datetime, timedelta

from dialer.core.model import WallMs

MOST_RECALLS = 10
LONGEST_RECALL_MINUTES = 43_200

Minutes = int | float

_LAST_YEAR = 9000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What ISO 8601 writes, and no more: what else `fromisoformat` reads changes with Python's version.
_DATE_WITH_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}|[0-9]{4}-W[0-9]{2}-[1-7]|[0-9]{4}W[0-9]{2}[1-7])[T ]"
    r"[0-9]{2}(:?[0-9]{2}(:?[0-9]{2}([.,][0-9]+)?)?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?",
    re.ASCII,
)
_NO_LAUNCH = "must be a date with a time in ISO 8601, such as 2025-03-01T10:00:00Z"


def read_launch_at(value: object) -> WallMs | None:
    """The instant that `value` names in ISO 8601; None for None: now. Without an offset it is UTC.

    A date alone has no time and is refused, and so is a year after 9000 (its recalls could pass the year 9999). Raises
    ValueError with the reason. What is finer than a millisecond is rounded up, so that nothing is early.

    >>> show_time(read_launch_at("2025-03-01T12:00+02:00"))
    '2025-03-01T10:00:00.000Z'
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(_NO_LAUNCH)  # noqa: TRY004 - the caller shows every refusal in the same way
    text = value.strip(" ").upper()
    if not _DATE_WITH_TIME.fullmatch(text):
        raise ValueError(_NO_LAUNCH)
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(_NO_LAUNCH) from error
    if moment.year > _LAST_YEAR:
        raise ValueError(f"must not be after the year {_LAST_YEAR}")
    return WallMs(-((_EPOCH - moment) // timedelta(milliseconds=1)))


def show_time(at: WallMs) -> str:
    """UTC with milliseconds, `2025-03-01T10:00:00.000Z`."""
    return _moment(at).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def show_minute(at: WallMs) -> str:
    """UTC for people, `01/03/2025 10:00`."""
    moment = _moment(at)
    return f"{moment.day:02d}/{moment.month:02d}/{moment.year:04d} {moment:%H:%M}"


def read_recall(value: object) -> tuple[Minutes, ...]:
    """The minutes of a recall list, ascending and each once; () for none.

    `value` is an array of at most 10 numbers above 0 and up to 43,200 (30 days), or a string that holds such an array as
    JSON; None, "" and [] mean none. Whole numbers come back as integers. Raises ValueError with the reason.

    >>> read_recall("[120, 30, 0.5, 30.0]")
    (0.5, 30, 120)
    """
    if isinstance(value, str):
        if not value:
            return ()
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValueError("must hold a JSON array of minutes, such as [30, 120]") from error
    elif value is None:
        return ()
    if not isinstance(value, list):
        raise ValueError("must be an array of minutes, such as [30, 120]")  # noqa: TRY004 - as in read_launch_at
    if len(value) > MOST_RECALLS:
        raise ValueError(f"must hold at most {MOST_RECALLS} recalls")
    return tuple(sorted({_minutes(minutes) for minutes in value}))


def _minutes(value: object) -> Minutes:
    # True is an int to Python.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must hold numbers only")  # noqa: TRY004 - as in read_launch_at
    # Written so that NaN, for which no comparison holds, is refused too.
    if not 0 < value <= LONGEST_RECALL_MINUTES:
        raise ValueError(f"must hold numbers above 0 and up to {LONGEST_RECALL_MINUTES} (minutes)")
    return int(value) if float(value).is_integer() else value


def _moment(at: WallMs) -> datetime:
    return _EPOCH + timedelta(milliseconds=at)
