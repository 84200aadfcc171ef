"""How far a campaign has come: the counts that its calls' ends change, kept in one place so that they always close.

scheduled + live + finished = size, where live is counted by the open attempts and scheduled is what is left over
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from dialer.core.changes import (
    AttemptArmed,
    AttemptEnded,
    CallFinished,
    CallSnoozed,
    CampaignMoved,
    RecallScheduled,
)
from dialer.core.model import CallId, CampaignId, CampaignStatus, Disposition, WallMs

ENDED: Final = frozenset({CampaignStatus.COMPLETED, CampaignStatus.CANCELLED})


@dataclass(slots=True)
class Progress:
    """One campaign as changes are applied to it, a batch at a time. A change that cannot follow raises ValueError.

    `attempts` are those that are over; `first_at` is when the last first attempt was to leave. The rest is of the batch under
    way: `claims` are the positions whose first attempt began or was put off, and that the cursor has to pass in `settle`;
    `outcomes` counts the calls that were finished; `changed` says that the row has to be written, `moved` its status.
    """

    id: CampaignId
    status: CampaignStatus
    first_call: CallId
    size: int
    cursor: int
    finished: int
    attempts: int
    first_at: WallMs | None
    ended_at: WallMs | None
    claims: set[int] = field(default_factory=set)
    outcomes: dict[Disposition, int] = field(default_factory=dict)
    changed: bool = False
    moved: bool = False

    @property
    def over(self) -> bool:
        """No attempt of it begins any more."""
        # Not `in ENDED`: hashing a member of an Enum costs as much as all the rest of a claim's counting.
        return self.status is CampaignStatus.COMPLETED or self.status is CampaignStatus.CANCELLED

    def arm(self, changes: Iterable[AttemptArmed]) -> tuple[list[CallId], list[AttemptArmed]]:
        """Attempts begin; the calls that were never claimed before, and those that were and may have a timer row.

        The counts learn of them from their own rows.
        """
        self._refuse_when_over("an attempt")
        fresh: list[CallId] = []
        again: list[AttemptArmed] = []
        cursor, claims = self.cursor, self.claims
        for change in changes:
            position = self._position(change.call)
            if change.number == 1 and (self.first_at is None or change.fire_at > self.first_at):
                self.first_at = change.fire_at
            if change.number > 1 or position < cursor or position in claims:
                again.append(change)
            else:
                claims.add(position)
                fresh.append(change.call)
        return fresh, again

    def end(self, change: AttemptEnded) -> None:
        """An attempt is over."""
        self._position(change.call)
        self.attempts += 1
        self.changed = True

    def wait(self, change: RecallScheduled | CallSnoozed) -> None:
        """A call got a timer."""
        self._refuse_when_over("a timer")
        position = self._position(change.call)
        if position >= self.cursor:
            self.claims.add(position)
        self.changed = True

    def finish(self, change: CallFinished, *, was_live: bool) -> None:
        """A call reached its final state. `was_live`: its attempt ended just now."""
        self._position(change.call)
        if self.status is CampaignStatus.CANCELLED and not was_live:
            raise ValueError(f"call {change.call}: was finished already, with campaign {self.id} ({self.status})")
        self._count(change.disposition, 1)

    def move(self, change: CampaignMoved, live: int) -> None:
        """The status changes. A repeated move changes nothing. `live` calls go on when it is cancelled."""
        if change.status == self.status:
            return
        if self.over:
            raise ValueError(f"campaign {self.id} is {self.status}: it cannot become {change.status}")
        if change.status is CampaignStatus.COMPLETED and self.finished != self.size:
            raise ValueError(f"campaign {self.id} is not complete: {self.size - self.finished} calls are not finished")
        if change.status is CampaignStatus.CANCELLED:
            self._count(Disposition.CANCELLED, self.size - live - self.finished)
        if change.status in ENDED:
            self.ended_at = change.at
        self.status = change.status
        self.moved = True

    def settle(self, unfinished: Callable[[int, int], int]) -> None:
        """Move the cursor past the claims.

        Calls are claimed in order: one that the cursor jumped over would be lost at the next start. Only calls that are
        finished already may be jumped over; `unfinished` says how many of the calls from .. below to are not. Raises
        ValueError on a lost call.
        """
        if not self.claims:
            return
        if max(self.claims) - self.cursor < len(self.claims):
            # The usual: one behind the other. They are all different, and none is before the cursor.
            self.cursor += len(self.claims)
        for position in sorted(self.claims):
            call = self.first_call + position
            if position > self.cursor and (lost := unfinished(self.first_call + self.cursor, call)):
                raise ValueError(f"call {call}: {lost} earlier calls of campaign {self.id} were not claimed yet")
            self.cursor = max(self.cursor, position + 1)
        self.claims.clear()

    def written(self) -> None:
        """What the batch did is in the row."""
        self.outcomes.clear()
        self.changed = self.moved = False

    def _count(self, disposition: Disposition, calls: int) -> None:
        self.finished += calls
        self.outcomes[disposition] = self.outcomes.get(disposition, 0) + calls
        self.changed = True

    def _position(self, call: CallId) -> int:
        position = call - self.first_call
        if not 0 <= position < self.size:
            raise ValueError(f"call {call} does not belong to campaign {self.id}")
        return position

    def _refuse_when_over(self, what: str) -> None:
        if self.over:
            raise ValueError(f"campaign {self.id} is {self.status}: {what} cannot follow")
