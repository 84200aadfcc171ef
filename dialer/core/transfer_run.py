"""How a transfer goes: the callee hears a phone ring while an agent is called, who may be told something first; then the two
are joined. Or the callee's own side is asked to call the agent (REFER), and says how that goes.
"""

from enum import StrEnum
from typing import Any

from dialer.core.acts import (
    AgentAnswered,
    AgentGone,
    AgentRang,
    Alarm,
    CallAgent,
    LegOver,
    ScriptEvent,
    TimeUp,
    TransferTold,
)
from dialer.core.changes import TransferStage
from dialer.core.disposition import Evidence, classify
from dialer.core.effects import Bridge, PlayAudio, Refer, RingBack, StopAudio
from dialer.core.events import EndedBy, PlayEnded, Referred
from dialer.core.model import Disposition, LegId, WallMs
from dialer.core.stage import Over, Said, Stage, sound
from dialer.core.step_kinds import END, Transfer
from dialer.core.templates import fill


class Outcome(StrEnum):
    """What a transfer came to.

    ABANDONED: the callee left before. ACCEPTED: the far side took a REFER, and left with the callee without a last word.
    """

    TRANSFERRED = "transferred"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    FAILED = "failed"
    ABANDONED = "abandoned"
    ACCEPTED = "accepted"


_TAKEN = 202
_OUTCOMES = {
    Disposition.BUSY: Outcome.BUSY,
    Disposition.DECLINED: Outcome.BUSY,
    Disposition.ANSWERED: Outcome.BUSY,  # and hung up before the two were joined
    Disposition.NO_ANSWER: Outcome.NO_ANSWER,
    Disposition.UNREACHABLE: Outcome.NO_ANSWER,
}


