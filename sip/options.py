"""One OPTIONS to a trunk (RFC 3261, 11), by plain sockets: is anybody there, and how far away."""

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from sip.grammar import MalformedMessage
from sip.resolve import Way, find_ways
from sip.trunk import TrunkProfile
from sip.wire import Response, framed, parse
from sip.wire_requests import options_request

DEADLINE_SECONDS = 4.0
# T1 and its doublings (RFC 3261, 17.1.2.2), as far as the deadline lets them.
_AGAIN_AFTER_SECONDS = (0.5, 1.0, 2.0)


class NoAnswer(Exception):
    """The trunk did not answer; the text says how far the request came."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A SIP answer, whatever its status: somebody speaks SIP there. `agent` "" where the far side does not say."""

    way: Way
    status: int
    phrase: str
    agent: str
    milliseconds: float

    @property
    def unusable(self) -> str:
        """Why the trunk cannot be used all the same, "" otherwise.

        404 and 405 are no reason, but 503 says that it is out of service (RFC 3261 21.5.4), and 408 that a proxy found nobody
        behind it.
        """
        return f"OPTIONS was answered with {self.status} {self.phrase}" if self.status in {408, 503} else ""


async def probe(
    trunk: TrunkProfile,
    bind_host: str,
    deadline_seconds: float = DEADLINE_SECONDS,
    order: Callable[[list[Way]], list[Way]] = list,
) -> Sighting:
    """Ask the trunk's host, or its outbound proxy, by the transport of that URI. Raises `NoAnswer` and UnfitForSip.

    Of several addresses the first in the `order` is asked, by itself that of the resolver; where nobody usable is, all others
    at once.
    """
    try:
        first, *others = order(await find_ways(trunk.hop, bind_host))
    except OSError as error:
        raise NoAnswer(f"{trunk.hop.host} cannot be resolved or reached: {error}") from error
    seen = await _seen(trunk, first, deadline_seconds)
    if isinstance(seen, NoAnswer) or seen.unusable:
        elsewhere = await asyncio.gather(*(_seen(trunk, way, deadline_seconds) for way in others))
        seen = next((one for one in elsewhere if isinstance(one, Sighting) and not one.unusable), seen)
    if isinstance(seen, NoAnswer):
        raise seen
    return seen


async def _seen(trunk: TrunkProfile, way: Way, deadline_seconds: float) -> Sighting | NoAnswer:
    target = trunk.hop
    began = time.monotonic()
    exchange = _by_udp if target.transport == "udp" else _by_stream
    try:
        async with asyncio.timeout(deadline_seconds):
            answer = await exchange(trunk, way.address, way.local_address)
    except TimeoutError:
        where = f"{way.address}:{target.port} by {target.transport}"
        return NoAnswer(f"no answer to OPTIONS from {where} within {deadline_seconds:g} s")
    except OSError as error:
        return NoAnswer(f"{way.address}:{target.port} by {target.transport}: {error.strerror or error}")
    agent = answer.first("Server") or answer.first("User-Agent") or ""
    return Sighting(way, answer.status, answer.reason, agent, (time.monotonic() - began) * 1000)


class _Listener(asyncio.DatagramProtocol):
    def __init__(self, call_id: str) -> None:
        self.call_id = call_id
        self.answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, _: tuple[str, int]) -> None:
        answer = _answer_in(data, self.call_id)
        if answer is not None and not self.answered.done():
            self.answered.set_result(answer)

    def error_received(self, exc: Exception) -> None:
        # ICMP says that nobody listens there; nothing better will come.
        if not self.answered.done():
            self.answered.set_exception(exc)


async def _by_udp(trunk: TrunkProfile, address: str, local: str) -> Response:
    target = trunk.hop
    token = secrets.token_hex(8)
    transport, listener = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Listener(token), local_addr=(local, 0), remote_addr=(address, target.port)
    )
    try:
        request = _options(trunk, transport, token, "UDP")
        for pause in _AGAIN_AFTER_SECONDS:
            transport.sendto(request)
            done, _ = await asyncio.wait([listener.answered], timeout=pause)
            if done:
                break
        return await listener.answered
    finally:
        transport.close()


async def _by_stream(trunk: TrunkProfile, address: str, local: str) -> Response:
    target = trunk.hop
    token = secrets.token_hex(8)
    tls = target.transport == "tls"
    reader, writer = await asyncio.open_connection(
        address,
        target.port,
        local_addr=(local, 0),
        ssl=trunk.tls_context() if tls else None,
        server_hostname=target.host if tls else None,
    )
    try:
        writer.write(_options(trunk, writer.transport, token, "TLS" if tls else "TCP"))
        buffer = bytearray()
        while piece := await reader.read(65_536):
            buffer += piece
            for message in framed(buffer):
                if answer := _answer_in(message, token):
                    return answer
        raise OSError("the connection was closed without an answer")
    finally:
        writer.close()


def _options(trunk: TrunkProfile, transport: asyncio.BaseTransport, token: str, word: str) -> bytes:
    host, port = transport.get_extra_info("sockname")[:2]
    sent_by = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    request = options_request(
        trunk.target.uri_of(""), from_uri=f"sip:dialer@{sent_by}", sent_by=sent_by, token=token, transport=word
    )
    if trunk.outbound_proxy:
        route = ("Route", f"<{trunk.hop.route_to(trunk.hop.host, shown=True)}>")
        request = replace(request, headers=(*request.headers, route))
    return request.encode()


def _answer_in(data: bytes, call_id: str) -> Response | None:
    try:
        message = parse(bytes(data))
        return message if isinstance(message, Response) and message.call_id == call_id else None
    except MalformedMessage:
        return None
