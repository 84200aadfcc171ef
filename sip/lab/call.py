"""One call at the called side: a plan carried out over one INVITE and the dialog that it makes.

The call holds its caller's channel from the INVITE until `ended` stands in the log: at the final failure, at the BYE
received, or at the answer to the BYE sent.
"""

import asyncio
import contextlib
import math
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from sip.grammar import MalformedMessage
from sip.lab.audio import CallAudio
from sip.lab.behaviours import Plan
from sip.lab.flows import Flow
from sip.lab.log import Event, Instant, Reason, RtpCounts, Subject
from sip.lab.referral import Referral
from sip.lab.transactions import InviteReplies, Key, Repeater
from sip.sdp import CONTENT_TYPE
from sip.wire import Request, respond
from sip.wire_requests import Dialog, bye_for, called_dialog, next_hop

ALLOW: Final = ("Allow", "INVITE, ACK, CANCEL, BYE, REFER, OPTIONS, REGISTER")
PROVISIONAL_AGAIN_SECONDS: Final = 60.0  # RFC 3261 13.3.1.1: lest a proxy on the way gives up
PRESS_SECONDS: Final = 2.0  # at pace 1, from the answer to the first key
Q850_REASONS: Final = {
    1: "Unallocated number",
    17: "User busy",
    20: "Subscriber absent",
    21: "Call rejected",
    22: "Number changed",
    28: "Invalid number format",
    34: "No circuit available",
    41: "Temporary failure",
}


class Exchange(Protocol):
    """What a call needs of the lab around it. `sent_by` is our host:port towards the peer of a flow, as Via has it."""

    t1: float
    pace: float
    max_ring_seconds: float
    max_talk_seconds: float

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

    def sent_by(self, flow: Flow) -> str:
        """Our host:port towards the peer of `flow`."""

    def audio_for(self, flow: Flow) -> CallAudio:
        """New audio at our address towards the peer of `flow`."""

    def sent(self, branch: str, answered: Callable[[], None]) -> None:
        """Call `answered` when the final response to the request with this branch comes."""

    def ended(self, call: "LabCall") -> None:
        """The call is over."""


