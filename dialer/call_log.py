"""What becomes of calls and campaigns, in the log, by the ids that users follow.

One line for each attempt, once it has ended and what follows is decided; with the level debug, its way there too. All steps of
all calls would be more, at 100 calls a second, than a journal takes (systemd's: 10,000 lines in 30 s).
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import structlog

from dialer.core.changes import (
    AttemptAnswered,
    AttemptArmed,
    AttemptDialed,
    AttemptEnded,
    AttemptRetried,
    AttemptRinging,
    CallFinished,
    CallSnoozed,
    CampaignMoved,
    Change,
    RecallScheduled,
)
from dialer.core.model import CallId, CampaignId, WallMs
from dialer.core.timetable import show_time
from dialer.ports import StoreUnavailable

_CAMPAIGNS_KNOWN = 1000
# It has the level that is set, also after a reload: what is not told is not even looked up.
_LEVEL = logging.getLogger("dialer")

Fields = dict[str, Any]


@dataclass(slots=True)
class _Attempt:
    """What is to be repeated of an attempt under way."""

    trunk: str
    phone: str
    answered_at: WallMs | None = None


class CallLog:
    """`call` and `campaign` give public ids; None for the campaign of a single call, which nobody knows."""

    def __init__(self, call: Callable[[CallId], str], campaign: Callable[[CampaignId], str | None]) -> None:
        self._call = call
        self._campaign = lru_cache(_CAMPAIGNS_KNOWN)(campaign)
        self._live: dict[CallId, _Attempt] = {}
        self._ended: dict[CallId, Fields] = {}
        self._log = structlog.get_logger("calls").bind()

    @property
    def _tells(self) -> bool:
        return _LEVEL.isEnabledFor(logging.INFO)

    @property
    def _tells_all(self) -> bool:
        return _LEVEL.isEnabledFor(logging.DEBUG)

    def accepted(self, campaign: CampaignId) -> None:
        """Tell of a campaign that was accepted."""
        if self._tells:
            with suppress(StoreUnavailable):
                self._tell_campaign(campaign, "campaign accepted")

    def stored(self, changes: Sequence[Change]) -> None:
        """Tell of changes that are on disk, in their order."""
        if self._tells:
            for change in changes:
                # A campaign's id is not worth more than a line: the disk has just refused to give it.
                with suppress(StoreUnavailable):
                    self._tell(change)

    def _tell(self, change: Change) -> None:
        match change:
            case AttemptArmed():
                self._live[change.call] = _Attempt(change.trunk, change.phone)
            case AttemptRetried():
                self._retried(change)
            case AttemptDialed():
                self._passed("dialing", change)
            case AttemptRinging():
                self._passed("ringing", change)
            case AttemptAnswered():
                self._passed("answered", change)
            case AttemptEnded():
                self._ended[change.call] = self._ending(change)
            case RecallScheduled():
                self._settle(change.call, state="scheduled", next_attempt_at=show_time(change.due_at))
            case CallSnoozed() if self._tells_all:
                at = show_time(change.due_at)
                self._log.debug("put off", **self._ids(change), next_attempt_at=at, reason=change.reason)
            case CallFinished():
                self._finished(change)
            case CampaignMoved():
                self._moved(change)

    def _retried(self, change: AttemptRetried) -> None:
        if (attempt := self._live.get(change.call)) is not None:
            attempt.trunk = change.trunk
        if self._tells_all:
            self._log.debug("technical retry", call=self._call(change.call), attempt=change.number, trunk=change.trunk)

    def _passed(self, event: str, change: AttemptDialed | AttemptRinging | AttemptAnswered) -> None:
        attempt = self._live.get(change.call)
        if attempt is None:
            return
        if isinstance(change, AttemptAnswered):
            attempt.answered_at = change.at
        if self._tells_all:
            told = {**self._ids(change), "attempt": change.number, "phone": attempt.phone, "trunk": attempt.trunk}
            self._log.debug(event, **told, at=show_time(change.at))

    def _ending(self, change: AttemptEnded) -> Fields:
        attempt = self._live.pop(change.call, None)
        told = {**self._ids(change), "attempt": change.number}
        if attempt is not None:
            told |= {"phone": attempt.phone, "trunk": attempt.trunk}
        told |= {"disposition": str(change.disposition), "reason": change.reason, "ended_by": change.ended_by}
        told |= {"sip_status": change.sip_status, "q850_cause": change.q850}
        if attempt is not None and attempt.answered_at is not None:
            told["talk_seconds"] = max(0, change.at - attempt.answered_at) / 1000
        return {name: value for name, value in told.items() if value is not None}

    def _settle(self, call: CallId, **state: str) -> None:
        if (told := self._ended.pop(call, None)) is not None:
            self._log.info("attempt ended", **told, **state)

    def _finished(self, change: CallFinished) -> None:
        if change.call in self._ended:
            # The last attempt's disposition and the call's differ where no recall would come in time.
            expired = (
                {} if change.disposition == self._ended[change.call]["disposition"] else {"call_reason": change.reason}
            )
            self._settle(change.call, state="finished", **expired)
        else:
            self._log.info(
                "call finished", **self._ids(change), disposition=str(change.disposition), reason=change.reason
            )

    def _moved(self, change: CampaignMoved) -> None:
        self._tell_campaign(change.campaign, f"campaign is {change.status}")

    def _tell_campaign(self, number: CampaignId, event: str) -> None:
        if (campaign := self._campaign(number)) is not None:
            self._log.info(event, campaign=campaign)

    def _ids(
        self, change: AttemptDialed | AttemptRinging | AttemptAnswered | AttemptEnded | CallSnoozed | CallFinished
    ) -> Fields:
        campaign = self._campaign(change.campaign)
        return {"call": self._call(change.call)} | ({} if campaign is None else {"campaign": campaign})
