"""What every `CallControl` promises: the one that tests script, and the worker pool against the lab."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from dialer.core.events import (
    Answered,
    EndedBy,
    Heard,
    InviteSent,
    LegEnded,
    LegRefused,
    PlayEnded,
    Rang,
    RecordEnded,
    Referred,
    StreamEnd,
    StreamEnded,
    StreamOpened,
)
from dialer.core.model import LegId
from dialer.ports import CallControl, StreamOrder
from sip.lab import Lab
from tests.integration.test_sip_media import write_tone
from tests.support.fake_calls import FakeCallControl
from tests.support.labs import FAST, async_test
from tests.support.pools import Events, order, pool_to, trunk_to
from tests.support.stream_server import StreamServer

ONE, TWO = LegId(1), LegId(2)
ANSWERS_AND_HANGS_UP, ANSWERS, RINGS, BUSY = "+34600000001", "+34600000002", "+34600000010", "+34600000486"
SECONDS = 0.3


@contextlib.asynccontextmanager
async def control_of(kind: str, media: Path) -> AsyncIterator[tuple[CallControl, Events]]:
    if kind == "fake":
        control = FakeCallControl(audio={"hello.wav": SECONDS})
        yield control, Events(control)
    else:
        write_tone(media / "hello.wav", 500, SECONDS)
        async with Lab(pace=FAST) as lab, pool_to(trunk_to(lab.port), media=media) as (pool, events):
            yield pool, events


kinds = pytest.mark.parametrize("kind", ["fake", "pool"])


@kinds
@async_test
async def test_a_leg_is_told_from_invite_to_end_in_order(kind: str, tmp_path: Path) -> None:
    async with control_of(kind, tmp_path) as (control, events):
        dialed = order(ANSWERS_AND_HANGS_UP)
        control.dial(ONE, dialed)
        assert not events.all  # nothing is told before dial has returned
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert (end.by, end.sip_status) == (EndedBy.FAR, 200)
        assert events.kinds(ONE) == ["InviteSent", "Rang", "Answered", "LegEnded"]
        assert [event.at for event in events.of(ONE)] == sorted(event.at for event in events.of(ONE))  # type: ignore[union-attr]
        assert dialed.sip_call_id in (await events.wait(InviteSent, ONE)).dialog


@kinds
@async_test
async def test_a_refused_leg_tells_status_and_cause(kind: str, tmp_path: Path) -> None:
    async with control_of(kind, tmp_path) as (control, events):
        control.dial(ONE, order(BUSY))
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert (end.by, end.sip_status, end.q850) == (EndedBy.FAR, 486, 17)
        assert events.kinds(ONE) == ["InviteSent", "LegEnded"]


@kinds
@async_test
async def test_hanging_up_a_ringing_leg_ends_it_by_us_without_an_answer(kind: str, tmp_path: Path) -> None:
    async with control_of(kind, tmp_path) as (control, events):
        control.dial(ONE, order(RINGS))
        await events.wait(Rang, ONE)
        control.hang_up(ONE)
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert end.by is EndedBy.US
        assert events.kinds(ONE) == ["InviteSent", "Rang", "LegEnded"]


@kinds
@async_test
async def test_hanging_up_is_idempotent_and_ignores_unknown_legs(kind: str, tmp_path: Path) -> None:
    async with control_of(kind, tmp_path) as (control, events):
        control.hang_up(LegId(77))
        control.dial(ONE, order(ANSWERS))
        await events.wait(Answered, ONE)
        control.hang_up(ONE)
        control.hang_up(ONE)
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert (end.by, end.sip_status) == (EndedBy.US, 200)
        control.hang_up(ONE)
        control.dial(TWO, order(BUSY))
        await events.over(TWO)
        assert events.kinds(ONE).count("LegEnded") == 1
        assert not events.of(LegId(77))


@kinds
@async_test
async def test_played_audio_ends_once_whole_or_with_a_reason(kind: str, tmp_path: Path) -> None:
    async with control_of(kind, tmp_path) as (control, events):
        control.dial(ONE, order(ANSWERS))
        await events.wait(Answered, ONE)
        control.play(ONE, 1, "hello.wav")
        assert await events.wait(PlayEnded, ONE) == PlayEnded(ONE, 1, complete=True)
        control.play(ONE, 2, "missing.wav")
        await events.until(lambda: len([e for e in events.of(ONE) if isinstance(e, PlayEnded)]) == 2)
        failed = events.of(ONE)[-1]
        assert isinstance(failed, PlayEnded)
        assert (failed.token, failed.complete) == (2, False)
        assert failed.reason
        control.play(ONE, 3, "hello.wav")
        control.hang_up(ONE)
        await events.over(ONE)
        assert [e.token for e in events.of(ONE) if isinstance(e, PlayEnded)] == [1, 2, 3]


@kinds
@pytest.mark.parametrize(("number", "trunk"), [(ANSWERS, "unheard-of"), ("12;x=y", "far")])
@async_test
async def test_what_cannot_be_dialed_is_refused_for_good(kind: str, tmp_path: Path, number: str, trunk: str) -> None:
    async with control_of(kind, tmp_path) as (control, events):
        control.dial(ONE, order(number, trunk=trunk))
        assert not events.all
        refused = await events.over(ONE)
        assert isinstance(refused, LegRefused)
        assert not refused.transient


@kinds
@async_test
async def test_every_free_place_can_be_dialed_into_and_comes_back(kind: str, tmp_path: Path) -> None:
    async with control_of(kind, tmp_path) as (control, events):
        places = control.free_places()
        assert places > 0
        legs = [LegId(n) for n in range(places)]
        for leg in legs:
            control.dial(leg, order(RINGS))
        for leg in legs:
            await events.wait(Rang, leg)
            control.hang_up(leg)
            await events.over(leg)
        control.dial(LegId(100), order(BUSY))
        assert isinstance(await events.over(LegId(100)), LegEnded)


@kinds
@async_test
async def test_a_trunk_that_is_asked_answers_and_not_before_ask_has_returned(kind: str, tmp_path: Path) -> None:
    async with control_of(kind, tmp_path) as (control, _):
        answered: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        control.ask("far", answered.set_result)
        assert not answered.done()
        assert await asyncio.wait_for(answered, 10) is None


@kinds
@async_test
async def test_what_plays_can_be_stopped_and_is_told_as_cut_off(kind: str, tmp_path: Path) -> None:
    async with control_of(kind, tmp_path) as (control, events):
        control.dial(ONE, order(ANSWERS))
        await events.wait(Answered, ONE)
        control.stop_playing(ONE)
        control.play(ONE, 1, "hello.wav")
        control.stop_playing(ONE)
        ended = await events.wait(PlayEnded, ONE)
        assert (ended.token, ended.complete, ended.leg_over) == (1, False, False)
        control.stop_playing(LegId(77))
        control.hang_up(ONE)
        await events.over(ONE)


@kinds
@async_test
async def test_a_recording_ends_once_by_its_length_an_order_or_the_legs_end(kind: str, tmp_path: Path) -> None:
    async with control_of(kind, tmp_path) as (control, events):
        control.dial(ONE, order(ANSWERS))
        await events.wait(Answered, ONE)
        control.stop_recording(ONE)
        control.record(ONE, 1, "call-1", 0.2)
        await events.until(lambda: len([e for e in events.of(ONE) if isinstance(e, RecordEnded)]) == 1)
        control.record(ONE, 2, "call-2", 60)
        control.stop_recording(ONE)
        await events.until(lambda: len([e for e in events.of(ONE) if isinstance(e, RecordEnded)]) == 2)
        control.record(ONE, 3, "call-3", 60)
        control.hang_up(ONE)
        await events.over(ONE)
        told = [(e.token, e.leg_over) for e in events.of(ONE) if isinstance(e, RecordEnded)]
        assert told == [(1, False), (2, False), (3, True)]
        assert isinstance(events.of(ONE)[-1], LegEnded)
        control.record(ONE, 4, "call-4", 60)
        await events.until(lambda: isinstance(events.of(ONE)[-1], RecordEnded))


@kinds
@async_test
async def test_who_listens_is_told_every_frame_until_listening_stops(kind: str, tmp_path: Path) -> None:
    async with control_of(kind, tmp_path) as (control, events):
        control.listen_to(LegId(77))
        control.dial(ONE, order(ANSWERS))
        await events.wait(Answered, ONE)
        control.stop_listening(ONE)
        control.listen_to(ONE)
        control.listen_to(ONE)
        heard = await events.wait(Heard, ONE)
        assert len(heard.levels_db) == len(heard.tones_hz) > 0
        control.stop_listening(ONE)
        control.play(ONE, 1, "hello.wav")
        await events.wait(PlayEnded, ONE)
        before = events.kinds(ONE).count("Heard")
        control.play(ONE, 2, "hello.wav")
        await events.until(lambda: events.kinds(ONE).count("PlayEnded") == 2)
        assert events.kinds(ONE).count("Heard") == before
        control.listen_to(ONE)
        control.hang_up(ONE)
        await events.over(ONE)
        assert not events.of(LegId(77))


@contextlib.asynccontextmanager
async def streaming(kind: str, media: Path) -> AsyncIterator[tuple[CallControl, Events, StreamOrder]]:
    """Beside what can be called, a server that streams may go to."""
    async with StreamServer() as server:
        order = StreamOrder(server.url, 8_000, "{}")
        if kind == "fake":
            control = FakeCallControl(servers=(server.url,))
            yield control, Events(control), order
            return
        async with (
            Lab(pace=FAST) as lab,
            pool_to(trunk_to(lab.port), media=media, private_streams=True) as (pool, events),
        ):
            yield pool, events, order


@kinds
@async_test
async def test_a_stream_is_told_from_its_opening_to_its_end_and_before_the_legs(kind: str, tmp_path: Path) -> None:
    async with streaming(kind, tmp_path) as (control, events, there):
        control.stop_stream(LegId(77), "max_seconds")
        control.press_stream_key(LegId(77), "1")
        control.dial(ONE, order(ANSWERS))
        await events.wait(Answered, ONE)
        control.stream(ONE, 1, there)
        await events.until(lambda: StreamOpened(ONE, 1) in events.all)
        control.press_stream_key(ONE, "5")
        control.stop_stream(ONE, "max_seconds")
        await events.until(lambda: StreamEnded(ONE, 1, StreamEnd.STOPPED, "max_seconds") in events.all)
        control.stream(ONE, 2, replace(there, url="ws://127.0.0.1:1/"))
        failed = await ended(events, 2)
        assert (failed.by, failed.leg_over) == (StreamEnd.FAILED, False)
        assert failed.reason
        control.stream(ONE, 3, there)
        await events.until(lambda: StreamOpened(ONE, 3) in events.all)
        control.hang_up(ONE)
        await events.over(ONE)
        assert (await ended(events, 3)).leg_over
        assert isinstance(events.of(ONE)[-1], LegEnded)
        control.stream(ONE, 4, there)
        assert (await ended(events, 4)).leg_over


async def ended(events: Events, token: int) -> StreamEnded:
    found: list[StreamEnded] = []

    def here() -> bool:
        found[:] = [event for event in events.all if isinstance(event, StreamEnded) and event.token == token]
        return bool(found)

    await events.until(here)
    assert len(found) == 1
    return found[0]


@kinds
@async_test
async def test_a_leg_is_dialed_beside_another_and_bridged_with_it_and_each_ends_by_itself(
    kind: str, tmp_path: Path
) -> None:
    async with control_of(kind, tmp_path) as (control, events):
        control.bridge(LegId(77), LegId(78))
        control.dial(ONE, order(ANSWERS))
        await events.wait(Answered, ONE)
        control.dial(TWO, order(ANSWERS, uri="sip:34600000002@127.0.0.1", beside=ONE))
        await events.wait(Answered, TWO)
        control.bridge(ONE, TWO)
        control.hang_up(TWO)
        assert isinstance(await events.over(TWO), LegEnded)
        assert "LegEnded" not in events.kinds(ONE)
        control.bridge(ONE, TWO)
        control.hang_up(ONE)
        await events.over(ONE)


@kinds
@async_test
async def test_a_leg_beside_one_that_is_over_is_refused_for_the_moment(kind: str, tmp_path: Path) -> None:
    async with control_of(kind, tmp_path) as (control, events):
        control.dial(ONE, order(ANSWERS, beside=LegId(77)))
        assert not events.all
        refused = await events.over(ONE)
        assert isinstance(refused, LegRefused)
        assert refused.transient


@kinds
@pytest.mark.parametrize("uri", ["sip:34600000002@elsewhere.example", "sip:a b@127.0.0.1", "<sip:7@127.0.0.1>"])
@async_test
async def test_a_uri_that_the_trunk_does_not_lead_to_is_refused_for_good(kind: str, tmp_path: Path, uri: str) -> None:
    async with control_of(kind, tmp_path) as (control, events):
        control.dial(ONE, order(ANSWERS, uri=uri))
        refused = await events.over(ONE)
        assert isinstance(refused, LegRefused)
        assert not refused.transient
        control.dial(TWO, order(ANSWERS))
        await events.wait(Answered, TWO)
        control.refer(TWO, 1, "", uri)
        word = await events.wait(Referred, TWO)
        assert (word.token, word.final, word.refused) == (1, True, True)
        control.hang_up(TWO)
        await events.over(TWO)


@kinds
@pytest.mark.parametrize(
    ("agent", "told"),
    [(ANSWERS, [202, 180, 200]), (RINGS, [202, 180]), ("+34600000503", [202, 503])],
)
@async_test
async def test_a_refer_is_told_of_from_its_answer_to_the_last_word(
    kind: str, tmp_path: Path, agent: str, told: list[int]
) -> None:
    async with control_of(kind, tmp_path) as (control, events):
        control.dial(ONE, order(ANSWERS))
        await events.wait(Answered, ONE)
        control.refer(ONE, 5, agent, "")
        assert "Referred" not in events.kinds(ONE)

        def words() -> list[Referred]:
            # Not every far side says that it tries, or that it rings.
            return [e for e in events.of(ONE) if isinstance(e, Referred) and (e.sip_status in told)]

        await events.until(lambda: len(words()) == len(told))
        assert [(word.sip_status, word.token, word.refused) for word in words()] == [(s, 5, False) for s in told]
        assert words()[-1].final == (told[-1] != 180)
        control.hang_up(ONE)
        await events.over(ONE)


@kinds
@async_test
async def test_a_refer_on_a_leg_that_is_over_is_answered_all_the_same(kind: str, tmp_path: Path) -> None:
    async with control_of(kind, tmp_path) as (control, events):
        control.refer(LegId(77), 9, ANSWERS, "")
        word = await events.wait(Referred, LegId(77))
        assert (word.token, word.final, word.refused) == (9, True, True)
