"""When a recording ends: a key, silence, its longest time, or the call's end. Pure: told keys and levels."""

from collections.abc import Sequence
from enum import StrEnum

from dialer.core.frames import FRAME_MS
from dialer.core.step_kinds import Record

# Mean levels of a frame: a quiet room behind G.711 lies at -50 dB or below, speech at -40 to -10.
SPEECH_DB = 45


class StopWhen(StrEnum):
    """What ended a recording."""

    KEY = "key"
    SILENCE = "silence"
    MAX_SECONDS = "max_seconds"
    HANGUP = "hangup"


class Recorder:
    """One recording under way. It says once why it should stop; the leg's report ends it."""

    def __init__(self, step: Record, name: str) -> None:
        self.name = name
        self._step = step
        self._stopped: StopWhen | None = None
        self._silent_frames = 0

    def pressed(self, digit: str) -> StopWhen | None:
        """A key; the reason to stop now, None: go on, or it was stopped already."""
        return self._stop(StopWhen.KEY) if digit in self._step.terminators else None

    def heard(self, levels_db: Sequence[int]) -> StopWhen | None:
        """Frames of 20 ms in dB below full scale."""
        for level in levels_db:
            self._silent_frames = 0 if level < SPEECH_DB else self._silent_frames + 1
            limit = self._step.silence_seconds
            if limit is not None and self._silent_frames * FRAME_MS >= limit * 1000:
                return self._stop(StopWhen.SILENCE)
        return None

    def ended_by(self, *, leg_over: bool) -> StopWhen:
        """What ended it, once it is over."""
        return self._stopped or (StopWhen.HANGUP if leg_over else StopWhen.MAX_SECONDS)

    def _stop(self, why: StopWhen) -> StopWhen | None:
        if self._stopped is not None:
            return None
        self._stopped = why
        return why
