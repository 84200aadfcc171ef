"""What an operator finds on the page and orders there: by keyboard alone, by a number, and without the page's script."""

from pathlib import Path

from tests.support.browser import Browser
from tests.support.dialer_process import Client, Dialer, eventually
from tests.support.operator import SOON, log_in, need_chromium, person, playbook, press_to, shows, talking


def test_a_campaign_is_paused_resumed_and_cancelled_by_keyboard_alone(browser: Browser, operator: Client) -> None:
    campaign = talking(operator, [person(i) for i in range(200, 240)], "Survey")
    shows(browser, "Survey", "#campaigns")
    press_to(browser, "Pause")
    browser.press("Enter")
    shows(browser, "The campaign was paused.")
    assert operator.campaign(campaign)["status"] == "paused"
    assert browser.text("h1") == "Survey"
    press_to(browser, "Resume")
    browser.press("Space")
    shows(browser, "The campaign was resumed.")
    assert operator.campaign(campaign)["status"] == "running"
    press_to(browser, "Cancel …")
    browser.press("Enter")
    shows(browser, "cannot be resumed")
    assert operator.campaign(campaign)["status"] == "running"
    press_to(browser, "Cancel the campaign for good")
    browser.press("Enter")
    shows(browser, "The campaign was cancelled.")
    assert operator.campaign(campaign)["status"] == "cancelled"


def test_times_are_those_of_the_browsers_zone(browser: Browser, operator: Client) -> None:
    talking(operator, [person(470)], launch_at="2031-07-01T22:30:15Z")
    shows(browser, "Jul 2, 2031, 00:30:15", "#campaigns")
    assert "Times are those of Europe/Madrid." in browser.text("footer")


def test_the_whole_story_of_a_call_is_found_by_its_number(browser: Browser, operator: Client) -> None:
    book = playbook(operator, name="Reminder", recall_on=["busy"])
    contact = {"phone": "+34600500011", "first_name": "Bea", "last_name": "Ruiz", "custom_fields": {"contract": "A-17"}}
    body = {"playbook_id": book, "contacts": [contact], "recall": [0.01]}
    operator.finished(operator.http.post("/campaign", json=body).json()["campaign_id"])
    press_to(browser, "Search for a number")
    browser.type("+34 600 50 00 11")
    browser.press("Enter")
    browser.wait_for("document.title === 'Calls to +…0011 · dialer'", SOON, "the person")
    assert "600500011" not in browser.run("location.href + document.documentElement.outerHTML")
    shows(browser, "A-17")
    press_to(browser, "The call posted")
    browser.press("Enter")
    browser.wait_for("document.title === 'Call to +…0011 · dialer'", SOON, "the call")
    for text in ("Bea Ruiz", "Attempt 1", "486 Busy Here", "Attempt 2", "SIP Call-ID", "wait", "Reminder", "A-17"):
        assert text in browser.text("main"), text
    browser.click("form[action='/page/numbers'] button")
    shows(browser, "Call to +34600500011")


EVIL = "<img src=x onerror='window.hurt=1'><script>window.hurt=2</script>"


def test_what_a_contact_holds_is_text_in_every_place(browser: Browser, operator: Client) -> None:
    fields = dict.fromkeys(("first_name", "last_name", "company", "email", "city", "utm_source"), EVIL)
    contact = person(600, **fields, custom_fields={EVIL: [EVIL, {EVIL: EVIL}]})
    campaign = talking(operator, [contact], EVIL)
    shows(browser, EVIL, "#live")
    shows(browser, EVIL, "#campaigns")
    [call] = operator.calls(campaign).values()
    [known] = operator.http.get("/contact", params={"phone": contact["phone"]}).json()["items"]
    for path in ("live", "campaigns", f"campaign/{campaign}", f"call/{call['id']}", f"contact/{known['id']}"):
        browser.open(f"{operator.dialer.url}/page/{path}")
        shows(browser, EVIL)
    # Not only the policy kept it from being run: there is nothing to be run.
    assert browser.run("document.querySelectorAll('main img, main script').length") == 0
    assert browser.run("window.hurt") is None


def test_it_works_without_its_script(dialer: Dialer, operator: Client, tmp_path: Path) -> None:
    need_chromium()
    with Browser(tmp_path, scripts=False) as browser:
        campaign = talking(operator, [person(900)])
        eventually(lambda: operator.campaign(campaign)["calls"]["live"] == 1, 10, "the call")
        log_in(browser, operator)
        assert "Ana900" in browser.text("#live")
        assert browser.run("document.querySelector('noscript').innerHTML").strip() == (
            '<meta http-equiv="refresh" content="15">'
        )
        assert "All times are UTC." in browser.text("footer")
        browser.click("#campaigns button")
        shows(browser, "The campaign was paused.")
        browser.click("a.danger")
        shows(browser, "cannot be resumed")
        browser.click("main button.danger")
        shows(browser, "The campaign was cancelled.")
        assert operator.campaign(campaign)["status"] == "cancelled"
