"""The engine's side of intake: takes requests from the API to the loader processes and brings their answers back.

There are two loader processes, so that no large request makes a small one wait: what fits into `SMALL` bytes goes to one of
them, the rest to the other. Each works on one request at a time; those that wait are taken by size and age. Nothing here
touches the database, and large bodies pass by as open files.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import itertools
import json
import logging
import multiprocessing
import os
import pickle
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import IO, Any, Literal

from dialer.core.intake import Form, IntakeRules
from dialer.core.model import CampaignId
from dialer.core.playbook import Machine
from dialer.log_lines import LogStyle
from dialer.ports import StoreUnavailable
from scheduler import loader
from scheduler.loader import NOT_STORED, LoaderSettings
from scheduler.loader_frames import LENGTHS_SIZE, Frame, lengths_of
from scheduler.write_turn import Flag

_log = logging.getLogger(__name__)

SMALL = 256 * 1024
# A large request is worth so much waiting: four times what it takes itself, at about 30 MB a second.
_BYTES_PER_SECOND_OF_WAITING = 7_500_000
_GRACE_S = 15.0
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a submitted request came to. `content` is the JSON object of the answer as it goes out, `body` the same read.

    `replayed`: it is the stored answer to an earlier request with the same key and body. `retry_after`: seconds, where
    waiting helps.
    """

    status: int
    content: bytes
    replayed: bool = False
    retry_after: int | None = None

    @property
    def body(self) -> dict[str, Any]:
        """The answer's JSON object. Refusals of long lists have long `details`: prefer `content`."""
        body: dict[str, Any] = json.loads(self.content)
        return body


_UNAVAILABLE = Answer(503, json.dumps({"error": NOT_STORED}).encode())


class Loader:
    """Keeps `api.backend.Intake` for the database at `path`.

    `lock_wanted` is the store's flag: the loaders stay out of the database's way while it is up. `on_activated` is told each
    accepted campaign, on the event loop, before its answer is returned.
    """

    def __init__(
        self,
        path: str | Path,
        rules: IntakeRules,
        machine: Machine,
        *,
        on_activated: Callable[[CampaignId], None],
        lock_wanted: Flag | None = None,
        log: LogStyle = LogStyle(),  # noqa: B008 - frozen
    ) -> None:
        path = Path(path).resolve()
        dispatcher = () if lock_wanted is None else (lock_wanted,)
        hurry = _SPAWN.RawValue("b", 0)
        small = LoaderSettings(path, rules, machine, ahead=dispatcher, own=hurry, nice=0, log=log)
        large = replace(small, ahead=(*dispatcher, hurry), own=None, nice=5)
        self._directory = path.parent
        self._small = _Desk("loader-small", small, on_activated)
        self._large = _Desk("loader-large", large, on_activated)

    def follow(self, rules: IntakeRules, machine: Machine, log: LogStyle) -> None:
        """These hold for every request whose turn comes from now on."""
        self._small.follow(rules, machine, log)
        self._large.follow(rules, machine, log)

    @property
    def pids(self) -> dict[str, int]:
        """The processes that serve now, by name."""
        return {desk.name: desk.pid for desk in (self._small, self._large) if desk.pid is not None}

    async def start(self) -> None:
        """Start the processes, and clear up what an earlier run left behind: to be done before campaigns are looked for.

        Raises `StoreUnavailable` when the database cannot be opened, or was never migrated.
        """
        try:
            await self._open_both()
            await self._large.sweep()
        except (OSError, EOFError) as error:
            await self.stop()
            raise StoreUnavailable(f"a loader process ended at its start: {error}") from error
        except BaseException:
            await self.stop()
            raise
        self._small.start()
        self._large.start()

    async def _open_both(self) -> None:
        for fault in await asyncio.gather(self._small.open(), self._large.open(), return_exceptions=True):
            if fault is not None:
                raise fault

    async def stop(self) -> None:
        """Finish the requests that are being stored, answer 503 to those that wait, and end the processes."""
        await asyncio.gather(self._small.stop(), self._large.stop())

    def spool(self) -> IO[bytes]:
        """An empty file for one body: in memory while it is small, then beside the database, where it never has a name."""
        return tempfile.SpooledTemporaryFile(max_size=SMALL, dir=str(self._directory))

    async def submit(
        self,
        account_id: int,
        endpoint: Literal["campaign", "call"],
        body: IO[bytes],
        idempotency_key: str | None,
        form: Form = Form(),  # noqa: B008 - frozen
    ) -> Answer:
        """Check and store the request that is in `body`, a file at its start that the caller closes.

        An accepted request (202) is on disk, with all its calls, when this returns; of any other nothing is stored. It goes
        on when the caller is cancelled. Raises `StoreUnavailable` when there is no room for the body.
        """
        head = {
            "do": "accept",
            "uuid": str(uuid.uuid4()),
            "account": account_id,
            "endpoint": endpoint,
            "key": idempotency_key,
            "form": asdict(form),
        }
        start = body.read(SMALL + 1)
        if len(start) <= SMALL:
            return await self._small.submit(Frame(head, start), len(start))
        file = await self._own_file(body)
        return await self._large.submit(Frame(head, file=file), os.fstat(file).st_size)

    async def _own_file(self, body: IO[bytes]) -> int:
        try:
            body.flush()
            return os.dup(body.fileno())
        except OSError:
            # Not a file of the operating system.
            body.seek(0)
            try:
                return await asyncio.to_thread(self._copy, body)
            except OSError as error:
                raise StoreUnavailable(f"no room for the request: {error}") from error

    def _copy(self, body: IO[bytes]) -> int:
        with tempfile.TemporaryFile(dir=self._directory) as file:
            shutil.copyfileobj(body, file)
            file.flush()
            return os.dup(file.fileno())


