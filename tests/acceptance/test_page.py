"""The operator's page in a real browser, on a running server: seen, read aloud, steered by keyboard, and kept up to date."""

import json
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count, pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from scheduler.accounts import Accounts
from scheduler.clock import SystemClock
from scheduler.database import Database
from tests.support.browser import CHROMIUM, Browser
from tests.support.dialer_process import Client, Dialer, eventually
from tests.support.flaky_proxy import FlakyProxy
from tests.support.lab_thread import LabThread

# What is new is shown within a second; a busy machine may take some more.
SOON = 10.0
HTML = {"Accept": "text/html"}
EVIL = "<img src=x onerror='window.hurt=1'><script>window.hurt=2</script>"
SIZES: list[dict[str, Any]] = [{"width": 1280, "height": 900}, {"width": 390, "height": 844, "phone": True}]
LOST = "!document.querySelector('#lost').hidden"
SMALLEST = {"width": 320, "height": 640, "phone": True}

# Every text of the page against what is behind it, as (ratio, text, colours); WCAG 2.2, 1.4.3 asks for 4.5, or 3 where large.
# And the edges of what can be filled in; 1.4.11 asks for 3.
CONTRAST = """(() => {
  const parse = text => { const found = text.match(/[0-9.]+/g).map(Number); return found.length < 4 ? [...found, 1] : found; };
  const light = channel => { const c = channel / 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour[3] === 1) return colour;
    }
    return [255, 255, 255, 1];
  };
  const ratio = (colour, ground) => {
    const [a, b] = [luminance(parse(colour)), luminance(ground)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  const poor = [];
  for (const element of document.body.querySelectorAll('*')) {
    const text = [...element.childNodes].filter(node => node.nodeType === 3).map(node => node.data.trim()).join('');
    if (!text || element.closest('svg, script, noscript, .unseen') || !element.getClientRects().length) continue;
    const style = getComputedStyle(element), size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
    const found = ratio(style.color, behind(element)), needed = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5;
    if (found < needed) poor.push([found, text, style.color, behind(element).join()]);
  }
  for (const element of document.querySelectorAll('input[placeholder], select')) {
    if (!element.getClientRects().length) continue;
    const edge = ratio(getComputedStyle(element).borderTopColor, behind(element.parentElement));
    const hint = ratio(getComputedStyle(element, '::placeholder').color, behind(element));
    if (edge < 3) poor.push([edge, 'edge of ' + element.name]);
    if (hint < 4.5) poor.push([hint, 'placeholder of ' + element.name]);
  }
  return poor;
})()"""
# What can be reached by the tab key, from the top of the page: what each says, and whether its focus is to be seen.
FOCUSED = """(() => { const e = document.activeElement, s = getComputedStyle(e);
  return [e.innerText || e.getAttribute('aria-label') || e.name || e.tagName,
          s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2] })()"""


@pytest.fixture(scope="module")
def dialer(lab: LabThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dialer]:
    dialer = Dialer(tmp_path_factory.mktemp("page"), {"pbx": lab.trunk}, pacing={"stagger_seconds": 0.3})
    dialer.configure(page={"behind_proxy": True})
    dialer.run("db", "migrate")
    try:
        yield dialer.start()
    finally:
        dialer.stop()


def need_chromium() -> None:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    need_chromium()
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def operator(dialer: Dialer, request: pytest.FixtureRequest) -> Iterator[Client]:
    # Past the command line, which would take a second for each test.
    database = Database(dialer.folder / "dialer.db")
    accounts = Accounts(database, SystemClock())
    name = f"{request.node.name} {uuid4()}"
    account = accounts.create_account(name).id
    client, janitor = (Client(dialer, name, accounts.create_token(account)) for _ in range(2))
    database.close()
    yield client
    if not dialer.is_down:
        leave(janitor)
    client.close()
    janitor.close()


@pytest.fixture
def browser(chromium: Browser, operator: Client) -> Iterator[Browser]:
    """Logged in for the test's account, on the overview; at its end nothing may have been refused or failed in the page."""
    chromium.look()
    chromium.send("Network.clearBrowserCookies")
    log_in(chromium, operator)
    chromium.log.clear()
    yield chromium
    assert chromium.log == []


def leave(operator: Client) -> None:
    """Give back the channels that a test has taken."""
    for status in ("running", "paused"):
        for campaign in operator.http.get("/campaign", params={"status": status}).json()["items"]:
            operator.http.post(f"/campaign/{campaign['id']}/cancel")
    for call in operator.http.get("/call", params={"state": "live"}).json()["items"]:
        operator.http.post(f"/call/{call['id']}/cancel")


