"""Orders of the API, given to the engine: whose campaign or call it is, and whether the order comes too late."""

from collections.abc import Callable

from api.backend import Verdict
from dialer.core.explain import Hold, Rule
from dialer.core.model import CampaignId, CampaignStatus, Disposition
from dialer.engine import Engine
from scheduler.handles import Handles


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

    async def explain(self, account_id: int, uuid: str) -> Hold | None:
        """The rule that holds the call back now; None: the account has no such call."""
        found = self._handles.call(account_id, uuid)
        if found is None:
            return None
        call, finished = found
        if finished is not None:
            return Hold(Rule.FINISHED, f"the call is finished: {finished}")
        next_at, snoozed = self._handles.waiting(call)
        return self._engine.explain(call, next_at, snoozed)

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
