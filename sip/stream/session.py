"""One stream: a call's line on one side, its server's WebSocket on the other."""

import asyncio
import contextlib
import json
import logging
import socket
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from dialer.core.events import StreamEnd, StreamEnded, StreamOpened
from dialer.core.step_kinds import LONGEST_OUTCOME
from sip.stream import opening
from sip.stream.line import CLEAR, FRAME_MS, MAX_PACKET, frame_bytes, read_from_call, to_call
from sip.stream.messages import OpenStream, Setup
from sip.stream.opening import NotOpened, open_socket
from sip.stream.playout import Playout

log = logging.getLogger(__name__)

# The callee's audio that waits to be sent to a server which does not take it; what is older is dropped.
MAX_UNSENT: Final = 50  # frames: a second
# What is to be told to a server that does not read, before no more is read of it.
MAX_UNTOLD: Final = 100
LONGEST_NAME: Final = 200
PACKETS_A_TURN: Final = 64
LEAVE_SECONDS: Final = 2.0


class BadMessage(ValueError):
    """The server sent what the protocol does not know; the text says what is wrong."""


class Session:
    """From `run` to its end, which is reported once.

    `line` is non-blocking, and closed at the end. Frames of the call pass even while the server is not connected yet: they
    go nowhere then.
    """

    def __init__(
        self, order: OpenStream, line: socket.socket, setup: Setup, report: Callable[[StreamOpened | StreamEnded], None]
    ) -> None:
        self._order, self._line, self._setup, self._report = order, line, setup, report
        self._playout = Playout(frame_bytes(order.sample_rate))
        self._open = False
        self._unsent: deque[bytes | str] = deque()
        self._unsent_frames = self._dropped_frames = 0
        self._to_send = asyncio.Event()
        self._room = asyncio.Event()
        self._outcome = ""
        # What ends it: who, and what is to be told of that.
        self._end: asyncio.Future[tuple[StreamEnd, str]] = asyncio.get_running_loop().create_future()
        self._said_stop = False
        self._leg_over = False

    # Orders

    def press(self, digit: str) -> None:
        """The callee pressed a key."""
        self._tell({"type": "dtmf", "digit": digit})

    def stop(self, reason: str) -> None:
        """End it, for a reason that the server is told."""
        self._finish(StreamEnd.STOPPED, reason)

    async def run(self) -> None:
        """Connect, carry audio both ways until something ends it, report that, and take leave of the server."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._line, self._call_spoke)
        server = None
        try:
            server = await self._opened()
            if server is not None:
                await self._carry(server)
            by, reason = self._end.result()
        except BaseException:
            if server is not None:
                server.transport.abort()
            raise
        finally:
            loop.remove_reader(self._line)
            self._line.close()
        dropped_ms = self._dropped_frames * FRAME_MS
        order = self._order
        self._report(StreamEnded(order.leg, order.token, by, reason, self._outcome, dropped_ms, self._leg_over))
        if server is not None:
            await _leave(server, reason if by is StreamEnd.STOPPED else "")

    async def _opened(self) -> ClientConnection | None:
        """The connection; None when there is none, or when something ended the stream before."""
        coming = asyncio.ensure_future(open_socket(self._order, self._setup))
        first: list[asyncio.Future[Any]] = [coming, self._end]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if not coming.done():
            coming.cancel()
        try:
            return await coming
        except asyncio.CancelledError:
            if not self._end.done():  # it was this session that was cancelled
                raise
        except NotOpened as fault:
            self._finish(StreamEnd.FAILED, str(fault))
        return None

    async def _carry(self, server: ClientConnection) -> None:
        order = self._order
        self._report(StreamOpened(order.leg, order.token))
        self._open = True
        audio = {"encoding": "pcm_s16le", "sample_rate": order.sample_rate, "frame_ms": FRAME_MS}
        self._tell({"type": "start", **json.loads(order.start), "audio": audio})
        tasks = [asyncio.ensure_future(work(server)) for work in (self._send, self._receive, self._watch)]
        for task in tasks:
            task.add_done_callback(self._worked)
        try:
            await asyncio.wait({self._end})
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _worked(self, task: "asyncio.Future[None]") -> None:
        """A part of it is done. Where that was a defect, the whole fails."""
        fault = None if task.cancelled() else task.exception()
        if fault is not None and not self._end.done():
            self._end.set_exception(fault)

    def _finish(self, by: StreamEnd, reason: str = "") -> None:
        if not self._end.done():
            self._end.set_result((by, reason))

    # The call's side

    def _call_spoke(self) -> None:
        """Frames came from the call: each is a tick of its clock."""
        for _ in range(PACKETS_A_TURN):
            try:
                packet = self._line.recv(MAX_PACKET)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self._leg_over = True
                asyncio.get_running_loop().remove_reader(self._line)
                self._finish(StreamEnd.STOPPED, "hangup")
                return
            taken, frame = read_from_call(packet)
            self._playout.tick(taken)
            self._play()
            if self._open:
                self._say(frame)

    def _say(self, frame: bytes) -> None:
        """The callee said this."""
        self._unsent.append(frame)
        self._unsent_frames += 1
        if self._unsent_frames > MAX_UNSENT:
            oldest = next(n for n, one in enumerate(self._unsent) if isinstance(one, bytes))
            del self._unsent[oldest]
            self._unsent_frames -= 1
            self._dropped_frames += 1
        self._to_send.set()

    def _play(self) -> None:
        """Give the call what it should have now, and tell the server of marks that were reached."""
        for frame in self._playout.give():
            self._put(to_call(frame))
        self._tell_marks(self._playout.due(), played=True)
        if not self._playout.full:
            self._room.set()
        if self._said_stop and self._playout.empty:
            self._finish(StreamEnd.SERVER)

    def _put(self, packet: bytes) -> None:
        # There is room for what may be ahead; a call that is gone shows when its line is read.
        with contextlib.suppress(OSError):
            self._line.send(packet)

    # The server's side

    def _tell(self, message: dict[str, Any]) -> None:
        if self._open:
            self._unsent.append(_message(message))
            self._to_send.set()

    def _tell_marks(self, names: Iterable[str], *, played: bool) -> None:
        for name in names:
            self._tell({"type": "mark", "name": name, "played": played})

    async def _send(self, server: ClientConnection) -> None:
        try:
            while True:
                await self._to_send.wait()
                self._to_send.clear()
                while self._unsent:
                    one = self._unsent.popleft()
                    self._unsent_frames -= isinstance(one, bytes)
                    self._room.set()
                    # Behind what the server does not take, pings wait as well, and nobody misses their answers.
                    async with asyncio.timeout(opening.PATIENCE_SECONDS):
                        await server.send(one)
        except TimeoutError:
            self._finish(StreamEnd.LOST, f"the server took nothing for {opening.PATIENCE_SECONDS:g} s")
        except ConnectionClosed:
            return  # whoever watches says why

    async def _receive(self, server: ClientConnection) -> None:
        """Take what the server sends, as long as there is room for it and for what is to be answered."""
        with contextlib.suppress(ConnectionClosed):
            async for message in server:
                if isinstance(message, bytes):
                    self._heard(message)
                else:
                    self._read(message)
                while self._playout.full or len(self._unsent) > MAX_UNSENT + MAX_UNTOLD:
                    self._room.clear()
                    await self._room.wait()
        if server.close_code == CloseCode.NORMAL_CLOSURE:
            self._stop_was_said()

    async def _watch(self, server: ClientConnection) -> None:
        """A connection that ends otherwise is lost at once, whatever still waits."""
        await server.wait_closed()
        if server.close_code != CloseCode.NORMAL_CLOSURE:
            self._finish(StreamEnd.LOST, f"the connection ended: {server.protocol.close_exc}")

    def _heard(self, audio: bytes) -> None:
        """Samples to be played; after a `stop` there are none."""
        if not self._said_stop:
            self._playout.add(audio)
            self._play()

    def _read(self, text: str) -> None:
        try:
            self._told(text)
        except BadMessage as fault:
            self._tell({"type": "error", "reason": str(fault)})

    def _told(self, text: str) -> None:
        """A control message. Raises BadMessage."""
        match _json(text):
            case {"type": "mark", "name": str(name)} if len(name) <= LONGEST_NAME:
                self._playout.mark(name)
                self._play()
            case {"type": "mark"}:
                raise BadMessage(f"a mark has a name of {LONGEST_NAME} characters at most")
            case {"type": "clear"}:
                if self._playout.ahead:
                    self._put(CLEAR)
                self._tell_marks(self._playout.clear(), played=False)
                self._play()
            case {"type": "stop", **rest}:
                outcome = rest.get("outcome", "")
                if not isinstance(outcome, str) or len(outcome) > LONGEST_OUTCOME:
                    raise BadMessage(f"an outcome is a text of {LONGEST_OUTCOME} characters at most")
                self._outcome = outcome
                self._stop_was_said()
            case {"type": str(kind)}:
                raise BadMessage(f"there is no type {kind[:LONGEST_NAME]!r}: mark, clear, stop")
            case _:
                raise BadMessage("a message is a JSON object with a type: mark, clear, stop")

    def _stop_was_said(self) -> None:
        """What waits is still heard."""
        self._said_stop = True
        self._playout.end()
        self._play()


async def _leave(server: ClientConnection, reason: str) -> None:
    """Close the connection; where it was not the server that ended the stream, say why."""
    try:
        async with asyncio.timeout(LEAVE_SECONDS):
            if reason:
                await server.send(_message({"type": "stop", "reason": reason}))
            await server.close()
    except (ConnectionClosed, TimeoutError):
        pass
    finally:
        server.transport.abort()  # nothing where it is closed


def _json(text: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise BadMessage("is not JSON") from None


def _message(fields: dict[str, Any]) -> str:
    # In ASCII: what a server wrote may hold halves of characters, which UTF-8 has no bytes for.
    return json.dumps(fields, separators=(",", ":"))
