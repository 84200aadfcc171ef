"""Ends dialogs whose process died, so that the called side is not left in a call with nobody: by plain sockets."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from sip.grammar import MalformedMessage
from sip.orphan_dialog import Orphan, Place
from sip.trunk import TrunkProfile
from sip.wire import Request, Response, framed, parse

log = logging.getLogger(__name__)

ORPHAN_SECONDS: Final = 4.5  # the last repetition of a request goes out at 3.5 s; a 200 is repeated each 4 s (T2)


async def end_orphans(
    dialogs: Iterable[str], trunks: Iterable[TrunkProfile] = (), seconds: float = ORPHAN_SECONDS
) -> int:
    """End the dialogs, each given as the JSON of `DialogFacts.as_json`; how many the far side has confirmed.

    `trunks` say by which certificate list, and by which name, the far end of a TLS connection is known; others are taken for
    what their Request-URI says.

    Returns when all are, or after `seconds`: a peer that does not answer by then is gone, or ends the call itself. Facts
    that are empty or cannot be read are passed over. The port that an INVITE left from is used again if it is free, so that
    answers on their way to the dead process are seen.
    """
    orphans = []
    for facts in filter(None, dialogs):
        try:
            orphans.append(Orphan(facts))
        except ValueError as fault:
            log.warning("a dialog that cannot be ended: %s", fault)
    by_way: dict[tuple[str, Place, Place | None], list[Orphan]] = {}
    for orphan in orphans:
        to = None if orphan.transport == "UDP" else orphan.invite_at
        by_way.setdefault((orphan.transport, orphan.local, to), []).append(orphan)
    known = list(trunks)
    try:
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(_end_all(group, known) for group in by_way.values()))
    except TimeoutError:
        pass
    ended = sum(orphan.ended for orphan in orphans)
    if orphans:
        log.warning("%d of %d dialogs that a dead process had left were ended", ended, len(orphans))
    return ended


class _UdpWay(asyncio.DatagramProtocol):
    reliable = False

    def __init__(self, orphans: Sequence[Orphan]) -> None:
        self._orphans = {orphan.invite.call_id: orphan for orphan in orphans}
        self._transport: asyncio.DatagramTransport
        self.sent_by = ""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport
        self.sent_by = _sent_by(transport)
        for orphan in self._orphans.values():
            orphan.meet(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        # They hold this in turn: a cycle, with all that was known of hundreds of dialogs.
        self._orphans = {}

    def datagram_received(self, data: bytes, source: tuple[Any, ...]) -> None:
        _deliver(data, self._orphans, lambda response: self._transport.sendto(response.encode(), source))

    def send(self, request: Request, to: Place) -> None:
        self._transport.sendto(request.encode(), to)


class _StreamWay:
    """A new connection: the dead process's went down with it."""

    reliable = True

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.sent_by = _sent_by(writer.transport)

    async def read(self, reader: asyncio.StreamReader, orphans: Sequence[Orphan]) -> None:
        known, buffer = {orphan.invite.call_id: orphan for orphan in orphans}, bytearray()
        while piece := await reader.read(65_536):
            buffer += piece
            for message in framed(buffer):
                _deliver(message, known, lambda response: self._writer.write(response.encode()))

    def send(self, request: Request, to: Place) -> None:  # noqa: ARG002 - it has one far end
        self._writer.write(request.encode())


async def _end_all(orphans: Sequence[Orphan], trunks: Sequence[TrunkProfile]) -> None:
    """End dialogs whose INVITEs left from the same address, and on the same connection."""
    try:
        if orphans[0].transport == "UDP":
            await _end_by_udp(orphans)
        else:
            await _end_by_stream(orphans, _security_of(orphans[0], trunks))
    except (OSError, MalformedMessage) as fault:
        log.warning("%d dialogs could not be ended: %s", len(orphans), fault)


async def _end_by_udp(orphans: Sequence[Orphan]) -> None:
    loop, (host, port) = asyncio.get_running_loop(), orphans[0].local
    try:
        transport, _ = await loop.create_datagram_endpoint(lambda: _UdpWay(orphans), local_addr=(host, port))
    except OSError:  # a worker has it again: the answers to our own requests come all the same
        transport, _ = await loop.create_datagram_endpoint(lambda: _UdpWay(orphans), local_addr=(host, 0))
    try:
        await _end_each(orphans)
    finally:
        transport.close()


def _security_of(orphan: Orphan, trunks: Sequence[TrunkProfile]) -> dict[str, Any]:
    """What `open_connection` has to know of TLS to the orphan's far end."""
    if orphan.transport != "TLS":
        return {}
    for trunk in trunks:
        if trunk.hop.transport == "tls" and orphan.host.lower() in {
            trunk.target.host.lower(),
            *(domain.partition(":")[0] for domain in trunk.domains),
        }:
            return {"ssl": trunk.tls_context(), "server_hostname": trunk.hop.host}
    return {"ssl": ssl.create_default_context(), "server_hostname": orphan.host}


async def _end_by_stream(orphans: Sequence[Orphan], security: dict[str, Any]) -> None:
    first = orphans[0]
    reader, writer = await asyncio.open_connection(*first.invite_at, local_addr=(first.local[0], 0), **security)
    way = _StreamWay(writer)
    for orphan in orphans:
        orphan.meet(way)
    reading = asyncio.create_task(way.read(reader, orphans))
    ending = asyncio.create_task(_end_each(orphans))
    try:
        await asyncio.wait([ending, reading], return_when=asyncio.FIRST_COMPLETED)
    finally:
        ending.cancel()
        reading.cancel()
        writer.close()


async def _end_each(orphans: Sequence[Orphan]) -> None:
    await asyncio.gather(*(orphan.end() for orphan in orphans))


def _deliver(data: bytes, orphans: dict[str, Orphan], reply: Callable[[Response], None]) -> None:
    try:
        message = parse(data)
        if (orphan := orphans.get(message.call_id)) is not None:
            orphan.take(message, reply)
    except MalformedMessage as fault:
        log.debug("a message that cannot be read: %s", fault)


def _sent_by(transport: asyncio.BaseTransport) -> str:
    host, port = transport.get_extra_info("sockname")[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
