"""The called party, tried by a caller that speaks SIP message by message."""

import asyncio
import json
import signal
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sip.lab import Lab, serve
from sip.lab.log import Instant
from sip.wire import Request, parse, respond
from sip.wire_requests import ack_for
from tests.support.caller import Caller, Talk, cancel
from tests.support.labs import (
    ANSWERS,
    AT_ONCE,
    FAST,
    FAST_T1,
    RINGS_OUT,
    WAITS,
    async_test,
    ended,
    lab_and_caller,
    story,
)


@async_test
async def test_an_answered_call_rings_first_and_is_hung_up_by_the_called_side() -> None:
    async with lab_and_caller() as (lab, caller):
        invite = caller.invite(ANSWERS)
        assert not (await caller.response(100)).to.tag
        ringing = await caller.response(180)
        answer = await caller.response(200)
        assert ringing.to.tag == answer.to.tag != ""
        assert answer.first("Content-Type") == "application/sdp"
        talk = Talk(caller, invite, answer)
        talk.acknowledge()
        bye = await talk.hung_up()
        assert (bye.from_.tag, bye.to.tag, bye.uri) == (answer.to.tag, invite.from_.tag, f"sip:tester@{caller.sent_by}")
        end = await ended(lab)
        assert (end.reason, end.status) == ("called_hung_up", 200)
        assert story(lab) == ["invite", "ringing", "answered", "ack", "bye_sent", "ended"]
        assert (lab.calls_now, lab.peak_calls) == (0, 1)


@async_test
async def test_the_caller_hangs_up_and_its_bye_is_answered_as_often_as_it_comes() -> None:
    async with lab_and_caller() as (lab, caller):
        talk = await caller.answered(WAITS)
        bye = talk.hang_up()
        await caller.response(200, "BYE")
        caller.send(bye)
        await caller.response(200, "BYE")
        assert (await ended(lab)).reason == "caller_hung_up"
        assert lab.log.count("bye_received") == 1


@async_test
async def test_the_log_names_who_called_whom() -> None:
    async with lab_and_caller() as (lab, caller):
        await caller.final(
            caller.invite("+34600000404;phone-context=x", extra="P-Asserted-Identity: <tel:+34911111111>\r\n")
        )
        entry = lab.log.of("invite")[0]
        assert entry.number == "+34600000404;phone-context=x"
        assert (entry.caller, entry.asserted, entry.source) == ("+34910000000", "+34911111111", caller.sent_by)
        assert abs(entry.at - time.time()) < 5
        assert abs(entry.monotonic_at - time.monotonic()) < 5


@async_test
async def test_a_retransmitted_invite_gets_the_last_response_and_makes_no_second_call() -> None:
    async with lab_and_caller() as (lab, caller):
        invite = caller.invite(RINGS_OUT)
        await caller.response(100)
        ringing = await caller.response(180)
        caller.send(invite)
        assert await caller.response(180) == ringing
        assert story(lab) == ["invite", "ringing", "retransmission"]
        assert lab.calls_now == 1


@async_test
async def test_an_answer_is_repeated_until_its_ack() -> None:
    async with lab_and_caller(t1=0.03) as (lab, caller):
        invite = caller.invite(WAITS)
        answer = await caller.final(invite)
        times = []
        for _ in range(3):
            assert await caller.response(200) == answer
            times.append(time.monotonic())
        assert times[1] - times[0] > 0.045  # T1 was 30 ms, then 60, then 120
        assert times[2] - times[1] > 0.1
        Talk(caller, invite, answer).acknowledge()
        await lab.log.wait_until(lambda log: log.count("ack") == 1, seconds=5)
        with pytest.raises(TimeoutError):
            await caller.receive(0.3)


@async_test
async def test_an_answer_that_is_never_acknowledged_ends_with_a_bye_after_64_t1() -> None:
    async with lab_and_caller(t1=FAST_T1) as (lab, caller):
        started = time.monotonic()
        invite = caller.invite(AT_ONCE)
        while not isinstance(message := await caller.receive(), Request):
            pass  # 100, and 200 again and again
        assert message.method == "BYE"
        assert 0.6 < time.monotonic() - started < 1.5
        caller.send(respond(message, 200))
        assert (await ended(lab)).reason == "no_ack"
        assert message.call_id == invite.call_id


