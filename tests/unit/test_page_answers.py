"""How the operator's page answers, over fakes: headers, faults, and markup that stays text."""

import json
import re
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from api.page import assets
from api.page.doors import PageRules
from api.page.plot import BANDS
from dialer.ports import StoreUnavailable
from tests.support.fake_backend import CALL, CAMPAIGN, MINE, NOBODYS
from tests.support.page_world import (
    CONTACT,
    EVIL,
    ORDERS,
    PAGES,
    PageWorld,
    agent_leg,
    call_row,
    campaign_row,
    inside,
    tell,
    whole_call,
)


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
