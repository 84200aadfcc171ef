"""The page is seen and read aloud by everybody: on a phone, in light and dark, by keyboard, in any script."""

from itertools import pairwise
from typing import Any

from tests.support.browser import Browser
from tests.support.dialer_process import Client
from tests.support.operator import FOCUSED, paths_of, person, playbook, shows, talking

SIZES: list[dict[str, Any]] = [{"width": 1280, "height": 900}, {"width": 390, "height": 844, "phone": True}]
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
NAMED = {"link", "button", "textbox", "combobox", "image", "table", "region", "article", "heading", "columnheader"}


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


# What stands out of its card's content, whose words and figures would be cut off or lie over the edge.
OUTSIDE = """(() => {
  const end = card => card.getBoundingClientRect().right - parseFloat(getComputedStyle(card).paddingRight) + 0.5;
  return [...document.querySelectorAll('main *')].filter(e => e.getClientRects().length && !e.closest('svg, .unseen, .scroll')
    && e.getBoundingClientRect().right > end(e.parentElement.closest('.card, main'))).map(e => e.outerHTML.slice(0, 200));
})()"""
# Whether what has the focus is on the screen with the whole of its outline.
FOCUS_IN_SIGHT = """(() => { const r = document.activeElement.getBoundingClientRect(), edge = 5;
  return r.height > innerHeight - 2 * edge || (r.top >= edge && r.bottom <= innerHeight - edge) })()"""


def test_the_smallest_phones_need_no_scrolling_sideways(browser: Browser, operator: Client) -> None:
    operator.finished(operator.post(playbook(operator, name="Test"), ["+34600700486"]))
    talking(operator, [person(490, last_name="L" * 60, custom_fields={"deep": {"er": {"list": ["x" * 90, True]}}})])
    shows(browser, "Ana490", "#live")
    [call] = operator.http.get("/call?state=live&limit=1").json()["items"]
    for dark in (False, True):
        browser.look(**SMALLEST, dark=dark)
        for path in paths_of(operator, call["campaign_id"]):
            browser.open(f"{operator.dialer.url}{path}")
            assert browser.run("document.documentElement.scrollWidth") <= SMALLEST["width"], path
            assert browser.run(OUTSIDE) == [], path
            assert browser.run(CONTRAST) == [], path
            assert "True" not in browser.text("main")
    browser.open(f"{operator.dialer.url}/")
    shows(browser, "486", "#failures")
    assert browser.run("document.querySelector('#failures td strong').getBoundingClientRect().height") < 30, "one line"
    # The last thing that is reached is the button that holds updates; it is pressed, so that nothing moves meanwhile.
    browser.run("document.getElementById('hold').click()")
    for number in range(60):
        browser.press("Tab")
        if browser.run("document.activeElement === document.body"):
            break
        assert number == 0 or browser.run(FOCUS_IN_SIGHT), browser.run("document.activeElement.outerHTML")
    browser.look()