@async_test
async def test_a_bye_without_answer_is_repeated_and_then_given_up() -> None:
    async with lab_and_caller(t1=FAST_T1) as (lab, caller):
        await caller.answered(AT_ONCE)
        while not isinstance(first := await caller.receive(), Request):
            pass  # the answer once more: its ACK was still on the way
        assert await caller.receive() == first
        assert (await ended(lab)).reason == "called_hung_up"
        assert lab.log.count("bye_sent") == 1


@async_test
async def test_byes_that_cross_are_both_answered() -> None:
    async with lab_and_caller() as (lab, caller):
        talk = await caller.answered(AT_ONCE)
        bye = await caller.receive()
        talk.hang_up()
        await caller.response(200, "BYE")
        caller.send(respond(bye, 200)) if isinstance(bye, Request) else pytest.fail(f"not a BYE: {bye}")
        assert (await ended(lab)).reason == "called_hung_up"
        assert lab.log.count("ended") == 1


@async_test
async def test_cancel_is_answered_and_the_invite_ends_with_487() -> None:
    async with lab_and_caller(t1=FAST_T1) as (lab, caller):
        invite = caller.invite(RINGS_OUT)
        await caller.response(100)
        await caller.response(180)
        cancel(caller, invite)
        await caller.response(200, "CANCEL")
        terminated = await caller.response(487)
        assert await caller.response(487) == terminated  # repeated, for the ACK is not here
        caller.send(ack_for(invite, terminated))
        await lab.log.wait_until(lambda log: log.count("ack") == 1, seconds=5)
        assert story(lab) == ["invite", "ringing", "cancel", "ended", "ack"]
        assert (await ended(lab)).reason == "cancelled"


@async_test
async def test_a_cancel_after_the_answer_changes_nothing() -> None:
    async with lab_and_caller() as (lab, caller):
        talk = await caller.answered(WAITS)
        cancel(caller, talk.invite)
        await caller.response(200, "CANCEL")
        assert lab.calls_now == 1
        assert lab.log.count("cancel") == 0


@async_test
async def test_a_cancel_of_nothing_gets_481() -> None:
    async with lab_and_caller() as (_, caller):
        invite = parse(caller.invite_text(RINGS_OUT).encode())  # never sent
        assert isinstance(invite, Request)
        cancel(caller, invite)
        await caller.response(481, "CANCEL")


@async_test
async def test_a_bye_before_the_answer_ends_the_invite_with_487() -> None:
    async with lab_and_caller() as (lab, caller):
        invite = caller.invite(RINGS_OUT)
        await caller.response(100)
        Talk(caller, invite, await caller.response(180)).hang_up()
        await caller.response(487)
        await caller.response(200, "BYE")
        end = await ended(lab)
        assert (end.reason, end.status) == ("caller_hung_up", 487)


@async_test
async def test_requests_in_no_dialog_get_481_and_old_ones_500() -> None:
    async with lab_and_caller() as (_, caller):
        talk = await caller.answered(WAITS)
        right = talk.dialog
        talk.dialog = replace(right, remote=right.remote + "x")
        talk.hang_up()
        await caller.response(481, "BYE")
        talk.request("INVITE")
        await caller.response(481)
        talk.dialog = replace(right, next_cseq=right.next_cseq - 1)
        talk.hang_up()
        await caller.response(500, "BYE")


@async_test
async def test_the_same_invite_by_another_way_gets_482() -> None:
    async with lab_and_caller() as (lab, caller):
        invite = caller.invite(RINGS_OUT)
        await caller.response(100)
        await caller.response(180)
        caller.send_text(invite.encode().replace(b"branch=z9hG4bK", b"branch=z9hG4bKother"))
        await caller.response(482)
        assert lab.calls_now == 1
        assert lab.log.of("refused")[0].status == 482


@async_test
async def test_options_and_unknown_methods_are_answered_with_allow() -> None:
    async with lab_and_caller() as (_, caller):
        for method, status in (("OPTIONS", 200), ("MESSAGE", 405)):
            caller.send_text(caller.invite_text(ANSWERS).replace("INVITE", method))
            assert "INVITE" in str((await caller.response(status, method)).first("Allow"))


