"""What the steps of a call have in common: their stage, and how a step that takes time is told things and answers.

What is asked for reports back with a token, a new one each time. A run knows its own and passes over all others, so that
what comes late (the end of audio that was cut off, a timer that no longer counts) is known as late.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from dialer.core.acts import Act, ScriptEvent
from dialer.core.course import Course
from dialer.core.disposition import Why
from dialer.core.effects import PlayAudio, Speak
from dialer.core.model import LegId, WallMs
from dialer.core.playbook import NOTHING, Machine
from dialer.core.step_kinds import Play, Say, Step
from dialer.core.templates import fill


@dataclass(frozen=True, slots=True)
class CallIds:
    """What programs know an attempt by: the ids of its call and campaign (None: a call by itself), and its number."""

    call: str = ""
    campaign: str | None = None
    attempt: int = 1


@dataclass(slots=True)
class Stage:
    """What the steps of one call share: its leg, the `values` that texts are filled with, and the `result` so far.

    `recording_name` is what the call's recordings are called, a number behind it. `at` is the time of what is told now.
    `trunks` are the playbook's, `machine` is what steps may ask for; `course` has the step
    under way. So many `questions` were asked of programs, and `answers` of theirs had steps, `given` in all.
    """

    leg: LegId
    values: dict[str, Any]
    recording_name: str
    at: WallMs
    course: Course
    ids: CallIds = CallIds()
    trunks: Sequence[str] = ()
    machine: Machine = NOTHING
    result: dict[str, Any] = field(default_factory=dict)
    questions: int = 0
    answers: int = 0
    given: int = 0
    _token: int = 0
    _news: bool = False

    def token(self) -> int:
        """A fresh one."""
        self._token += 1
        return self._token

    def gathered(self, name: str, text: str) -> None:
        """The callee, or who spoke with it, has told this: texts have it as `gathered.NAME`, and the result as well."""
        self.values["gathered"][name] = text
        self.came_to("gathered", dict(self.values["gathered"]))

    def came_to(self, name: str, value: object) -> None:
        """The call's result has this now, under that name."""
        self.result[name] = value
        self._news = True

    def new_result(self) -> dict[str, Any] | None:
        """All that the call has come to; None: nothing new since this was asked."""
        news, self._news = self._news, False
        return dict(self.result) if news else None


@dataclass(frozen=True, slots=True)
class Over:
    """The step is over, and the call goes on at the label `target`; None: with the next step. `leg_over`: it is over, too.

    Where the target is the end, `why` tells what it is the end of. `steps` are taken before the next step.
    """

    target: str | None = None
    leg_over: bool = False
    why: Why = Why.STEPS_ENDED
    steps: Sequence[Step] = ()


Said: TypeAlias = list[Act | Over]
"""What to do now; an `Over` comes last."""


class Run(Protocol):
    """One step under way. `detail` is what the transcript tells of it, whatever ends it. After `Over` nothing is called."""

    detail: dict[str, Any]

    def begin(self) -> Said:
        """The step's turn has come. Never its end: what is asked for here reports back first."""
        ...

    def feed(self, event: ScriptEvent) -> Said:
        """Something happened on the call, at the stage's `at`. Of the leg's end, whatever is said, only the result counts."""
        ...


def sound(step: Play | Say, stage: Stage, token: int, detail: dict[str, Any], leg: LegId | None = None) -> Act:
    """What plays or says this, to the callee or to another leg; a text goes into the detail as it is said."""
    to = stage.leg if leg is None else leg
    if isinstance(step, Play):
        return PlayAudio(to, token, step.audio)
    text = detail["text"] = fill(step.text, stage.values)
    return Speak(to, token, text, step.voice or "")
