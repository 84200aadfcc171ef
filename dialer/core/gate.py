"""A campaign's gate: from when on, and until when, its calls may go.

While nobody of a campaign may be called, its lane sleeps: a hundred thousand calls wait in one number. Where some may and
some may not, those who may not are put off one by one as their turn comes, each to a place of its own behind the opening, a
stagger apart, so that the opening sees no burst.
"""

from dataclasses import dataclass, field

from dialer.core.calling_hours import Opening, next_opening, opening_at
from dialer.core.hours import Rules
from dialer.core.model import CallRecord, Campaign, Disposition, WallMs
from dialer.core.zones import Zones, zones_of

# Without a stagger too, calls that were put off do not all come back in one turn of the loop.
LEAST_GAP_MS = 1

ZONE_UNKNOWN = "the person's time zone is unknown, and the calling hours ask for it"
EXPIRED = "expires_at has passed"
NO_OPENING = "there is no opening before expires_at"
NEVER_OPEN = "the calling hours have no opening within a year"


@dataclass(frozen=True, slots=True)
class Later:
    """Not now: put off to `due_at`, which is never counted as an attempt."""

    due_at: WallMs
    reason: str


@dataclass(frozen=True, slots=True)
class Never:
    """Not at all."""

    disposition: Disposition
    reason: str


@dataclass(slots=True)
class Gate:
    """The calling hours and the expiry of one campaign. `zones`: where its people are; () is not known.

    Each element is what `zones_of` gives for some of its people.
    """

    rules: Rules | None
    expires_at: WallMs | None
    stagger_ms: int
    zones: tuple[Zones, ...] = ()
    _open: Opening | None = None
    _closed_from: WallMs | None = None
    _places: dict[WallMs, WallMs] = field(default_factory=dict)

    @classmethod
    def of(cls, campaign: Campaign) -> "Gate":
        """The gate of an accepted campaign. One without hours and expiry is always open."""
        hours = campaign.playbook.calling_hours
        rules = None if hours is None else hours.compiled()
        return cls(rules, campaign.expires_at, campaign.stagger_ms, campaign.zones)

    def opens_at(self, at: WallMs) -> WallMs:
        """When the first of the campaign's people may be called, `at` or later.

        Once the campaign has expired, or will before anybody may be called, it is open: its calls are to be finished.
        """
        opens = self._first_opening(at)
        if self.expires_at is not None and (opens is None or opens >= self.expires_at):
            return WallMs(min(at, self.expires_at))
        return at if opens is None else opens

    def judge(self, record: CallRecord, at: WallMs) -> Later | Never | None:
        """Whether the call may go at `at`; None: it may. Taking a later place moves the next one behind it."""
        found = self.look(record, at)
        if not isinstance(found, Later):
            return found
        due_at = max(found.due_at, self._places.get(found.due_at, found.due_at))
        self._places = {opening: last for opening, last in self._places.items() if opening > at}
        self._places[found.due_at] = WallMs(due_at + max(self.stagger_ms, LEAST_GAP_MS))
        if self.expires_at is not None:
            due_at = min(due_at, self.expires_at)
        return Later(WallMs(due_at), found.reason)

    def look(self, record: CallRecord, at: WallMs) -> Later | Never | None:
        """As `judge`, for those who only ask: `due_at` is the opening itself, and no place is taken."""
        if self.expires_at is not None and at >= self.expires_at:
            return Never(Disposition.EXPIRED, EXPIRED)
        if self.rules is None:
            return None
        zones = zones_of(record.phone, record.contact, self.rules)
        if zones is None:
            return Never(Disposition.SUPPRESSED, ZONE_UNKNOWN)
        opens = next_opening(at, zones, self.rules)
        if opens == at:
            return None
        if opens is None or (self.expires_at is not None and opens >= self.expires_at):
            return Never(Disposition.EXPIRED, NEVER_OPEN if opens is None else NO_OPENING)
        return Later(opens, f"outside {self.rules.name} in {' or '.join(zones[:3])}{' ...' if zones[3:] else ''}")

    def delay(self, record: CallRecord, since: WallMs, until: WallMs) -> str | None:
        """Why a call that was due at `since` is due at `until` only; None: the hours have no part in it."""
        held = self.look(record, since) if until > since else None
        return held.reason if isinstance(held, Later) else None

    def _first_opening(self, at: WallMs) -> WallMs | None:
        """The earliest opening of any zone; None: there is none."""
        if self.rules is None or not self.zones:
            return at
        if self._open is not None and self._closed_from is not None and self._closed_from <= at < self._open.closes:
            return WallMs(max(at, self._open.opens))
        found = [o for o in (opening_at(at, zones, self.rules) for zones in self.zones) if o is not None]
        if not found:
            return None
        self._open = min(found, key=lambda opening: opening.opens)
        self._closed_from = WallMs(min(at, self._open.opens))
        return WallMs(max(at, self._open.opens))
