"""A store of either kind, what a test does to it, and the changes that it is told of a campaign's calls."""

from dataclasses import dataclass
from typing import Any

import pytest

from dialer.core.changes import (
    AttemptArmed,
    AttemptDialed,
    AttemptEnded,
    CallFinished,
    CallSnoozed,
    CampaignMoved,
    Change,
    RecallScheduled,
    StepTaken,
)
from dialer.core.model import (
    CallId,
    Campaign,
    CampaignStatus,
    Disposition,
    WallMs,
)

T0 = 1_740_823_200_000  # 2025-03-01T10:00:00Z
MINUTE = 60_000


@dataclass
class World:
    """One store, and what a test does to it from outside. The fake is both; SQLite has a file beside the store."""

    inner: Any

    @property
    def store(self) -> Any:
        return getattr(self.inner, "store", self.inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def call_of(campaign: Campaign, position: int = 0) -> CallId:
    return CallId(campaign.first_call + position)


def arm(campaign: Campaign, position: int = 0, number: int = 1, at: int = T0) -> AttemptArmed:
    call = call_of(campaign, position)
    return AttemptArmed(call, campaign.id, number, WallMs(at), WallMs(at), "pbx", "", f"{call}-{number}@dialer")


def dial(campaign: Campaign, position: int = 0, number: int = 1, at: int = T0) -> AttemptDialed:
    return AttemptDialed(call_of(campaign, position), campaign.id, number, WallMs(at), "")


def end(
    campaign: Campaign,
    position: int = 0,
    number: int = 1,
    at: int = T0 + 5_000,
    disposition: Disposition = Disposition.BUSY,
) -> AttemptEnded:
    return AttemptEnded(
        call_of(campaign, position), campaign.id, number, WallMs(at), disposition, "Busy Here", 486, 17, "far"
    )


def recall(campaign: Campaign, position: int = 0, number: int = 2, at: int = T0 + MINUTE) -> RecallScheduled:
    return RecallScheduled(call_of(campaign, position), campaign.id, number, WallMs(at))


def finish(
    campaign: Campaign,
    position: int = 0,
    disposition: Disposition = Disposition.BUSY,
    attempted: bool = True,
    at: int = T0 + 5_000,
) -> CallFinished:
    return CallFinished(call_of(campaign, position), campaign.id, WallMs(at), disposition, "Busy Here", attempted)


def snooze(campaign: Campaign, position: int = 0, number: int = 1, at: int = T0 + MINUTE) -> CallSnoozed:
    return CallSnoozed(call_of(campaign, position), campaign.id, number, WallMs(at), "the number is in another call")


def move(campaign: Campaign, status: CampaignStatus, at: int = T0) -> CampaignMoved:
    return CampaignMoved(campaign.id, WallMs(at), status)


def whole_life(campaign: Campaign, position: int = 0) -> list[Change]:
    return [
        arm(campaign, position),
        dial(campaign, position),
        end(campaign, position, disposition=Disposition.ANSWERED),
        finish(campaign, position, Disposition.ANSWERED),
    ]


def due(world: World, until: int) -> list[tuple[int, int]]:
    return list(world.store.due_timers(WallMs(until)))


def taken(c: Campaign, position: int, *, number: int = 1) -> StepTaken:
    line = f'{{"step":{position - 1},"do":"wait","at":{T0},"ended_at":{T0 + 10}}}'
    return StepTaken(call_of(c), c.id, number, WallMs(T0 + 10), position, line, '{"gathered":{"pin":"1"}}')


def refused(world: World, campaign: Campaign, *changes: Change) -> None:
    before = world.counts(campaign.id), world.store.campaign(campaign.id), world.store.open_attempts()
    with pytest.raises(ValueError, match=r"call|campaign|attempt"):
        world.store.apply(list(changes))
    assert (world.counts(campaign.id), world.store.campaign(campaign.id), world.store.open_attempts()) == before
