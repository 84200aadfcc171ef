"""What a playbook's interpreter answers with: effects on the wire, and what only the engine's floor carries out.

And what that floor tells it: that a time has come, and how it goes with an agent who is called.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dialer.core.agents import Agent
from dialer.core.changes import TransferStage
from dialer.core.disposition import Why
from dialer.core.effects import Effect
from dialer.core.events import EndedBy, TalkEvent
from dialer.core.model import Disposition, LegId, WallMs


@dataclass(frozen=True, slots=True)
class Alarm:
    """Tell the script `TimeUp(token)` in so many seconds."""

    token: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TimeUp:
    """The time of an alarm has come."""

    token: int


@dataclass(frozen=True, slots=True)
class Note:
    """A step is over: its line of the transcript. `result` is all that the call has come to so far, where that is new."""

    at: WallMs
    line: Mapping[str, Any]
    result: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class WriteFields:
    """These custom fields of the contact have these values now."""

    custom_fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Finish:
    """The steps are over: hang up, for this reason."""

    why: Why = Why.STEPS_ENDED


@dataclass(frozen=True, slots=True)
class CallAgent:
    """Dial the agent on a leg of our own, by the pacing of its trunks, for `seconds` at most; one at a time.

    `caller_id` is what the agent sees: "callee" is the callee's own number, None what calls on that trunk show.
    """

    agent: Agent
    caller_id: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class AgentRang:
    """The agent's phone rings."""

    at: WallMs


@dataclass(frozen=True, slots=True)
class AgentAnswered:
    """The agent is there, on the leg `leg`."""

    at: WallMs
    leg: LegId


@dataclass(frozen=True, slots=True)
class AgentGone:
    """The agent cannot be had, or has left. `by` is who ended it; of the leg itself nothing more is told."""

    at: WallMs
    disposition: Disposition
    reason: str
    by: EndedBy
    sip_status: int | None = None


@dataclass(frozen=True, slots=True)
class LegOver:
    """The callee's leg is over. `by_us`: we ended it, by a limit, an order or the steps' end."""

    by_us: bool


@dataclass(frozen=True, slots=True)
class TransferTold:
    """A transfer has come so far (`stage`), which programs that follow the call want to know."""

    stage: TransferStage
    detail: Mapping[str, Any]


AgentNews = AgentRang | AgentAnswered | AgentGone
ScriptEvent = TalkEvent | TimeUp | LegOver | AgentNews
Act = Effect | Alarm | Note | WriteFields | CallAgent | TransferTold | Finish
