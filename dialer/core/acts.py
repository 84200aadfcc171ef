"""What a playbook's interpreter answers with: effects on the wire, and what only the engine's floor carries out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dialer.core.disposition import Why
from dialer.core.effects import Effect
from dialer.core.model import WallMs


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


Act = Effect | Alarm | Note | WriteFields | Finish
