"""The judge's part about what waits: nothing that is due is left behind while nothing stands in its way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dialer.core.breaker import TrunkState
from dialer.core.model import CallId, CampaignStatus, Mono

if TYPE_CHECKING:
    from tests.support.dispatch_judge import Judge, Line


@dataclass
class WaitingJudge:
    """`down_at`: when each trunk was last seen not to be up."""

    judge: Judge
    down_at: dict[str, float] = field(default_factory=dict)

    def quiet(self, trunk: str) -> bool:
        """Nothing about the rate of this trunk can stand in the way of an INVITE."""
        judge = self.judge
        share = judge.pacing().throttle(trunk).share(Mono(judge.clock.mono))
        interval = 1 / judge.trunks[trunk].calls_per_second / share
        past = max([judge.booted_at, judge.unsure_at, *judge.departures[trunk][-1:]])
        arming = [*judge.armed.values(), *judge.agents.armed.values()]
        return trunk not in arming and judge.clock.mono > past + max(1.1, interval + 0.1)

    def left_behind(self) -> list[CallId]:
        """Calls that are due, that nothing stands in the way of, and that were not armed."""
        judge = self.judge
        if len(judge.taken) >= judge.max_concurrent_calls:
            return []
        open_trunks = self._free()
        busy = {judge.store.calls[call].phone for call in judge.lines}
        behind = []
        for held in judge.store.campaigns.values():
            if held.status not in {CampaignStatus.SCHEDULED, CampaignStatus.RUNNING}:
                continue
            if judge.closed(judge.clock.wall):  # a story has set calling hours
                continue
            free = [name for name in held.campaign.playbook.trunks if name in open_trunks]
            if not free or not self.quiet(free[0]):
                continue
            last = judge.first_departure.get(held.campaign.id, (float("-inf"), 0.0))[0]
            arming = any(judge.campaign_of(call).id == held.campaign.id for call in judge.armed)
            staggered = (
                not arming
                and judge.clock.mono
                > max(last, judge.booted_at, judge.unsure_at) + held.campaign.stagger_ms / 1000 + 0.01
            )
            behind += [
                call
                for call in map(CallId, range(held.campaign.first_call, held.campaign.first_call + held.campaign.size))
                if self._waits(call, busy) and (staggered or judge.store.calls[call].attempts)
            ]
            behind += [
                call
                for call, line in judge.lines.items()
                if self._retry_waits(call, line)
                and judge.campaign_of(call).id == held.campaign.id
                and (staggered or line.left or line.number > 1)
            ]
        return behind

    def _retry_waits(self, call: CallId, line: Line) -> bool:
        judge = self.judge
        if (
            line.retry is None
            or line.doubted
            or call in judge.armed
            or call in judge.unheard
            or judge.leg_of(call) is not None
        ):
            return False
        trunk, at = line.retry
        if line.detoured or self.detoured(call, line):
            return False
        return judge.clock.mono > at + 0.001 and trunk in self._free() and self.quiet(trunk)

    def detoured(self, call: CallId, line: Line) -> bool:
        """Whether a trunk of the route was down since it was decided what follows, or all was configured anew: then that may
        be something else."""
        if self.judge.reconfigured_at >= line.retry_since:
            return True
        route = self.judge.campaign_of(call).playbook.trunks
        return any(self.down_at.get(trunk, float("-inf")) >= line.retry_since for trunk in route)

    def _free(self) -> set[str]:
        judge = self.judge
        taken = judge.taken
        return {
            name
            for name, trunk in judge.trunks.items()
            # What the breaker has to say is its own tests' matter.
            if taken.count(name) < trunk.max_concurrent_calls and judge.pacing().breaker(name).admits
        }

    def look_at_trunks(self) -> None:
        """Remember which are not up: their calls may go another way, or wait."""
        judge = self.judge
        for name in judge.trunks:
            if judge.pacing().breaker(name).state is not TrunkState.UP:
                self.down_at[name] = judge.clock.mono

    def _waits(self, call: CallId, busy: set[str]) -> bool:
        judge = self.judge
        row = judge.store.calls[call]
        due_at = row.next_at if row.next_at is not None else judge.campaign_of(call).slot(call)
        if call in judge.store.reviewed:
            return False
        over = row.finished is not None or row.open is not None or (row.next_at is None and bool(row.attempts))
        return not over and row.phone not in busy and due_at <= judge.clock.wall
