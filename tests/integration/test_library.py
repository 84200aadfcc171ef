"""Sounds are at hand before a call is dialed: speech by a command that may fail, audio of any common kind."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dialer.core.sounds import Sound, Spoken, Unready
from sip.library import Library
from sip.wav import read_header
from tests.integration.test_sip_media import write_tone
from tests.support.labs import async_test

HELLO = Spoken("Hello Ana")
# A speech command that notes each run, fails when told so by the text, and says a second of nothing.
COMMAND = """
import struct, sys, time, pathlib
source, target, voice, log = sys.argv[1:]
text = pathlib.Path(source).read_text().strip()
with open(log, "a") as file:
    file.write(f"{voice}: {text}\\n")
if "fail" in text:
    sys.exit("no voice today")
if "slow" in text:
    time.sleep(60)
if "nothing" not in text:
    body = bytes(16000) if "broken" not in text else b""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16)
    head = struct.pack("<4sI4s", b"RIFF", 36 + len(body), b"WAVE") + form + struct.pack("<4sI", b"data", len(body))
    pathlib.Path(target).write_bytes(head + body)
"""


@contextlib.asynccontextmanager
async def library_in(folder: Path, **options: Any) -> AsyncIterator[tuple[Library, Path]]:
    script, runs = folder / "speak.py", folder / "runs.log"
    script.write_text(COMMAND)
    command = f"{sys.executable} {script} {{input}} {{output}} {{voice}} {runs}"
    library = Library(folder / "media", **{"command": command, "voice": "en", "parallel": 2, **options})
    try:
        yield library, runs
    finally:
        await library.close()


async def until_ready(library: Library, *sounds: Sound, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while library.prepare(sounds) is not None:  # noqa: ASYNC110  it tells nobody
            await asyncio.sleep(0.01)


async def fetched(library: Library, sound: Sound) -> tuple[str | None, str]:
    told: asyncio.Future[tuple[str | None, str]] = asyncio.get_running_loop().create_future()
    library.fetch(sound, lambda file, fault: told.set_result((file, fault)))
    return await asyncio.wait_for(told, 20)


@async_test
async def test_a_text_is_rendered_once_and_found_again_by_a_later_process(tmp_path: Path) -> None:
    async with library_in(tmp_path) as (library, runs):
        assert library.prepare([HELLO]) == Unready("its speech is being rendered", 0.5)
        library.prepare([HELLO])
        await until_ready(library, HELLO, Spoken("Hello Ana", "es"))
        file, _ = await fetched(library, HELLO)
    assert file is not None
    made = tmp_path / "media" / file
    assert made.stat().st_mode & 0o777 == 0o600
    assert read_header(made.read_bytes()).seconds == 1
    async with library_in(tmp_path) as (again, runs):
        assert again.prepare([HELLO]) is None
        assert await fetched(again, HELLO) == (file, "")
    assert sorted(runs.read_text().splitlines()) == ["en: Hello Ana", "es: Hello Ana"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("fail", "no voice today"), ("nothing", "wrote no file"), ("broken", "without samples")],
)
@async_test
async def test_a_command_that_fails_is_a_reason_and_is_left_alone_for_a_while(
    tmp_path: Path, text: str, reason: str
) -> None:
    async with library_in(tmp_path) as (library, runs):
        file, fault = await fetched(library, Spoken(text))
        assert file is None
        assert reason in fault
        unready = library.prepare([HELLO, Spoken(text)])
        assert unready is not None
        assert reason in unready.reason
        assert unready.seconds is not None
        assert 1 < unready.seconds <= 5
        await until_ready(library, HELLO)
        assert len(runs.read_text().splitlines()) == 2


@async_test
async def test_a_command_that_does_not_exist_is_a_reason(tmp_path: Path) -> None:
    async with library_in(tmp_path, command="/no/such/program {input} {output}") as (library, _):
        assert await fetched(library, HELLO) == (None, "/no/such/program: No such file or directory")


@async_test
async def test_without_a_command_texts_wait_with_the_reason(tmp_path: Path) -> None:
    async with library_in(tmp_path, command=None) as (library, _):
        assert await fetched(library, HELLO) == (None, "this server has no [speech] command")
        unready = library.prepare([HELLO])
        assert unready is not None
        assert unready.reason == "this server has no [speech] command"


@async_test
async def test_a_text_that_somebody_waits_for_on_a_call_goes_first(tmp_path: Path) -> None:
    async with library_in(tmp_path, parallel=1) as (library, runs):
        texts = [Spoken(f"text {n}") for n in range(5)]
        library.prepare(texts)
        await fetched(library, texts[4])
        assert "text 4" in runs.read_text().splitlines()[1]


@async_test
async def test_closing_ends_the_commands_that_run(tmp_path: Path) -> None:
    async with library_in(tmp_path) as (library, runs):
        library.prepare([Spoken("slow")])
        async with asyncio.timeout(20):
            while not runs.exists():  # noqa: ASYNC110  a file of another process
                await asyncio.sleep(0.01)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert not list((tmp_path / "media" / ".dialer" / "speech").iterdir())


@async_test
async def test_audio_that_the_stack_plays_is_played_as_it_lies_and_other_audio_is_converted_once(
    tmp_path: Path,
) -> None:
    async with library_in(tmp_path) as (library, _):
        media = tmp_path / "media"
        write_tone(media / "plain.wav", 500, 0.2)
        write_tone(media / "odd.wav", 500, 0.2, rate=11_025)
        assert library.prepare(["plain.wav"]) is None
        assert await fetched(library, "plain.wav") == ("plain.wav", "")
        file, fault = await fetched(library, "odd.wav")
        assert (fault, file is not None and file.startswith(".dialer/")) == ("", True)
        assert library.prepare(["plain.wav", "odd.wav"]) is None
        write_tone(media / "odd.wav", 700, 0.3, rate=11_025)
        assert library.prepare(["odd.wav"]) is not None  # another file under the same name
        await until_ready(library, "odd.wav")
        assert (await fetched(library, "odd.wav"))[0] != file


@async_test
async def test_audio_that_is_missing_or_broken_holds_calls_back_with_the_reason(tmp_path: Path) -> None:
    async with library_in(tmp_path) as (library, _):
        (tmp_path / "media" / "broken.wav").write_bytes(b"RIFF not quite")
        for name, reason in (("none.wav", "No such file"), ("broken.wav", "not a WAV file")):
            unready = library.prepare([name])
            assert unready is not None
            assert reason in unready.reason
            assert unready.seconds == 15
            assert (await fetched(library, name))[0] is None


@async_test
async def test_recordings_expire_and_so_does_what_was_made_and_not_used(tmp_path: Path) -> None:
    async with library_in(tmp_path, keep_recordings_days=10) as (library, _):
        media = tmp_path / "media"
        write_tone(media / "hello.wav", 500, 0.1)
        recording = write_tone(media / "recordings" / "call-1.wav", 500, 0.1)
        await until_ready(library, HELLO)
        speech = media / library._speaker.path(HELLO) if library._speaker else media
        now = time.time()
        assert library.sweep(now + 9 * 86_400) == 0
        assert library.sweep(now + 11 * 86_400) == 1
        assert not recording.exists()
        os.utime(speech, (now - 29 * 86_400,) * 2)
        library.prepare([HELLO])  # in use
        assert library.sweep(now + 29 * 86_400) == 0
        assert library.sweep(now + 31 * 86_400) == 1
        assert (media / "hello.wav").exists()
    async with library_in(tmp_path, keep_recordings_days=0) as (library, _):
        write_tone(media / "recordings" / "call-2.wav", 500, 0.1)
        assert library.sweep(time.time() + 1e9) == 0


@async_test
async def test_another_command_voice_and_age_are_followed_and_what_is_being_rendered_is_finished(
    tmp_path: Path,
) -> None:
    media = tmp_path / "media"
    async with library_in(tmp_path, keep_recordings_days=1) as (library, runs):
        first: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        library.fetch(HELLO, lambda file, _: first.set_result(file))
        other = f"{sys.executable} {tmp_path / 'speak.py'} {{input}} {{output}} {{voice}} {tmp_path / 'other.log'}"
        library.follow(command=other, voice="es", parallel=1, keep_recordings_days=3)
        assert await asyncio.wait_for(first, 20) is not None, "a call may wait for it"
        await until_ready(library, HELLO, Spoken("Good bye"))
        assert runs.read_text() == "en: Hello Ana\n"
        assert (tmp_path / "other.log").read_text().splitlines() == ["es: Hello Ana", "es: Good bye"]
        recording = media / "recordings" / "a.wav"
        recording.write_bytes(b"")
        now = time.time()
        os.utime(recording, (now, now - 2 * 86_400))
        assert library.sweep(now) == 0
        library.follow(command=None, keep_recordings_days=1)
        assert library.sweep(now) == 1
        assert await fetched(library, HELLO) == (None, "this server has no [speech] command")
