"""How far a campaign has come: the counts that change with each change, kept in one place so that they always close.

scheduled + live + finished = size, where scheduled is what is left over
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from dialer.core.changes import (
    AttemptAnswered,
    AttemptArmed,
    AttemptDialed,
    AttemptEnded,
    AttemptRinging,
    CallFinished,
    CallSnoozed,
    CampaignMoved,
    Change,
    RecallScheduled,
)
from dialer.core.model import CallId, CampaignId, CampaignStatus, Disposition, WallMs

ENDED: Final = frozenset({CampaignStatus.COMPLETED, CampaignStatus.CANCELLED})


@dataclass(slots=True)
class Progress:
    """One campaign's row while a batch of changes is being applied. A change that cannot follow raises ValueError.

    `claims` are the calls, by position, whose first attempt began or was put off, and that the cursor has to pass in
    `settle`; `outcomes` counts the calls that the batch finished, by disposition.
    """

    id: CampaignId
    status: CampaignStatus
    first_call: CallId
    size: int
    cursor: int
    live: int
    finished: int
    attempts: int
    last_first_attempt_at: WallMs | None
    ended_at: WallMs | None
    claims: list[int] = field(default_factory=list)
    outcomes: Counter[Disposition] = field(default_factory=Counter)
    moved: bool = False

    def take(self, change: Change) -> None:
        """Count one change. Raises ValueError when it contradicts what the campaign has been through."""
        _COUNT[type(change)](self, change)

    def claimed(self, call: CallId) -> bool:
        """Whether the cursor has passed the call: only then can it have a timer row."""
        return call - self.first_call < self.cursor

    def arm(self, change: AttemptArmed) -> None:
        """An attempt begins."""
        self._refuse_when_ended(change.call, "an attempt")
        if change.number == 1:
            self._claim(change.call)
            if change.fire_at > (self.last_first_attempt_at or 0):
                self.last_first_attempt_at = change.fire_at
        self.live += 1
        self.attempts += 1
        if self.live + self.finished > self.size:
            raise ValueError(f"call {change.call}: campaign {self.id} has no pending call left to attempt")

    def end(self, change: AttemptEnded) -> None:
        """An attempt is over."""
        if self.live == 0:
            raise ValueError(f"call {change.call}: campaign {self.id} has no live call")
        self.live -= 1

    def wait(self, change: RecallScheduled | CallSnoozed) -> None:
        """A call got a timer."""
        self._refuse_when_ended(change.call, "a timer")
        self._claim(change.call)

    def finish(self, change: CallFinished) -> None:
        """A call reached its final state."""
        self._position(change.call)
        self.finished += 1
        self.outcomes[change.disposition] += 1
        if self.live + self.finished > self.size:
            raise ValueError(f"call {change.call}: was finished already, with campaign {self.id} ({self.status})")

    def move(self, change: CampaignMoved) -> None:
        """The status changes. A repeated move changes nothing."""
        if change.status == self.status:
            return
        if self.status in ENDED:
            raise ValueError(f"campaign {self.id} is {self.status}: it cannot become {change.status}")
        if change.status is CampaignStatus.COMPLETED and self.finished != self.size:
            raise ValueError(f"campaign {self.id} is not complete: {self.size - self.finished} calls are not finished")
        if change.status is CampaignStatus.CANCELLED:
            pending = self.size - self.live - self.finished
            self.finished += pending
            self.outcomes[Disposition.CANCELLED] += pending
        if change.status in ENDED:
            self.ended_at = change.at
        self.status = change.status
        self.moved = True

    def settle(self, unfinished: Callable[[int, int], int]) -> None:
        """Move the cursor past the claims.

        Calls are claimed in order: one that the cursor jumped over would be lost at the next start. Only calls that are
        finished already may be jumped over; `unfinished` says how many of the positions from .. below to are not. Raises
        ValueError on a lost call.
        """
        for position in sorted(self.claims):
            if position > self.cursor and (lost := unfinished(self.cursor, position)):
                call = self.first_call + position
                raise ValueError(f"call {call}: {lost} earlier calls of campaign {self.id} were not claimed yet")
            self.cursor = max(self.cursor, position + 1)
        self.claims.clear()

    def _claim(self, call: CallId) -> None:
        position = self._position(call)
        if position >= self.cursor:
            self.claims.append(position)

    def _position(self, call: CallId) -> int:
        position = call - self.first_call
        if not 0 <= position < self.size:
            raise ValueError(f"call {call} does not belong to campaign {self.id}")
        return position

    def _refuse_when_ended(self, call: CallId, what: str) -> None:
        # Not `in ENDED`: hashing a member of an Enum costs as much as all the rest of a claim's counting.
        if self.status is CampaignStatus.COMPLETED or self.status is CampaignStatus.CANCELLED:
            raise ValueError(f"call {call}: campaign {self.id} is {self.status}, so {what} cannot follow")


def _nothing(_progress: Progress, _change: object) -> None:
    """The counts do not change."""


_COUNT: Final[dict[type, Callable[[Progress, Any], None]]] = {
    AttemptArmed: Progress.arm,
    AttemptDialed: _nothing,
    AttemptRinging: _nothing,
    AttemptAnswered: _nothing,
    AttemptEnded: Progress.end,
    RecallScheduled: Progress.wait,
    CallSnoozed: Progress.wait,
    CallFinished: Progress.finish,
    CampaignMoved: Progress.move,
}
