"""The door of the operator's page, over fakes: who is let in, and which forms do anything."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from api.auth import Admission
from api.page.doors import PageRules
from api.rate_limit import RateLimit
from tests.support.clock import FakeClock
from tests.support.fake_backend import CAMPAIGN, TOKEN, Fakes
from tests.support.page_world import (
    ORDERS,
    PAGES,
    PageWorld,
    inside,
    tell,
)


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

    def test_a_login_form_from_before_a_restart_is_shown_again_and_then_lets_in(self) -> None:
        async def story(world: PageWorld) -> None:
            browser = world.browser()
            await browser.get("/page/login")
            old = {"token": TOKEN, "key": "0" * 64, "next": "/page/live"}
            again = await browser.send_form("/page/login", old)
            assert again.status_code == 403
            assert "The server was restarted" in again.text
            assert TOKEN not in again.text
            assert 'name="next" value="/page/live"' in again.text
            key = re.search(r'name="key" value="([0-9a-f]{64})"', again.text)
            assert key
            done = await browser.send_form("/page/login", {**old, "key": key[1]})
            assert (done.status_code, done.headers["Location"]) == (303, "/page/live")

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
