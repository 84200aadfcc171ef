"""What a server has sent to be heard, cut into frames and handed out as the call takes them. Pure.

Frames are numbered as they are handed out. The call tells how many it has taken, and is given no more than `AHEAD` beyond
that: enough to bridge a moment in which this process sleeps, and the only ones that the call has to throw away at a `clear`.
A mark stands between two frames, and is due when all frames before it were taken.
"""

from collections import deque
from typing import Final

AHEAD: Final = 10  # frames: 200 ms
MAX_QUEUED_SECONDS: Final = 30.0
MAX_MARKS: Final = 1_000
_FRAMES_A_SECOND: Final = 50


class Playout:
    """The queue of one stream. `frame_bytes` is the size of a frame of 20 ms."""

    def __init__(self, frame_bytes: int) -> None:
        self._frame_bytes = frame_bytes
        self._waiting: deque[bytes | str] = deque()  # frames, and names of marks between them
        self._frames = 0
        self._part = bytearray()
        self._part_ticks = 0
        self._given = self._taken = self._cleared = 0
        self._marks: deque[tuple[int, str]] = deque()  # by the number of frames before them

    @property
    def full(self) -> bool:
        """Whether so much waits that no more should be read of the server."""
        marks = len(self._waiting) - self._frames + len(self._marks)
        return self._frames >= MAX_QUEUED_SECONDS * _FRAMES_A_SECOND or marks >= MAX_MARKS

    @property
    def ahead(self) -> bool:
        """Whether the call was given frames that it has not taken yet, nor been told to throw away."""
        return self._given > max(self._taken, self._cleared)

    @property
    def empty(self) -> bool:
        """Whether all that was sent has been heard."""
        return not self._waiting and not self._part and self._given == self._taken

    def add(self, audio: bytes) -> None:
        """Samples to be heard after all that wait. They need not fill whole frames."""
        self._part += audio
        whole = len(self._part) // self._frame_bytes * self._frame_bytes
        for at in range(0, whole, self._frame_bytes):
            self._queue(bytes(self._part[at : at + self._frame_bytes]))
        del self._part[:whole]
        self._part_ticks = 0

    def _queue(self, frame: bytes) -> None:
        self._waiting.append(frame)
        self._frames += 1

    def _fill_up(self) -> None:
        """What does not fill a frame is followed by silence."""
        if self._part:
            self._queue(bytes(self._part.ljust(self._frame_bytes, b"\0")))
            self._part.clear()

    def mark(self, name: str) -> None:
        """A mark behind all that was added."""
        self._fill_up()
        self._waiting.append(name)

    def clear(self) -> list[str]:
        """Throw away all that waits; the names of the marks that will not be heard.

        Where it has frames `ahead`, the call is to throw them away, and counts them as taken.
        """
        cleared = [name for _, name in self._marks] + [one for one in self._waiting if isinstance(one, str)]
        self._waiting.clear()
        self._marks.clear()
        self._part.clear()
        self._frames = 0
        self._cleared = self._given
        return cleared

    def give(self) -> list[bytes]:
        """The frames that the call should have now."""
        given: list[bytes] = []
        while self._waiting and (isinstance(self._waiting[0], str) or self._given - self._taken < AHEAD):
            one = self._waiting.popleft()
            if isinstance(one, str):
                self._marks.append((self._given, one))
            else:
                given.append(one)
                self._given += 1
                self._frames -= 1
        return given

    def tick(self, taken: int) -> None:
        """20 ms have passed, and the call has taken so many frames in all.

        A part of a frame waits for the rest until the call has nothing else to play, and 20 ms more.
        """
        self._taken = taken
        if self._part and not self._frames and self._given - self._taken <= 1:
            self._part_ticks += 1
            if self._part_ticks > 1:
                self._fill_up()

    def due(self) -> list[str]:
        """The names of the marks that were reached since the last time."""
        reached: list[str] = []
        while self._marks and self._marks[0][0] <= self._taken:
            reached.append(self._marks.popleft()[1])
        return reached

    def end(self) -> None:
        """Nothing will be added any more."""
        self._fill_up()
