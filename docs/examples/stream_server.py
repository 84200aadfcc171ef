"""A program that speaks with callees: a WebSocket server for the step `stream` of the dialer (docs/stream.md).

It greets with a tone, says back what it hears, falls silent at once when the callee speaks up (barge-in), and ends the
conversation when the callee presses a key: the key is what it came to. Put your recogniser, your language model and your
voice where `Assistant` has its three comments.

    pip install websockets
    python stream_server.py --port 9000 --secret "$SECRET"
"""

import argparse
import asyncio
import contextlib
import hmac
import json
import math
import time
from array import array
from hashlib import sha256
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

GREETING_HZ, GREETING_SECONDS = 600, 2.0
LOUD = 1_000  # of 32,767: what is louder is somebody who speaks
FRESH_SECONDS = 300


def is_ours(request: Request, url: str, secret: str) -> bool:
    """Whether the dialer that has the secret sent this request, to this very URL, and just now."""
    headers = request.headers
    sent_at, call = headers.get("X-Dialer-Timestamp", ""), headers.get("X-Dialer-Call", "")
    signed = hmac.new(secret.encode(), f"{sent_at}.{call}.{url}".encode(), sha256).hexdigest()
    genuine = hmac.compare_digest(headers.get("X-Dialer-Signature", ""), f"v1={signed}")
    return genuine and sent_at.isdigit() and abs(time.time() - int(sent_at)) < FRESH_SECONDS


def tone(hertz: int, seconds: float, rate: int) -> bytes:
    """16-bit samples, as the dialer plays them."""
    count = round(seconds * rate)
    return array("h", (round(6_000 * math.sin(2 * math.pi * hertz * n / rate)) for n in range(count))).tobytes()


class Assistant:
    """One call."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        self._greeting = True

    async def tell(self, **message: object) -> None:
        """A control message."""
        await self._connection.send(json.dumps(message))

    async def run(self) -> None:
        """Until the callee has pressed a key, or has hung up."""
        async for message in self._connection:
            if isinstance(message, bytes):
                await self.heard(message)
            else:
                await self.told(json.loads(message))

    async def heard(self, audio: bytes) -> None:
        """20 ms of what the callee says. Here: your recogniser."""
        if max(map(abs, array("h", audio))) > LOUD and self._greeting:
            self._greeting = False
            await self.tell(type="clear")  # the callee speaks: what is still to be heard of the greeting is not heard
        if not self._greeting:
            await self._connection.send(audio)  # Here: what your voice says, as much of it at once as there is

    async def told(self, message: dict[str, object]) -> None:
        """A control message of the dialer."""
        match message:
            case {"type": "start", "audio": {"sample_rate": int(rate)}, "parameters": parameters}:
                print("call", message["call_id"], parameters, flush=True)  # Here: whom it is with, and what about
                await self._connection.send(tone(GREETING_HZ, GREETING_SECONDS, rate))
                await self.tell(type="mark", name="greeted")
            case {"type": "mark", "name": "greeted", "played": True}:
                self._greeting = False
            case {"type": "dtmf", "digit": str(digit)}:
                await self.tell(type="clear")
                await self.tell(type="stop", outcome=f"pressed {digit}")
            case {"type": "stop" | "error", "reason": reason}:
                print(message["type"], reason, flush=True)


async def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--secret", default="", help="the dialer's stream.secret; without, everybody is let in")
    given = parser.parse_args()

    def admit(connection: ServerConnection, request: Request) -> Response | None:
        url = f"ws://{request.headers['Host']}{request.path}"
        if given.secret and not is_ours(request, url, given.secret):
            return connection.respond(HTTPStatus.UNAUTHORIZED, "not signed by the dialer\n")
        return None

    async def talk(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            await Assistant(connection).run()

    async with serve(talk, "127.0.0.1", given.port, process_request=admit, compression=None) as server:
        print("listening on", server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main())
