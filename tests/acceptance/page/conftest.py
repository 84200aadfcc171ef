"""A server, a real browser, and for each test an account that is logged in."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from scheduler.accounts import Accounts
from scheduler.clock import SystemClock
from scheduler.database import Database
from tests.support.browser import Browser
from tests.support.dialer_process import Client, Dialer
from tests.support.lab_thread import LabThread
from tests.support.operator import leave, log_in, need_chromium


@pytest.fixture(scope="module")
def dialer(lab: LabThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dialer]:
    dialer = Dialer(tmp_path_factory.mktemp("page"), {"pbx": lab.trunk}, pacing={"stagger_seconds": 0.3})
    dialer.configure(page={"behind_proxy": True})
    dialer.run("db", "migrate")
    try:
        yield dialer.start()
    finally:
        dialer.stop()


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
