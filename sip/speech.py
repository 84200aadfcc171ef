"""Texts into WAV files by the configured speech command, a few at a time, each text once."""

import asyncio
import contextlib
import hashlib
import logging
import os
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dialer.core.sounds import Spoken
from sip.wav import HEADER_BYTES, NotPlayable, playable, read_header

log = logging.getLogger(__name__)

Done = Callable[[str], None]
# A text that could not be rendered is tried again after these pauses, and then given up: some two hours.
RETRY_SECONDS: Final = (5.0, 30.0, 120.0, *[600.0] * 12)
COMMAND_SECONDS: Final = 30.0
# More texts than this wait for nobody: their calls ask again when it is their turn.
MAX_WAITING: Final = 2_000
LONGEST_REASON: Final = 200


@dataclass(slots=True)
class _Job:
    """A text that is being rendered, or waits for it. `done` are told "" or the reason."""

    path: Path
    spoken: Spoken
    done: list[Done] = field(default_factory=list)


@dataclass(slots=True)
class Failure:
    """How often a text could not be rendered, why the last time, and until when it is left alone (loop time)."""

    times: int
    reason: str
    until: float


class Speaker:
    """`command` is split as a shell would, without one being run: {input} is a text file, {output} the WAV file to write.

    At most `parallel` commands run at once. Files are named by what they hold and who says it, so that they outlive this
    process; one appears under its name when it is whole.
    """

    def __init__(self, directory: Path, command: str, *, voice: str, parallel: int) -> None:
        self._directory = directory
        self._words = shlex.split(command)
        self._command = command
        self._voice = voice
        self._parallel = parallel
        self._urgent: list[_Job] = []
        self._waiting: dict[Path, _Job] = {}
        self._running: dict[Path, _Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.failures: dict[Path, Failure] = {}

    def path(self, spoken: Spoken) -> Path:
        """Where the text's file is, once it is there."""
        voice = spoken.voice or self._voice
        key = "\0".join((self._command, voice, spoken.text)).encode()
        return self._directory / f"{hashlib.sha256(key).hexdigest()}.wav"

    def want(self, spoken: Spoken, done: Done | None = None) -> None:
        """Render the text; `done` is told when that is over. With `done` somebody waits for it on a call: it goes first."""
        path = self.path(spoken)
        job = self._running.get(path) or self._waiting.get(path)
        if job is None:
            if done is None and len(self._waiting) >= MAX_WAITING:
                return
            job = self._waiting[path] = _Job(path, spoken)
        if done is not None:
            job.done.append(done)
            self._urgent.append(job)
        self._begin()

    async def close(self) -> None:
        """Stop rendering; nobody is told."""
        self._waiting.clear()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self) -> None:
        while self._waiting and len(self._running) < self._parallel:
            job = self._next()
            self._running[job.path] = job
            task = asyncio.get_running_loop().create_task(self._work(job))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _next(self) -> _Job:
        while self._urgent:
            job = self._urgent.pop(0)
            if self._waiting.pop(job.path, None) is not None:
                return job
        return self._waiting.pop(next(iter(self._waiting)))

    async def _work(self, job: _Job) -> None:
        try:
            reason = await self._render(job)
        finally:
            del self._running[job.path]
        if reason:
            self._failed(job.path, reason)
        else:
            self.failures.pop(job.path, None)
        for done in job.done:
            done(reason)
        self._begin()

    def _failed(self, path: Path, reason: str) -> None:
        times = self.failures[path].times + 1 if path in self.failures else 1
        pause = RETRY_SECONDS[min(times, len(RETRY_SECONDS)) - 1]
        self.failures[path] = Failure(times, reason, asyncio.get_running_loop().time() + pause)
        log.error("a text could not be turned into speech (try %d): %s", times, reason)

    async def _render(self, job: _Job) -> str:
        """Run the command; the reason why there is no file, "" when there is."""
        with tempfile.TemporaryDirectory(dir=self._directory, prefix=".making-") as folder:
            given, made = Path(folder, "text.txt"), Path(folder, "speech.wav")
            await asyncio.to_thread(given.write_text, job.spoken.text + "\n", "utf-8")
            values = {"input": str(given), "output": str(made), "voice": job.spoken.voice or self._voice}
            fault = await _run([word.format(**values) for word in self._words])
            if fault:
                return fault
            try:
                await asyncio.to_thread(_take, made, job.path)
            except FileNotFoundError:
                return f"{self._words[0]} wrote no file"
            except (OSError, NotPlayable) as error:
                return f"{self._words[0]}: what it wrote {error}"
        return ""


async def _run(words: list[str]) -> str:
    """Run a program to its end; "" or what was wrong with it."""
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        return f"{words[0]}: {error.strerror or error}"
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            _, said = await process.communicate()
    except TimeoutError:
        return f"{words[0]} did not end within {COMMAND_SECONDS:g} s"
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)  # with what it may have started
            await process.wait()
    if process.returncode == 0:
        return ""
    lines = said.decode("utf-8", "replace").strip().splitlines() or ["it says nothing"]
    return f"{words[0]} ended with {process.returncode}: {lines[-1]}"[:LONGEST_REASON]


def _take(made: Path, path: Path) -> None:
    """Put what was made in its place, whole, converted where the stack cannot play it as it is."""
    with made.open("rb") as file:
        wave = read_header(file.read(HEADER_BYTES))
    if not wave.fits_the_stack or wave.start + wave.size > made.stat().st_size:
        made.write_bytes(playable(made.read_bytes()))
    made.chmod(0o600)
    made.replace(path)
