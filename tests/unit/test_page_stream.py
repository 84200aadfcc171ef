"""Pages that are open: drawn once for all who look, sent what has changed, and let go when there is nothing to look at."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from api.page import stream, watch
from api.server import HttpServer, serve_http
from dialer.core.changes import AttemptEnded
from dialer.core.model import CallId, CampaignId, Disposition, WallMs
from dialer.ports import StoreUnavailable
from tests.support.fake_backend import CALL, CAMPAIGN, MINE, NOBODYS, OTHER_TOKEN
from tests.support.page_world import T0, Browsing, PageWorld, call_row, trunk_record

Story = Callable[[PageWorld, HttpServer], Coroutine[Any, Any, None]]
ENDED = AttemptEnded(CallId(1), CampaignId(1), 1, WallMs(T0), Disposition.BUSY, "", 486, None, "far")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty beats a second, and tokens looked at each time."""
    monkeypatch.setattr(watch, "PERIOD_SECONDS", 0.05)
    monkeypatch.setattr("api.page.doors._STANDING_SECONDS", 0.0)


def on_wire(story: Story) -> None:
    async def run() -> None:
        world = PageWorld()
        server = await serve_http(world.app, "127.0.0.1", 0)
        try:
            await asyncio.wait_for(story(world, server), 30)
        finally:
            world.watch.closing.set()
            await server.stop(2)

    asyncio.run(run())


async def soon(true: Callable[[], bool]) -> None:
    """Wait until it is so, beat by beat."""
    async with asyncio.timeout(10):
        while not true():
            await watch.Watch.next_beat()


