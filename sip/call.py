"""One outgoing call in pjsua2: what its callbacks say, as `LegEvent`s. Lives in a worker process, on its one thread."""

import functools
import logging
import time
from collections.abc import Callable
from typing import Any, Final, ParamSpec

import pjsua2 as pj

from dialer.core.events import Answered, DigitPressed, EndedBy, InviteSent, LegEnded, LegEvent, Rang, Referred
from dialer.core.model import LegId, WallMs
from sip.causes import carries_description, read_verdict
from sip.dialog import DialogFacts
from sip.invite_session import InviteSession
from sip.offer import with_codecs
from sip.questions import ASKED, answer_to
from sip.trunk import TrunkProfile

log = logging.getLogger(__name__)
P = ParamSpec("P")

# After our CANCEL or BYE the stack waits for at most 64*T1 = 32 s (RFC 3261 17.1.1.2), and one round for a 200 that crossed the
# CANCEL, whose BYE may go unanswered as well.
STUCK_AFTER_SECONDS: Final = 70.0
# What a far side answers to an INVITE that was cancelled (RFC 3261 section 9.2).
REQUEST_TERMINATED: Final = 487


def wall_ms() -> WallMs:
    """Now, as the reports carry it."""
    return WallMs(time.time_ns() // 1_000_000)


def contained(callback: Callable[P, None]) -> Callable[P, None]:
    """A callback that lets no exception out: through the stack's C code one would end the process."""

    @functools.wraps(callback)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            callback(*args, **kwargs)
        except Exception:
            about = getattr(args[0], "sip_call_id", None) if args else None
            log.exception("a callback of the SIP stack failed", extra={"sip_call_id": about} if about else None)

    return run


class Leg(pj.Call):  # type: ignore[misc]
    """A leg, from `makeCall` to its real end.

    Callbacks only copy and note: `report` takes events as they come; for what has to be done outside the callback they
    `note` the leg, whose `end` is set when it is over and its place in the stack is free, whoever ended it.
    """

    def __init__(
        self,
        account: pj.Account,
        leg: LegId,
        sip_call_id: str,
        report: Callable[[LegEvent], None],
        note: Callable[["Leg"], None],
        trunk: TrunkProfile,
    ) -> None:
        super().__init__(account)
        self.account = account  # the stack refers to it: it must live as long
        self.leg = leg
        self.sip_call_id = sip_call_id
        self.sent = self.answered = self.unconfirmed = False
        self.end: LegEnded | None = None
        self._report = report
        self._note = note
        self.trunk = trunk
        self._rang = False
        self._sip_status = 0
        self._dialog = DialogFacts()
        self._rtp: dict[str, float] | None = None
        self._session: InviteSession | None = None
        self.hung_up = False
        self._refer: int | None = None  # the token of the REFER that is under way
        self._refer_taken = False

    @contained
    def onCallTsxState(self, prm: Any) -> None:  # noqa: N802, ANN401
        """Transactions inside the call: our INVITE leaving, its responses, and what the far side asks."""
        event = prm.e.body.tsxState
        if event.tsx.role != pj.PJSIP_ROLE_UAC:
            if event.tsx.state == pj.PJSIP_TSX_STATE_TRYING and event.tsx.method in ASKED:
                self._asked(event.src.rdata)
            return
        if self.answered or event.tsx.method != "INVITE":
            return
        if event.type == pj.PJSIP_EVENT_TX_MSG and event.tsx.state == pj.PJSIP_TSX_STATE_CALLING:
            if self._session is None:
                self._session = InviteSession(event.tsx)
            self._dialog.invite_left(event.src.tdata.wholeMsg, event.src.tdata.dstAddress)
            if not self.sent:
                self.sent = True
                self._report(InviteSent(self.leg, wall_ms(), self._dialog.as_json()))
        elif event.type == pj.PJSIP_EVENT_RX_MSG:
            self._response_came(event.tsx.statusCode, event.src.rdata.wholeMsg)

    def _asked(self, request: pj.SipRxData) -> None:
        status, key = answer_to(request.wholeMsg)
        if status and self._session is not None:
            self._session.answer(request, status)
        if key:
            self._report(DigitPressed(self.leg, wall_ms(), key))

    def _response_came(self, status: int, text: str) -> None:
        self._sip_status = status
        if status > 100:
            self._dialog.response_came(text)
        if 180 <= status < 190 and not self._rang:
            self._rang = True
            self._report(Rang(self.leg, wall_ms(), status, carries_description(text), self._dialog.as_json()))

    @contained
    def onCallSdpCreated(self, prm: Any) -> None:  # noqa: N802, ANN401
        """Our offer or answer, before it is sent: a trunk may want other codecs than the rest."""
        if self.trunk.codecs:
            prm.sdp.wholeSdp = with_codecs(prm.sdp.wholeSdp, self.trunk.codecs)

    @contained
    def onCallState(self, prm: Any) -> None:  # noqa: N802, ANN401
        """The call's own states. CONNECTING is the 200, CONFIRMED our ACK to it (only that counts as an answer)."""
        state = self.getInfo().state
        if state == pj.PJSIP_INV_STATE_CONNECTING:
            event = prm.e.body.tsxState
            if event.type == pj.PJSIP_EVENT_RX_MSG:
                self._response_came(event.tsx.statusCode, event.src.rdata.wholeMsg)
        elif state == pj.PJSIP_INV_STATE_CONFIRMED and self.hung_up:
            self._end_session()  # the answer crossed our CANCEL: nobody is left in a call
        elif state == pj.PJSIP_INV_STATE_CONFIRMED:
            self.answered = True
            self._dialog.confirmed = True
            self._report(Answered(self.leg, wall_ms(), self._dialog.as_json()))
        elif state == pj.PJSIP_INV_STATE_DISCONNECTED and self.end is None:
            self.end = self._how_it_ended(prm.e)
            self._note(self)

    def _how_it_ended(self, event: pj.SipEvent) -> LegEnded:
        """From the message that ended the call. Codes that the stack makes up carry none."""
        change = event.body.tsxState
        received = event.type == pj.PJSIP_EVENT_TSX_STATE and change.type == pj.PJSIP_EVENT_RX_MSG
        text = change.src.rdata.wholeMsg if received else ""
        verdict = read_verdict(text)
        if not self.answered and change.tsx.role == pj.PJSIP_ROLE_UAC and change.tsx.method == "INVITE" and text:
            self._sip_status = verdict.sip_status
        # Over UDP there is no connection, and each request has been sent for 32 s.
        self.unconfirmed = not text and self._sip_status >= 100 and self._dialog.by_connection
        given_up = change.tsx.role == pj.PJSIP_ROLE_UAC and change.tsx.method == "BYE"  # by the stack itself
        if (
            self.hung_up
            and not self.answered
            and verdict.sip_status >= 300
            and verdict.sip_status != REQUEST_TERMINATED
        ):
            by, reason = EndedBy.US, verdict.phrase  # its own final crossed our CANCEL, and may count
        elif self.hung_up:
            verb = "BYE" if self.answered else "CANCEL"
            by, reason = EndedBy.US, f"we sent {verb}" if text else f"no answer to our {verb}"
        elif not text or given_up:
            by, reason = EndedBy.STACK, self.getInfo().lastReason
        else:
            by, reason = EndedBy.FAR, verdict.phrase or ("" if verdict.sip_status else change.tsx.method)
        return LegEnded(
            self.leg,
            wall_ms(),
            by,
            sip_status=self._sip_status,
            q850=verdict.q850,
            retry_after_s=verdict.retry_after_s,
            reason=reason,
            rtp=self._rtp,
        )

    @contained
    def onStreamDestroyed(self, prm: Any) -> None:  # noqa: N802, ANN401
        """The last moment at which a stream's figures can be read; a call has several when it was re-negotiated."""
        statistics = self.getStreamStat(prm.streamIdx)  # named, because its parts die with it
        rtcp = statistics.rtcp
        earlier = self._rtp or {"packets_sent": 0.0, "packets_received": 0.0, "packets_lost": 0.0}
        self._rtp = {
            "packets_sent": earlier["packets_sent"] + rtcp.txStat.pkt,
            "packets_received": earlier["packets_received"] + rtcp.rxStat.pkt,
            "packets_lost": earlier["packets_lost"] + rtcp.rxStat.loss,
            "jitter_ms": round(rtcp.rxStat.jitterUsec.mean / 1000, 3),
            "rtt_ms": round(rtcp.rttUsec.mean / 1000, 3),
        }

    @contained
    def onCallMediaState(self, prm: Any) -> None:  # noqa: N802, ANN401, ARG002
        """Media came up, or was re-negotiated: whatever plays has to be connected again."""
        self._note(self)

    @contained
    def onDtmfDigit(self, prm: Any) -> None:  # noqa: N802, ANN401
        """A key, by RFC 4733 or INFO with application/dtmf-relay: once for each press. Others: `sip.questions`."""
        self._report(DigitPressed(self.leg, wall_ms(), prm.digit[:1]))

    @contained
    def onCallTransferRequest(self, prm: Any) -> None:  # noqa: N802, ANN401
        """Nobody moves our calls: REFER is declined."""
        prm.statusCode = pj.PJSIP_SC_DECLINE

    @contained
    def onCallReplaceRequest(self, prm: Any) -> None:  # noqa: N802, ANN401
        """Nor takes them over (RFC 3891)."""
        prm.statusCode = pj.PJSIP_SC_DECLINE

    def refer(self, token: int, refer_to: str) -> None:
        """Send a REFER (RFC 3515); the far side's word on it is reported. Raises pj.Error when it cannot be sent."""
        self.xfer(refer_to, pj.CallOpParam(True))
        self._refer, self._refer_taken = token, False

    @contained
    def onCallTransferStatus(self, prm: Any) -> None:  # noqa: N802, ANN401
        """What came of our REFER: its answer (a 202 comes as 100), then the status in each NOTIFY.

        The last word is where the subscription ends, or a final status, whichever is first. What follows that is of no use.
        """
        token, status = self._refer, prm.statusCode
        if token is None:
            return
        final = prm.finalNotify or status >= pj.PJSIP_SC_OK
        first, self._refer_taken = not self._refer_taken, True
        if first and status < pj.PJSIP_SC_MULTIPLE_CHOICES:
            status = pj.PJSIP_SC_ACCEPTED  # final, when the far side will send no NOTIFY (RFC 4488)
        if final:
            self._refer = None
        refused = first and final and status >= pj.PJSIP_SC_MULTIPLE_CHOICES
        self._report(Referred(self.leg, wall_ms(), token, status, prm.reason, final=final, refused=refused))

    def audio(self) -> pj.AudioMedia | None:
        """The call's audio in the bridge, while it is up."""
        info = self.getInfo()  # named, because its parts die with it
        for media in info.media:
            if media.type == pj.PJMEDIA_TYPE_AUDIO and media.status in {
                pj.PJSUA_CALL_MEDIA_ACTIVE,
                pj.PJSUA_CALL_MEDIA_REMOTE_HOLD,
            }:
                return self.getAudioMedia(media.index)
        return None

    @property
    def unheard(self) -> bool:
        """Whether nothing has come back yet, not even a 100."""
        return self._sip_status == 0 and self.end is None

    def hang_up(self) -> None:
        """Send CANCEL or BYE (the CANCEL waits for a provisional response, RFC 3261 9.1); `end` is the far side's answer."""
        if not self.hung_up and self.end is None:
            self.hung_up = True
            self._end_session()

    def _end_session(self) -> None:
        if self._session is None or not self._session.end():
            self.give_up()

    def give_up(self) -> None:
        """Have the stack take the call for ended at once, whatever the far side knows of it."""
        try:
            self.hangup(pj.CallOpParam())
        except pj.Error as fault:  # it has ended already, and that is about to be told
            log.debug("hangup: %s", fault.reason, extra={"sip_call_id": self.sip_call_id})

    def let_go(self) -> None:
        """Prepare this object's destruction.

        The destructor of a pj.Call works on whatever call has its slot by then: it would hang up a stranger. When the
        slot has a new owner the C++ half is left alone (some 200 bytes).
        """
        if self.isActive():
            self.this.disown()