# Logins of one address are few, and tests are many: as a proxy would say, each comes from another.
ADDRESSES = (f"192.0.2.{number}" for number in count(1))


def log_in(browser: Browser, operator: Client) -> None:
    browser.send("Network.setExtraHTTPHeaders", headers={"X-Forwarded-For": next(ADDRESSES)})
    browser.open(f"{operator.dialer.url}/")
    browser.wait_for("document.activeElement.id === 'token'", SOON, "the focus")
    browser.type(operator.token)
    browser.press("Enter")
    browser.wait_for("document.title === 'Overview · dialer'", SOON, "the overview")


def talking(operator: Client, contacts: list[dict[str, Any]], name: str = "Renewal", **keys: Any) -> str:
    """A campaign whose calls are answered and go on; its id."""
    steps = [{"do": "wait", "seconds": 60}, {"do": "hangup"}]
    book = playbook(operator, name=name, steps=steps, ring_timeout_seconds=20, max_call_seconds=120)
    answer = operator.http.post("/campaign", json={"playbook_id": book, "contacts": contacts, **keys})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["campaign_id"])


def playbook(operator: Client, **keys: Any) -> str:
    """A new playbook's id."""
    body = {"trunks": ["pbx"], "steps": [{"do": "wait", "seconds": 0.2}, {"do": "hangup"}], **keys}
    answer = operator.http.post("/playbook", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def person(number: int, **fields: Any) -> dict[str, Any]:
    """Whom the lab answers for, until we hang up."""
    return {"phone": f"+3460{number:05d}02", "first_name": f"Ana{number}", **fields}


def paths_of(operator: Client, campaign: str) -> list[str]:
    """A page of each kind, of the campaign and one of its calls."""
    call = next(iter(operator.calls(campaign).values()))
    [contact] = operator.http.get("/contact", params={"phone": call["phone"]}).json()["items"]
    pages = ["", "live", "campaigns", "trunks", "search", f"campaign/{campaign}", f"campaign/{campaign}/cancel"]
    pages += [f"call/{call['id']}", f"contact/{contact['id']}"]
    return [f"/page/{page}" if page else "/" for page in pages]


def shows(browser: Browser, text: str, selector: str = "main", seconds: float = SOON) -> None:
    browser.wait_for(
        f"(document.querySelector({json.dumps(selector)}) || {{innerText: ''}}).innerText.includes({json.dumps(text)})",
        seconds,
        f"{selector} shows {text!r}",
    )


def press_to(browser: Browser, what: str, *, most: int = 60) -> None:
    """Tab until the focus is on what says so."""
    for _ in range(most):
        browser.press("Tab")
        if browser.run(FOCUSED)[0].strip().startswith(what):
            return
    raise AssertionError(f"the tab key does not reach {what!r}")


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
    browser.wait_for("document.querySelector('#outcomes desc').textContent.startsWith('1 attempts')", SOON, "the plot")
    assert browser.run("window.same") is True


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


def test_it_can_be_read_aloud_and_walked_through(browser: Browser, operator: Client) -> None:
    campaign = talking(operator, [person(i) for i in range(700, 703)])
    shows(browser, "Ana702", "#live")
    for path in paths_of(operator, campaign):
        browser.open(f"{operator.dialer.url}{path}")
        tree = browser.tree()
        roles = [role for role, _ in tree]
        for landmark in ("banner", "navigation", "main", "contentinfo"):
            assert landmark in roles, (path, landmark)
        nameless = [role for role, name in tree if role in NAMED and not name.strip()]
        assert nameless == [], path
        assert browser.run("document.querySelectorAll('h1').length") == 1
        levels = browser.run("[...document.querySelectorAll('h1,h2,h3,h4')].map(e => +e.tagName[1])")
        assert all(later <= earlier + 1 for earlier, later in pairwise(levels)), (path, levels)
        assert browser.run("document.querySelectorAll('th:not([scope])').length") == 0
        assert browser.run("new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size") == browser.run(
            "document.querySelectorAll('[id]').length"
        )
        assert browser.run("document.documentElement.lang") == "en"
        assert browser.run("document.querySelectorAll('table[aria-live], section[aria-live]').length") == 0
        walk(browser, path)


NAMED = {"link", "button", "textbox", "combobox", "image", "table", "region", "article", "heading", "columnheader"}


def walk(browser: Browser, path: str) -> None:
    """Everything that can be clicked is reached by the tab key, first of all a way past the navigation; focus is seen."""
    browser.run("{ const hold = document.getElementById('hold'); if (hold) hold.click(); window.reached = new Set() }")
    for number in range(200):
        browser.press("Tab")
        text, seen = browser.run(FOCUSED)
        if browser.run("document.activeElement === document.body"):
            break
        assert seen, (path, text)
        assert number > 0 or text == "Skip to the content", path
        browser.run("{ window.reached.add(document.activeElement) }")
    missed = browser.run(
        "[...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, summary')]"
        ".filter(e => e.getClientRects().length && !window.reached.has(e)).map(e => e.outerHTML)"
    )
    assert missed == [], path


def test_it_fits_a_phone_and_can_be_read_in_light_and_dark(browser: Browser, operator: Client) -> None:
    long = "A campaign whose name is as long as names of campaigns may well become in a large company"
    contacts = [person(i, last_name="Fernández-Villaverde y Goicoechea") for i in range(800, 803)]
    campaign = talking(operator, contacts, long, recall=[30])
    shows(browser, "Ana802", "#live")
    for path in paths_of(operator, campaign):
        browser.open(f"{operator.dialer.url}{path}")
        for size in SIZES:
            for dark in (False, True):
                browser.look(**size, dark=dark)
                assert browser.run("document.documentElement.scrollWidth") <= size["width"], (path, size)
                assert browser.run(CONTRAST) == [], (path, size, dark)
        browser.look()


def test_the_page_is_left_within_seconds_of_its_token(browser: Browser, operator: Client) -> None:
    operator.dialer.run("token", "revoke", operator.token.split("_")[1])
    browser.wait_for("document.title === 'Log in · dialer'", SOON, "the login")
    browser.wait_for("document.querySelector('#token') !== null", SOON, "the login's form")


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


@contextmanager
def logged_in(client: Client) -> Iterator[httpx.Client]:
    """A browser that is logged in, as far as HTTP shows it."""
    headers = {**HTML, "Origin": client.dialer.url, "X-Forwarded-For": next(ADDRESSES)}
    with httpx.Client(base_url=client.dialer.url, headers=headers, timeout=30) as browser:
        key = re.search(r'name="key" value="([0-9a-f]+)"', browser.get("/page/login").text)
        assert key
        answer = browser.post("/page/login", data={"key": key[1], "token": client.token})
        assert answer.status_code == 303, answer.text
        yield browser


def test_settings_act_when_they_are_reloaded(dialer: Dialer, operator: Client) -> None:
    path = f"/page/campaign/{operator.post(playbook(operator, name='Test'), ['+34600700486'])}"
    with logged_in(operator) as browser:
        assert "+34600700486" not in browser.get(path).text
        dialer.configure(page={"show_numbers": "always", "session_hours": 0.0003, "behind_proxy": True})
        dialer.signal(signal.SIGHUP)
        eventually(lambda: "+34600700486" in browser.get(path).text, 20, "numbers are shown")
        # A login lasts a second from now on; the one before keeps what it was promised.
        with logged_in(operator) as short:
            began = time.monotonic()
            assert short.get("/").status_code == 200
            eventually(lambda: short.get("/").status_code == 303, 20, "the login is over")
            assert time.monotonic() - began >= 1
        assert browser.get("/").status_code == 200
    dialer.configure(page={"show_numbers": "admin", "session_hours": 12})
    dialer.signal(signal.SIGHUP)


def test_a_lost_connection_is_shown_and_a_restart_ends_logins_but_keeps_what_was_counted(
    browser: Browser, operator: Client
) -> None:
    operator.finished(operator.post(playbook(operator, name="Test"), ["+34600700001", "+34600700486"]))
    counted = "2 attempts; answered 1; busy or declined 1."
    browser.wait_for(f"document.querySelector('#outcomes desc').textContent === '{counted}'", SOON, "the plot")
    operator.dialer.stop()
    browser.wait_for(LOST, 20, "the loss")
    operator.dialer.start()
    # The page finds out by itself.
    browser.wait_for("document.title === 'Log in · dialer'", 30, "the login")
    # A form from before the restart is no dead end.
    browser.run("{ document.querySelector('[name=key]').value = '0'.repeat(64) }")
    browser.type(operator.token)
    browser.press("Enter")
    shows(browser, "The server was restarted")
    log_in(browser, operator)
    assert browser.run("document.querySelector('#outcomes desc').textContent") == counted
    browser.log[:] = [line for line in browser.log if "Failed to load resource" not in line]


def test_a_page_whose_stream_is_refused_stays_as_it_is_until_there_is_room(browser: Browser, operator: Client) -> None:
    with logged_in(operator) as other, ExitStack() as streams:
        browser.open(f"{operator.dialer.url}/page/search")
        # An iterator that is let go closes its stream.
        opened = [streams.enter_context(other.stream("GET", "/page/stream/trunks")).iter_lines() for _ in range(20)]
        assert {next(lines) for lines in opened} == {"retry: 1000"}
        browser.open(f"{operator.dialer.url}/page/live")
        browser.run("{ window.kept = true }")
        browser.wait_for(LOST, 20, "the loss")
        assert browser.text("#said").startswith("The connection is lost.")
    browser.wait_for("document.querySelector('#lost').hidden", 30, "the connection")
    assert browser.run("window.kept")
    assert browser.text("#said") == "The connection is back."
    # The refusals are what is tried here.
    browser.log[:] = [line for line in browser.log if "Failed to load resource" not in line]


def test_a_proxy_that_cannot_reach_the_server_for_a_moment_costs_the_page_nothing(
    browser: Browser, operator: Client
) -> None:
    with FlakyProxy(operator.dialer.port) as proxy:
        # A cookie is for all ports of a host.
        browser.open(f"{proxy.url}/")
        browser.wait_for("document.title === 'Overview · dialer'", SOON, "the overview")
        browser.run("{ window.kept = true }")
        proxy.leave()
        browser.wait_for(LOST, 20, "the loss")
        eventually(lambda: proxy.refused >= 2, 30, "it asks again")
        proxy.come_back()
        browser.wait_for("document.querySelector('#lost').hidden", 30, "the connection")
        # The very page goes on, with what has happened meanwhile.
        talking(operator, [person(495)])
        shows(browser, "Ana495", "#live")
        assert browser.run("window.kept")
        browser.open("about:blank")
    browser.log[:] = [line for line in browser.log if "Failed to load resource" not in line]


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


# Every text without a word from right to left: where its first and last letters are, were it laid out the other way round.
REVERSED = """(() => {
  const found = [], walker = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  const at = (node, i) => { range.setStart(node, i); range.setEnd(node, i + 1); return range.getBoundingClientRect(); };
  while (walker.nextNode()) {
    const node = walker.currentNode, word = /[A-Za-z]{2,}/.exec(node.data);
    if (!word || /[\u0590-\u06ff\u202e]/.test(node.data) || !node.parentElement.getClientRects().length) continue;
    const a = at(node, word.index), b = at(node, word.index + 1);
    if (a.top === b.top && a.left > b.left) found.push(node.data.trim());
  }
  return found;
})()"""


def test_names_from_right_to_left_turn_nothing_round_them(browser: Browser, operator: Client) -> None:
    turned = "\u202eturned \u05e9\u05dc\u05d5\u05dd"
    fields = dict.fromkeys(("first_name", "last_name", "company", "city"), turned)
    campaign = talking(operator, [person(480, **fields)], turned)
    shows(browser, "\u05e9\u05dc\u05d5\u05dd", "#live")
    for path in paths_of(operator, campaign):
        browser.open(f"{operator.dialer.url}{path}")
        assert browser.run(REVERSED) == [], path


def test_the_smallest_phones_need_no_scrolling_sideways(browser: Browser, operator: Client) -> None:
    talking(operator, [person(490, last_name="L" * 60, custom_fields={"deep": {"er": {"list": ["x" * 90, True]}}})])
    shows(browser, "Ana490", "#live")
    browser.look(**SMALLEST)
    [call] = operator.http.get("/call?state=live&limit=1").json()["items"]
    for path in (
        "/",
        "/page/live",
        "/page/trunks",
        f"/page/campaign/{call['campaign_id']}",
        f"/page/call/{call['id']}",
    ):
        browser.open(f"{operator.dialer.url}{path}")
        assert browser.run("document.documentElement.scrollWidth") <= SMALLEST["width"], path
    assert "True" not in browser.text("main")
    browser.look()


def test_an_open_page_keeps_no_server_from_stopping(dialer: Dialer, operator: Client) -> None:
    with logged_in(operator) as browser, browser.stream("GET", "/page/stream/overview") as stream:
        lines = stream.iter_lines()
        while "tiles" not in next(lines):
            pass
        began = time.monotonic()
        dialer.signal(signal.SIGTERM)
        for _ in lines:
            pass
        eventually(dialer.ended, 10, "the server has ended")
        assert time.monotonic() - began < 10
    dialer.stop()


def test_a_server_without_the_page_has_no_path_of_it(dialer: Dialer) -> None:
    dialer.configure(page={"enabled": False})
    dialer.start()
    for there in ("/", "/page/login"):
        answer = httpx.get(f"{dialer.url}{there}", headers=HTML)
        assert (answer.status_code, answer.json()) == (404, {"error": f"No such path: {there}"})
