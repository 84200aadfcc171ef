"""What the operator's page shows, over fakes, and to whom."""

import doctest
import re
from typing import Any

import pytest
from structlog.testing import capture_logs

from api.page import mask, plot, words
from api.page.doors import PageRules
from tests.support.fake_backend import CALL, CAMPAIGN, MINE, OTHER_TOKEN, Fakes
from tests.support.page_world import (
    CONTACT,
    PAGES,
    PHONE,
    Browsing,
    PageWorld,
    agent_leg,
    call_row,
    campaign_row,
    inside,
    tell,
    trunk_record,
    whole_call,
)


@pytest.mark.parametrize("module", [mask, words, plot])
def test_the_examples_of_the_docstrings_hold(module: Any) -> None:
    found = doctest.testmod(module)
    assert (found.failed, found.attempted > 0) == (0, True)


class TestWhatIsShown:
    def test_the_overview_holds_what_goes_on(self) -> None:
        async def story(world: PageWorld) -> None:
            world.fakes.reasons = ["trunk pbx is down"]
            failure = {"sip_status": 486, "disposition": "busy", "attempts": 7, "last_at": 1, "call": CALL}
            world.board.failures = [{**failure, "trunk": "pbx", "reason": "486 Busy Here"}]
            world.board.calls_now += [call_row(id=CAMPAIGN, attempts=2, invites=3, reason="503 Overloaded")]
            page = (await (await inside(world)).get("/")).text
            for word in ("Ana García", "Renewal", "17 of 1,200 finished, 12 answered", "ringing", "486 Busy Here, pbx"):
                assert word in page, word
            for word in ("attempt 2", "INVITE 3 after 503 Overloaded"):
                assert word in page, word
            assert "The server cannot dial now" in page
            assert "trunk pbx is down" in page
            assert f'formaction="/page/campaign/{CAMPAIGN}/pause"' in page

        tell(story)

    def test_empty_pages_say_that_they_are(self) -> None:
        async def story(world: PageWorld) -> None:
            browser = world.browser()
            await browser.log_in(OTHER_TOKEN)
            page = (await browser.get("/")).text
            for word in ("Nobody is being called now.", "There is no campaign yet.", "None in the last hour."):
                assert word in page
            assert PHONE[-4:] not in page

        tell(story)

    @pytest.mark.parametrize("path", [f"/page/campaign/{CAMPAIGN}", f"/page/call/{CALL}", f"/page/contact/{CONTACT}"])
    def test_what_belongs_to_another_account_is_not_found(self, path: str) -> None:
        async def story(world: PageWorld) -> None:
            browser = world.browser()
            await browser.log_in(OTHER_TOKEN)
            assert (await browser.get(path)).status_code == 404
            assert (await browser.get(f"{path}/cancel")).status_code == 404

        tell(story)

    def test_a_call_tells_its_whole_story(self) -> None:
        async def story(world: PageWorld) -> None:
            world.fakes.calls[MINE][CALL] |= {"result": {"pin": "12", "recordings": [{"name": "x-1", "seconds": 3.5}]}}
            page = (await (await inside(world)).get(f"/page/call/{CALL}")).text
            for word in (
                *("Answered", "The callee hung up", "the far side", "Hello", "4 s", "1 min", "1 s", f"{CALL}-1"),
                "<dt>Put off</dt><dd>outside calling hours in Europe/Madrid</dd>",
                *("3,000 packets sent, 2,999 received, 1 lost, jitter 2.5 ms", "pin", "+34910000000"),
                f'src="/page/call/{CALL}/recording?number=1"',
            ):
                assert word in page, word
            assert "To the agent" not in page
            # It is over: nothing will change, and nothing is to be cancelled.
            assert "data-stream" not in page
            assert f"/page/call/{CALL}/cancel" not in page

        tell(story)

    def test_a_call_that_was_handed_over_tells_to_whom_and_what_came_of_it(self) -> None:
        async def story(world: PageWorld) -> None:
            legs = [agent_leg(), agent_leg(agent="+34910000200", disposition=None, reason=None, ended_by=None)]
            attempt = {**whole_call()["attempts"][0], "agent_legs": legs}
            world.fakes.calls[MINE][CALL] = whole_call(attempts=[attempt])
            page = (await (await inside(world)).get(f"/page/call/{CALL}")).text
            for word in ("sip:sales@192.168.100.200", "486 Busy Here", f"{CALL}-1-agent-1", "To the agent +…0200"):
                assert word in page, word

        tell(story)

    def test_a_call_that_waits_says_what_for(self) -> None:
        async def story(world: PageWorld) -> None:
            waits = {"state": "scheduled", "disposition": None, "attempts": [], "transcript": []}
            world.fakes.calls[MINE][CALL] |= {**waits, "next_attempt_at": "2025-03-01T10:30:00.000Z"}
            page = (await (await inside(world)).get(f"/page/call/{CALL}")).text
            assert "Paused." in page  # what the fake engine explains
            assert "There was no attempt yet." in page
            assert f'data-stream="/page/stream/call/{CALL}"' in page
            assert f"/page/call/{CALL}/cancel" in page

        tell(story)

    @pytest.mark.parametrize("waiting", [0, 1, 4])
    def test_calls_that_wait_for_a_person_are_told_of(self, waiting: int) -> None:
        async def story(world: PageWorld) -> None:
            world.board.waiting = waiting
            world.board.campaigns_now = [campaign_row(under_review=waiting, estimated_end_at=None)]
            browser = await inside(world)
            overview = (await browser.get("/")).text
            assert ("1 call may have been made" in overview, "4 calls may have been made" in overview) == (
                waiting == 1,
                waiting == 4,
            )
            world.board.calls_now = [call_row(state="scheduled", under_review=waiting)]
            campaign = (await browser.get(f"/page/campaign/{CAMPAIGN}")).text
            assert (f"{waiting} of its calls may have been made" in campaign) is bool(waiting)
            assert ("under review</span>" in campaign) is bool(waiting)

        tell(story)

    def test_pages_of_calls_and_campaigns_lead_to_the_next_and_keep_what_was_asked(self) -> None:
        async def story(world: PageWorld) -> None:
            browser = await inside(world)
            page = (await browser.get(f"/page/campaign/{CAMPAIGN}?state=live&disposition=busy")).text
            assert 'href="?state=live&amp;disposition=busy&amp;after=7">Next' in page
            assert ">First</a>" not in page
            assert '<option value="busy" selected>' in page
            second = (await browser.get(f"/page/campaign/{CAMPAIGN}?after=7")).text
            assert 'href="?">First' in second
            world.board.next_campaign = 9
            campaigns = (await browser.get("/page/campaigns?status=running")).text
            assert 'href="/page/campaigns?status=running&amp;after=9">Older' in campaigns
            assert 'status=running" aria-current="true"' in campaigns

        tell(story)

    def test_what_does_not_fit_the_overview_is_counted_and_elsewhere(self) -> None:
        async def story(world: PageWorld) -> None:
            world.board.calls_now = [call_row(id=f"{n:08}{CALL[8:]}") for n in range(14)]
            world.board.going_on = 23
            browser = await inside(world)
            page = (await browser.get("/")).text
            assert '2 more: <a href="/page/live">' in page
            assert '3 more go on: <a href="/page/campaigns">all campaigns</a>' in page
            assert "more:" not in (await browser.get("/page/live")).text

        tell(story)

    def test_of_erased_people_nothing_is_shown_but_their_calls(self) -> None:
        async def story(world: PageWorld) -> None:
            world.fakes.calls[MINE][CALL] = whole_call(phone=None, contact={})
            world.board.calls_now = [call_row(phone="", name="")]
            browser = await inside(world)
            assert "<h1>Call to an erased person</h1>" in (await browser.get(f"/page/call/{CALL}")).text
            for path in ("/", f"/page/campaign/{CAMPAIGN}"):
                assert f'<a href="/page/call/{CALL}">erased</a>' in (await browser.get(path)).text

        tell(story)

    def test_the_plot_has_a_text_and_a_table_beside_it(self) -> None:
        async def story(world: PageWorld) -> None:
            minute = world.watch.now // 60_000
            world.board.outcomes_now = [
                (minute, "answered", 3),
                (minute - 30, "trunk_failure", 4),
                (minute, "machine", 1),
            ]
            page = (await (await inside(world)).get("/")).text
            assert "8 attempts; answered 4; trunk failure 4." in page
            assert page.count('<path class="answered"') == 1
            assert page.count('<tr><th scope="row"><time') == 12
            assert "/?span=day" in page
            day = (await (await inside(world)).get("/?span=day")).text
            assert "Attempts that ended in the last day, by outcome" in day

        tell(story)

    def test_a_recording_is_fetched_by_who_may_see_its_call(self, tmp_path: Any) -> None:
        async def story(world: PageWorld) -> None:
            (tmp_path / "x-1.wav").write_bytes(b"RIFF")
            world.fakes.calls[MINE][CALL] |= {"result": {"recordings": [{"name": "x-1", "seconds": 3.5}]}}
            browser, other = await inside(world), world.browser()
            await other.log_in(OTHER_TOKEN)
            path = f"/page/call/{CALL}/recording"
            answer = await browser.get(path)
            assert (answer.status_code, answer.content) == (200, b"RIFF")
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert (await other.get(path)).status_code == 404
            assert (await browser.get(f"{path}?number=2")).status_code == 404
            assert (await world.browser().get(path)).status_code == 303

        tell(story, fakes=Fakes(recordings=tmp_path))


