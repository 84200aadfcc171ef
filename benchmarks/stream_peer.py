"""The far sides of the streams that are measured beside: a lab that talks and a server that says back what it hears.

Started as `python -m benchmarks.stream_peer`; prints the ports of both, and serves until its standard input closes.
"""

import asyncio
import sys

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from sip.lab import Lab


async def echo(connection: ServerConnection) -> None:
    try:
        async for message in connection:
            if isinstance(message, bytes):
                await connection.send(message)
    except ConnectionClosed:
        pass


async def main() -> None:
    async with Lab(pace=0.05) as lab, serve(echo, "127.0.0.1", 0, compression=None) as server:
        print(lab.port, server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
