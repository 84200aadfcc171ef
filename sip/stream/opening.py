"""Connecting to a stream's server: only where that is allowed, and so that the server can tell that it is us."""

import asyncio
import hmac
import json
import os
import socket
import ssl
import time
from hashlib import sha256
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from dialer.core.targets import ForbiddenTarget, stream_reach
from dialer.resolving import addresses
from sip.stream.messages import OpenStream, Setup

OPEN_SECONDS: Final = 5.0
# A server that answers no ping, or takes nothing, for so long is lost.
PATIENCE_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 1.0
MAX_MESSAGE_BYTES: Final = 1 << 20
# Messages that are read ahead of what is looked at, and bytes that wait to be sent before sending is waited for.
READ_AHEAD: Final = 2
WRITE_AHEAD_BYTES: Final = 8_192


class _Straight(connect):
    """Follows no redirect: it might lead where it must not."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """A refusal, as any other."""
        return exc


class NotOpened(Exception):
    """There is no connection; the text says why."""


async def open_socket(order: OpenStream, setup: Setup) -> ClientConnection:
    """A connection to the stream's server. Raises NotOpened."""
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            return await _open(order, setup)
    except TimeoutError:
        raise NotOpened(f"no answer within {OPEN_SECONDS:g} s") from None
    except InvalidStatus as refusal:
        raise NotOpened(f"the server answered {refusal.response.status_code}") from None
    except ssl.SSLError as fault:
        raise NotOpened(f"TLS: {getattr(fault, 'verify_message', '') or fault.reason or fault}") from None
    except (ForbiddenTarget, WebSocketException) as fault:
        raise NotOpened(str(fault)) from None
    except OSError as fault:
        raise NotOpened(os.strerror(fault.errno) if fault.errno else str(fault) or "the connection broke") from None


async def _open(order: OpenStream, setup: Setup) -> ClientConnection:
    reach = stream_reach(allow_private=setup.allow_private)
    parts = reach.read(order.url)
    port = reach.port(parts)
    found = await addresses(parts.hostname or "", port, reach)
    line = await _connected(found, port)
    return await _Straight(
        order.url,
        sock=line,
        compression=None,
        proxy=None,
        open_timeout=None,
        ping_interval=PATIENCE_SECONDS,
        ping_timeout=PATIENCE_SECONDS,
        close_timeout=CLOSE_SECONDS,
        max_size=MAX_MESSAGE_BYTES,
        max_queue=READ_AHEAD,
        write_limit=WRITE_AHEAD_BYTES,
        user_agent_header="dialer",
        additional_headers=signature(order, setup.secret, int(time.time())),
    )


async def _connected(found: list[str], port: int) -> socket.socket:
    """A connection to the first of the addresses that takes one. Raises OSError."""
    loop = asyncio.get_running_loop()
    failure = OSError("it has no address")
    for address in found:
        line = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        line.setblocking(False)
        try:
            await loop.sock_connect(line, (address, port))
        except OSError as fault:
            line.close()
            failure = fault
        except BaseException:
            line.close()
            raise
        else:
            return line
    raise failure


def signature(order: OpenStream, secret: str, now: int) -> dict[str, str]:
    """The headers by which a server can tell that it is us; none without a secret.

    The signature is the HMAC-SHA256 of time, call and URL, so that it is good for this request alone.
    """
    if not secret:
        return {}
    call = str(json.loads(order.start).get("call_id", ""))
    signed = hmac.new(secret.encode(), f"{now}.{call}.{order.url}".encode(), sha256).hexdigest()
    return {"X-Dialer-Call": call, "X-Dialer-Timestamp": str(now), "X-Dialer-Signature": f"v1={signed}"}
