"""What an operator does with the page: in a real browser, or in one that is only HTTP."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import httpx
import pytest

from tests.support.browser import CHROMIUM, Browser
from tests.support.dialer_process import Client

# What is new is shown within a second; a busy machine may take some more.
SOON = 10.0
HTML = {"Accept": "text/html"}
# What can be reached by the tab key, from the top of the page: what each says, and whether its focus is to be seen.
FOCUSED = """(() => { const e = document.activeElement, s = getComputedStyle(e);
  return [e.innerText || e.getAttribute('aria-label') || e.name || e.tagName,
          s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2] })()"""


def need_chromium() -> None:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")


# Logins of one address are few, and tests are many: as a proxy would say, each comes from another.
ADDRESSES = (f"192.0.2.{number}" for number in count(1))


def log_in(browser: Browser, operator: Client) -> None:
    browser.send("Network.setExtraHTTPHeaders", headers={"X-Forwarded-For": next(ADDRESSES)})
    browser.open(f"{operator.dialer.url}/")
    browser.wait_for("document.activeElement.id === 'token'", SOON, "the focus")
    browser.type(operator.token)
    browser.press("Enter")
    browser.wait_for("document.title === 'Overview · dialer'", SOON, "the overview")


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


def leave(operator: Client) -> None:
    """Give back the channels that a test has taken."""
    for status in ("running", "paused"):
        for campaign in operator.http.get("/campaign", params={"status": status}).json()["items"]:
            operator.http.post(f"/campaign/{campaign['id']}/cancel")
    for call in operator.http.get("/call", params={"state": "live"}).json()["items"]:
        operator.http.post(f"/call/{call['id']}/cancel")


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
