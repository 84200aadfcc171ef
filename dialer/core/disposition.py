"""What an attempt came to, from what was seen on the wire: one table of SIP status, Q.850 cause and local reason.

The far side's behaviour is data: every combination has a verdict, and none raises.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dialer.core.events import EndedBy
from dialer.core.model import Disposition


class Why(StrEnum):
    """Why we ended a leg ourselves."""

    RING_TIMEOUT = "ring timeout"
    CANCELLED = "cancelled"
    DRAIN = "the server was stopping"
    STEPS_ENDED = "the steps ended"
    MAX_CALL = "max_call_seconds reached"
    MACHINE = "a machine answered"
    PAIR = "the callee's leg ended"
    CLOSED = "the calling hours ended before the technical retry"
    SUPPRESSED = "the number is on a do-not-call list"


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was seen of one leg.

    `sip_status` is the last response to the INVITE that came over the wire, final or not; 0: nothing came at all.
    `asked` None: we did not end it. `rang`: a 18x was seen on this attempt.
    """

    sip_status: int
    by: EndedBy
    q850: int | None = None
    rang: bool = False
    answered: bool = False
    asked: Why | None = None
    phrase: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A disposition with its reason in words.

    `another_invite`: the trunk refused without reaching the callee, so that a technical retry may follow.
    """

    disposition: Disposition
    reason: str
    another_invite: bool = False


NO_OVERRIDES: Mapping[int, Disposition] = {}
BUSY = frozenset({486, 600})
DECLINED = frozenset({603})
INVALID = frozenset({404, 410, 484, 604})
UNREACHABLE = frozenset({408, 430, 480})
AFTER_RINGING_NO_ANSWER = frozenset({408, 480, 487})

# Q.850 causes that a gateway adds in a Reason header (RFC 3326). The first row holds whatever the SIP status says: the
# network knows the number cannot exist. The second refines only statuses that say nothing about the callee.
Q850_INVALID = {1: "unallocated number", 22: "number changed", 28: "invalid number format"}
Q850_CALLEE = {
    17: Disposition.BUSY,
    18: Disposition.UNREACHABLE,
    19: Disposition.NO_ANSWER,
    20: Disposition.UNREACHABLE,
    21: Disposition.DECLINED,
}
VAGUE = frozenset({480, 500, 502, 503, 504})


def _phrase(seen: Evidence) -> str:
    words = f"{seen.sip_status} {seen.phrase}".strip()
    return words if seen.q850 is None else f"{words} (Q.850 cause {seen.q850})"


def classify(seen: Evidence, overrides: Mapping[int, Disposition] = NO_OVERRIDES) -> Verdict:
    """The disposition of a leg that has ended. `overrides` is the trunk's own reading of final statuses.

    An override stands above the table and above Q.850; what is not the far side's refusal it does not touch.

    >>> classify(Evidence(486, EndedBy.FAR, rang=True)).disposition
    <Disposition.BUSY: 'busy'>
    >>> classify(Evidence(480, EndedBy.FAR, rang=True)).disposition
    <Disposition.NO_ANSWER: 'no_answer'>
    >>> classify(Evidence(503, EndedBy.FAR)).another_invite
    True
    >>> classify(Evidence(503, EndedBy.FAR, rang=True)).another_invite
    False
    >>> classify(Evidence(480, EndedBy.FAR), {480: Disposition.NO_ANSWER}).disposition
    <Disposition.NO_ANSWER: 'no_answer'>
    """
    if seen.answered and seen.asked is Why.MACHINE:
        return Verdict(Disposition.MACHINE, Why.MACHINE.value)
    if seen.answered:
        hung_up = "the callee hung up" if seen.by is EndedBy.FAR else seen.phrase or "the connection failed"
        return Verdict(Disposition.ANSWERED, seen.asked.value if seen.asked else hung_up)
    if seen.asked is not None:
        return _ended_by_us(seen, seen.asked, overrides)
    if seen.by is not EndedBy.FAR:
        # Once anything came back (a 100 or a 18x) the callee may have been reached: no second INVITE.
        reason = seen.phrase or "no reply"
        return Verdict(Disposition.TRUNK_FAILURE, reason, another_invite=seen.sip_status == 0 and not seen.rang)
    return _refused_by_far(seen, overrides)


def _ended_by_us(seen: Evidence, asked: Why, overrides: Mapping[int, Disposition]) -> Verdict:
    if asked is Why.RING_TIMEOUT:
        if seen.sip_status == 0 and not seen.rang:
            return Verdict(Disposition.TRUNK_FAILURE, "no reply at all within the ring timeout", another_invite=True)
        if not seen.rang and seen.sip_status >= 300 and seen.sip_status != 487:
            # The refusal crossed our CANCEL: it is the far side's own word.
            return _refused_by_far(seen, overrides)
        return Verdict(Disposition.NO_ANSWER, "ring timeout")
    if asked in {Why.CANCELLED, Why.PAIR}:
        return Verdict(Disposition.CANCELLED, asked.value)
    return Verdict(Disposition.INTERRUPTED, asked.value)


def _refused_by_far(seen: Evidence, overrides: Mapping[int, Disposition]) -> Verdict:  # noqa: PLR0911
    status = seen.sip_status
    if status >= 300 and status in overrides:
        word = overrides[status]
        return Verdict(word, _phrase(seen), another_invite=word is Disposition.TRUNK_FAILURE and not seen.rang)
    if seen.q850 in Q850_INVALID:
        return Verdict(Disposition.INVALID_NUMBER, _phrase(seen))
    if seen.q850 in Q850_CALLEE and status in VAGUE and not (seen.rang and status == 480):
        return Verdict(Q850_CALLEE[seen.q850], _phrase(seen))
    if status in BUSY:
        return Verdict(Disposition.BUSY, _phrase(seen))
    if status in DECLINED:
        return Verdict(Disposition.DECLINED, _phrase(seen))
    if status in INVALID:
        return Verdict(Disposition.INVALID_NUMBER, _phrase(seen))
    if seen.rang and status in AFTER_RINGING_NO_ANSWER:
        return Verdict(Disposition.NO_ANSWER, _phrase(seen))
    if status in UNREACHABLE:
        return Verdict(Disposition.UNREACHABLE, _phrase(seen))
    if status < 300:
        # A BYE in the early dialog leaves a provisional (or the 200 of its own transaction) as the last response.
        return Verdict(Disposition.NO_ANSWER, "the far side ended the call before the answer")
    return Verdict(Disposition.TRUNK_FAILURE, _phrase(seen), another_invite=not seen.rang)