@async_test
async def test_an_invite_that_cannot_be_carried_is_refused_by_form() -> None:
    async with lab_and_caller() as (lab, caller):
        extension = await caller.final(caller.invite(ANSWERS, extra="Require: 100rel, timer\r\n"))
        assert (extension.status, extension.first("Unsupported")) == (420, "100rel, timer")
        encoding = await caller.final(caller.invite(ANSWERS, extra="Content-Encoding: gzip\r\n"))
        assert (encoding.status, encoding.first("Accept")) == (415, "application/sdp")
        caller.send_text(caller.invite_text(ANSWERS).replace("INVITE sip:", "INVITE mailto:", 1))
        await caller.response(416)
        assert lab.log.count("refused") == 3


@pytest.mark.parametrize(
    ("number", "status", "reason", "rings"),
    [
        ("34600000403", 403, "Q.850;cause=21", False),
        ("34600000404", 404, "Q.850;cause=1;", False),
        ("34600000410", 410, "Q.850;cause=22", False),
        ("34600000480", 480, "Q.850;cause=20", False),
        ("34600000484", 484, "Q.850;cause=28", False),
        ("34600000486", 486, "Q.850;cause=17", False),
        ("34600000488", 488, "", False),
        ("34600000500", 500, "Q.850;cause=41", False),
        ("34600000503", 503, "Q.850;cause=34", False),
        ("34600000600", 600, "Q.850;cause=17", False),
        ("34600000603", 603, "Q.850;cause=21", True),
        ("34600000604", 604, "Q.850;cause=1;", False),
    ],
)
@async_test
async def test_a_number_that_ends_in_a_code_fails_with_it(number: str, status: int, reason: str, rings: bool) -> None:
    async with lab_and_caller() as (lab, caller):
        final = await caller.final(caller.invite(number))
        assert final.status == status
        assert (final.first("Reason") or "").startswith(reason)
        assert (final.first("Retry-After") is not None) == (status == 503)
        assert ("ringing" in story(lab)) == rings
        assert lab.calls_now == 0


@async_test
async def test_busy_then_ringing_then_answered_is_remembered_by_number() -> None:
    async with lab_and_caller() as (_, caller):
        for expected in (486, 487, 200):
            invite = caller.invite("34600000014")
            if expected == 487:
                await caller.response(100)
                await caller.response(180)
                cancel(caller, invite)
            assert (await caller.final(invite)).status == expected
        assert (await caller.final(caller.invite("34700000014"))).status == 486


@async_test
async def test_silent_numbers_say_nothing_and_100_only_numbers_can_be_cancelled() -> None:
    async with lab_and_caller(t1=FAST_T1) as (lab, caller):
        caller.invite("34600000020")
        assert (await ended(lab)).reason == "rang_out"  # after 64*T1 no caller waits any more
        with pytest.raises(TimeoutError):
            await caller.receive(0.05)
        invite = caller.invite("34600000021")
        await caller.response(100)
        cancel(caller, invite)
        await caller.response(200, "CANCEL")
        await caller.response(487)


@async_test
async def test_a_call_that_nobody_ends_is_ended_by_the_limits() -> None:
    async with lab_and_caller(max_ring_seconds=0.1, max_talk_seconds=0.1) as (lab, caller):
        assert (await caller.final(caller.invite(RINGS_OUT))).status == 480
        talk = await caller.answered(WAITS)
        await talk.hung_up()
        assert (await ended(lab, 2)).reason == "called_hung_up"
        assert lab.log.of("ended")[0].reason == "rang_out"


@async_test
async def test_nothing_of_a_call_is_kept_when_its_time_has_passed() -> None:
    async with lab_and_caller(t1=FAST_T1) as (lab, caller):
        for _ in range(20):
            talk = await caller.answered(WAITS)
            await caller.final(talk.hang_up())
            await caller.final(caller.invite("486"))
        deadline = time.monotonic() + 5
        while len(lab._invites) or len(lab._replies):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert not lab._calls
        assert not lab._awaited


