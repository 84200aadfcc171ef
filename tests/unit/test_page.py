"""The operator's page over fakes: who is let in, what is shown to whom, and that nothing from outside does anything in it."""

import doctest
import json
import re
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from api.auth import Admission
from api.backend import Verdict
from api.page import assets, finding, mask, plot, words
from api.page.doors import PageRules
from api.page.plot import BANDS
from api.rate_limit import RateLimit
from dialer.ports import StoreUnavailable
from tests.support.clock import FakeClock
from tests.support.fake_backend import CALL, CAMPAIGN, MINE, NOBODYS, OTHER_TOKEN, TOKEN, Fakes
from tests.support.page_world import (
    CONTACT,
    EVIL,
    PHONE,
    Browsing,
    PageWorld,
    agent_leg,
    call_row,
    campaign_row,
    tell,
    trunk_record,
    whole_call,
)

PAGES = ["/", "/page/campaigns", "/page/live", "/page/trunks", "/page/search", f"/page/campaign/{CAMPAIGN}"]
PAGES += [f"/page/call/{CALL}", f"/page/contact/{CONTACT}", f"/page/campaign/{CAMPAIGN}/cancel"]
ORDERS = [f"/page/campaign/{CAMPAIGN}/pause", f"/page/campaign/{CAMPAIGN}/resume", f"/page/campaign/{CAMPAIGN}/cancel"]
ORDERS += [f"/page/call/{CALL}/cancel"]


@pytest.mark.parametrize("module", [mask, words, plot])
def test_the_examples_of_the_docstrings_hold(module: Any) -> None:
    found = doctest.testmod(module)
    assert (found.failed, found.attempted > 0) == (0, True)


async def inside(world: PageWorld, **options: Any) -> Browsing:
    browser = world.browser(**options)
    assert (await browser.log_in()).status_code == 303
    return browser


