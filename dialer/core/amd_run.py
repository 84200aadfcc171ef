"""What comes before the first step where a playbook asks for it: finding out who answered, and what follows from that."""

from typing import Any

from dialer.core.acts import Alarm, ScriptEvent, TimeUp
from dialer.core.amd import Amd, Answerer, BeepWatch, Decision, Detector, Ready
from dialer.core.disposition import Why
from dialer.core.effects import Listen, StopListening
from dialer.core.events import Heard
from dialer.core.stage import Over, Said, Stage
from dialer.core.step_kinds import END

# Where no frame comes at all the clock ends the waiting, so much later than the frames would.
GRACE_SECONDS = 2.0


class AmdRun:
    """Listens from the answer on. What it found is the call's result `amd`, as soon as it is found."""

    def __init__(self, rules: Amd, stage: Stage) -> None:
        self.detail: dict[str, Any] = {}
        self._rules, self._stage = rules, stage
        self._detector, self._beep = Detector(rules), BeepWatch(rules)
        self._token = -1

    def begin(self) -> Said:
        """Listen, with an eye on the clock."""
        return [Listen(self._stage.leg), self._alarm(self._rules.max_decision_ms / 1000)]

    def feed(self, event: ScriptEvent) -> Said:
        """What is heard, or that nothing was."""
        match event:
            case Heard(levels_db=levels, tones_hz=tones):
                said: Said = []
                for level, hertz in zip(levels, tones, strict=True):
                    said += self._frame(level, hertz)
                    if said and isinstance(said[-1], Over):
                        break
                return said
            case TimeUp() if event.token == self._token:
                return self._nothing_heard()
        return []

    def _frame(self, level: int, hertz: int) -> Said:
        undecided = self._detector.decision is None
        decision = self._detector.heard(level, hertz)
        ready = self._beep.heard(level, hertz)
        if undecided and decision is not None:
            return self._decided(decision)
        return [] if ready is None else self._ready(ready)

    def _nothing_heard(self) -> Said:
        if self._detector.decision is None:
            return self._decided(Decision(Answerer.UNKNOWN, self._rules.max_decision_ms, "the line was not heard"))
        after_ms = self._detector.decision.after_ms + round(self._rules.max_beep_wait_seconds * 1000)
        return self._ready(Ready("none", after_ms, "the line was not heard any more"))

    def _decided(self, decision: Decision) -> Said:
        found = {"decision": decision.answerer.value, "after_ms": decision.after_ms, "reason": decision.reason}
        self._tell(found)
        if decision.answerer is not Answerer.MACHINE:
            return self._over(None)
        if self._rules.on_machine == "hangup":
            return [StopListening(self._stage.leg), Over(END, why=Why.MACHINE)]
        if self._rules.on_machine == "continue":
            return self._over(self._rules.to)
        self._beep.begin(self._detector.speech_db)
        return [self._alarm(self._rules.max_beep_wait_seconds)]

    def _ready(self, ready: Ready) -> Said:
        self._tell({"beep": ready.beep, "beep_after_ms": ready.after_ms, "beep_reason": ready.reason})
        return self._over(self._rules.to)

    def _tell(self, found: dict[str, Any]) -> None:
        self.detail |= found
        self._stage.came_to("amd", dict(self.detail))

    def _over(self, target: str | None) -> Said:
        if target is not None:
            self.detail["to"] = target
        return [StopListening(self._stage.leg), Over(target)]

    def _alarm(self, seconds: float) -> Alarm:
        self._token = self._stage.token()
        return Alarm(self._token, seconds + GRACE_SECONDS)
