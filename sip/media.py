"""Audio towards the callee: one WAV after another into the call's place in the bridge. Lives in a worker process."""

import logging
import math
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pjsua2 as pj

from dialer.core.model import LegId
from sip.call import Leg

log = logging.getLogger(__name__)

# A player is told of its end on the stack's event thread. One that was stopped is kept until no such call can be under
# way, so that it is never destroyed inside one.
BURIAL_SECONDS: Final = 0.25
# The stack's queue of events holds 16: where more files end in one tick of the bridge, the rest of the ends are lost. So a
# player that should be through by now is asked.
LATE_SECONDS: Final = 0.05
LOOK_SECONDS: Final = 0.02


class Player(pj.AudioMediaPlayer):  # type: ignore[misc]
    """Plays one file once, and appends (leg, token) to `ended` after its last sample was fetched."""

    def __init__(self, path: Path, leg: LegId, token: int, ended: deque[tuple[LegId, int]]) -> None:
        super().__init__()
        self._leg, self._token, self._ended = leg, token, ended
        self.createPlayer(str(path), pj.PJMEDIA_FILE_NO_LOOP)
        self.seconds = self.getInfo().sizeSamples / self.getPortInfo().format.clockRate

    def is_through(self) -> bool:
        """Whether its last sample was fetched; to be asked of one that had begun."""
        return bool(self.getPos() == 0)  # it goes back to the start

    def onEof2(self) -> None:  # noqa: N802
        """Called on another thread: a deque's append is all that happens here."""
        self._ended.append((self._leg, self._token))


@dataclass(slots=True)
class Playback:
    """What plays, or waits to play, to one leg."""

    leg: Leg
    token: int
    player: Player
    connected: bool = False
    due_at: float = math.inf

    def connect(self) -> None:
        """Connect the player to the call's audio, if that is up; harmless when it is connected already."""
        audio = self.leg.audio()
        if audio is not None:
            self.player.startTransmit(audio)
            self.connected = True
            self.due_at = min(self.due_at, time.monotonic() + self.player.seconds + LATE_SECONDS)

    def disconnect(self) -> None:
        """Stop fetching samples."""
        over = self.leg.hung_up or self.leg.end is not None
        audio = self.leg.audio() if self.connected and not over else None
        if audio is not None:
            self.player.stopTransmit(audio)


class Jukebox:
    """All playbacks of a worker, at most one for each leg."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.resolve()
        self._playbacks: dict[LegId, Playback] = {}
        self._ended: deque[tuple[LegId, int]] = deque()
        self._stopped: deque[tuple[float, Player]] = deque()
        self._next_look = 0.0

    def play(self, leg: Leg, token: int, audio: str) -> int | None:
        """Start `audio` now or as soon as the leg's media is up. The token of the playback that it cut off, or None.

        Raises ValueError with a reason for a file that cannot be played.
        """
        path = self._inside(audio)
        try:
            player = Player(path, leg.leg, token, self._ended)
        except pj.Error as fault:
            raise ValueError(f"{audio}: {fault.reason}") from None
        cut_off = self.stop(leg.leg)
        playback = self._playbacks[leg.leg] = Playback(leg, token, player)
        playback.connect()
        return cut_off

    def _inside(self, audio: str) -> Path:
        path = (self._directory / audio.replace("\0", "")).resolve()
        if not path.is_relative_to(self._directory):
            raise ValueError(f"{audio}: not in the media directory")
        if not path.is_file():
            raise ValueError(f"{audio}: no such file in the media directory")
        return path

    def media_changed(self, leg: LegId) -> None:
        """The leg's place in the bridge came up or was replaced."""
        playback = self._playbacks.get(leg)
        if playback is not None:
            playback.connect()

    def stop(self, leg: LegId) -> int | None:
        """Stop what plays to `leg`; its token, or None when nothing does."""
        playback = self._playbacks.pop(leg, None)
        if playback is None:
            return None
        try:
            playback.disconnect()
        except pj.Error as fault:  # the call's media went first
            log.debug("leg %s: stop: %s", leg, fault.reason)
        self._stopped.append((time.monotonic() + BURIAL_SECONDS, playback.player))
        return playback.token

    def take_ended(self) -> list[tuple[LegId, int]]:
        """The (leg, token) pairs that were played to their end since the last time. Lets players go, too."""
        done = []
        while self._ended:
            leg, token = self._ended.popleft()
            playback = self._playbacks.get(leg)
            if playback is not None and playback.token == token:
                self.stop(leg)
                done.append((leg, token))
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            late = [p for p in self._playbacks.values() if now >= p.due_at and p.player.is_through()]
            for playback in late:
                self.stop(playback.leg.leg)
                done.append((playback.leg.leg, playback.token))
        while self._stopped and self._stopped[0][0] < now:
            self._stopped.popleft()
        return done