class LabCall:
    """A call from its INVITE to its end. Methods are told what came from the wire; `start` begins the plan.

    `keys` are those that `replies` is found by. Raises MalformedMessage when the INVITE's Contact or Record-Route cannot be
    read.
    """

    def __init__(
        self, exchange: Exchange, request: Request, flow: Flow, subject: Subject, plan: Plan, keys: tuple[Key, ...]
    ) -> None:
        self._exchange, self._request, self._flow, self._plan = exchange, request, flow, plan
        self.subject, self.keys = subject, keys
        self.audio = exchange.audio_for(flow)
        self.local_tag = secrets.token_hex(8)
        self._dialog = called_dialog(request, self.local_tag)
        self.replies = InviteReplies(subject, self.local_tag, flow, exchange.t1, self._never_acknowledged)
        self._reinvite: tuple[int, InviteReplies] | None = None
        self._remote_cseq = request.cseq[0]
        self._timers: list[asyncio.TimerHandle] = []
        self._bye: Repeater | None = None
        self._referral: Referral | None = None
        self.branches: list[str] = []  # of requests whose answers are awaited
        self._bye_reason: Reason = "called_hung_up"
        self.is_over = False

    @property
    def dialog_key(self) -> tuple[str, str]:
        """Call-ID and our tag: what requests inside the dialog are found by."""
        return self._request.call_id, self.local_tag

    def start(self) -> None:
        """Begin: 100, the alert, and the timer of the final response."""
        plan = self._plan
        if plan.trying:
            self.replies.reply(respond(self._request, 100))
        if plan.status == 200 and not self._takes_offer(self._request):
            self._refuse(488)
            return
        if plan.alert:
            self._alert(plan.alert)
        if plan.alert_seconds is None:
            # A caller gives up after 64*T1 without any reply (timer B), but may wait for a final one for ever.
            limit = self._exchange.max_ring_seconds if plan.trying else 64 * self._exchange.t1
            self._after(limit, self._ring_out)
        elif plan.alert_seconds > 0:
            self._after(plan.alert_seconds * self._exchange.pace, self._decide)
        else:
            self._decide()

    def acknowledged(self, request: Request, instant: Instant) -> None:
        """An ACK inside the dialog; one that acknowledges nothing new is ignored."""
        replies = self.replies
        if self._reinvite and request.cseq[0] == self._reinvite[0]:
            replies = self._reinvite[1]
        elif request.cseq[0] != self._request.cseq[0]:
            return
        if not replies.acknowledge():
            return
        self._exchange.note("ack", self.subject, instant, status=replies.status)
        if request.body:
            self.audio.take_answer(request.body)
        if replies is self.replies:
            # Only now: 15 forbids a BYE from the called side before the ACK.
            talk = self._plan.talk_seconds
            limit = self._exchange.max_talk_seconds if talk is None else talk * self._exchange.pace
            self._after(limit, self.hang_up)
            if self._plan.presses:
                self._after(PRESS_SECONDS * self._exchange.pace, lambda: self.audio.press(self._plan.presses))

    def cancelled(self, instant: Instant) -> None:
        """A CANCEL; without effect after the final response (9.2)."""
        if self.replies.status < 200:
            self._exchange.note("cancel", self.subject, instant)
            self.replies.reply(respond(self._request, 487, to_tag=self.local_tag))
            self._end("cancelled", instant)

    def takes_in_order(self, request: Request) -> bool:
        """Whether a request inside the dialog has a CSeq above that of the last one (12.2.2); notes it."""
        if request.cseq[0] <= self._remote_cseq:
            return False
        self._remote_cseq = request.cseq[0]
        return True

    def reinvited(self, request: Request, flow: Flow, instant: Instant) -> InviteReplies:
        """A re-INVITE: answered at once, with the description as it then is (14.2). Raises MalformedMessage as the first."""
        target = called_dialog(request, self.local_tag).remote_target
        replies = InviteReplies(self.subject, self.local_tag, flow, self._exchange.t1, self._never_acknowledged)
        if self.replies.status < 200:
            replies.reply(respond(request, 500, headers=(("Retry-After", "1"),)))
        elif self._bye:
            replies.reply(respond(request, 481))
        elif not self._takes_offer(request):
            replies.reply(respond(request, 488))
        else:
            if self._reinvite:
                self._reinvite[1].stop()
            self._reinvite = request.cseq[0], replies
            self._dialog = replace(self._dialog, remote_target=target)
            headers, body = self._described()
            replies.reply(respond(request, 200, headers=headers, body=body))
        self._exchange.note("reinvite", self.subject, instant, status=replies.status)
        return replies

    def referred(self, plan: Plan, flow: Flow, instant: Instant) -> bool:
        """A REFER to a number with this plan, to be told of by NOTIFY; False when it comes out of season."""
        if self.replies.status != 200 or self._bye or self._referral:
            return False
        self._exchange.note("refer", self.subject, instant)

        def told(status: int) -> None:
            self._exchange.note("notified", self.subject, status=status)

        self._referral = Referral(self._exchange, flow, plan, dialog=self._next_dialog, told=told, sent=self._sent)
        return True

    def tell_of_referral(self) -> None:
        """Begin to tell what came of the REFER, which was answered."""
        if self._referral:
            self._referral.start()

    def _sent(self, branch: str, answered: Callable[[], None]) -> None:
        self.branches.append(branch)
        self._exchange.sent(branch, answered)

    def _next_dialog(self) -> Dialog:
        dialog, self._dialog = self._dialog, replace(self._dialog, next_cseq=self._dialog.next_cseq + 1)
        return dialog

    def bye_received(self, instant: Instant) -> None:
        """The caller hung up, perhaps before the answer (15.1.2)."""
        self._exchange.note("bye_received", self.subject, instant)
        if self.replies.status < 200:
            self.replies.reply(respond(self._request, 487, to_tag=self.local_tag))
        self._end(self._bye_reason if self._bye else "caller_hung_up", instant)

    def bye_answered(self) -> None:
        """Our BYE got its final response, whatever it says, or never will."""
        self._end(self._bye_reason, Instant.now())

    def hang_up(self, reason: Reason = "called_hung_up") -> None:
        """Send BYE; the call ends when that is answered or given up."""
        if self._bye or self.is_over:
            return
        self._exchange.note("bye_sent", self.subject)
        self._bye_reason = reason
        self.audio.play(None)
        token = secrets.token_hex(12)
        bye = bye_for(
            self._next_dialog(), sent_by=self._exchange.sent_by(self._flow), token=token, transport=self._flow.transport
        )
        self._sent(bye.via.branch, self.bye_answered)
        flow = self._flow.towards(next_hop(bye))
        self._bye = Repeater(flow, bye, self._exchange.t1, self.bye_answered, again=not flow.reliable)

    def leave(self) -> None:
        """The lab stops: 480 or one BYE, and over."""
        if self.replies.status < 200:
            self.replies.reply(respond(self._request, 480, to_tag=self.local_tag))
        else:
            self.hang_up("lab_stopped")
        self._end("lab_stopped", Instant.now())

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, action))

    def _takes_offer(self, request: Request) -> bool:
        try:
            return self.audio.take_offer(request.body)
        except MalformedMessage:
            return False

    def _alert(self, status: int) -> None:
        headers, body = self._contact_headers(), b""
        if status == 183 and self._request.body:  # without an offer there is nothing to describe before the 200
            with contextlib.suppress(OSError):  # no RTP port free: no early media
                headers, body = self._described()
                self.audio.play("ringback" if self._plan.audio else None)
        self.replies.reply(respond(self._request, status, to_tag=self.local_tag, headers=headers, body=body))
        self._exchange.note("ringing" if status == 180 else "early_media", self.subject, status=status)
        self._after(PROVISIONAL_AGAIN_SECONDS, self._alert_again)

    def _alert_again(self) -> None:
        if self.replies.status < 200:
            self.replies.repeat()
            self._after(PROVISIONAL_AGAIN_SECONDS, self._alert_again)

    def _decide(self) -> None:
        if self._plan.status != 200:
            self._refuse(self._plan.status)
            return
        try:
            headers, body = self._described()
        except OSError:  # no RTP port free
            self._refuse(503)
            return
        self.replies.reply(respond(self._request, 200, to_tag=self.local_tag, headers=headers, body=body))
        self._exchange.note("answered", self.subject, status=200)
        self.audio.play((self._plan.says or self._plan.tone_hz) if self._plan.audio else None)

    def _refuse(self, status: int) -> None:
        headers = [ALLOW]
        if (cause := self._plan.q850_cause) is not None:
            headers.append(("Reason", f'Q.850;cause={cause};text="{Q850_REASONS[cause]}"'))
        if (seconds := self._plan.retry_after_seconds) is not None:
            headers.append(("Retry-After", str(max(1, math.ceil(seconds * self._exchange.pace)))))
        # The end is timed before the response leaves: the caller's next INVITE must not seem to come before it.
        now = Instant.now()
        self.replies.reply(respond(self._request, status, to_tag=self.local_tag, headers=headers))
        self._end("refused", now)

    def _ring_out(self) -> None:
        now = Instant.now()
        if self._plan.trying:
            self.replies.reply(respond(self._request, 480, to_tag=self.local_tag))
        self._end("rang_out", now)

    def _never_acknowledged(self) -> None:
        self.hang_up("no_ack")

    def _contact_headers(self) -> list[tuple[str, str]]:
        transport = ";transport=tcp" if self._flow.reliable else ""
        return [("Contact", f"<sip:lab@{self._exchange.sent_by(self._flow)}{transport}>"), ALLOW]

    def _described(self) -> tuple[list[tuple[str, str]], bytes]:
        """The headers and body of a reply with our description. Raises OSError as `CallAudio.describe`."""
        return [*self._contact_headers(), ("Content-Type", CONTENT_TYPE)], self.audio.describe()

    def _end(self, reason: Reason, instant: Instant) -> None:
        if self.is_over:
            return
        self.is_over = True
        for timer in self._timers:
            timer.cancel()
        if self._bye:
            self._bye.stop()
        if self._referral:
            self._referral.stop()
        if self._reinvite:
            self._reinvite[1].stop()
        status = self.replies.status
        if status < 300:
            self.replies.stop()
        final = status if status >= 200 else None
        self._exchange.note("ended", self.subject, instant, status=final, reason=reason, rtp=self.audio.close())
        self._exchange.ended(self)