class TestDoor:
    def test_whoever_is_not_logged_in_is_sent_to_the_login_and_back(self) -> None:
        async def story(world: PageWorld) -> None:
            browser = world.browser()
            asked = await browser.get(f"/page/campaign/{CAMPAIGN}")
            assert asked.status_code == 303
            assert asked.headers["Location"] == f"/page/login?next=%2Fpage%2Fcampaign%2F{CAMPAIGN}"
            form = (await browser.get(asked.headers["Location"])).text
            assert f'name="next" value="/page/campaign/{CAMPAIGN}"' in form
            done = await browser.log_in(next=f"/page/campaign/{CAMPAIGN}")
            assert (done.status_code, done.headers["Location"]) == (303, f"/page/campaign/{CAMPAIGN}")
            assert (await browser.get("/")).status_code == 200
            assert (await browser.get("/page/login")).headers["Location"] == "/"

        tell(story)

    @pytest.mark.parametrize(
        "after", ["//evil.example", "https://evil.example", "/page/../../x", "javascript:1", "/call"]
    )
    def test_the_login_leads_to_no_page_but_ours(self, after: str) -> None:
        async def story(world: PageWorld) -> None:
            assert (await world.browser().log_in(next=after)).headers["Location"] == "/"

        tell(story)

    @pytest.mark.parametrize("token", ["", "x" * 43, "ñ", "x" * 5000, f"{TOKEN}x"])
    def test_a_worthless_token_opens_nothing(self, token: str) -> None:
        async def story(world: PageWorld) -> None:
            browser = world.browser()
            refused = await browser.log_in(token)
            assert refused.status_code == 403
            assert "unknown, expired or revoked" in refused.text
            assert token not in refused.text or not token
            assert (await browser.get("/")).status_code == 303

        tell(story)

    def test_the_cookie_is_for_this_server_alone_and_for_no_script(self) -> None:
        async def story(world: PageWorld) -> None:
            browser = world.browser()
            before = (await browser.get("/page/login")).headers["Set-Cookie"]
            cookie = (await browser.log_in()).headers["Set-Cookie"]
            for given in (before, cookie):
                name, *attributes = given.split("; ")
                assert name.startswith("dialer_session=")
                assert {word.lower() for word in attributes} == {"httponly", "path=/", "samesite=strict"}
            # A login makes a new id: one that somebody else has put there before is worth nothing.
            assert before.partition(";")[0] != cookie.partition(";")[0]

        tell(story)

    def test_behind_a_proxy_with_tls_it_is_secure_too_and_bound_to_the_host(self) -> None:
        async def story(world: PageWorld) -> None:
            browser = world.browser(base_url="https://dialer")
            browser.headers.update({"X-Forwarded-Proto": "https"})
            cookie = (await browser.log_in()).headers["Set-Cookie"]
            assert cookie.startswith("__Host-dialer_session=")
            assert "; secure" in cookie.lower()
            assert (await browser.get("/")).status_code == 200

        tell(story, rules=PageRules(behind_proxy=True))

    def test_what_a_stranger_says_of_a_proxy_is_not_believed(self) -> None:
        async def story(world: PageWorld) -> None:
            browser = world.browser()
            browser.headers.update({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"})
            assert "secure" not in (await browser.log_in()).headers["Set-Cookie"].lower()
            key = await browser.key("/page/search")
            refused = await browser.post("/page/logout", data={"key": key}, headers={"Origin": "http://evil.example"})
            assert refused.status_code == 403

        tell(story)

    def test_the_proxys_host_is_the_origin_and_its_client_the_one_that_is_counted(self) -> None:
        async def story(world: PageWorld) -> None:
            browser = world.browser()
            browser.headers.update({"X-Forwarded-Host": "calls.example", "X-Forwarded-For": "9.9.9.9, 10.0.0.1"})
            browser.origin = "https://calls.example"
            for _ in range(10):
                assert (await browser.log_in("wrong")).status_code == 403
            assert (await browser.log_in()).status_code == 429
            browser.headers["X-Forwarded-For"] = "9.9.9.9, 10.0.0.2"
            assert (await browser.log_in()).status_code == 303

        tell(story, rules=PageRules(behind_proxy=True))

    def test_guessing_is_slowed_down_and_in_the_log(self) -> None:
        async def story(world: PageWorld) -> None:
            browser = world.browser()
            with capture_logs() as logs:
                answers = [(await browser.log_in("wrong")).status_code for _ in range(11)]
            assert answers == [403] * 10 + [429]
            assert [(one["event"], one["address"]) for one in logs] == [
                ("a login at the page was refused", "127.0.0.1")
            ] * 10
            refused = await browser.log_in()
            assert (refused.status_code, refused.headers["Retry-After"]) == (429, "5")
            assert "Too many logins" in refused.text

        tell(story)

    def test_a_login_ends_after_its_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = FakeClock()
        monkeypatch.setattr("api.page.doors.time", SimpleNamespace(monotonic=lambda: clock.mono))

        async def story(world: PageWorld) -> None:
            browser = await inside(world)
            clock.advance(3599)
            assert (await browser.get("/")).status_code == 200
            clock.advance(1)
            assert (await browser.get("/")).status_code == 303

        tell(story, rules=PageRules(session_seconds=3600))

    def test_a_login_ends_with_its_token_and_does_not_come_back_with_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("api.page.doors._STANDING_SECONDS", 0.0)

        async def story(world: PageWorld) -> None:
            browser = await inside(world)
            world.fakes.revoked = True
            for path in PAGES:
                assert (await browser.get(path)).status_code == 303
            world.fakes.revoked = False
            assert (await browser.get("/")).status_code == 303

        tell(story)

    def test_a_token_is_looked_up_once_a_second_whoever_many_pages_are_asked_for(self) -> None:
        async def story(world: PageWorld) -> None:
            browser = await inside(world)
            for _ in range(5):
                await browser.get("/page/search")
            assert world.fakes.standings == [7]

        tell(story)

    def test_logging_out_ends_the_login_whatever_becomes_of_the_cookie(self) -> None:
        async def story(world: PageWorld) -> None:
            browser = await inside(world)
            old = browser.cookies["dialer_session"]
            assert (await browser.order("/page/logout")).headers["Location"] == "/page/login"
            browser.cookies.set("dialer_session", old, domain="dialer", path="/")
            assert (await browser.get("/")).status_code == 303

        tell(story)

    def test_a_link_from_elsewhere_is_followed_once_more_from_here(self) -> None:
        """The cookie is not sent with a request that another site caused; the page asks again by itself."""

        async def story(world: PageWorld) -> None:
            answer = await world.browser().get("/page/live", headers={"Sec-Fetch-Site": "cross-site"})
            assert answer.status_code == 200
            assert '<meta http-equiv="refresh" content="0">' in answer.text
            again = await world.browser().get("/page/live", headers={"Sec-Fetch-Site": "same-origin"})
            assert again.status_code == 303

        tell(story)

    def test_the_limit_of_a_tokens_requests_holds_here_too(self) -> None:
        async def story(world: PageWorld) -> None:
            browser = await inside(world)
            answers = [(await browser.get("/page/search")).status_code for _ in range(4)]
            assert answers == [200, 200, 429, 429]

        class Limited(Fakes):
            def backend(self) -> Any:
                from dataclasses import replace

                backend = super().backend()
                return replace(backend, accounts=Admission(backend.accounts, RateLimit(1, lambda: 0.0)))

        tell(story, fakes=Limited())


class TestForms:
    @pytest.mark.parametrize("path", [*ORDERS, "/page/logout", "/page/numbers", "/page/search"])
    @pytest.mark.parametrize("key", [None, "", "0" * 64, "ñ", "another's"])
    def test_a_form_without_its_key_does_nothing(self, path: str, key: str | None) -> None:
        async def story(world: PageWorld) -> None:
            browser, other = await inside(world), await inside(world)
            given = await other.key("/page/search") if key == "another's" else key
            answer = await browser.send_form(path, {"x": "1"} if given is None else {"key": given})
            assert answer.status_code == 403
            assert world.fakes.orders == []
            assert (await browser.get("/")).status_code == 200

        tell(story)

    @pytest.mark.parametrize(
        ("headers", "allowed"),
        [
            ({"Origin": "http://dialer"}, True),
            ({"Origin": "http://dialer", "Sec-Fetch-Site": "same-origin"}, True),
            ({"Origin": "https://proxied.example", "Sec-Fetch-Site": "same-origin"}, True),
            ({"Origin": "http://evil.example"}, False),
            ({"Origin": "null"}, False),
            ({"Origin": "http://dialer.evil.example"}, False),
            ({"Origin": "http://dialer", "Sec-Fetch-Site": "cross-site"}, False),
            ({"Origin": "http://dialer", "Sec-Fetch-Site": "same-site"}, False),
            ({}, False),
        ],
    )
    def test_a_form_from_elsewhere_does_nothing(self, headers: dict[str, str], allowed: bool) -> None:
        async def story(world: PageWorld) -> None:
            browser = await inside(world)
            key = await browser.key("/page/search")
            answer = await browser.post(ORDERS[0], data={"key": key}, headers=headers)
            assert answer.status_code == (303 if allowed else 403)
            assert bool(world.fakes.orders) is allowed

        tell(story)

    def test_a_login_from_elsewhere_is_refused_too(self) -> None:
        async def story(world: PageWorld) -> None:
            browser = world.browser()
            assert (await browser.send_form("/page/login", {"token": TOKEN})).status_code == 403
            key = await browser.key("/page/login")
            fields = {"token": TOKEN, "key": key}
            evil = {"Origin": "http://evil.example"}
            assert (await browser.post("/page/login", data=fields, headers=evil)).status_code == 403
            assert (await browser.get("/")).status_code == 303

        tell(story)

    @pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data; boundary=x", ""])
    def test_what_is_no_form_is_refused(self, kind: str) -> None:
        async def story(world: PageWorld) -> None:
            browser = await inside(world)
            key = await browser.key("/page/search")
            headers = {"Origin": "http://dialer", "Content-Type": kind}
            answer = await browser.post(ORDERS[0], content=f"key={key}".encode(), headers=headers)
            assert answer.status_code == 400
            assert world.fakes.orders == []

        tell(story)

    def test_a_form_of_any_size_is_not_read(self) -> None:
        async def story(world: PageWorld) -> None:
            browser = await inside(world)
            assert (await browser.order("/page/search", asked="x" * 20_000)).status_code == 413
            many = {f"f{i}": "x" for i in range(50)}
            assert (await browser.order("/page/search", **many)).status_code == 400

        tell(story)


class TestAnswers:
    @pytest.mark.parametrize("path", [*PAGES, "/page/login", "/page/nothing", f"/page/campaign/{NOBODYS}"])
    def test_every_page_tells_browsers_what_it_must_not_do(self, path: str) -> None:
        async def story(world: PageWorld) -> None:
            browser = await inside(world)
            for answer in (await browser.get(path), await world.browser().get(path)):
                if answer.status_code == 404 and answer.headers["Content-Type"] == "application/json":
                    continue
                policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
                assert policy == {
                    "default-src": "'none'",
                    **dict.fromkeys(("script-src", "style-src", "img-src", "media-src", "connect-src"), "'self'"),
                    "form-action": "'self'",
                    "base-uri": "'none'",
                    "frame-ancestors": "'none'",
                }
                assert answer.headers["X-Frame-Options"] == "DENY"
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Referrer-Policy"] == "same-origin"
                assert answer.headers["Cache-Control"] == "no-store"

        tell(story)

    @pytest.mark.parametrize("path", PAGES)
    def test_no_page_holds_anything_inline_or_from_elsewhere(self, path: str) -> None:
        async def story(world: PageWorld) -> None:
            page = (await (await inside(world)).get(path)).text
            assert "<script>" not in page
            assert not re.search(r"<[^>]+\s(style|on[a-z]+)=", page)
            assert not re.search(r"(src|href|action)=\"(?!/|\?|#)", page)
            assert not re.search(r"https?://", page)

        tell(story)

    def test_files_have_names_of_their_content_and_are_kept_for_ever(self) -> None:
        async def story(world: PageWorld) -> None:
            browser = world.browser()
            page = (await browser.get("/page/login")).text
            assert assets.address("page.css") in page
            for name, kind in (("page.css", "text/css"), ("page.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
                answer = await browser.get(assets.address(name))
                assert answer.headers["Content-Type"].startswith(kind)
                assert "immutable" in answer.headers["Cache-Control"]
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
            for wrong in ("/page/static/0000/page.css", assets.address("page.css").replace("css", "html")):
                assert (await browser.get(wrong)).status_code == 404

        tell(story)

    def test_programs_that_ask_for_the_first_page_get_the_error_of_all_unknown_paths(self) -> None:
        async def story(world: PageWorld) -> None:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url="http://dialer") as client:
                for accept in ("application/json", "*/*"):
                    answer = await client.get("/", headers={"Accept": accept})
                    assert (answer.status_code, answer.json()) == (404, {"error": "No such path: /"})

        tell(story)

    @pytest.mark.parametrize("path", ["/nothing", "/page/nothing", "/page/", "/page/call/x/y/z"])
    def test_unknown_paths_are_answered_as_ever(self, path: str) -> None:
        async def story(world: PageWorld) -> None:
            browser = await inside(world)
            answer = await browser.get(path)
            assert answer.status_code == 404
            if not path.startswith("/page/call"):
                assert answer.json() == {"error": f"No such path: {path}"}

        tell(story)

    def test_faults_are_pages_for_browsers_and_json_for_programs(self) -> None:
        async def story(world: PageWorld) -> None:
            browser = await inside(world)
            page = await browser.get(f"/page/campaign/{NOBODYS}")
            assert (page.status_code, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
            assert "No such campaign." in page.text
            program = await browser.get(f"/page/campaign/{NOBODYS}", headers={"Accept": "*/*"})
            assert (program.status_code, program.json()) == (404, {"error": "No such campaign"})
            stranger = await world.browser().get("/page/live", headers={"Accept": "application/json"})
            assert stranger.status_code == 401
            # What a browser sends after its login has ended is not done later, when somebody has logged in.
            late = await world.browser().send_form(ORDERS[0], {"key": "0" * 64})
            assert (late.status_code, world.fakes.orders) == (401, [])
            assert "Log in at /page/login" in late.text
            assert stranger.headers["WWW-Authenticate"] == "Bearer"
            assert "error" in stranger.json()
            world.fakes.fault = StoreUnavailable("the disk is full")
            with capture_logs():
                full = await browser.get(f"/page/campaign/{CAMPAIGN}")
            assert (full.status_code, full.headers["Retry-After"]) == (503, "5")
            assert "The database cannot be written now" in full.text
            # It comes back by itself; what was to be done is not done again.
            assert '<meta http-equiv="refresh" content="5">' in full.text
            world.board.campaign = refuse  # type: ignore[method-assign]
            with capture_logs():
                form = await browser.order("/page/search", asked=NOBODYS)
            assert form.status_code == 503
            for other in (page, form):
                assert "http-equiv" not in other.text

        def refuse(*_: Any) -> None:
            raise StoreUnavailable("the disk is full")

        tell(story)

    @pytest.mark.parametrize("query", ["span=week", "colour=red", "span=%3Cscript%3E"])
    def test_a_question_that_is_not_understood_is_said_so(self, query: str) -> None:
        async def story(world: PageWorld) -> None:
            browser = await inside(world)
            answer = await browser.get(f"/?{query}")
            assert answer.status_code == 400
            assert "<script>" not in answer.text
            assert (await browser.get("/page/campaigns?status=&after=")).status_code == 200
            assert (await browser.get(f"/page/campaign/{CAMPAIGN}?after=-1")).status_code == 400

        tell(story)


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


class TestMarkup:
    """Whatever a contact, a far end or an operator of a trunk has written is text."""

    FIELDS = ("first_name", "last_name", "company", "email", "custom_fields")

    def test_from_every_field_is_inert_on_every_page(self) -> None:
        async def story(world: PageWorld) -> None:
            contact = dict.fromkeys(self.FIELDS, EVIL) | {"custom_fields": {EVIL: [EVIL, {EVIL: EVIL}]}}
            attempt = {
                **whole_call()["attempts"][0],
                "reason": EVIL,
                "trunk": EVIL,
                "caller_id": EVIL,
                "ended_by": "us",
                "agent_legs": [agent_leg(agent=EVIL, trunk=EVIL, reason=EVIL)],
            }
            line = {**whole_call()["transcript"][0], "text": EVIL, "do": EVIL, EVIL: EVIL}
            world.fakes.calls[MINE][CALL] = whole_call(
                contact=contact, phone=EVIL, attempts=[attempt], transcript=[line], result={EVIL: EVIL}
            )
            world.fakes.stored_contacts[MINE][CONTACT] |= contact
            world.board.calls_now = [call_row(name=EVIL, phone=EVIL, campaign=EVIL, trunk=EVIL, reason=EVIL)]
            world.board.campaigns_now = [campaign_row(playbook=EVIL)]
            failure = {"sip_status": 404, "disposition": EVIL, "attempts": 7, "last_at": 1, "call": CALL}
            world.board.failures = [{**failure, "trunk": EVIL, "reason": EVIL}]
            world.fakes.reasons = [EVIL]
            browser = await inside(world)
            for path in PAGES:
                page = (await browser.get(path)).text
                assert "alert(1)" in page or path in {"/page/trunks", "/page/search"}
                for inert in ("<script>alert", "<img src=x", "onerror=alert(2)>"):
                    assert inert not in page, (path, page[max(0, page.index(inert) - 200) :][:300])

        tell(story, rules=PageRules(show_numbers="always"))

    def test_from_a_search_is_inert(self) -> None:
        async def story(world: PageWorld) -> None:
            answer = await (await inside(world)).order("/page/search", asked=EVIL[:60])
            assert answer.status_code == 404
            assert "<script>alert" not in answer.text

        tell(story)

    def test_half_of_a_surrogate_pair_breaks_no_page(self) -> None:
        async def story(world: PageWorld) -> None:
            world.fakes.calls[MINE][CALL] |= {"contact": {"custom_fields": json.loads('{"a": "\\ud83d"}')}}
            assert (await (await inside(world)).get(f"/page/call/{CALL}")).status_code == 200

        tell(story)

    def test_every_band_of_the_plot_has_a_colour(self) -> None:
        sheet = assets._contents()["page.css"].decode()
        for key in BANDS:
            assert f".plot .{key} " in sheet
            assert f".legend .{key}::before" in sheet
            assert sheet.count(f"--{key}:") == 2


class TestOrders:
    @pytest.mark.parametrize("path", ORDERS)
    def test_reach_the_engine_for_the_account_and_are_told_of(self, path: str) -> None:
        async def story(world: PageWorld) -> None:
            browser = await inside(world)
            with capture_logs() as logs:
                answer = await browser.order(path)
            what, uuid, word = path.split("/")[2:]
            assert (answer.status_code, answer.headers["Location"]) == (303, f"/page/{what}/{uuid}")
            assert world.fakes.orders == [("cancel_call" if what == "call" else word, MINE, uuid)]
            assert [(one["event"], one["account"]) for one in logs] == [
                (f"{what} {word.removesuffix('e')}ed from the page".replace("canceled", "cancelled"), "Mine")
            ]
            page = (await browser.get(answer.headers["Location"])).text
            assert re.search(f"The {what} was (paused|resumed|cancelled)", page)
            # It is told once.
            assert "was paused" not in (await browser.get(answer.headers["Location"])).text

        tell(story)

    def test_that_come_too_late_say_so(self) -> None:
        async def story(world: PageWorld) -> None:
            world.fakes.verdict = Verdict.FINAL
            browser = await inside(world)
            answer = await browser.order(ORDERS[0])
            assert "was over already" in (await browser.get(answer.headers["Location"])).text

        tell(story)

    @pytest.mark.parametrize("path", ORDERS)
    def test_are_not_taken_from_who_may_only_look(self, path: str) -> None:
        async def story(world: PageWorld) -> None:
            browser = await inside(world)
            assert (await browser.order(path)).status_code == 403
            assert world.fakes.orders == []
            text = "".join([(await browser.get(page)).text for page in PAGES])
            assert "formaction" not in text
            assert (await browser.get(f"/page/campaign/{CAMPAIGN}/cancel")).status_code == 403

        tell(story, fakes=Fakes(scope="read"))

    def test_on_what_is_not_there_or_anothers_are_not_found(self) -> None:
        async def story(world: PageWorld) -> None:
            browser, other = await inside(world), world.browser()
            await other.log_in(OTHER_TOKEN)
            assert (await browser.order(f"/page/campaign/{NOBODYS}/pause")).status_code == 404
            for path in ORDERS:
                assert (await other.order(path)).status_code == 404
            for wrong in (f"/page/campaign/{CAMPAIGN}/erase", f"/page/call/{CALL}/pause", "/page/trunk/x/cancel"):
                assert (await browser.order(wrong)).status_code == 404
            assert world.fakes.orders == []

        tell(story)

    def test_cancelling_is_asked_for_once_more(self) -> None:
        async def story(world: PageWorld) -> None:
            browser = await inside(world)
            page = (await browser.get(f"/page/campaign/{CAMPAIGN}/cancel")).text
            assert "1,180 calls will not be made" in page
            assert f'action="/page/campaign/{CAMPAIGN}/cancel"' in page
            assert world.fakes.orders == []
            assert (await browser.get(f"/page/campaign/{CAMPAIGN}/pause")).status_code == 404

        tell(story)


class TestSearch:
    @pytest.mark.parametrize("asked", [PHONE, " +34 600 123-456 ", "0034600123456", CONTACT])
    def test_leads_to_the_person_by_an_address_without_the_number(self, asked: str) -> None:
        async def story(world: PageWorld) -> None:
            browser = await inside(world)
            answer = await browser.order("/page/search", asked=asked)
            assert answer.headers["Location"] == f"/page/contact/{CONTACT}"
            page = (await browser.get(answer.headers["Location"])).text
            assert f"/page/call/{CALL}" in page
            assert "Ana" in page

        tell(story)

    @pytest.mark.parametrize(("asked", "found"), [(CAMPAIGN, f"campaign/{CAMPAIGN}"), (CALL.upper(), f"call/{CALL}")])
    def test_takes_ids_too(self, asked: str, found: str) -> None:
        async def story(world: PageWorld) -> None:
            answer = await (await inside(world)).order("/page/search", asked=asked)
            assert answer.headers["Location"] == f"/page/{found}"

        tell(story)

    @pytest.mark.parametrize(
        ("asked", "text"),
        [
            ("+34600999999", "Nobody with this number"),
            ("hello", "is not an E.164 number"),
            ("", "must not be empty"),
            (NOBODYS, "no campaign, call or contact of this id"),
        ],
    )
    def test_says_why_nothing_was_found(self, asked: str, text: str) -> None:
        async def story(world: PageWorld) -> None:
            answer = await (await inside(world)).order("/page/search", asked=asked)
            assert answer.status_code == 404
            assert text in answer.text

        tell(story)

    def test_can_be_asked_on_every_page(self) -> None:
        async def story(world: PageWorld) -> None:
            browser = await inside(world)
            for path in PAGES:
                assert (await browser.get(path)).text.count('role="search"') == 1

        tell(story)

    def test_says_that_there_are_more_calls_than_are_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def story(world: PageWorld) -> None:
            browser = await inside(world)
            assert "These are the newest" not in (await browser.get(f"/page/contact/{CONTACT}")).text
            monkeypatch.setattr(finding, "_MOST_CALLS", 1)
            assert "These are the newest 1." in (await browser.get(f"/page/contact/{CONTACT}")).text

        tell(story)

    def test_finds_nothing_of_other_accounts(self) -> None:
        async def story(world: PageWorld) -> None:
            browser = world.browser()
            await browser.log_in(OTHER_TOKEN)
            for asked in (PHONE, CALL, CAMPAIGN, CONTACT):
                assert (await browser.order("/page/search", asked=asked)).status_code == 404

        tell(story)
