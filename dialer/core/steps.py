"""The playbook's interpreter: told what happened on the answered call, it says what to do next.

Pure: it holds no media and no clock. Events of the leg go in with their time, effects come out, with timers to set, notes to
keep and custom fields to write among them. How the steps that take time go is in `dialer.core.step_runs`; the way from step
to step is here.

No playbook runs for ever: after `MAX_STEPS` steps the call is hung up, and `goto` has a limit of its own.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dialer.core.acts import Act, Finish, LegOver, Note, ScriptEvent, WriteFields
from dialer.core.amd import Amd
from dialer.core.amd_run import AmdRun
from dialer.core.contact import LONGEST_TEXT
from dialer.core.course import Course, Place
from dialer.core.disposition import Why
from dialer.core.model import LegId, WallMs
from dialer.core.playbook import NOTHING, Machine
from dialer.core.stage import CallIds, Over, Run, Said, Stage
from dialer.core.step_kinds import END, Branch, Goto, Hangup, Set, Step
from dialer.core.step_runs import run_of
from dialer.core.templates import fill

MAX_STEPS = 1000


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """The step that goes on, and since when; `place` None: what comes before the first step."""

    place: Place | None
    began_at: WallMs
    run: Run


class Script:
    """One answered call's way through its steps. After the last step comes `Finish`, always, and once.

    `values` are the contact's fields with `phone`; `recording_name` is what its recordings are called, a number behind it.
    With `amd` it is found out first who answered. `ids` are told to other programs that the steps speak with. `trunks` are the
    playbook's, `machine` is what steps may ask for.
    """

    def __init__(
        self,
        leg: LegId,
        steps: Sequence[Step],
        values: Mapping[str, Any] | None = None,
        recording_name: str = "call",
        amd: Amd | None = None,
        ids: CallIds | None = None,
        trunks: Sequence[str] = (),
        machine: Machine = NOTHING,
    ) -> None:
        known: dict[str, Any] = {**(values or {}), "gathered": {}}
        known["custom_fields"] = dict(known.get("custom_fields") or {})
        self._playbook = Course(steps)
        self._stage = Stage(leg, known, recording_name, WallMs(0), self._playbook, ids or CallIds(), trunks, machine)
        self._amd = amd
        self._jumps: Counter[tuple[int, int]] = Counter()
        self._taken = 0
        self._now: _UnderWay | None = None
        self._over = False

    @property
    def over(self) -> bool:
        """Whether the steps have ended, one way or the other."""
        return self._over

    def begin(self, at: WallMs) -> list[Act]:
        """The first step, at the answer."""
        if self._amd is not None:
            return self._start(AmdRun(self._amd, self._stage), None, at)
        return self._go(Place(self._playbook, 0), at)

    def feed(self, event: ScriptEvent, at: WallMs) -> list[Act]:
        """Something happened; what to do now. What is late or does not matter here changes nothing."""
        now, self._stage.at = self._now, at
        return [] if now is None else self._do(now, now.run.feed(event), at)

    def leg_over(self, at: WallMs, *, by_us: bool = False) -> list[Act]:
        """The call is over: the step under way ends here, and no other follows. `by_us`: we ended it."""
        now, self._now, self._over, self._stage.at = self._now, None, True, at
        if now is None:
            return []
        now.run.feed(LegOver(by_us))
        return [self._note(now.place, now.began_at, at, {**now.run.detail, "cut_off": True})]

    # Inside

    def _do(self, now: _UnderWay, said: Said, at: WallMs) -> list[Act]:
        """What the step under way says; where that is its end, what follows, too."""
        acts: list[Act] = []
        for one in said:
            acts += self._next(now, one, at) if isinstance(one, Over) else [one]
        return acts

    def _next(self, now: _UnderWay, over: Over, at: WallMs) -> list[Act]:
        """The step under way is over; on to its target, or to the one behind it."""
        self._now = None
        noted = self._note(now.place, now.began_at, at, now.run.detail)
        behind = Place(self._playbook, 0) if now.place is None else now.place.next
        if over.leg_over:
            self._over = True
            return [noted]
        if over.target == END:
            return [noted, *self._finish(over.why)]
        if over.target is not None:
            return [noted, *self._go(behind.course.place(over.target), at)]
        if over.steps:
            behind = Place(Course(over.steps, self._stage.answers, behind), 0)
        return [noted, *self._go(behind, at)]

    def _note(self, place: Place | None, began_at: WallMs, at: WallMs, detail: Mapping[str, Any]) -> Note:
        """The transcript's line. What comes before the first step is no step."""
        head: dict[str, Any] = {"step": None, "do": "amd"}
        if place is not None:
            step = place.course.steps[place.index]
            head = {"step": place.index, "do": step.do}
            if place.course.answer:
                head["of_answer"] = place.course.answer
            if step.label is not None:
                head["label"] = step.label
        return Note(at, {**head, "at": began_at, "ended_at": at, **detail}, self._stage.new_result())

    def _finish(self, why: Why = Why.STEPS_ENDED) -> list[Act]:
        self._over = True
        return [Finish(why)]

    def _go(self, place: Place, at: WallMs) -> list[Act]:
        """Take steps from this one on, until one takes time."""
        acts: list[Act] = []
        while (here := place.reached()) is not None:
            self._taken += 1
            step = here.course.steps[here.index]
            if self._taken > MAX_STEPS:
                fault = f"the call took {MAX_STEPS} steps, which is the limit"
                acts.append(self._note(here, at, at, {"fault": fault}))
                break
            if isinstance(step, Goto | Branch | Set | Hangup):
                target = self._at_once(step, here, acts, at)
                if target == END:
                    break
                place = here.next if target is None else here.course.place(target)
                continue
            return acts + self._start(run_of(step, self._stage), here, at)
        return acts + self._finish()

    def _start(self, run: Run, place: Place | None, at: WallMs) -> list[Act]:
        self._stage.at = at
        self._stage.course = self._playbook if place is None else place.course
        self._now = _UnderWay(place, at, run)
        return self._do(self._now, run.begin(), at)

    def _at_once(self, step: Goto | Branch | Set | Hangup, place: Place, acts: list[Act], at: WallMs) -> str | None:
        """Take a step that needs no time; where it leads, None: to the next."""
        target: str | None = None
        detail: dict[str, Any] = {}
        stage = self._stage
        match step:
            case Hangup():
                target = END
            case Goto():
                jump = place.course.answer, place.index
                self._jumps[jump] += 1
                if self._jumps[jump] <= step.max_times:
                    target = step.to
            case Branch():
                found = fill(step.on, stage.values).strip()
                target = step.branches.get(found, step.otherwise)
                detail["on"] = found
            case Set():
                fields = {name: fill(text, stage.values)[:LONGEST_TEXT] for name, text in step.custom_fields.items()}
                stage.values["custom_fields"] |= fields
                stage.came_to("custom_fields", {**stage.result.get("custom_fields", {}), **fields})
                acts.append(WriteFields(fields))
        if target is not None and not isinstance(step, Hangup):
            detail["to"] = target
        acts.append(self._note(place, at, at, detail))
        return target
