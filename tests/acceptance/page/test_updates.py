"""An open page is kept up to date, and takes nothing from the hands of who reads it."""

import json

from tests.support.browser import Browser
from tests.support.dialer_process import Client
from tests.support.operator import (
    SOON,
    person,
    press_to,
    shows,
    talking,
)


def test_an_open_page_shows_what_goes_on_without_being_reloaded(browser: Browser, operator: Client) -> None:
    shows(browser, "Nobody is being called now.")
    browser.run("window.same = true")
    campaign = talking(operator, [person(i) for i in range(100, 103)])
    shows(browser, "Renewal", "#campaigns")
    shows(browser, "3\n0 dialing, 0 ringing, 3 talking", "#tiles")
    shows(browser, "+…0002", "#live")
    shows(browser, "Ana102", "#live")
    shows(browser, "3 of 20", "#trunks")
    browser.wait_for(
        "/^0:(?!00)[0-9]{2}$/.test(document.querySelector('#live td:last-child').innerText)", SOON, "a clock"
    )
    operator.http.post(f"/campaign/{campaign}/pause")
    shows(browser, "paused", "#campaigns")
    shows(browser, "Campaign Renewal: paused", "#said")
    [live] = operator.http.get("/call?state=live&limit=1").json()["items"]
    operator.http.post(f"/call/{live['id']}/cancel")
    shows(browser, "0 dialing, 0 ringing, 2 talking", "#tiles")
    shows(browser, "1 of 3 finished, 1 answered, 2 live", "#campaigns")
    browser.wait_for("document.querySelector('#outcomes desc').textContent.startsWith('1 attempt;')", SOON, "the plot")
    assert browser.run("window.same") is True


def test_updates_take_neither_focus_nor_scroll_nor_what_was_opened(browser: Browser, operator: Client) -> None:
    talking(operator, [person(i) for i in range(300, 330)], "Renewal")
    shows(browser, "Renewal", "#campaigns")
    browser.run("document.querySelector('#outcomes details').open = true")
    browser.run("document.querySelector('#campaigns button').focus()")
    browser.run("window.scrollTo(0, 150)")
    before = browser.text("#campaigns")
    for _ in range(3):
        browser.wait_for(f"document.querySelector('#campaigns').innerText !== {json.dumps(before)}", SOON, "an update")
        before = browser.text("#campaigns")
    assert browser.run("document.activeElement.innerText") == "Pause"
    assert browser.run("window.scrollY") == 150
    assert browser.run("document.querySelector('#outcomes details').open") is True


def test_updates_can_be_held(browser: Browser, operator: Client) -> None:
    press_to(browser, "Pause updates")
    browser.press("Space")
    assert browser.run("document.activeElement.getAttribute('aria-pressed')") == "true"
    # What the page is sent meanwhile: a call, and in a later beat that its campaign is paused.
    browser.run(
        "{ window.sent = ''; new EventSource(document.body.dataset.stream)"
        ".addEventListener('section', event => { window.sent += event.data }) }"
    )
    campaign = talking(operator, [person(400)])
    browser.wait_for("window.sent.includes('Ana400')", SOON, "the call")
    operator.http.post(f"/campaign/{campaign}/pause")
    browser.wait_for("window.sent.includes('paused')", SOON, "the pause")
    assert "Nobody is being called now." in browser.text("#live")
    browser.press("Space")
    shows(browser, "Ana400", "#live")


def test_clocks_stand_while_updates_are_held(browser: Browser, operator: Client) -> None:
    talking(operator, [person(410)])
    running = "/^0:(?!00)[0-9]{2}$/.test(document.querySelector('#live td:last-child').innerText)"
    browser.wait_for(running, SOON, "a clock")
    browser.run("document.getElementById('hold').click()")
    held = browser.run("document.querySelector('#live td:last-child').innerText")
    browser.run("{ window.heldAt = Date.now() }")
    browser.wait_for("Date.now() > window.heldAt + 3000", SOON, "three ticks")
    assert browser.run("document.querySelector('#live td:last-child').innerText") == held
    browser.run("document.getElementById('hold').click()")
    went_on = f"document.querySelector('#live td:last-child').innerText !== {json.dumps(held)}"
    browser.wait_for(went_on, SOON, "the clock goes on")


def test_a_page_that_nobody_sees_asks_for_nothing_and_is_up_to_date_when_it_is_seen_again(
    browser: Browser, operator: Client
) -> None:
    show = "{ Object.defineProperty(document, 'hidden', { value: %s, configurable: true });"
    show += " document.dispatchEvent(new Event('visibilitychange')) }"
    browser.run(show % "true")
    browser.run(
        "{ window.sent = ''; new EventSource(document.body.dataset.stream)"
        ".addEventListener('section', event => { window.sent += event.data }) }"
    )
    campaign = talking(operator, [person(450)])
    browser.wait_for("window.sent.includes('Ana450')", SOON, "the call")
    operator.http.post(f"/campaign/{campaign}/pause")
    browser.wait_for("window.sent.includes('paused')", SOON, "the pause")
    assert "Nobody is being called now." in browser.text("#live")
    browser.run(show % "false")
    shows(browser, "Ana450", "#live")


def test_the_keyboard_goes_on_where_it_was_when_what_it_was_on_is_gone(browser: Browser, operator: Client) -> None:
    talking(operator, [person(460)])
    shows(browser, "Ana460", "#live")
    browser.run("document.querySelector('#live tbody a').focus()")
    [live] = operator.http.get("/call?state=live&limit=1").json()["items"]
    operator.http.post(f"/call/{live['id']}/cancel")
    shows(browser, "Nobody is being called now.", "#live")
    assert browser.run("document.activeElement.id") == "live"


def test_rows_that_stay_are_untouched_when_one_before_them_goes(browser: Browser, operator: Client) -> None:
    campaign = talking(operator, [person(i) for i in range(420, 424)])
    shows(browser, "Ana423", "#live")
    browser.wait_for("document.querySelectorAll('#live tbody tr').length === 4", SOON, "all four")
    first, last = browser.run(
        "(() => { window.rows = [...document.querySelectorAll('#live tbody tr')];"
        " getSelection().selectAllChildren(rows[3].cells[0]); return [rows[0].innerText, rows[3].innerText] })()"
    )
    selected = browser.run("getSelection().toString()")
    assert selected
    gone = first[first.index("Ana") :][:6]
    [call] = [one for one in operator.calls(campaign).values() if one["contact"]["first_name"] == gone]
    operator.http.post(f"/call/{call['id']}/cancel")
    browser.wait_for("document.querySelectorAll('#live tbody tr').length === 3", SOON, "it is gone")
    assert browser.run("[...document.querySelectorAll('#live tbody tr')].every((row, i) => row === rows[i + 1])")
    assert browser.run("getSelection().toString()") == selected
    assert last[last.index("Ana") :][:6] in browser.text("#live")