@async_test
async def test_responses_follow_the_via_and_requests_the_record_route() -> None:
    async with lab_and_caller() as (_, caller), Caller(0) as proxy:
        # Without rport the answer goes to the port in Via, though another one sent the INVITE (18.2.2).
        extra = f"Record-Route: <sip:{proxy.sent_by};lr>, <sip:inner.invalid;lr>\r\n"
        invite = caller.invite(AT_ONCE, via=f"SIP/2.0/UDP {proxy.sent_by};branch=z9hG4bK-outer", extra=extra)
        await proxy.response(100)
        answer = await proxy.response(200)
        assert answer.values("Record-Route") == [f"<sip:{proxy.sent_by};lr>", "<sip:inner.invalid;lr>"]
        proxy.lab = caller.lab
        Talk(proxy, invite, answer).acknowledge()
        bye = await proxy.receive()
        assert isinstance(bye, Request)
        assert bye.values("Route") == [f"<sip:{proxy.sent_by};lr>", "<sip:inner.invalid;lr>"]
        assert bye.uri == f"sip:tester@{caller.sent_by}"


@async_test
async def test_a_call_over_tcp_is_answered_on_its_connection() -> None:
    async with lab_and_caller() as (lab, caller):
        reader, writer = await asyncio.open_connection("127.0.0.1", lab.port)
        try:
            writer.write(b"\r\n\r\n")
            assert await reader.readexactly(2) == b"\r\n"  # RFC 5626 4.4.1
            text = caller.invite_text("486").replace("/UDP", "/TCP").encode()
            writer.write(text[:300])
            await asyncio.sleep(0)
            writer.write(text[300:] + caller.invite_text("404").replace("/UDP", "/TCP").encode())
            statuses = [(await reader.readuntil(b"\r\n\r\n"))[:11] for _ in range(4)]
            assert statuses == [b"SIP/2.0 100", b"SIP/2.0 486", b"SIP/2.0 100", b"SIP/2.0 404"]
            writer.write(b"neither a request nor a response\r\n\r\n")
            assert await reader.read() == b""  # a stream that cannot be followed is closed
            assert lab.malformed == 1
        finally:
            writer.close()
            await writer.wait_closed()


@async_test
async def test_two_labs_in_one_process_know_nothing_of_each_other() -> None:
    async with lab_and_caller() as (one, caller), Lab(pace=FAST) as two:
        assert one.port != two.port
        await caller.final(caller.invite("486"))
        assert (one.log.count("invite"), two.log.count("invite")) == (1, 0)


@async_test
async def test_receive_times_are_the_kernels_so_a_late_lab_does_not_blame_its_caller() -> None:
    async with lab_and_caller() as (lab, caller):
        invites = [caller.invite("486") for _ in range(2)]
        await caller.final(invites[1])
        texts = [invite.encode().replace(b"call-", b"late-").replace(b"4bK-", b"4bK-late") for invite in invites]
        sent_at = []

        def send_80_ms_apart() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                for text in texts:
                    sent_at.append(Instant.now())
                    other.sendto(text, caller.lab)
                    time.sleep(0.08)

        thread = threading.Thread(target=send_80_ms_apart)
        thread.start()
        thread.join()  # the loop, and with it the lab, stands still meanwhile
        await ended(lab, 4)
        for sent, seen in zip(sent_at, lab.log.of("invite")[-2:], strict=True):
            assert -0.001 < seen.monotonic_at - sent.monotonic < 0.04
            assert -0.001 < seen.at - sent.wall < 0.04


@async_test
async def test_the_log_file_holds_every_entry_as_a_line_of_json(tmp_path: Path) -> None:
    file = tmp_path / "lab.jsonl"
    async with lab_and_caller(log_file=file, max_log_entries=2) as (lab, caller):
        await caller.final(caller.invite("34600000486"))
        await lab.log.wait_until(lambda log: log.count("ack") == 1, seconds=5)
        assert (len(lab.log), lab.log.dropped, lab.log.count("invite")) == (2, 1, 1)
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        assert [line["event"] for line in lines] == ["invite", "ended", "ack"]
        assert lines[1]["status"] == 486
        assert lines[1]["rtp"]["received"] == 0
        assert lines[0]["at"].endswith("Z")


