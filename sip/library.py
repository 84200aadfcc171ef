"""The sounds of playbooks as files that workers play: audio as it lies or converted, texts rendered, the beep.

All that is made lies below `.dialer` in the media directory, for this process's user alone. A name that comes out is
relative to the media directory.
"""

import asyncio
import hashlib
import logging
import math
import os
import time
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from dialer.core.sounds import Sound, Spoken, Unready
from sip.speech import RETRY_SECONDS, Speaker
from sip.wav import HEADER_BYTES, NotPlayable, playable, read_header, write_wav

log = logging.getLogger(__name__)

OWN_FOLDER: Final = ".dialer"
RECORDINGS: Final = "recordings"
# What is being made is usually there when it is asked for again.
SOON_SECONDS: Final = 0.5
# A file that is missing or broken is looked at again after this: somebody may be copying it.
FAULT_SECONDS: Final = 15.0
DAY_SECONDS: Final = 86_400.0
SWEEP_SECONDS: Final = 3_600.0
_BEEP_HZ, _BEEP_SECONDS = 1_000, 0.3
# The tone of most of Europe (ETSI TR 101 041-2): a second of 425 Hz, four of silence.
_RING_HZ, _RING_SECONDS, _RING_PAUSE_SECONDS = 425, 1.0, 4.0


