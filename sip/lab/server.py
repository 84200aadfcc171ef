"""The lab itself: takes requests in, finds or makes the call that they are about, answers what concerns none."""

import asyncio
import hashlib
import ipaddress
import secrets
import signal
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Self

from sip.grammar import MalformedMessage
from sip.lab.audio import CallAudio
from sip.lab.behaviours import BEHAVIOURS, Behaviour, Plan, Repertoire
from sip.lab.call import ALLOW, LabCall
from sip.lab.flows import Flow, SipPorts
from sip.lab.guard import Auth, Guard, Headers, Registrar, refusal_of, subject_of
from sip.lab.log import Entry, Event, Instant, LabLog, Reason, RtpCounts, Subject
from sip.lab.media import Recording, RtpPulse
from sip.lab.referral import referred_number
from sip.lab.transactions import InviteReplies, Key, Lingering, transaction_key
from sip.sdp import CONTENT_TYPE
from sip.wire import Message, Request, Response, respond

MAX_RECORDINGS: Final = 1_000
MAX_LOG_ENTRIES: Final = 500_000


class Lab:
    """A called party on `host`:`port`, UDP and TCP; `async with` opens and closes it.

    `host` is an IP address (0.0.0.0: all), port 0 takes a free one. Raises ValueError for an option that makes no sense, and
    OSError on entry when the port is taken.

    `pace` scales the seconds of the behaviours (0.2: five times faster), not SIP's own timers, which follow `t1`.
    INVITEs above `max_calls` at once, or above `cps_limit` in any second, get 503 with Retry-After. `auth` asks for
    credentials. `record` keeps what calls received, by Call-ID (`recordings`, the newest 1,000). A call that nobody ends
    is ended after `max_ring_seconds` or `max_talk_seconds`, which are not scaled. `log_file` gets every entry as a line of
    JSON, `on_entry` is called with it; `log` holds the newest `max_log_entries`.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        pace: float = 1.0,
        behaviours: Sequence[Behaviour] = BEHAVIOURS,
        auth: Auth | tuple[str, str] | None = None,
        max_calls: int | None = None,
        cps_limit: int | None = None,
        retry_after_seconds: int = 2,
        record: bool = False,
        t1: float = 0.5,
        max_ring_seconds: float = 180.0,
        max_talk_seconds: float = 4 * 3600.0,
        log_file: Path | None = None,
        on_entry: Callable[[Entry], None] | None = None,
        max_log_entries: int = MAX_LOG_ENTRIES,
    ) -> None:
        if not pace > 0:
            raise ValueError(f"pace: {pace} is not above 0")
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise ValueError(f"host: {host!r} is not an IP address") from None
        self.host, self._port = host, port
        self.pace, self.t1 = pace, t1
        self.max_ring_seconds, self.max_talk_seconds = max_ring_seconds, max_talk_seconds
        self.log = LabLog(max_log_entries, log_file, on_entry)
        self.registrar = Registrar()
        self.recordings: OrderedDict[str, Recording] = OrderedDict()
        self.peak_calls = 0
        self._repertoire = Repertoire(behaviours)
        self._guard = Guard(Auth(*auth)) if auth else None
        self._max_calls, self._cps_limit, self._record = max_calls, cps_limit, record
        self._full = Plan(alert=None, alert_seconds=0, status=503, retry_after_seconds=retry_after_seconds)
        self._recent: deque[float] = deque()
        self._tag_secret = secrets.token_hex(8)
        self._calls: dict[tuple[str, str], LabCall] = {}
        self._awaited: dict[str, Callable[[], None]] = {}

    async def __aenter__(self) -> Self:
        self._ports = SipPorts(self.host, self._on_message)
        self._pulse = RtpPulse()
        self._invites: Lingering[InviteReplies] = Lingering(64 * self.t1)
        self._replies: Lingering[Response] = Lingering(64 * self.t1)
        try:
            await self._ports.open(self._port)
        except OSError:
            self.log.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for call in list(self._calls.values()):
            call.leave()
        self._ports.close()
        self._replies.close()
        for replies in self._invites.close():
            replies.stop()
        self.log.close()

    @property
    def port(self) -> int:
        """The port that is bound, UDP and TCP."""
        return self._ports.port

    @property
    def calls_now(self) -> int:
        """Calls under way: from INVITE to `ended`."""
        return len(self._calls)

    @property
    def malformed(self) -> int:
        """Messages dropped because they could not be read."""
        return self._ports.malformed

    def sent_by(self, flow: Flow) -> str:
        """Our host:port towards the peer of `flow`."""
        return self._ports.sent_by(flow)

    def note(
        self,
        event: Event,
        subject: Subject,
        instant: Instant | None = None,
        *,
        status: int | None = None,
        reason: Reason | None = None,
        rtp: RtpCounts | None = None,
    ) -> None:
        """Put an entry in the log; without an instant it happened now."""
        monotonic, wall = instant or Instant.now()
        self.log.add(Entry(event, wall, monotonic, *subject, status=status, reason=reason, rtp=rtp))

    def audio_for(self, flow: Flow) -> CallAudio:
        """New audio at our address towards the peer of `flow`."""
        return CallAudio(self._ports.address_towards(flow), self._pulse, record=self._record)

    def sent(self, branch: str, answered: Callable[[], None]) -> None:
        """Call `answered` when the final response to the request with this branch comes."""
        self._awaited[branch] = answered

    def ended(self, call: LabCall) -> None:
        """Forget a call that is over, but for its recording; its replies linger."""
        self._calls.pop(call.dialog_key, None)
        for branch in call.branches:
            self._awaited.pop(branch, None)
        for key in call.keys:
            self._invites.retire(key)
        if call.audio.recording:
            self.recordings[call.subject.call_id] = call.audio.recording
            if len(self.recordings) > MAX_RECORDINGS:
                self.recordings.popitem(last=False)

    def _on_message(self, message: Message, flow: Flow, received: Instant) -> None:
        if isinstance(message, Response):
            if message.status >= 200 and (answered := self._awaited.pop(message.via.branch, None)):
                answered()
            return
        assert isinstance(message, Request)
        try:
            self._on_request(message, flow, received)
        except MalformedMessage:  # readable as a message, but not the part that mattered now
            self._answer(message, flow, 400)

    def _on_request(self, request: Request, flow: Flow, received: Instant) -> None:
        match request.method:
            case "INVITE":
                self._on_invite(request, flow, received)
            case "ACK":
                self._on_ack(request, received)
            case "CANCEL":
                self._on_cancel(request, flow, received)
            case "BYE":
                self._on_bye(request, flow, received)
            case "REFER":
                self._on_refer(request, flow, received)
            case "OPTIONS":
                self._answer(request, flow, 200, (ALLOW, ("Accept", CONTENT_TYPE)))
            case "REGISTER":
                self._on_register(request, flow, received)
            case _:
                self._answer(request, flow, 405, (ALLOW,))

    def _on_invite(self, request: Request, flow: Flow, received: Instant) -> None:
        key = transaction_key(request)
        if replies := self._invites.get(key):
            self.note("retransmission", replies.subject, received)
            replies.repeat()
            return
        subject = subject_of(request, flow)
        merged_key = ("merged", request.call_id, request.from_.tag, str(request.cseq[0]))
        call = self._calls.get((request.call_id, request.to.tag))
        refusal = self._refusal(request, call, merged_key, received)
        if refusal:
            self.note("challenged" if refusal[0] in {401, 407} else "refused", subject, received, status=refusal[0])
            self._answer(request, flow, *refusal)
        elif call:
            self._invites.put(key, call.reinvited(request, flow, received))
            self._invites.retire(key)
        else:
            plan = self._plan_of(subject, received)
            self._begin(LabCall(self, request, flow, subject, plan, (key, merged_key)), received)

    def _refusal(
        self, request: Request, call: LabCall | None, merged_key: Key, received: Instant
    ) -> tuple[int, Headers] | None:
        if refusal := refusal_of(request):
            return refusal
        if request.to.tag:
            if call is None:
                return 481, ()
            return None if call.takes_in_order(request) else (500, ())
        if self._invites.get(merged_key):
            return 482, ()  # the same request by another way (8.2.2.2)
        return self._guard.challenge(request, received.monotonic) if self._guard else None

    def _begin(self, call: LabCall, received: Instant) -> None:
        self.note("invite", call.subject, received)
        self._calls[call.dialog_key] = call
        for key in call.keys:
            self._invites.put(key, call.replies)
        call.start()
        self.peak_calls = max(self.peak_calls, len(self._calls))

    def _plan_of(self, subject: Subject, received: Instant) -> Plan:
        while self._recent and self._recent[0] <= received.monotonic - 1:
            self._recent.popleft()
        too_many = self._max_calls is not None and len(self._calls) >= self._max_calls
        if too_many or (self._cps_limit is not None and len(self._recent) >= self._cps_limit):
            return self._full
        if self._cps_limit is not None:
            self._recent.append(received.monotonic)
        return self._repertoire.next_plan(subject.number)

    def _on_ack(self, request: Request, received: Instant) -> None:
        if call := self._calls.get((request.call_id, request.to.tag)):
            call.acknowledged(request, received)
            return
        replies = self._invites.get(transaction_key(request, "INVITE"))
        if replies and replies.acknowledge():
            self.note("ack", replies.subject, received, status=replies.status)

    def _on_cancel(self, request: Request, flow: Flow, received: Instant) -> None:
        replies = self._invites.get(transaction_key(request, "INVITE"))
        if replies is None:
            self._answer(request, flow, 481)
            return
        flow.send(respond(request, 200, to_tag=replies.local_tag))
        if call := self._calls.get((request.call_id, replies.local_tag)):
            call.cancelled(received)

    def _on_bye(self, request: Request, flow: Flow, received: Instant) -> None:
        key = transaction_key(request)
        if reply := self._replies.get(key):
            flow.send(reply)
            return
        call = self._calls.get((request.call_id, request.to.tag))
        if call is None:
            self._answer(request, flow, 481)
        elif not call.takes_in_order(request):
            self._answer(request, flow, 500)
        else:
            call.bye_received(received)
            self._reply(key, respond(request, 200), flow)

    def _reply(self, key: Key, reply: Response, flow: Flow) -> None:
        """Reply, and again for each repetition of the request."""
        self._replies.put(key, reply)
        self._replies.retire(key)
        flow.send(reply)

    def _on_refer(self, request: Request, flow: Flow, received: Instant) -> None:
        key = transaction_key(request)
        if reply := self._replies.get(key):
            flow.send(reply)
            return
        call = self._calls.get((request.call_id, request.to.tag))
        number = referred_number(request)
        if not number:
            self._answer(request, flow, 400)
        elif call is None:
            self._answer(request, flow, 481)
        elif not call.takes_in_order(request):
            self._answer(request, flow, 500)
        elif not call.referred(self._repertoire.next_plan(number), flow, received):
            self._answer(request, flow, 491)
        else:
            contact = ("Contact", f"<sip:lab@{self.sent_by(flow)}>")
            self._reply(key, respond(request, 202, headers=(contact,)), flow)
            call.tell_of_referral()

    def _on_register(self, request: Request, flow: Flow, received: Instant) -> None:
        challenge = self._guard.challenge(request, received.monotonic) if self._guard else None
        status, headers = challenge or (200, self.registrar.register(request, received.monotonic))
        self._answer(request, flow, status, headers)

    def _answer(self, request: Request, flow: Flow, status: int, headers: Headers = ()) -> None:
        """Answer without keeping state (8.2.7): the same request gets the same tag."""
        tag = hashlib.sha256(f"{self._tag_secret}{request.via.branch}".encode("utf-8", "replace")).hexdigest()[:16]
        flow.send(respond(request, status, to_tag=tag, headers=headers))


async def serve(lab: Lab, on_ready: Callable[[Lab], None]) -> None:
    """Open `lab`, call `on_ready` with it, and run until SIGINT or SIGTERM; then end the calls under way and close it.

    Raises OSError when the port is taken.
    """
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stopped.set)
    try:
        async with lab:
            on_ready(lab)
            await stopped.wait()
    finally:
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(signal_number)