@dataclass(order=True, slots=True)
class _Waiting:
    order: float
    number: int
    frame: Frame = field(compare=False)
    answer: asyncio.Future[Answer] = field(compare=False)


class _Desk:
    """One loader process, with the requests that wait for it."""

    def __init__(self, name: str, settings: LoaderSettings, on_activated: Callable[[CampaignId], None]) -> None:
        self.name = name
        self._settings = self._known = settings
        self._on_activated = on_activated
        self._queue: asyncio.PriorityQueue[_Waiting] = asyncio.PriorityQueue()
        self._numbers = itertools.count()
        self._process: SpawnProcess | None = None
        self._socket: socket.socket | None = None
        self._serving: asyncio.Task[None] | None = None
        self._stopping = False

    def follow(self, rules: IntakeRules, machine: Machine, log: LogStyle) -> None:
        """Other settings: the process is told of them before its next request."""
        self._settings = replace(self._settings, rules=rules, machine=machine, log=log)

    @property
    def pid(self) -> int | None:
        """The process that serves now."""
        return None if self._process is None else self._process.pid

    async def open(self) -> None:
        """Start the process and wait until it has opened the database.

        Raises `StoreUnavailable` with its reason, OSError or EOFError when it dies.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._socket = ours
        # multiprocessing waits at exit for its processes, and this one ends only when its socket is closed.
        atexit.register(ours.close)
        with theirs:
            self._known = self._settings
            self._process = await asyncio.to_thread(_spawn, self.name, theirs, self._known)
        head, _ = await self._receive()
        if "fault" in head:
            raise StoreUnavailable(head["fault"])

    async def sweep(self) -> None:
        """Have everything removed or completed that an earlier run left behind."""
        await self._send(Frame({"do": "sweep"}))
        await self._receive()

    def start(self) -> None:
        """Begin to work on what is submitted."""
        self._serving = asyncio.create_task(self._serve(), name=self.name)

    async def submit(self, frame: Frame, size: int) -> Answer:
        """Wait for the request's turn and its answer."""
        if self._stopping or self._serving is None:
            _close_file(frame)
            return _UNAVAILABLE
        order = time.monotonic() + size / _BYTES_PER_SECOND_OF_WAITING
        answer = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Waiting(order, next(self._numbers), frame, answer))
        return await asyncio.shield(answer)

    async def stop(self) -> None:
        """Let the current request end, give the others up, close the process."""
        self._stopping = True
        while not self._queue.empty():
            _give_up(self._queue.get_nowait())
            self._queue.task_done()
        if self._serving is not None:
            # A request that does not end in time stays undecided until the next start: active or removed.
            idle = asyncio.create_task(self._queue.join())
            await asyncio.wait({idle}, timeout=_GRACE_S)
            idle.cancel()
            self._serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._serving
        await self._close()

    async def _serve(self) -> None:
        while True:
            waiting = await self._queue.get()
            try:
                answer = await self._carry_out(waiting.frame)
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)
            finally:
                _give_up(waiting)
                self._queue.task_done()

    async def _carry_out(self, frame: Frame) -> Answer:
        announced: set[int] = set()
        try:
            if self._process is None or not self._process.is_alive():
                await self._reopen()
            await self._tell_settings()
            await self._send(frame)
            return await self._answer(announced)
        except (OSError, EOFError) as error:
            _log.warning("%s died with a request: %s", self.name, error)
        except StoreUnavailable as error:
            _log.warning("%s cannot work: %s", self.name, error)
            return _UNAVAILABLE
        # It may have died on either side of the moment from which the request counts as accepted: ask the database.
        try:
            await self._reopen()
            await self._send(Frame({**frame.head, "do": "resolve"}))
            return await self._answer(announced)
        except (OSError, EOFError, StoreUnavailable) as error:
            _log.warning("%s cannot tell what became of a request: %s", self.name, error)
            return _UNAVAILABLE

    async def _tell_settings(self) -> None:
        if self._known is not (now := self._settings):
            await self._send(Frame({"do": "follow"}, pickle.dumps((now.rules, now.machine, now.log))))
            self._known = now

    async def _answer(self, announced: set[int]) -> Answer:
        while True:
            head, content = await self._receive()
            campaign = head.get("activated", head.get("campaign"))
            if campaign is not None and campaign not in announced:
                announced.add(campaign)
                self._on_activated(CampaignId(campaign))
            if "status" in head:
                return Answer(head["status"], content, head["replayed"], head["retry_after"])

    async def _reopen(self) -> None:
        await self._close()
        await self.open()

    async def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            atexit.unregister(self._socket.close)
        if self._process is not None:
            await asyncio.to_thread(_end, self._process)
        self._process = self._socket = None
        if self._settings.own is not None:
            # A process that was killed in a hurry left it up, and the other one would wait for ever.
            self._settings.own.value = 0

    async def _send(self, frame: Frame) -> None:
        connection = self._connected()
        data = frame.encoded()
        if frame.file is not None:
            # The process has read all that was sent before, so the socket has room for these few bytes.
            sent = socket.send_fds(connection, [data], [frame.file])
            data = data[sent:]
        await asyncio.get_running_loop().sock_sendall(connection, data)

    async def _receive(self) -> tuple[dict[str, Any], bytes]:
        head_length, content_length = lengths_of(await self._exactly(LENGTHS_SIZE))
        head: dict[str, Any] = json.loads(await self._exactly(head_length))
        return head, await self._exactly(content_length)

    async def _exactly(self, length: int) -> bytes:
        connection, loop = self._connected(), asyncio.get_running_loop()
        data = bytearray()
        while len(data) < length:
            part = await loop.sock_recv(connection, min(length - len(data), 1 << 20))
            if not part:
                raise EOFError("it closed its socket")
            data += part
        return bytes(data)

    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise EOFError("it is not running")
        return self._socket


def _spawn(name: str, theirs: socket.socket, settings: LoaderSettings) -> SpawnProcess:
    process = _SPAWN.Process(target=loader.run, args=(theirs, settings), name=name, daemon=True)
    process.start()
    return process


def _end(process: SpawnProcess) -> None:
    process.join(timeout=_GRACE_S)
    if process.is_alive():
        process.kill()
        process.join()
    process.close()


def _give_up(waiting: _Waiting) -> None:
    _close_file(waiting.frame)
    if not waiting.answer.done():
        waiting.answer.set_result(_UNAVAILABLE)


def _close_file(frame: Frame) -> None:
    if frame.file is not None:
        os.close(frame.file)
