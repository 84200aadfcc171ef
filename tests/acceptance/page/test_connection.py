"""The page and its server: tokens that end, settings, restarts, proxies, and a connection that is lost."""

import signal
import time
from contextlib import ExitStack

import httpx

from tests.support.browser import Browser
from tests.support.dialer_process import Client, Dialer, eventually
from tests.support.flaky_proxy import FlakyProxy
from tests.support.operator import HTML, SOON, log_in, logged_in, person, playbook, shows, talking

LOST = "!document.querySelector('#lost').hidden"


def test_the_page_is_left_within_seconds_of_its_token(browser: Browser, operator: Client) -> None:
    operator.dialer.run("token", "revoke", operator.token.split("_")[1])
    browser.wait_for("document.title === 'Log in · dialer'", SOON, "the login")
    browser.wait_for("document.querySelector('#token') !== null", SOON, "the login's form")


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