class Viewer:
    """One open page: what its sections hold now, what was said, and how many frames came."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.sections: dict[str, str] = {}
        self.frames: list[str] = []
        self.said: list[str] = []
        self.over = False
        self._lines = answer.aiter_lines()
        self._event = ""

    async def until(self, what: Callable[[], bool]) -> None:
        """Read until it is so."""
        while not what():
            try:
                self._take(await anext(self._lines))
            except StopAsyncIteration:
                self.over = True
                assert what(), (self.frames, self.said)

    def _take(self, line: str) -> None:
        name, _, value = line.partition(": ")
        if name == "event":
            self._event = value
        elif name == "data":
            data = json.loads(value)
            if self._event == "section":
                self.sections[data["id"]] = data["html"]
                self.frames.append(data["id"])
            elif self._event == "say":
                self.said.append(data)
            else:
                self.said.append(self._event)

    async def end(self) -> None:
        await self.until(lambda: self.over)


@asynccontextmanager
async def viewing(
    world: PageWorld, server: HttpServer, path: str = "/page/stream/overview", **login: str
) -> AsyncIterator[Viewer]:
    async with Browsing(world, url=server.url) as browser:
        await browser.log_in(**login)
        async with browser.stream("GET", path, headers={"Accept": "text/event-stream"}) as answer:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            assert answer.headers["Cache-Control"] == "no-store"
            yield Viewer(answer)


def test_a_page_gets_all_its_sections_and_then_only_what_changes() -> None:
    async def story(world: PageWorld, server: HttpServer) -> None:
        async with viewing(world, server) as viewer:
            whole = {"state", "tiles", "live", "trunks", "campaigns", "outcomes", "failures"}
            await viewer.until(lambda: set(viewer.sections) == whole)
            viewer.frames.clear()
            world.board.calls_now = [call_row(name="Bruno Silva")]
            await viewer.until(lambda: "Bruno Silva" in viewer.sections["live"])
            world.trunks = [trunk_record(channels_in_use=29)]
            await viewer.until(lambda: "29 of 30" in viewer.sections["trunks"])
            assert viewer.frames == ["live", "trunks"]

    on_wire(story)


def test_whoever_many_look_each_beat_is_read_and_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    original = stream.Screens.draw

    async def draw(self: Any, look: Any, *, again: bool = False) -> Any:
        if again:
            drawn.append(look.screen)
        return await original(self, look, again=again)

    monkeypatch.setattr(stream.Screens, "draw", draw)

    async def story(world: PageWorld, server: HttpServer) -> None:
        async with viewing(world, server) as first, viewing(world, server) as second, viewing(world, server) as third:
            for viewer in (first, second, third):
                await viewer.until(lambda viewer=viewer: "live" in viewer.sections)  # type: ignore[misc]
            begun = asyncio.get_running_loop().time()
            drawn.clear()
            world.board.readings.clear()
            for _ in range(20):
                await watch.Watch.next_beat()
            beats = (asyncio.get_running_loop().time() - begun) / watch.PERIOD_SECONDS
            assert 1 <= len(drawn) <= beats + 2
            assert len(world.board.readings) <= beats + 2

    on_wire(story)


def test_a_page_that_nobody_looks_at_any_more_is_not_read() -> None:
    async def story(world: PageWorld, server: HttpServer) -> None:
        async with viewing(world, server) as viewer:
            await viewer.until(lambda: "live" in viewer.sections)
        async with asyncio.timeout(10):
            while True:
                seen = len(world.board.readings)
                for _ in range(5):
                    await watch.Watch.next_beat()
                if len(world.board.readings) == seen:
                    break

    on_wire(story)


def test_what_matters_is_said_aloud_once_and_nothing_at_first() -> None:
    async def story(world: PageWorld, server: HttpServer) -> None:
        async with viewing(world, server) as viewer:
            await viewer.until(lambda: "trunks" in viewer.sections)
            world.trunks = [trunk_record(state="down")]
            world.board.campaigns_now[0]["status"] = "paused"
            await viewer.until(lambda: len(viewer.said) > 0)
            world.trunks = [trunk_record(state="up")]
            await viewer.until(lambda: "Trunk pbx: up" in viewer.said[-1])
            assert "; ".join(viewer.said) == "Campaign Renewal: paused; Trunk pbx: down; Trunk pbx: up"

    on_wire(story)


def test_a_stream_ends_within_seconds_of_its_token() -> None:
    async def story(world: PageWorld, server: HttpServer) -> None:
        async with viewing(world, server) as viewer:
            await viewer.until(lambda: "live" in viewer.sections)
            world.fakes.revoked = True
            await viewer.end()
            assert viewer.said == ["bye"]

    on_wire(story)


def test_a_stream_shows_no_longer_what_may_not_be_seen_any_more() -> None:
    async def story(world: PageWorld, server: HttpServer) -> None:
        async with Browsing(world, url=server.url) as browser:
            await browser.log_in()
            await browser.order("/page/numbers", show="yes")
            async with browser.stream("GET", "/page/stream/live") as answer:
                viewer = Viewer(answer)
                await viewer.until(lambda: "+34600123456" in viewer.sections.get("live", ""))
                await browser.order("/page/numbers", show="no")
                await viewer.end()
                assert viewer.said == ["bye"]

    on_wire(story)


def test_streams_end_when_the_server_stops() -> None:
    async def story(world: PageWorld, server: HttpServer) -> None:
        async with viewing(world, server) as viewer:
            await viewer.until(lambda: "live" in viewer.sections)
            world.watch.closing.set()
            await viewer.end()

    on_wire(story)


def test_a_fault_of_the_disk_ends_the_stream_and_another_may_be_opened_after_it() -> None:
    async def story(world: PageWorld, server: HttpServer) -> None:
        async with viewing(world, server) as viewer:
            await viewer.until(lambda: "live" in viewer.sections)
            whole, world.board.live = world.board.live, _refuse  # type: ignore[assignment, method-assign]
            with capture_logs() as logs:
                await viewer.end()
                async with Browsing(world, url=server.url) as browser:
                    await browser.log_in()
                    assert (await browser.get("/page/stream/overview")).status_code == 503
            assert logs[0]["event"] == "a page cannot be drawn"
            world.board.live = whole  # type: ignore[method-assign]
        async with viewing(world, server) as viewer:
            await viewer.until(lambda: "live" in viewer.sections)

    def _refuse(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("the disk failed")

    on_wire(story)


def test_what_is_gone_ends_its_stream() -> None:
    async def story(world: PageWorld, server: HttpServer) -> None:
        async with viewing(world, server, f"/page/stream/campaign/{CAMPAIGN}") as viewer:
            await viewer.until(lambda: "progress" in viewer.sections)
            world.board.campaigns_now = []
            await viewer.end()

    on_wire(story)


@pytest.mark.parametrize(
    ("path", "sections"),
    [
        ("/page/stream/overview?span=day", {"outcomes"}),
        (f"/page/stream/campaign/{CAMPAIGN}", {"progress", "calls"}),
        (f"/page/stream/campaign/{CAMPAIGN}?state=live", {"progress", "calls"}),
        (f"/page/stream/call/{CALL}", {"call"}),
        ("/page/stream/live", {"live"}),
        ("/page/stream/trunks", {"trunks", "state"}),
        ("/page/stream/campaigns?status=running", {"campaigns"}),
    ],
)
def test_every_screen_has_a_stream(path: str, sections: set[str]) -> None:
    async def story(world: PageWorld, server: HttpServer) -> None:
        async with viewing(world, server, path) as viewer:
            await viewer.until(lambda: sections <= set(viewer.sections))

    on_wire(story)


@pytest.mark.parametrize("query", ["disposition=busy", "state=finished", "after=5"])
def test_the_few_among_many_calls_are_looked_for_when_asked_and_not_each_second(query: str) -> None:
    async def story(world: PageWorld, server: HttpServer) -> None:
        async with viewing(world, server, f"/page/stream/campaign/{CAMPAIGN}?{query}") as viewer:
            await viewer.until(lambda: "progress" in viewer.sections)
            world.board.campaigns_now[0]["finished"] = 18
            await viewer.until(lambda: ">18<" in viewer.sections["progress"])
            assert set(viewer.sections) == {"progress"}

    on_wire(story)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/page/stream/campaign/{NOBODYS}", 404),
        ("/page/stream/nothing", 404),
        (f"/page/stream/overview/{CALL}", 404),
        ("/page/stream/campaign", 404),
        ("/page/stream/overview?span=week", 400),
    ],
)
def test_there_is_no_stream_of_what_is_not_there(path: str, status: int) -> None:
    async def story(world: PageWorld, server: HttpServer) -> None:
        async with Browsing(world, url=server.url) as browser:
            await browser.log_in()
            assert (await browser.get(path)).status_code == status

    on_wire(story)


def test_streams_are_for_those_who_are_logged_in_and_of_their_own_account() -> None:
    async def story(world: PageWorld, server: HttpServer) -> None:
        async with Browsing(world, url=server.url) as browser:
            program = {"Accept": "text/event-stream"}
            assert (await browser.get("/page/stream/overview", headers=program)).status_code == 401
            await browser.log_in(OTHER_TOKEN)
            assert (await browser.get(f"/page/stream/campaign/{CAMPAIGN}")).status_code == 404

    on_wire(story)


def test_an_account_cannot_open_pages_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_MOST_FOR_AN_ACCOUNT", 1)

    async def story(world: PageWorld, server: HttpServer) -> None:
        async with viewing(world, server) as viewer:
            await viewer.until(lambda: "live" in viewer.sections)
            async with Browsing(world, url=server.url) as browser:
                await browser.log_in()
                answer = await browser.get("/page/stream/overview")
                assert (answer.status_code, answer.headers["Retry-After"]) == (429, "10")
            async with viewing(world, server, token=OTHER_TOKEN) as other:
                await other.until(lambda: "live" in other.sections)

    on_wire(story)


def test_all_accounts_together_cannot_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_MOST_STREAMS", 1)

    async def story(world: PageWorld, server: HttpServer) -> None:
        async with viewing(world, server) as viewer, Browsing(world, url=server.url) as browser:
            await viewer.until(lambda: "live" in viewer.sections)
            await browser.log_in(OTHER_TOKEN)
            assert (await browser.get("/page/stream/overview")).status_code == 429

    on_wire(story)


def test_a_quiet_stream_shows_that_it_is_there_and_ends_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_QUIET_BEATS", 2)
    monkeypatch.setattr(stream, "_LONGEST_BEATS", 10)

    async def story(world: PageWorld, server: HttpServer) -> None:
        async with Browsing(world, url=server.url) as browser:
            await browser.log_in()
            answer = await browser.get("/page/stream/live")
            assert answer.text.startswith("retry: 1000\n\n")
            assert 1 <= answer.text.count(": still here\n\n") <= 5
            head = await browser.head("/page/stream/live")
            assert (head.status_code, head.text) == (200, "")

    on_wire(story)


def test_ends_go_from_memory_to_disk_and_are_never_in_neither() -> None:
    async def story() -> None:
        world = PageWorld()
        world.recent.stored([ENDED])
        await world.watch.overview(MINE)
        assert [one.attempts for one in world.board.ended] == [1]
        world.minutes.fault = StoreUnavailable("the disk is full")
        with pytest.raises(StoreUnavailable):
            await world.watch.keep()
        world.recent.stored([ENDED])
        await world.watch.next_beat()
        await world.watch.overview(MINE)
        assert [one.attempts for one in world.board.ended] == [1, 1]
        world.minutes.fault = None
        await world.watch.keep()
        await world.watch.next_beat()
        await world.watch.overview(MINE)
        assert world.board.ended == []
        assert [one.attempts for one in world.minutes.kept] == [1, 1]
        await world.watch.keep()
        assert len(world.minutes.kept) == 2

    asyncio.run(story())


def test_what_runs_beside_the_pages_keeps_ends_by_itself_and_outlives_a_full_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(watch, "_KEEP_SECONDS", 0.0)

    async def story() -> None:
        world = PageWorld()
        world.minutes.fault = StoreUnavailable("the disk is full")
        task = asyncio.create_task(world.watch.run())
        world.recent.stored([ENDED])
        with capture_logs() as logs:
            await soon(lambda: bool(logs))
        world.minutes.fault = None
        await soon(lambda: bool(world.minutes.kept))
        # Old ones are looked for once an hour.
        assert world.minutes.forgotten == 1
        world.watch.closing.set()
        await asyncio.wait_for(task, 10)

    asyncio.run(story())


def test_many_kinds_of_ends_are_not_held_in_memory_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(watch, "_MANY", 1)

    async def story() -> None:
        world = PageWorld()
        task = asyncio.create_task(world.watch.run())
        world.recent.stored([ENDED])
        await watch.Watch.next_beat()
        assert world.minutes.kept == []
        world.recent.stored([replace(ENDED, disposition=Disposition.ANSWERED)])
        await soon(lambda: len(world.minutes.kept) == 2)
        world.watch.closing.set()
        await asyncio.wait_for(task, 10)

    asyncio.run(story())


def test_what_is_read_seldom_is_kept_for_more_beats_and_little_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_MOST_READINGS", 2)

    async def story() -> None:
        world = PageWorld()
        read: list[str] = []

        async def ask(key: str, beats: int) -> None:
            async def reading() -> None:
                read.append(key)

            await world.watch.once((key,), reading, beats=beats)

        await ask("seldom", 10**9)
        await ask("each", 1)
        await watch.Watch.next_beat()
        await ask("seldom", 10**9)
        await ask("each", 1)
        assert read == ["seldom", "each", "each"]
        await ask("other", 1)
        await ask("seldom", 10**9)
        assert read == ["seldom", "each", "each", "other", "seldom"]

    asyncio.run(story())


def test_a_reading_that_failed_is_tried_again_by_the_next_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PERIOD_SECONDS", 1000.0)

    async def story() -> None:
        world = PageWorld()
        read = iter([StoreUnavailable("the disk failed"), 7])

        async def once() -> int:
            found = next(read)
            if isinstance(found, Exception):
                raise found
            return found

        with pytest.raises(StoreUnavailable):
            await world.watch.once(("key",), once)
        assert [await world.watch.once(("key",), once) for _ in range(2)] == [7, 7]

    asyncio.run(story())
