"""The contract's table of outcomes, row by row, and the cases between its rows."""

import pytest

from dialer.core.disposition import Evidence, Verdict, Why, classify
from dialer.core.events import EndedBy
from dialer.core.model import Disposition
from dialer.core.recall import recalls_after

FAR, US, STACK = EndedBy.FAR, EndedBy.US, EndedBy.STACK
ANSWERED, BUSY, NO_ANSWER, DECLINED, UNREACHABLE, INVALID, FAILURE, INTERRUPTED, CANCELLED, MACHINE = (
    Disposition.ANSWERED,
    Disposition.BUSY,
    Disposition.NO_ANSWER,
    Disposition.DECLINED,
    Disposition.UNREACHABLE,
    Disposition.INVALID_NUMBER,
    Disposition.TRUNK_FAILURE,
    Disposition.INTERRUPTED,
    Disposition.CANCELLED,
    Disposition.MACHINE,
)

# name, what was seen, the disposition, whether another INVITE may follow inside the attempt
ROWS = [
    ("answered, the callee hung up", Evidence(200, FAR, answered=True, rang=True), ANSWERED, False),
    ("answered without ringing", Evidence(200, FAR, answered=True), ANSWERED, False),
    ("answered, our steps ended", Evidence(200, US, answered=True, asked=Why.STEPS_ENDED), ANSWERED, False),
    ("answered, max_call_seconds", Evidence(200, US, answered=True, asked=Why.MAX_CALL), ANSWERED, False),
    ("answered, then cancelled by a person", Evidence(200, US, answered=True, asked=Why.CANCELLED), ANSWERED, False),
    ("answered, then drained", Evidence(200, US, answered=True, asked=Why.DRAIN), ANSWERED, False),
    ("answered, then a transport error", Evidence(200, STACK, answered=True), ANSWERED, False),
    ("answered, BYE with cause 16", Evidence(200, FAR, answered=True, q850=16), ANSWERED, False),
    ("answered, BYE with a cause of an invalid number", Evidence(200, FAR, answered=True, q850=1), ANSWERED, False),
    ("answered by a machine, hung up for it", Evidence(200, US, answered=True, asked=Why.MACHINE), MACHINE, False),
    ("hung up as a machine, which hung up too", Evidence(200, FAR, answered=True, asked=Why.MACHINE), MACHINE, False),
    ("our ring timeout while it rang", Evidence(487, US, rang=True, asked=Why.RING_TIMEOUT), NO_ANSWER, False),
    ("our ring timeout, 180 was the last word", Evidence(180, US, rang=True, asked=Why.RING_TIMEOUT), NO_ANSWER, False),
    ("our ring timeout after a lone 100", Evidence(100, US, asked=Why.RING_TIMEOUT), NO_ANSWER, False),
    ("our ring timeout, 487 without a 18x", Evidence(487, US, asked=Why.RING_TIMEOUT), NO_ANSWER, False),
    ("our ring timeout crossed by a 200", Evidence(200, US, rang=True, asked=Why.RING_TIMEOUT), NO_ANSWER, False),
    (
        "our ring timeout crossed by a 486 while it rang",
        Evidence(486, FAR, rang=True, asked=Why.RING_TIMEOUT),
        NO_ANSWER,
        False,
    ),
    ("our ring timeout crossed by a 486", Evidence(486, FAR, asked=Why.RING_TIMEOUT), BUSY, False),
    ("our ring timeout crossed by a 503", Evidence(503, FAR, asked=Why.RING_TIMEOUT), FAILURE, True),
    ("our ring timeout, nothing ever came", Evidence(0, US, asked=Why.RING_TIMEOUT), FAILURE, True),
    ("408 after a 18x", Evidence(408, FAR, rang=True), NO_ANSWER, False),
    ("480 after a 18x", Evidence(480, FAR, rang=True), NO_ANSWER, False),
    ("487 after a 18x", Evidence(487, FAR, rang=True), NO_ANSWER, False),
    ("480 after a 18x, cause 18", Evidence(480, FAR, rang=True, q850=18), NO_ANSWER, False),
    ("BYE before the answer", Evidence(180, FAR, rang=True), NO_ANSWER, False),
    ("BYE before the answer, the stack shows 200", Evidence(200, FAR, rang=True), NO_ANSWER, False),
    ("486", Evidence(486, FAR), BUSY, False),
    ("486 after a 18x (declined on many phones)", Evidence(486, FAR, rang=True), BUSY, False),
    ("600", Evidence(600, FAR), BUSY, False),
    ("603", Evidence(603, FAR), DECLINED, False),
    ("603 after a 18x", Evidence(603, FAR, rang=True), DECLINED, False),
    ("480 without a 18x", Evidence(480, FAR), UNREACHABLE, False),
    ("430", Evidence(430, FAR), UNREACHABLE, False),
    ("408 from the network", Evidence(408, FAR), UNREACHABLE, False),
    ("404", Evidence(404, FAR), INVALID, False),
    ("410", Evidence(410, FAR), INVALID, False),
    ("484", Evidence(484, FAR), INVALID, False),
    ("604", Evidence(604, FAR), INVALID, False),
    ("cause 1 over a 503", Evidence(503, FAR, q850=1), INVALID, False),
    ("cause 22 over a 480", Evidence(480, FAR, q850=22), INVALID, False),
    ("cause 28 over a 500", Evidence(500, FAR, q850=28), INVALID, False),
    ("cause 17 over a 503", Evidence(503, FAR, q850=17), BUSY, False),
    ("cause 19 over a 480", Evidence(480, FAR, q850=19), NO_ANSWER, False),
    ("cause 20 over a 500", Evidence(500, FAR, q850=20), UNREACHABLE, False),
    ("cause 21 over a 503", Evidence(503, FAR, q850=21), DECLINED, False),
    ("cause 17 does not refine a 404", Evidence(404, FAR, q850=17), INVALID, False),
    ("cause 34, no circuit, stays the trunk's", Evidence(503, FAR, q850=34), FAILURE, True),
    ("503", Evidence(503, FAR), FAILURE, True),
    ("503 after a 18x: the callee was reached", Evidence(503, FAR, rang=True), FAILURE, False),
    ("500", Evidence(500, FAR), FAILURE, True),
    ("502", Evidence(502, FAR), FAILURE, True),
    ("504", Evidence(504, FAR), FAILURE, True),
    ("429", Evidence(429, FAR), FAILURE, True),
    ("401 after credentials", Evidence(401, FAR), FAILURE, True),
    ("403", Evidence(403, FAR), FAILURE, True),
    ("407 after credentials", Evidence(407, FAR), FAILURE, True),
    ("488", Evidence(488, FAR), FAILURE, True),
    ("606", Evidence(606, FAR), FAILURE, True),
    ("302", Evidence(302, FAR), FAILURE, True),
    ("487 without a 18x and not asked for", Evidence(487, FAR), FAILURE, True),
    ("any other: 499", Evidence(499, FAR), FAILURE, True),
    ("no reply at all", Evidence(0, STACK), FAILURE, True),
    ("a transport error after a 100", Evidence(100, STACK), FAILURE, False),
    ("a transport error while it rang", Evidence(183, STACK, rang=True), FAILURE, False),
    ("cancelled while ringing", Evidence(487, US, rang=True, asked=Why.CANCELLED), CANCELLED, False),
    ("cancelled, crossed by a 503", Evidence(503, FAR, asked=Why.CANCELLED), CANCELLED, False),
    ("drained while ringing", Evidence(487, US, rang=True, asked=Why.DRAIN), INTERRUPTED, False),
]