class TestNumbers:
    SECRETS = (PHONE, PHONE[1:], "600123456", "600 123 456", "34 600 12")

    async def _pages(self, world: PageWorld, browser: Browsing) -> str:
        note = "call 600 123 456 or (600) 123-456"
        custom = {"custom_fields": {"other": "+34 600 12 34 56", "n": [600123456, {"600123456": note}]}}
        leg = agent_leg(agent="+34600123456", reason="404 600123456")
        attempt = {**whole_call()["attempts"][0], "reason": "404 +34600123456 unknown", "agent_legs": [leg]}
        line = {**whole_call()["transcript"][0], "text": note, "digits": "600123456"}
        world.fakes.calls[MINE][CALL] |= {"contact": custom, "attempts": [attempt], "transcript": [line]}
        world.fakes.calls[MINE][CALL] |= {"result": {"typed": "600123456"}}
        world.fakes.stored_contacts[MINE][CONTACT] |= custom
        world.board.calls_now = [call_row(name="Ana 600123456", reason="404 600 123 456")]
        world.trunks = [
            trunk_record(
                fault="sip:600123456@192.168.100.200 is gone",
                last_failure={"at": "2025-03-01T09:59:00.000Z", "reason": "503 (600123456)"},
            )
        ]
        world.fakes.reasons = ["trunk pbx is down: 503 (600 123 456)"]
        failure = {"sip_status": 404, "disposition": "invalid_number", "attempts": 7, "last_at": 1, "call": CALL}
        world.board.failures = [{**failure, "trunk": "pbx", "reason": "404 600123456"}]
        return "".join([(await browser.get(path)).text for path in PAGES])

    @pytest.mark.parametrize(
        ("rules", "scope"),
        [("never", "admin"), ("admin", "read"), ("admin", "submit"), ("admin", "admin"), ("never", "read")],
    )
    def test_are_masked_wherever_they_stand(self, rules: Any, scope: str) -> None:
        async def story(world: PageWorld) -> None:
            text = await self._pages(world, await inside(world))
            assert "…3456" in text
            assert "@192.168.100.200 is gone" in text
            for secret in self.SECRETS:
                assert secret not in text, text[max(0, text.index(secret) - 300) :][:400]
            titles = re.findall(r"<title>(.*?)</title>", text)
            assert any("…3456" in title for title in titles)

        tell(story, rules=PageRules(show_numbers=rules), fakes=Fakes(scope=scope))

    @pytest.mark.parametrize("scope", ["read", "admin"])
    def test_are_shown_to_everybody_where_the_operator_wants_that(self, scope: str) -> None:
        async def story(world: PageWorld) -> None:
            text = await self._pages(world, await inside(world))
            assert PHONE in text
            assert "…3456" not in text
            assert "/page/numbers" not in text

        tell(story, rules=PageRules(show_numbers="always"), fakes=Fakes(scope=scope))

    def test_are_shown_to_an_admin_who_asks_for_it_until_he_asks_for_the_mask(self) -> None:
        async def story(world: PageWorld) -> None:
            browser, other = await inside(world), await inside(world)
            assert PHONE not in (await browser.get("/")).text
            with capture_logs() as logs:
                answer = await browser.order("/page/numbers", show="yes", next=f"/page/call/{CALL}")
            assert answer.headers["Location"] == f"/page/call/{CALL}"
            assert logs == [{"event": "numbers are shown", "log_level": "info", "account": "Mine", "token": 7}]
            assert PHONE in (await browser.get("/")).text
            assert PHONE not in (await other.get("/")).text
            await browser.order("/page/numbers", show="no")
            assert PHONE not in (await browser.get("/")).text

        tell(story)

    @pytest.mark.parametrize(("rules", "scope"), [("never", "admin"), ("admin", "submit")])
    def test_are_not_shown_to_others_who_ask(self, rules: Any, scope: str) -> None:
        async def story(world: PageWorld) -> None:
            browser = await inside(world)
            assert (await browser.order("/page/numbers", show="yes")).status_code == 403
            assert PHONE not in (await browser.get("/")).text
            assert "/page/numbers" not in (await browser.get("/")).text

        tell(story, rules=PageRules(show_numbers=rules), fakes=Fakes(scope=scope))
