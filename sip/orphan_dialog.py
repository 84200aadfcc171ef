"""How one dialog is ended by a process that did not begin it: what is sent, and what the answers mean.

A confirmed dialog gets a BYE (RFC 3261 section 15). An early one gets a CANCEL with its INVITE's own branch (9.1) and our
ACK to the final response; a 200 that crosses the CANCEL gets ACK and BYE (13.2.2.4). Where the CANCEL is answered but no
final response follows, it may have gone to the dead process: a BYE is sent if the dialog's tag is known, which 15 allows in
the early state. If it is not known, the far side's next repetition of a 200 tells it, which comes after T2 at the latest.
"""

import asyncio
import ipaddress
import re
import secrets
from collections.abc import Callable
from typing import Final, Protocol

from sip.causes import Headers
from sip.dialog import DialogFacts
from sip.grammar import split_unquoted
from sip.wire import Message, Request, Response, parse, respond
from sip.wire_requests import Dialog, ack_for, ack_for_answer, bye_for, caller_dialog, cancel_for, next_hop

T1_SECONDS: Final = 0.5  # RFC 3261 17.1.2.2; requests are repeated after T1, 2*T1, 4*T1
T2_SECONDS: Final = 4.0
_TAG: Final = re.compile(r";\s*tag=[^;>\s]+(?=[^<>]*$)", re.IGNORECASE)
_BRACKETED: Final = re.compile(r"<([^<>]+)>")
Place = tuple[str, int]  # host, port


class Way(Protocol):
    """How messages leave and come. `sent_by` is our host:port as a Via has it; a `reliable` way needs no repetition."""

    sent_by: str
    reliable: bool

    def send(self, request: Request, to: Place) -> None:
        """Send, or lose, one request."""


class Orphan:
    """One dialog on its way to its end. Raises ValueError for facts that cannot be read."""

    def __init__(self, facts: str) -> None:
        kept = DialogFacts.from_json(facts)
        invite = parse(f"{kept.invite}\r\n\r\n".encode())
        if not isinstance(invite, Request) or invite.method != "INVITE":
            raise ValueError("its facts hold no INVITE")
        self.invite = invite
        self.transport = invite.via.transport
        self.local: Place = invite.via.host.strip("[]"), invite.via.port or 5060
        self.invite_at = _place_of(kept.destination)
        self._confirmed = kept.confirmed
        self.dialog = _dialog_of(invite, kept.response)
        self.ended = False
        self._way: Way
        self._final: asyncio.Future[Response]
        self._answers: dict[str, asyncio.Future[Response]] = {}

    @property
    def host(self) -> str:
        """The name that the trunk was called by, for TLS."""
        found = re.search(r"sips?:(?:[^@]*@)?(\[[^\]]*\]|[^:;?]*)", self.invite.uri)
        return found[1].strip("[]") if found else ""

    def meet(self, way: "Way") -> None:
        """Messages may come by this way from now on: the far side may repeat a 200 before anything is sent to it."""
        self._way = way
        self._final = asyncio.get_running_loop().create_future()

    async def end(self) -> None:
        """Send what ends it until the far side has confirmed; `ended` is True then. After `meet`."""
        way = self._way
        dialog: Dialog | None = self.dialog
        if not self._confirmed:
            answer = await self._exchange(cancel_for(self.invite), self.invite_at)
            dialog = await self._after_cancel(answer)
        if dialog is not None:
            bye = bye_for(dialog, sent_by=way.sent_by, token=secrets.token_hex(8), transport=self.transport)
            await self._exchange(bye, self._hop(bye))
        self.ended = True

    async def _after_cancel(self, answer: Response) -> Dialog | None:
        """What is left to be ended by a BYE once the CANCEL, or the INVITE itself, was answered."""
        final = answer if answer.cseq[1] == "INVITE" else None
        tagged = _TAG.search(self.dialog.remote) is not None
        if final is None:
            await asyncio.wait([self._final], timeout=T1_SECONDS if tagged else T2_SECONDS)
            final = self._final.result() if self._final.done() else None
        if final is None:
            return self.dialog if tagged else None
        return caller_dialog(self.invite, final) if final.status < 300 else None

    async def _exchange(self, request: Request, to: Place) -> Response:
        """Send until the final response comes; to a CANCEL, the INVITE's own final response is as good."""
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._answers[request.cseq[1]] = answer
        waiting = {answer, self._final} if request.method == "CANCEL" else {answer}
        pause = T1_SECONDS
        while True:
            self._way.send(request, to)
            done, _ = await asyncio.wait(
                waiting, timeout=None if self._way.reliable else pause, return_when=asyncio.FIRST_COMPLETED
            )
            for future in done:
                return future.result()
            pause *= 2

    def take(self, message: Message, reply: Callable[[Response], None]) -> None:
        """A message with this Call-ID has come. Raises MalformedMessage for a 200 whose Contact cannot be read."""
        if isinstance(message, Request):
            # The far side hangs up itself, and would go on asking for an answer.
            if message.method == "BYE":
                reply(respond(message, 200))
            return
        assert isinstance(message, Response)
        number, method = message.cseq
        if message.status < 200:
            return
        if method == "INVITE" and number == self.invite.cseq[0]:
            self._acknowledge(message)
            if not self._final.done():
                self._final.set_result(message)
        elif (answer := self._answers.get(method)) is not None and not answer.done():
            answer.set_result(message)

    def _acknowledge(self, final: Response) -> None:
        if final.status >= 300:
            self._way.send(ack_for(self.invite, final), self.invite_at)
            return
        dialog, token = caller_dialog(self.invite, final), secrets.token_hex(8)
        ack = ack_for_answer(self.invite, dialog, sent_by=self._way.sent_by, token=token, transport=self.transport)
        self._way.send(ack, self._hop(ack))

    def _hop(self, request: Request) -> Place:
        try:
            uri = next_hop(request)
            return str(ipaddress.ip_address(uri.host.strip("[]"))), uri.port or 5060
        except ValueError:  # a name: the way that the INVITE went leads there too
            return self.invite_at


def _dialog_of(invite: Request, response: str) -> Dialog:
    """The dialog, as far as the response's head tells: what the stack has accepted is not judged again here."""
    headers = Headers(response)
    tagged = _TAG.search(headers.first("to")) is not None
    contact = headers.first("contact") if tagged else ""
    bracketed = _BRACKETED.search(contact)
    recorded = [route for line in headers.all("record-route") for route in split_unquoted(line, ",")] if tagged else []
    return Dialog(
        call_id=invite.call_id,
        local=invite.lines("From")[0],
        remote=headers.first("to") if tagged else invite.lines("To")[0],
        remote_target=(bracketed[1] if bracketed else contact.partition(";")[0].strip()) or invite.uri,
        next_cseq=invite.cseq[0] + 1,
        route_set=tuple(recorded[::-1] or invite.values("Route")),
    )


def _place_of(text: str) -> Place:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