@pytest.mark.parametrize(("seen", "disposition", "another"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_the_outcome_of_a_leg(seen: Evidence, disposition: Disposition, another: bool) -> None:
    verdict = classify(seen)
    assert (verdict.disposition, verdict.another_invite) == (disposition, another)
    assert verdict.reason


@pytest.mark.parametrize("cause", [None, 1, 16, 17, 18, 19, 20, 21, 22, 28, 34, 127])
@pytest.mark.parametrize("rang", [False, True])
def test_every_status_with_every_cause_has_a_verdict_and_none_dials_again_a_phone_that_rang(
    cause: int | None, rang: bool
) -> None:
    for status in (0, 100, 180, 199, 200, *range(300, 700)):
        for by in EndedBy:
            for asked in (None, *Why):
                verdict = classify(Evidence(status, by, q850=cause, rang=rang, asked=asked))
                assert isinstance(verdict, Verdict)
                if rang:
                    assert not verdict.another_invite
                if asked in {Why.CANCELLED, Why.DRAIN}:
                    assert not verdict.another_invite
                if verdict.another_invite:
                    assert verdict.disposition is FAILURE


def test_the_reason_holds_the_status_the_far_sides_words_and_the_cause() -> None:
    assert classify(Evidence(486, FAR, phrase="Busy Here")).reason == "486 Busy Here"
    assert classify(Evidence(503, FAR, q850=34, phrase="No circuit")).reason == "503 No circuit (Q.850 cause 34)"
    assert classify(Evidence(0, STACK, phrase="Connection refused")).reason == "Connection refused"
    assert classify(Evidence(0, STACK)).reason == "no reply"
    assert classify(Evidence(200, FAR, answered=True, phrase="BYE")).reason == "the callee hung up"
    refreshed = classify(Evidence(200, STACK, answered=True, phrase="No session refresh received."))
    assert refreshed.reason == "No session refresh received."
    assert classify(Evidence(200, STACK, answered=True)).reason == "the connection failed"


RECALLED = {BUSY, NO_ANSWER, DECLINED, UNREACHABLE, FAILURE, INTERRUPTED}


@pytest.mark.parametrize("disposition", list(Disposition))
def test_which_outcomes_are_recalled_by_default(disposition: Disposition) -> None:
    default = ("busy", "no_answer", "declined", "unreachable")
    assert recalls_after(disposition, default) == (disposition in RECALLED)


def test_an_empty_recall_on_still_recalls_what_was_interrupted_and_nothing_else() -> None:
    assert [d for d in Disposition if recalls_after(d, ())] == [INTERRUPTED]


def test_a_trunk_failure_counts_as_unreachable() -> None:
    assert recalls_after(FAILURE, ("unreachable",))
    assert not recalls_after(FAILURE, ("busy", "no_answer", "declined"))