@async_test
async def test_waiting_for_the_log_says_what_was_seen_when_it_is_in_vain() -> None:
    async with lab_and_caller() as (lab, caller):
        await caller.final(caller.invite("486"))
        with pytest.raises(TimeoutError, match="'invite': 1"):
            await lab.log.wait_until(lambda log: log.count("invite") == 2, seconds=0.05)


@async_test
async def test_a_lab_that_stops_leaves_nobody_in_a_call() -> None:
    async with Lab(pace=FAST) as lab, Caller(lab.port) as caller:
        talk = await caller.answered(WAITS)
        invite = caller.invite(RINGS_OUT)
        await caller.response(100)
        await caller.response(180)
        await lab.__aexit__()
        bye = await caller.receive()
        assert isinstance(bye, Request)
        assert bye.call_id == talk.invite.call_id
        assert (await caller.final(invite)).status == 480
        assert [entry.reason for entry in lab.log.of("ended")] == ["lab_stopped"] * 2


@async_test
async def test_serve_runs_until_sigterm_and_then_ends_its_calls() -> None:
    ready: asyncio.Future[Lab] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(Lab(pace=FAST), ready.set_result))
    lab = await asyncio.wait_for(ready, 5)
    async with Caller(lab.port) as caller:
        talk = await caller.answered(WAITS)
        signal.raise_signal(signal.SIGTERM)
        await asyncio.wait_for(serving, 5)
        assert (await talk.hung_up()).call_id == talk.invite.call_id
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@async_test
async def test_options_that_make_no_sense_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="pace: 0"):
        Lab(pace=0)
    with pytest.raises(ValueError, match="host: 'localhost'"):
        Lab(host="localhost")
    async with Lab() as lab:
        with pytest.raises(OSError, match="in use"):
            async with Lab(port=lab.port):
                pass


async def notified(caller: Caller) -> tuple[str, str]:
    """The next NOTIFY's first line of sipfrag and subscription state; it is answered."""
    notify = await caller.receive()
    assert isinstance(notify, Request)
    assert (notify.method, notify.first("Event")) == ("NOTIFY", "refer")
    assert notify.first("Content-Type") == "message/sipfrag;version=2.0"
    caller.send(respond(notify, 200))
    return notify.body.decode().strip(), (notify.first("Subscription-State") or "").partition(";")[0]


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (WAITS, ["100 Trying", "180 Ringing", "200 OK"]),
        ("34600000486", ["100 Trying", "486 Busy Here"]),
        (RINGS_OUT, ["100 Trying", "180 Ringing"]),
    ],
)
@async_test
async def test_a_refer_is_taken_and_told_of_as_calls_to_that_number_go(number: str, told: list[str]) -> None:
    async with lab_and_caller() as (lab, caller):
        talk = await caller.answered(WAITS)
        refer = talk.request("REFER", headers=(("Refer-To", f"<sip:{number}@127.0.0.1>"),))
        await caller.response(202, "REFER")
        heard = [await notified(caller) for _ in told]
        last = ["terminated" if text[0] in "23456" else "active" for text in told]
        assert heard == [(f"SIP/2.0 {text}", state) for text, state in zip(told, last, strict=True)]
        caller.send(refer)
        await caller.response(202, "REFER")  # the same again: the same answer, and no other NOTIFYs
        talk.hang_up()
        await caller.response(200, "BYE")
        assert (await ended(lab)).reason == "caller_hung_up"
        assert [entry.status for entry in lab.log.of("notified")] == [int(text[:3]) for text in told]


@async_test
async def test_a_refer_that_names_nobody_or_comes_out_of_season_is_refused() -> None:
    async with lab_and_caller() as (_, caller):
        talk = await caller.answered(WAITS)
        for headers, status in (((), 400), ((("Refer-To", "<sip:127.0.0.1>"),), 400)):
            talk.request("REFER", headers=headers)
            await caller.response(status, "REFER")
        busy = (("Refer-To", f"<sip:{RINGS_OUT}@127.0.0.1>"),)
        talk.request("REFER", headers=busy)
        await caller.response(202, "REFER")
        for _ in range(2):
            await notified(caller)
        talk.request("REFER", headers=busy)
        await caller.response(491, "REFER")
        talk.hang_up()
        await caller.response(200, "BYE")
        talk.request("REFER", headers=busy)
        await caller.response(481, "REFER")
