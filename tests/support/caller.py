"""A small SIP caller for tests: it sends what a test says, and hands over what comes back, one message at a time."""

import asyncio
import itertools
import socket
import struct
from dataclasses import replace
from typing import Self

from sip.wire import Message, Request, Response, parse, respond
from sip.wire_requests import Dialog, ack_for, ack_for_answer, bye_for, caller_dialog, cancel_for, dialog_request

WAIT_SECONDS = 5.0
_numbers = itertools.count(1)


def offer(port: int, *, host: str = "127.0.0.1", direction: str = "sendrecv", codecs: str = "8 0") -> str:
    return (
        f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP {codecs}\r\na={direction}\r\n"
    )


class RtpEnd:
    """One UDP port for RTP."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    async def receive(self, seconds: float = WAIT_SECONDS) -> bytes:
        loop = asyncio.get_running_loop()
        return await asyncio.wait_for(loop.sock_recv(self._socket, 2048), seconds)

    def waiting(self) -> int:
        """How many packets are here; takes them out."""
        count = 0
        while True:
            try:
                self._socket.recv(2048)
            except BlockingIOError:
                return count
            count += 1

    def send(self, port: int, sequence: int, payload: bytes, *, payload_type: int = 8) -> None:
        header = struct.pack("!BBHII", 0x80, payload_type, sequence & 0xFFFF, sequence * 160, 0x1234)
        self._socket.sendto(header + payload, ("127.0.0.1", port))

    def close(self) -> None:
        self._socket.close()


class Caller:
    """Calls the party at 127.0.0.1:`lab_port`. Its INVITEs are text of its own, so that no builder vouches for itself."""

    def __init__(self, lab_port: int) -> None:
        self.lab = ("127.0.0.1", lab_port)

    async def __aenter__(self) -> Self:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(("127.0.0.1", 0))
        self.sent_by = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.rtp = RtpEnd()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()
        self.rtp.close()

    def invite(self, number: str, **parts: str) -> Request:
        """Send `invite_text`."""
        text = self.invite_text(number, **parts)
        self.send_text(text)
        request = parse(text.encode())
        assert isinstance(request, Request)
        return request

    def invite_text(self, number: str, *, body: str | None = None, via: str = "", extra: str = "") -> str:
        """A new INVITE, with an offer unless `body` says otherwise, and `extra` header lines."""
        n = next(_numbers)
        body = offer(self.rtp.port) if body is None else body
        return (
            f"INVITE sip:{number}@127.0.0.1:{self.lab[1]} SIP/2.0\r\n"
            f"Via: {via or f'SIP/2.0/UDP {self.sent_by};rport;branch=z9hG4bK-caller-{n}'}\r\n"
            "Max-Forwards: 70\r\n"
            f'From: "Tester" <sip:+34910000000@127.0.0.1>;tag=caller{n}\r\n'
            f"To: <sip:{number}@127.0.0.1>\r\n"
            f"Call-ID: call-{n}@tests\r\n"
            "CSeq: 1 INVITE\r\n"
            f"Contact: <sip:tester@{self.sent_by}>\r\n"
            f"{extra}"
            f"{'Content-Type: application/sdp' if body else 'Subject: none'}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )

    def send_text(self, text: str | bytes) -> None:
        self._socket.sendto(text.encode() if isinstance(text, str) else text, self.lab)

    def send(self, message: Message) -> None:
        self.send_text(message.encode())

    async def receive(self, seconds: float = WAIT_SECONDS) -> Message:
        """The next message from the lab; TimeoutError when none comes."""
        loop = asyncio.get_running_loop()
        return parse(await asyncio.wait_for(loop.sock_recv(self._socket, 65_535), seconds))

    async def response(self, status: int, method: str = "INVITE") -> Response:
        """The next message, which must be this response to this method."""
        message = await self.receive()
        assert isinstance(message, Response), message
        assert (message.status, message.cseq[1]) == (status, method)
        return message

    async def final(self, request: Request) -> Response:
        """The first response of 200 or above to `request`; acknowledged where it is an INVITE's failure."""
        while True:
            message = await self.receive()
            same = (message.via.branch, message.cseq) == (request.via.branch, request.cseq)
            if isinstance(message, Response) and message.status >= 200 and same:
                if message.status >= 300 and request.method == "INVITE":
                    self.send(ack_for(request, message))
                return message

    async def answered(self, number: str, **invite: str) -> "Talk":
        """Call, wait for the answer and acknowledge it."""
        request = self.invite(number, **invite)
        answer = await self.final(request)
        assert answer.status == 200
        talk = Talk(self, request, answer)
        talk.acknowledge()
        return talk


class Talk:
    """An answered call, from the caller's side."""

    def __init__(self, caller: Caller, invite: Request, answer: Response) -> None:
        self.caller, self.invite, self.answer = caller, invite, answer
        self.dialog: Dialog = caller_dialog(invite, answer)

    @property
    def lab_rtp_port(self) -> int:
        lines = self.answer.body.decode().splitlines()
        return int(next(line for line in lines if line.startswith("m=audio")).split()[1])

    def acknowledge(self, body: str = "", *, of: Request | None = None) -> None:
        """Send the ACK of the first INVITE, or of a re-INVITE, `of`."""
        ack = ack_for_answer(of or self.invite, self.dialog, sent_by=self.caller.sent_by, token=f"ack{next(_numbers)}")
        if body:
            content_type = ("Content-Type", "application/sdp")
            ack = replace(ack, headers=(*ack.headers, content_type), body=body.encode())
        self.caller.send(ack)

    def request(self, method: str, body: str = "", headers: tuple[tuple[str, str], ...] = ()) -> Request:
        """Send a request inside the dialog."""
        request = dialog_request(method, self.dialog, sent_by=self.caller.sent_by, token=f"in{next(_numbers)}")
        request = replace(request, headers=(*request.headers, *headers))
        if body:
            content_type = ("Content-Type", "application/sdp")
            request = replace(request, headers=(*request.headers, content_type), body=body.encode())
        self.dialog = replace(self.dialog, next_cseq=self.dialog.next_cseq + 1)
        self.caller.send(request)
        return request

    def hang_up(self) -> Request:
        bye = bye_for(self.dialog, sent_by=self.caller.sent_by, token=f"bye{next(_numbers)}")
        self.caller.send(bye)
        return bye

    async def hung_up(self) -> Request:
        """The lab's BYE, which is answered."""
        bye = await self.caller.receive()
        assert isinstance(bye, Request)
        assert bye.method == "BYE"
        self.caller.send(respond(bye, 200))
        return bye


def cancel(caller: Caller, invite: Request) -> Request:
    request = cancel_for(invite)
    caller.send(request)
    return request
