"""Orders of the API, given to the engine: whose campaign or call it is, and whether the order comes too late."""

import asyncio
from collections.abc import Callable, Sequence

from api.backend import Verdict
from dialer.core.explain import Hold, Rule
from dialer.core.model import CallId, CampaignId, CampaignStatus, Disposition
from dialer.engine import Engine
from scheduler.handles import Handles

# Some 3 ms of the loop's time.
REVIEWED_AT_ONCE = 100
REVIEW_REST_SECONDS = 0.01


class EngineControl:
    """Keeps `api.backend.Control`. What was ordered is on disk when a method returns; raises `StoreUnavailable` else."""

    def __init__(self, engine: Engine, handles: Handles) -> None:
        self._engine = engine
        self._handles = handles

    async def pause(self, account_id: int, uuid: str) -> Verdict:
        """Start no more attempts of the campaign. FINAL: it is over."""
        return self._order(account_id, uuid, self._engine.pause)

    async def resume(self, account_id: int, uuid: str) -> Verdict:
        """Let a paused campaign go on. FINAL: it is over."""
        return self._order(account_id, uuid, self._engine.resume)

    async def cancel(self, account_id: int, uuid: str) -> Verdict:
        """Cancel the campaign. FINAL: it was completed before; cancelled before is DONE."""
        return self._order(account_id, uuid, self._engine.cancel, repeated=CampaignStatus.CANCELLED)

    async def cancel_call(self, account_id: int, uuid: str) -> Verdict:
        """Cancel a scheduled call, hang a live one up. FINAL: it had finished in another way."""
        found = self._handles.call(account_id, uuid)
        if found is None:
            return Verdict.UNKNOWN
        call, finished = found
        if finished is not None:
            return Verdict.DONE if finished is Disposition.CANCELLED else Verdict.FINAL
        self._engine.cancel_call(call)
        return Verdict.DONE

    async def release(self, account_id: int, campaign: str | None, calls: Sequence[str]) -> int | None:
        """Let calls under review go on: these, or without any the campaign's, or without one the account's."""
        return await self._review(account_id, campaign, calls, self._engine.release)

    async def cancel_under_review(self, account_id: int, campaign: str | None, calls: Sequence[str]) -> int | None:
        """Cancel calls under review, chosen as in `release`."""
        return await self._review(account_id, campaign, calls, self._engine.cancel_under_review)

    async def _review(
        self,
        account_id: int,
        campaign: str | None,
        calls: Sequence[str],
        decide: Callable[[CallId, CallId, int], list[CallId]],
    ) -> int | None:
        if calls:
            found = [self._handles.call(account_id, uuid) for uuid in calls]
            ranges = [(one[0], one[0]) for one in found if one is not None]
            if len(ranges) < len(calls):
                return None
        else:
            of_campaigns = self._handles.reviewed(account_id, campaign)
            if of_campaigns is None:
                return None
            ranges = of_campaigns
        decided = since_rest = 0
        for first, last in ranges:
            start = first
            while some := decide(start, last, REVIEWED_AT_ONCE):
                start = CallId(some[-1] + 1)
                decided += len(some)
                since_rest += len(some)
                # What falls due meanwhile is dialed meanwhile.
                await asyncio.sleep(0 if since_rest < REVIEWED_AT_ONCE else REVIEW_REST_SECONDS)
                since_rest %= REVIEWED_AT_ONCE
        return decided

    async def explain(self, account_id: int, uuid: str) -> Hold | None:
        """The rule that holds the call back now; None: the account has no such call."""
        found = self._handles.call(account_id, uuid)
        if found is None:
            return None
        call, finished = found
        if finished is not None:
            return Hold(Rule.FINISHED, f"the call is finished: {finished}")
        return self._engine.explain(call, self._handles.waiting(call))

    def _order(
        self,
        account_id: int,
        uuid: str,
        order: Callable[[CampaignId], None],
        repeated: CampaignStatus | None = None,
    ) -> Verdict:
        found = self._handles.campaign(account_id, uuid)
        if found is None:
            return Verdict.UNKNOWN
        campaign, status = found
        if status in {CampaignStatus.COMPLETED, CampaignStatus.CANCELLED}:
            return Verdict.DONE if status is repeated else Verdict.FINAL
        order(campaign)
        return Verdict.DONE