class Library:
    """Implements `dialer.ports.SoundLibrary`. `speaker` None: texts cannot be said.

    Files that were made and not used for `keep_made_days` are removed; recordings after `keep_recordings_days` (0: never).
    Raises OSError when the media directory cannot be used.
    """

    def __init__(
        self,
        media: Path,
        *,
        command: str | None = None,
        voice: str = "",
        parallel: int = 1,
        keep_recordings_days: float = 0,
        keep_made_days: float = 30,
    ) -> None:
        self._media = media
        self._own = media / OWN_FOLDER
        self._speech, self._converted = self._own / "speech", self._own / "converted"
        for folder in (self._own, self._speech, self._converted, media / RECORDINGS):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._speaker: Speaker | None = None
        self._speakers: list[Speaker] = []
        self._keep = {self._speech: keep_made_days, self._converted: keep_made_days}
        self.follow(command=command, voice=voice, parallel=parallel, keep_recordings_days=keep_recordings_days)
        self._fit: dict[str, tuple[tuple[int, int], str]] = {}
        self._converting: dict[Path, asyncio.Task[str]] = {}
        self._faults: dict[str, tuple[float, str]] = {}
        self._sweeping: asyncio.Task[None] | None = None
        for name, wave in (("beep", _tone(_BEEP_HZ, _BEEP_SECONDS)), ("ringback", _ringback())):
            path = self._own / f"{name}.wav"
            if not path.exists():
                path.write_bytes(wave)

    def follow(
        self, *, command: str | None, voice: str = "", parallel: int = 1, keep_recordings_days: float = 0
    ) -> None:
        """From now on texts are said so, and recordings kept so long. What is being rendered is finished: a call may wait."""
        self._keep[self._media / RECORDINGS] = keep_recordings_days
        self._speaker = None if command is None else Speaker(self._speech, command, voice=voice, parallel=parallel)
        self._speakers += filter(None, [self._speaker])

    def start(self) -> None:
        """Begin to remove what is too old, now and every hour."""
        self._sweeping = asyncio.create_task(self._sweep_for_ever())

    async def close(self) -> None:
        """Stop all that is under way."""
        tasks = [*self._converting.values(), *([self._sweeping] if self._sweeping else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for speaker in self._speakers:
            await speaker.close()

    @property
    def beep(self) -> str:
        """See SoundLibrary."""
        return f"{OWN_FOLDER}/beep.wav"

    @property
    def ringback(self) -> str:
        """See SoundLibrary."""
        return f"{OWN_FOLDER}/ringback.wav"

    def prepare(self, sounds: Iterable[Sound]) -> Unready | None:
        """See SoundLibrary."""
        found = [missing for missing in map(self._prepare, sounds) if missing is not None]
        never = next((missing for missing in found if missing.seconds is None), None)
        return never or max(found, key=lambda missing: missing.seconds or 0, default=None)

    def fetch(self, sound: Sound, ready: Callable[[str | None, str], None]) -> None:
        """See SoundLibrary."""
        if isinstance(sound, Spoken):
            self._fetch_speech(sound, ready)
            return
        file, fault = self._audio(sound)
        if file is not None or fault:
            ready(file, fault)
            return
        task = self._converting[self._converted_path(sound)]
        task.add_done_callback(lambda done: self._converted_for(sound, done, ready))

    # Texts

    def _fetch_speech(self, spoken: Spoken, ready: Callable[[str | None, str], None]) -> None:
        if self._speaker is None:
            ready(None, "this server has no [speech] command")
            return
        path = self._speaker.path(spoken)
        if path.exists():
            ready(self._name(path), "")
        else:
            self._speaker.want(spoken, lambda fault: ready(None, fault) if fault else ready(self._name(path), ""))

    def _prepare(self, sound: Sound) -> Unready | None:
        if isinstance(sound, str):
            file, fault = self._audio(sound)
            if file is not None:
                return None
            return Unready(fault, FAULT_SECONDS) if fault else Unready("audio is being converted", SOON_SECONDS)
        if self._speaker is None:
            return Unready("this server has no [speech] command", FAULT_SECONDS)
        path = self._speaker.path(sound)
        if path.exists():
            _used(path)
            return None
        return self._put_off(self._speaker, sound, path)

    def _put_off(self, speaker: Speaker, spoken: Spoken, path: Path) -> Unready:
        """Have the text rendered, unless it was tried in vain and is to be left alone for now, or for good."""
        failure = speaker.failures.get(path)
        if failure is not None and failure.times > len(RETRY_SECONDS):
            return Unready(f"its speech cannot be rendered: {failure.reason}", None)
        left = 0.0 if failure is None else failure.until - asyncio.get_running_loop().time()
        if failure is not None and left > 0:
            return Unready(f"its speech could not be rendered: {failure.reason}", left)
        speaker.want(spoken)
        return Unready("its speech is being rendered", SOON_SECONDS)

    # Files

    def _audio(self, name: str) -> tuple[str | None, str]:
        """The file to play for this one, or why there is none; neither while it is being converted."""
        path = self._media / name
        try:
            stat = path.stat()
            known = self._fit.get(name)
            version = stat.st_mtime_ns, stat.st_size
            if known is not None and known[0] == version:
                return known[1], ""
            until, fault = self._faults.get(name, (0.0, ""))
            if fault and asyncio.get_running_loop().time() < until:
                return None, fault
            with path.open("rb") as file:
                wave = read_header(file.read(HEADER_BYTES))
        except (OSError, NotPlayable) as error:
            return None, f"{name}: {getattr(error, 'strerror', None) or error}"
        if wave.fits_the_stack:
            self._fit[name] = version, name
            return name, ""
        made = self._converted_path(name)
        if made.exists():
            _used(made)
            self._fit[name] = version, self._name(made)
            return self._name(made), ""
        if made not in self._converting:
            task = self._converting[made] = asyncio.create_task(self._convert(path, made, name))
            task.add_done_callback(lambda _: self._converting.pop(made))
        return None, ""

    def _converted_path(self, name: str) -> Path:
        stat = (self._media / name).stat()
        key = f"{name}\0{stat.st_mtime_ns}\0{stat.st_size}".encode()
        return self._converted / f"{hashlib.sha256(key).hexdigest()}.wav"

    async def _convert(self, path: Path, made: Path, name: str) -> str:
        """ "" or the reason."""
        try:
            await asyncio.to_thread(_convert_file, path, made)
        except (OSError, NotPlayable) as error:
            fault = f"{name}: {getattr(error, 'strerror', None) or error}"
            self._faults[name] = asyncio.get_running_loop().time() + FAULT_SECONDS, fault
            log.warning("audio cannot be played: %s", fault)
            return fault
        self._faults.pop(name, None)
        return ""

    def _converted_for(self, name: str, done: "asyncio.Task[str]", ready: Callable[[str | None, str], None]) -> None:
        if done.cancelled():
            ready(None, "the server is stopping")
            return
        file, fault = self._audio(name)
        ready(file, fault or done.result() or ("" if file else "the file changed meanwhile"))

    def _name(self, path: Path) -> str:
        return path.relative_to(self._media).as_posix()

    # Age

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.to_thread(self.sweep, time.time())
            await asyncio.sleep(SWEEP_SECONDS)

    def sweep(self, now: float) -> int:
        """Remove what is too old at `now` (Unix time in seconds); how many files that were."""
        removed = 0
        for folder, days in self._keep.items():
            for path in folder.glob("*.wav") if days else ():
                try:
                    if path.stat().st_mtime < now - days * DAY_SECONDS:
                        path.unlink()
                        removed += 1
                except OSError as error:
                    log.warning("%s cannot be removed: %s", path, error.strerror)
        return removed


def _used(path: Path) -> None:
    """Remember, by its time, that the file is in use; once a day is enough."""
    now = time.time()
    if path.stat().st_mtime < now - DAY_SECONDS:
        os.utime(path, (now, now))


def _convert_file(path: Path, made: Path) -> None:
    making = made.with_suffix(f".{os.getpid()}.tmp")
    making.write_bytes(playable(path.read_bytes()))
    making.replace(made)


def _ringback() -> bytes:
    return _tone(_RING_HZ, _RING_SECONDS, _RING_PAUSE_SECONDS)


def _tone(hertz: int, seconds: float, pause_seconds: float = 0.0) -> bytes:
    rate = 8_000
    sound = (round(8_000 * math.sin(2 * math.pi * hertz * n / rate)) for n in range(round(rate * seconds)))
    return write_wav(array("h", [*sound, *[0] * round(rate * pause_seconds)]), rate)
