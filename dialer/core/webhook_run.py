"""The step that asks a program what to do next (docs/webhook-step.md): its question, and what is made of the answer."""

from typing import Any

from dialer.core.acts import ScriptEvent
from dialer.core.changes import json_text
from dialer.core.effects import AskProgram, PlayAudio, PrepareSounds, StopAudio
from dialer.core.events import PlayEnded, ProgramAnswered
from dialer.core.playbook import Fault
from dialer.core.playbook_reading import read_answer
from dialer.core.sounds import sounds_ahead
from dialer.core.stage import Over, Said, Stage
from dialer.core.step_kinds import Step, Webhook
from dialer.core.templates import fill
from dialer.core.timetable import show_time

MOST_STEPS_GIVEN = 1000  # by all answers of one call together
_FAULTS_TOLD = 20
_NOTHING_TO_DO = 204


class WebhookRun:
    """From the question to the answer, with something for the callee to hear meanwhile."""

    def __init__(self, step: Webhook, stage: Stage) -> None:
        # What stands behind the `?` may be a secret.
        self.detail: dict[str, Any] = {"url": step.url.partition("?")[0]}
        self._step, self._stage = step, stage
        self._question = self._audio = -1
        self._asked_at = stage.at

    def begin(self) -> Said:
        """Ask."""
        step, stage = self._step, self._stage
        self._asked_at = stage.at
        self._question = stage.token()
        stage.questions += 1
        body = {
            "type": "call.step",
            "at": show_time(stage.at),
            "campaign_id": stage.ids.campaign,
            "call_id": stage.ids.call,
            "attempt": stage.ids.attempt,
            "label": step.label,
            "parameters": {name: fill(text, stage.values) for name, text in step.parameters.items()},
            "result": stage.result,
        }
        question_id = f"{stage.ids.call}-{stage.ids.attempt}-{stage.questions}"
        ask = AskProgram(stage.leg, self._question, step.url, question_id, json_text(body), step.timeout_seconds)
        return [ask, *self._play()]

    def feed(self, event: ScriptEvent) -> Said:
        """The answer, or that there is none; and the end of what is heard meanwhile."""
        match event:
            case PlayEnded() if event.token == self._audio and not event.leg_over:
                self._audio = -1
                if event.complete:
                    return self._play()
                self.detail["audio_fault"] = event.reason
            case ProgramAnswered() if event.token == self._question:
                return [*self._hush(), *self._answered(event)]
        return []

    def _play(self) -> Said:
        if self._step.audio is None:
            return []
        self._audio = self._stage.token()
        return [PlayAudio(self._stage.leg, self._audio, self._step.audio)]

    def _hush(self) -> Said:
        plays, self._audio = self._audio != -1, -1
        return [StopAudio(self._stage.leg)] if plays else []

    def _answered(self, event: ProgramAnswered) -> Said:
        stage = self._stage
        self.detail["answered_ms"] = max(0, stage.at - self._asked_at)
        if event.status:
            self.detail["status"] = event.status
        if event.fault:
            return self._failed(event.fault)
        if event.status == _NOTHING_TO_DO:
            return [Over()]
        found = read_answer(event.body, stage.trunks, stage.machine, stage.course.leads)
        if isinstance(found, list):
            return self._failed("the answer cannot be used", found)
        if stage.given + len(found.steps) > MOST_STEPS_GIVEN:
            return self._failed(f"more than {MOST_STEPS_GIVEN} steps were answered in this call")
        return self._given(found.steps)

    def _given(self, steps: list[Step]) -> Said:
        stage = self._stage
        if not steps:
            return [Over()]
        stage.given += len(steps)
        stage.answers += 1
        self.detail |= {"answer": stage.answers, "steps": len(steps)}
        return [PrepareSounds(tuple(sounds_ahead(steps, stage.values))), Over(steps=steps)]

    def _failed(self, fault: str, faults: list[Fault] | None = None) -> Said:
        self.detail["fault"] = fault
        if faults:
            self.detail["faults"] = [{"path": one.path, "reason": one.reason} for one in faults[:_FAULTS_TOLD]]
        if self._step.on_failed is not None:
            self.detail["to"] = self._step.on_failed
        return [Over(self._step.on_failed)]
