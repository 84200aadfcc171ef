"""When what is stored comes due, for people who ask: calling hours put it off, and the schedule's rows do not say so."""

import json
from functools import lru_cache
from typing import Any, Protocol

from dialer.core.gate import Gate
from dialer.core.hours import CallingHours, Rules
from dialer.core.model import WallMs


class CampaignRow(Protocol):
    """A row of `campaign` by its columns, with how many calls are `under_review`; and of its playbook `ring_seconds` and
    `calling_hours` (JSON; None: none).
    """

    def __getitem__(self, column: str, /) -> Any:  # noqa: ANN401 - what SQLite holds there
        """The column's value."""
        ...


def opens_at(campaign: CampaignRow, at: WallMs) -> WallMs:
    """`at`, or where nobody of the campaign may be called then, when the first of them may be."""
    if campaign["calling_hours"] is None:
        return at
    zones = tuple(tuple(zones) for zones in json.loads(campaign["zones"]))
    return Gate(_rules(campaign["calling_hours"]), campaign["expires_at"], campaign["stagger_ms"], zones).opens_at(at)


def due_in_hours(campaign: CampaignRow, due_at: WallMs, now: WallMs) -> WallMs:
    """When what is due at `due_at` may be dialed: as it is, late or not, unless the campaign's people sleep by then."""
    at = max(due_at, now)
    opens = opens_at(campaign, at)
    return due_at if opens == at else opens


@lru_cache(maxsize=64)
def _rules(hours: str) -> Rules:
    return CallingHours.model_validate_json(hours).compiled()