class TransferRun:
    """One transfer under way. `_asked` is the token of the REFER, and of the time by which something must have come of it."""

    def __init__(self, step: Transfer, stage: Stage) -> None:
        self.detail: dict[str, Any] = {"mode": step.mode}
        self._step, self._stage = step, stage
        self._asked = stage.token()
        self._unfit = ""
        self._ringback = self._whisper = -1
        self._whispered = 0
        self._leg: LegId | None = None
        self._rang_at: WallMs | None = None
        self._joined_at: WallMs | None = None
        self._accepted = False

    def begin(self) -> Said:
        """Call the agent, or have it called. Whom that is may depend on the person, so it is read only now."""
        step, stage = self._step, self._stage
        written = fill(step.to, stage.values)
        trunks = step.trunks or stage.trunks
        try:
            agent = stage.machine.agents.read(written, trunks, strictly=step.trunks is not None)
        except ValueError as fault:
            self.detail["agent"] = written
            self._unfit = f"{written!r} {fault}"
            return [Alarm(self._asked, 0)]
        self.detail["agent"] = agent.shown
        if step.mode == "bridge":
            return [CallAgent(agent, step.caller_id, step.ring_timeout_seconds), *self._ring()]
        return [
            Refer(stage.leg, self._asked, agent.number, agent.uri),
            TransferTold(TransferStage.TRANSFERRING, {"agent": agent.shown, "mode": step.mode}),
            Alarm(self._asked, step.ring_timeout_seconds),
        ]

    def feed(self, event: ScriptEvent) -> Said:  # noqa: PLR0911 - one for each event
        """How it goes with the agent, and with what is played to both."""
        match event:
            case AgentRang(at):
                self._rang_at = at
            case AgentAnswered(at, leg):
                self._leg = leg
                if self._rang_at is not None:
                    self.detail["ring_seconds"] = _seconds(self._rang_at, at)
                return self._whisper_on()
            case AgentGone():
                return self._gone(event)
            case PlayEnded(token=token) if token in {self._ringback, self._whisper} and not event.leg_over:
                return self._played(event)
            case Referred(token=token) if token == self._asked:
                return self._referred(event)
            case TimeUp(token=token) if token == self._asked:
                late = "no last word on the REFER came in time"
                return self._failed(Outcome.FAILED if self._unfit else Outcome.NO_ANSWER, self._unfit or late)
            case LegOver():
                return self._left_alone(event)
        return []

    # What is heard

    def _ring(self) -> Said:
        """Let the callee hear that something goes on."""
        leg, file = self._stage.leg, self._step.ringback
        self._ringback = self._stage.token()
        return [RingBack(leg, self._ringback) if file is None else PlayAudio(leg, self._ringback, file)]

    def _hush(self) -> Said:
        plays, self._ringback = self._ringback != -1, -1
        return [StopAudio(self._stage.leg)] if plays else []

    def _played(self, event: PlayEnded) -> Said:
        if not event.complete:
            self.detail["fault"] = event.reason
        if event.token == self._whisper:
            return self._whisper_on()
        self._ringback = -1
        return self._ring() if event.complete else []

    def _whisper_on(self) -> Said:
        """The next part of what the agent is told; behind the last, the two are joined."""
        assert self._leg is not None
        if self._whispered < len(self._step.whisper):
            part = self._step.whisper[self._whispered]
            self._whispered += 1
            self._whisper = self._stage.token()
            return [sound(part, self._stage, self._whisper, {}, leg=self._leg)]
        self._whisper = -1
        self._joined_at = self._stage.at
        told = TransferTold(TransferStage.TRANSFERRED, {"agent": self.detail["agent"], "mode": "bridge"})
        return [*self._hush(), Bridge(self._stage.leg, self._leg), told]

    # How it ends

    def _gone(self, event: AgentGone) -> Said:
        if self._joined_at is not None:
            return [self._talked(event.at, "agent" if event.by is EndedBy.FAR else "us")]
        if event.sip_status is not None:
            self.detail["sip_status"] = event.sip_status
        return self._failed(_OUTCOMES.get(event.disposition, Outcome.FAILED), event.reason)

    def _left_alone(self, event: LegOver) -> Said:
        """The callee's leg is over."""
        if self._joined_at is not None:
            return [self._talked(self._stage.at, "us" if event.by_us else "callee")]
        # Many a PBX hangs up on who sent the REFER once it has the callee, and says nothing more.
        taken = self._accepted and not event.by_us
        self.detail["outcome"] = (Outcome.ACCEPTED if taken else Outcome.ABANDONED).value
        return [self._over(END)]

    def _talked(self, at: WallMs, ended_by: str) -> Over:
        assert self._joined_at is not None
        talk = _seconds(self._joined_at, at)
        self.detail |= {"outcome": Outcome.TRANSFERRED.value, "talk_seconds": talk, "ended_by": ended_by}
        return self._over(END)

    def _referred(self, event: Referred) -> Said:
        status, words = event.sip_status, f"{event.sip_status} {event.reason}".strip()
        if not event.final:
            self._accepted = True
            return []
        self.detail["sip_status"] = status
        if event.refused:
            return self._failed(Outcome.FAILED, f"the REFER was refused: {words}")
        if status < 300:
            # 202 as the last word: it took the REFER, and will tell no more.
            taken = Outcome.ACCEPTED if status == _TAKEN else Outcome.TRANSFERRED
            self.detail["outcome"] = taken.value
            told = TransferTold(TransferStage.TRANSFERRED, {"agent": self.detail["agent"], "mode": "refer"})
            return [told, self._over(END)]
        disposition = classify(Evidence(status, EndedBy.FAR)).disposition
        return self._failed(_OUTCOMES.get(disposition, Outcome.FAILED), words)

    def _failed(self, outcome: Outcome, reason: str) -> Said:
        step = self._step
        targets = {Outcome.BUSY: step.on_busy, Outcome.NO_ANSWER: step.on_no_answer}
        target = targets.get(outcome) or step.on_failed
        self.detail |= {"outcome": outcome.value, "reason": reason}
        told = TransferTold(TransferStage.FAILED, dict(self.detail))
        if target is not None:
            self.detail["to"] = target
        return [*self._hush(), told, self._over(target)]

    def _over(self, target: str | None) -> Over:
        """The end of the step, with what came of it in the call's result."""
        told = {key: value for key, value in self.detail.items() if key not in {"to", "fault"}}
        self._stage.came_to("transfers", [*self._stage.result.get("transfers", ()), told])
        return Over(target)


def _seconds(start: WallMs, end: WallMs) -> float:
    return max(0, end - start) / 1000
