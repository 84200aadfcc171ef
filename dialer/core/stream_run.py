"""The step that lets another program speak with the callee: its audio both ways over a WebSocket (docs/stream.md)."""

import json
from typing import Any

from dialer.core.acts import Alarm, ScriptEvent, TimeUp
from dialer.core.effects import StartStream, StopStream, StreamKey
from dialer.core.events import DigitPressed, StreamEnd, StreamEnded, StreamOpened
from dialer.core.model import WallMs
from dialer.core.stage import Over, Said, Stage
from dialer.core.step_kinds import Stream
from dialer.core.templates import fill

MAX_SECONDS = "max_seconds"


class StreamRun:
    """From the opening to the end, which the server, the callee, the time or a fault brings."""

    def __init__(self, step: Stream, stage: Stage) -> None:
        # What stands behind the `?` may be a secret.
        self.detail: dict[str, Any] = {"url": step.url.partition("?")[0]}
        self._step, self._stage = step, stage
        self._token, self._alarm = stage.token(), stage.token()
        self._began_at: WallMs

    def begin(self) -> Said:
        """Open it, and set the longest time."""
        step, stage = self._step, self._stage
        self._began_at = stage.at
        start = {
            "call_id": stage.ids.call,
            "campaign_id": stage.ids.campaign,
            "attempt": stage.ids.attempt,
            "parameters": {name: fill(text, stage.values) for name, text in step.parameters.items()},
        }
        told = json.dumps(start, ensure_ascii=False, separators=(",", ":"))
        return [
            StartStream(stage.leg, self._token, step.url, step.sample_rate, told),
            Alarm(self._alarm, step.max_seconds),
        ]

    def feed(self, event: ScriptEvent) -> Said:
        """Keys for the server, and what becomes of the stream."""
        match event:
            case DigitPressed(digit=digit):
                return [StreamKey(self._stage.leg, digit)]
            case StreamOpened() if event.token == self._token:
                self.detail["connected_ms"] = max(0, self._stage.at - self._began_at)
            case StreamEnded() if event.token == self._token and not event.leg_over:
                return [self._ended(event)]
            case TimeUp() if event.token == self._alarm:
                return [StopStream(self._stage.leg, MAX_SECONDS)]
        return []

    def _ended(self, ended: StreamEnded) -> Over:
        step, target = self._step, None
        self.detail["ended_by"] = MAX_SECONDS if ended.by is StreamEnd.STOPPED else ended.by.value
        if ended.dropped_ms:
            self.detail["dropped_ms"] = ended.dropped_ms
        if ended.by in {StreamEnd.FAILED, StreamEnd.LOST}:
            self.detail["fault"] = ended.reason
            target = step.on_failed
        elif ended.outcome:
            self._stage.gathered(step.save_as, ended.outcome)
            self.detail["outcome"] = ended.outcome
            target = step.branches.get(ended.outcome)
        if target is not None:
            self.detail["to"] = target
        return Over(target)
