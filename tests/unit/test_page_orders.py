"""What is done from the operator's page, over fakes: orders to campaigns and calls, and the search."""

import re

import pytest
from structlog.testing import capture_logs

from api.backend import Verdict
from api.page import finding
from tests.support.fake_backend import CALL, CAMPAIGN, MINE, NOBODYS, OTHER_TOKEN, Fakes
from tests.support.page_world import (
    CONTACT,
    ORDERS,
    PAGES,
    PHONE,
    PageWorld,
    inside,
    tell,
)


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

    def test_the_page_of_a_person_says_whether_the_number_is_on_a_do_not_call_list(self) -> None:
        async def story(world: PageWorld) -> None:
            browser = await inside(world)
            before = (await browser.get(f"/page/contact/{CONTACT}")).text
            assert "on no do-not-call list" in before
            world.fakes.numbers[MINE] = {PHONE}
            after = (await browser.get(f"/page/contact/{CONTACT}")).text
            assert "is on a do-not-call list: it is not dialed" in after
            assert "on no do-not-call list" not in after

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
