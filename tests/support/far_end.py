"""A called party that does what the test says, message by message: for what a well-behaved one never does."""

import asyncio
import itertools
import socket
from collections import Counter, deque
from dataclasses import replace
from typing import Self

from sip.wire import Message, Request, Response, parse, respond
from sip.wire_requests import called_dialog, dialog_request
from tests.support.caller import RtpEnd, offer

WAIT_SECONDS = 30.0
_numbers = itertools.count(1)


class FarEnd:
    transport = "UDP"

    def __init__(self) -> None:
        self.seen: list[Message] = []
        self._aside: deque[Message] = deque()
        self._invited: set[str] = set()
        self._asked: Counter[str] = Counter()
        self._peers: dict[str, tuple[str, int]] = {}

    async def __aenter__(self) -> Self:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.contact = ("Contact", f"<sip:far@127.0.0.1:{self.port}>")
        self.rtp = RtpEnd()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()
        self.rtp.close()

    async def receive(self, seconds: float = WAIT_SECONDS) -> Message:
        """The next message; TimeoutError when none comes."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(seconds):
            data = b""
            while not data.strip():  # a keep-alive (RFC 5626 3.5.1) is no message
                data, source = await loop.sock_recvfrom(self._socket, 65_535)
        message = parse(data)
        self._peers[message.call_id] = source
        self.seen.append(message)
        return message

    async def request(self, method: str) -> Request:
        """The next request of this method; others that came before it are kept for later.

        An INVITE that is sent again, because this process was slow to answer it, is none.
        """
        for message in self._aside:
            if isinstance(message, Request) and message.method == method:
                self._aside.remove(message)
                return message
        while True:
            message = await self.receive()
            if isinstance(message, Request) and message.method == "INVITE":
                if message.via.branch in self._invited:
                    continue
                self._invited.add(message.via.branch)
            if isinstance(message, Request) and message.method == method:
                return message
            self._aside.append(message)

    async def response(self, status: int) -> Response:
        message = await self.receive()
        while not (isinstance(message, Response) and message.status == status):
            message = await self.receive()
        return message

    def send(self, message: Message) -> None:
        self.send_to(message, self._peers[message.call_id])

    def send_bytes(self, call_id: str, data: bytes) -> None:
        """To the peer of that call."""
        self._socket.sendto(data, self._peers[call_id])

    def send_to(self, message: Message, place: tuple[str, int]) -> None:
        self._socket.sendto(message.encode(), place)

    def reply(
        self,
        request: Request,
        status: int,
        *headers: tuple[str, str],
        sdp: bool = False,
        body: bytes = b"",
        tag: str = "far",
    ) -> None:
        """Answer a request. A Contact among the headers is in the place of its own; a body is SDP unless they say otherwise."""
        body = offer(self.rtp.port).encode() if sdp else body
        given = {name for name, _ in headers}
        added = [self.contact] if request.method == "INVITE" and "Contact" not in given else []
        added += [("Content-Type", "application/sdp")] if body and "Content-Type" not in given else []
        to_tag = "" if status == 100 else tag
        self.send(respond(request, status, to_tag=to_tag, headers=(*added, *headers), body=body))

    def ask(self, method: str, invite: Request, *headers: tuple[str, str], body: bytes = b"") -> Request:
        """Send a request inside the call that our answer began. A body is SDP unless the headers say otherwise."""
        self._asked[invite.call_id] += method != "ACK"
        dialog = replace(called_dialog(invite, "far"), next_cseq=self._asked[invite.call_id])
        token, sent_by = f"far{next(_numbers)}", f"127.0.0.1:{self.port}"
        request = dialog_request(method, dialog, sent_by=sent_by, token=token, transport=self.transport)
        given = {name for name, _ in headers}
        added = [self.contact] if method in {"INVITE", "UPDATE"} else []
        added += [("Content-Type", "application/sdp")] if body and "Content-Type" not in given else []
        request = replace(request, headers=(*request.headers, *added, *headers), body=body)
        self.send(request)
        return request

    async def answered(self, method: str, seconds: float = WAIT_SECONDS) -> Response:
        """The next final response to a request of this method."""
        while True:
            message = await self.receive(seconds)
            if isinstance(message, Response) and message.status >= 200 and message.cseq[1] == method:
                return message

    async def ended_by_peer(self) -> Request:
        """Take a BYE and confirm it."""
        bye = await self.request("BYE")
        self.reply(bye, 200)
        return bye

    def meet(self, invite: Request, other: "FarEnd") -> None:
        """Know whom to answer, of an INVITE that another one has got."""
        self._peers[invite.call_id] = other._peers[invite.call_id]

    async def ringing(self) -> Request:
        """Take an INVITE and answer it with 180."""
        invite = await self.request("INVITE")
        self.reply(invite, 180)
        return invite

    async def talking(self) -> Request:
        """Take an INVITE, answer it, see the ACK."""
        invite = await self.ringing()
        self.reply(invite, 200, sdp=True)
        await self.request("ACK")
        return invite

    async def confirm_cancel(self, invite: Request) -> None:
        cancel = await self.request("CANCEL")
        self.reply(cancel, 200)
        self.reply(invite, 487)
        await self.request("ACK")

    def hang_up(self, invite: Request, *headers: tuple[str, str]) -> Request:
        return self.ask("BYE", invite, *headers)
