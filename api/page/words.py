"""How things are called and written on the page: outcomes, amounts, times."""

from collections.abc import Mapping
from datetime import UTC, datetime

from markupsafe import Markup

from dialer.core.model import Disposition

_FORMS = {"moment": "%-d %b %Y, %H:%M:%S", "exact": "%-d %b %Y, %H:%M:%S.%f", "minute": "%H:%M"}

DISPOSITIONS: Mapping[str, str] = {
    Disposition.ANSWERED: "Answered",
    Disposition.BUSY: "Busy",
    Disposition.NO_ANSWER: "No answer",
    Disposition.DECLINED: "Declined",
    Disposition.UNREACHABLE: "Unreachable",
    Disposition.INVALID_NUMBER: "Invalid number",
    Disposition.TRUNK_FAILURE: "Trunk failure",
    Disposition.MACHINE: "Machine",
    Disposition.INTERRUPTED: "Interrupted",
    Disposition.SUPPRESSED: "Suppressed",
    Disposition.EXPIRED: "Expired",
    Disposition.CANCELLED: "Cancelled",
}


def name_of(disposition: str | None) -> str:
    """A disposition for people; a dash where there is none yet."""
    return "—" if disposition is None else DISPOSITIONS.get(disposition, disposition)


def count(number: float) -> str:
    """An amount with its thousands apart; below ten with a decimal where it has one.

    >>> count(12345), count(3.21), count(3.0), count(12.6)
    ('12,345', '3.2', '3', '13')
    """
    rounded = round(number, 1)
    return f"{rounded:.1f}" if rounded < 10 and rounded != int(rounded) else f"{round(number):,}"


def share(part: int, whole: int) -> str:
    """A part in percent. A dash where there is nothing to be a part of.

    >>> share(1, 3), share(0, 0), share(999, 1000)
    ('33 %', '—', '99 %')
    """
    # Rounded down: a hundred percent is all of them.
    return f"{100 * part // whole} %" if whole else "—"


def duration(seconds: float | None) -> str:
    """Seconds for people.

    >>> duration(0.4), duration(42), duration(125), duration(3700), duration(200_000)
    ('0.4 s', '42 s', '2 min 5 s', '1 h 1 min', '2 d 7 h')
    """
    if seconds is None:
        return "—"
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0", "")
    whole = round(seconds)
    for unit, length, below, smaller in ((" d", 86_400, 3600, " h"), (" h", 3600, 60, " min"), (" min", 60, 1, " s")):
        if whole >= length:
            rest = whole % length // below
            return f"{whole // length}{unit}" + (f" {rest}{smaller}" if rest else "")
    return f"{whole} s"


def moment(at: int | str | None, form: str = "moment") -> Markup:
    """An instant (Unix milliseconds, or as the API writes it) as a `time` element; a dash for None.

    `form`: `moment` (day and time), `exact` (to the millisecond), `clock` and `minute` (of the day), `since` (how long ago,
    counted by the browser). The text is in UTC; the browser's script puts its own time there.
    """
    if at is None:
        return Markup("—")
    when = datetime.fromisoformat(at) if isinstance(at, str) else datetime.fromtimestamp(at / 1000, UTC)
    written = f"{when:{_FORMS.get(form, '%H:%M:%S')}}"
    if form == "exact":
        written = written[:-3]  # of microseconds
    iso = when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}" data-form="{}">{}</time>').format(iso, form, written)
