"""The ladder of a call's SIP messages, and the story of a call whose messages nobody kept."""

import doctest
from typing import Any

import pytest

from dialer import ladder
from dialer.ladder import Ladder, story

ONE = "581c437a-79d8-88e2-9f45-7f603af91dd4-1"


def message(text: str, at: str = "2025-03-01T10:00:00.000Z", **keys: Any) -> dict[str, Any]:
    sent = not text.startswith("SIP/2.0")
    one = {"sip_call_id": ONE, "at": at, "direction": "sent" if sent else "received", "transport": "UDP"}
    return {**one, "peer": "10.0.0.5:5060", "text": text, **keys}


def rungs(*messages: dict[str, Any], **options: Any) -> list[str]:
    drawn = Ladder(**options)
    return [line for one in messages for line in drawn.lines(one)]


def test_the_examples_of_the_docstrings_hold() -> None:
    assert doctest.testmod(ladder).failed == 0


def test_each_message_is_a_line_with_its_arrow_and_what_matters_of_it() -> None:
    lines = rungs(
        message("INVITE sip:+…0001@10.0.0.5 SIP/2.0\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n"),
        message("SIP/2.0 401 Unauthorized\r\n\r\n", at="2025-03-01T10:00:00.012Z"),
        message("INVITE sip:+…0001@10.0.0.5 SIP/2.0\r\nAuthorization: Digest …\r\nc: application/sdp\r\n\r\n"),
        message('SIP/2.0 486 Busy Here\r\nReason: Q.850;cause=17;text="User busy"\r\n\r\n'),
        message("SIP/2.0 503 Service Unavailable\r\nRetry-After: 30\r\n\r\n"),
        message("ACK sip:x SIP/2.0\r\n\r\n"),
    )
    assert lines[:3] == ["", f"Call-ID {ONE}", f"{'':14}dialer{'UDP 10.0.0.5:5060':>48}"]
    texts = [line[14:68] for line in lines[3:]]
    assert texts == [
        "│─ INVITE sip:+…0001@10.0.0.5 (SDP) ────────────────▶│",
        "│◀──────────────────────────────── 401 Unauthorized ─│",
        "│─ INVITE sip:+…0001@10.0.0.5 (SDP, credentials) ───▶│",
        "│◀──────────────────────── 486 Busy Here (Q.850 17) ─│",
        "│◀──────── 503 Service Unavailable (Retry-After 30) ─│",
        "│─ ACK ─────────────────────────────────────────────▶│",
    ]
    assert lines[4].endswith("+0.012")


@pytest.mark.parametrize("columns", [40, 68, 77, 78, 200])
def test_a_terminal_that_is_narrow_gets_shorter_arrows_and_no_line_that_it_would_break(columns: int) -> None:
    ringing = message("SIP/2.0 180 Ringing\r\n\r\n")
    head, *lines = rungs(message("INVITE sip:+34600000001@10.0.0.5:5060 SIP/2.0\r\n\r\n"), ringing, columns=columns)[2:]
    assert all(len(line) <= columns for line in (head, *lines))
    assert lines[0].rstrip().endswith("▶│")
    assert lines[1].endswith("+0.000") == (columns >= 78)
    assert "180 Ringing" in lines[1]


def test_what_is_repeated_and_what_comes_from_elsewhere_is_marked() -> None:
    ringing = "SIP/2.0 180 Ringing\r\n\r\n"
    lines = rungs(message(ringing), message(ringing), message(ringing, peer="10.0.0.6:5060"))
    assert ["again" in line for line in lines[3:]] == [False, True, True]
    assert lines[-1].endswith("  10.0.0.6:5060")


def test_another_invite_of_the_call_has_a_head_of_its_own() -> None:
    lines = rungs(
        message("INVITE sip:x SIP/2.0\r\n\r\n"), message("INVITE sip:x SIP/2.0\r\n\r\n", sip_call_id="other-2")
    )
    assert [line for line in lines if line.startswith("Call-ID")] == [f"Call-ID {ONE}", "Call-ID other-2"]


def test_whole_messages_stand_below_their_lines() -> None:
    lines = rungs(message("BYE sip:x SIP/2.0\r\nVia: a\r\n\r\n"), whole=True)
    assert lines[-3:] == ["    BYE sip:x SIP/2.0", "    Via: a", ""]


def test_a_request_line_longer_than_the_ladder_is_cut() -> None:
    (line,) = [one for one in rungs(message(f"INVITE sip:{'9' * 200}@h SIP/2.0\r\n\r\n")) if "INVITE" in one]
    assert "…" in line
    assert len(line) <= 70


def test_the_story_tells_each_attempt_and_the_end() -> None:
    attempt = {"trunk": "pbx", "dialed_at": None, "sip_call_id": ONE, "ended_by": "far"}
    call = {
        "id": "581c437a",
        "state": "finished",
        "disposition": "no_answer",
        "attempts": [
            {**attempt, "number": 1, "disposition": "busy", "reason": "486 Busy Here", "sip_status": 486},
            {**attempt, "number": 2, "disposition": "no_answer", "reason": "ring timeout", "sip_status": 487},
            {**attempt, "number": 3, "disposition": None, "reason": None, "sip_status": None},
        ],
    }
    assert list(story(call)) == [
        f"attempt 1 over pbx: busy: 486 Busy Here; ended by far; Call-ID {ONE}",
        f"attempt 2 over pbx: no_answer: ring timeout, SIP 487; ended by far; Call-ID {ONE}",
        f"attempt 3 over pbx: goes on; Call-ID {ONE}",
        "call 581c437a: finished, no_answer",
    ]
