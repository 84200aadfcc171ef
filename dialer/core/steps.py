"""The playbook's interpreter: told what happened on the answered call, it says what to do next.

It holds no media and no clock: the engine carries `Play`, `Wait` and `Hangup` out and tells it when each is over.
"""

from collections.abc import Sequence

from dialer.core.playbook import Hangup, Play, Step, Wait


class Script:
    """One answered call's way through its steps. After the last step comes `Hangup`, always."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._position = -1

    @property
    def token(self) -> int:
        """The number of the step under way, from 0: a report of another step is late."""
        return self._position

    def begin(self) -> Step:
        """The first step, at the answer."""
        return self._next()

    def over(self, token: int) -> Play | Wait | Hangup | None:
        """The step `token` is over: the next one; None when that step is not the one under way."""
        return self._next() if token == self._position else None

    def _next(self) -> Play | Wait | Hangup:
        self._position += 1
        if self._position >= len(self._steps):
            return Hangup(do="hangup")
        return self._steps[self._position]
