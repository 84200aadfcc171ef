"""The operator's page over fakes: a board of records, browsers as httpx clients, and a call with markup in every field."""

import asyncio
import re
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from api.app import create_app
from api.page.doors import PageRules
from api.page.routes import Page
from api.page.watch import Watch
from dialer.core.model import WallMs
from dialer.recent import Ended, Recent
from tests.support.clock import EPOCH, FakeClock
from tests.support.fake_backend import CALL, CAMPAIGN, MINE, TOKEN, Fakes

T0 = int(EPOCH)
PHONE = "+34600123456"
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
CONTACT = "33333333-3333-4333-8333-333333333333"
PAGES = ["/", "/page/campaigns", "/page/live", "/page/trunks", "/page/search", f"/page/campaign/{CAMPAIGN}"]
PAGES += [f"/page/call/{CALL}", f"/page/contact/{CONTACT}", f"/page/campaign/{CAMPAIGN}/cancel"]
ORDERS = [f"/page/campaign/{CAMPAIGN}/pause", f"/page/campaign/{CAMPAIGN}/resume", f"/page/campaign/{CAMPAIGN}/cancel"]
ORDERS += [f"/page/call/{CALL}/cancel"]
Record = dict[str, Any]


def campaign_row(**keys: Any) -> Record:
    return {
        "id": 1,
        "uuid": CAMPAIGN,
        "playbook": "Renewal",
        "ring_seconds": 30,
        "status": "running",
        "launch_at": T0,
        "clock_shift_ms": 0,
        "stagger_ms": 200,
        "recall": "[30]",
        "first_call": 1,
        "size": 1200,
        "cursor": 20,
        "live": 3,
        "finished": 17,
        "attempts": 22,
        "last_first_attempt_at": T0,
        "created_at": T0,
        "ended_at": None,
        "expires_at": None,
        "under_review": 0,
        "dispositions": {"answered": 12, "busy": 5},
        "estimated_end_at": T0 + 3_600_000,
        **keys,
    }


def call_row(**keys: Any) -> Record:
    return {
        "id": CALL,
        "phone": PHONE,
        "name": "Ana García",
        "state": "live",
        "disposition": None,
        "under_review": 0,
        "attempts": 1,
        "invites": 1,
        "reason": None,
        "next_at": None,
        "fire_at": T0,
        "dialed_at": T0,
        "ringing_at": T0 + 1000,
        "answered_at": None,
        "ended_at": None,
        "trunk": "pbx",
        "sip_status": None,
        "campaign": "Renewal",
        "campaign_id": CAMPAIGN,
        "created_at": T0,
        **keys,
    }


def whole_call(**keys: Any) -> Record:
    """As `GET /call/{id}` shows one."""
    attempt = {
        "number": 1,
        "due_at": "2025-03-01T10:00:00.000Z",
        "dialed_at": "2025-03-01T10:00:00.010Z",
        "ringing_at": "2025-03-01T10:00:01.000Z",
        "answered_at": "2025-03-01T10:00:05.000Z",
        "ended_at": "2025-03-01T10:01:05.000Z",
        "trunk": "pbx",
        "caller_id": "+34910000000",
        "disposition": "answered",
        "reason": "the callee hung up",
        "sip_status": 200,
        "q850_cause": 16,
        "sip_call_id": f"{CALL}-1",
        "ended_by": "far",
        "pdd_ms": 990,
        "ring_seconds": 4.0,
        "talk_seconds": 60.0,
        "delay_reason": "outside calling hours in Europe/Madrid",
        "rtp": {
            "packets_sent": 3000.0,
            "packets_received": 2999.0,
            "packets_lost": 1.0,
            "jitter_ms": 2.5,
            "rtt_ms": 0.0,
        },
        "agent_legs": [],
    }
    line = {"attempt": 1, "step": 0, "do": "say", "text": "Hello", "at": "2025-03-01T10:00:05.100Z"}
    return {
        "id": CALL,
        "campaign_id": CAMPAIGN,
        "playbook_id": CAMPAIGN,
        "contact": {"first_name": "Ana", "last_name": "García"},
        "phone": PHONE,
        "state": "finished",
        "disposition": "answered",
        "recall": [30],
        "next_attempt_at": None,
        "created_at": "2025-03-01T10:00:00.000Z",
        "result": None,
        "attempts": [attempt],
        "transcript": [{**line, "ended_at": "2025-03-01T10:00:07.000Z"}],
        **keys,
    }


def trunk_record(**keys: Any) -> Record:
    return {
        "name": "pbx",
        "state": "up",
        "usable": True,
        "channels": 30,
        "channels_in_use": 3,
        "calls_per_second": 5.0,
        "calls_per_second_now": 2.5,
        "registration": "registered",
        "fault": None,
        "last_failure": {"at": "2025-03-01T09:59:00.000Z", "reason": "503 Service Unavailable"},
        **keys,
    }


def agent_leg(**keys: Any) -> Record:
    return {
        "agent": "sip:sales@192.168.100.200",
        "trunk": "pbx",
        "caller_id": "",
        "sip_call_id": f"{CALL}-1-agent-1",
        "dialed_at": "2025-03-01T10:00:20.010Z",
        "ringing_at": "2025-03-01T10:00:21.000Z",
        "answered_at": None,
        "ended_at": "2025-03-01T10:00:25.000Z",
        "disposition": "busy",
        "reason": "486 Busy Here",
        "sip_status": 486,
        "q850_cause": 17,
        "ended_by": "far",
        **keys,
    }


@dataclass
class FakeBoard:
    """Keeps `api.page.watch.Board` for the account `MINE`; others have nothing. `readings` counts what was read."""

    campaigns_now: list[Record] = field(default_factory=lambda: [campaign_row()])
    calls_now: list[Record] = field(default_factory=lambda: [call_row()])
    failures: list[Record] = field(default_factory=list)
    outcomes_now: list[tuple[int, str, int]] = field(default_factory=lambda: [(T0 // 60_000, "answered", 3)])
    readings: list[str] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    waiting: int = 0
    going_on: int = 0
    next_campaign: int | None = None

    def under_review(self, account_id: int) -> int:
        return self.waiting if account_id == MINE else 0

    def overview(self, account_id: int, ended: Sequence[Ended], *, calls: int, campaigns: int) -> Record:
        self.readings.append("overview")
        self.ended = list(ended)
        mine = self.campaigns_now if account_id == MINE else []
        return {
            "live": self.live(account_id, calls=calls),
            "counts": {"running": {"campaigns": self.going_on or len(mine), "left": 1183}} if mine else {},
            "campaigns": mine,
            "over": [],
            "outcomes": self.outcomes_now if mine else [],
            "failures": self.failures,
        }

    def outcomes(self, account_id: int, ended: Sequence[Ended], *, since: int, step: int) -> list[tuple[int, str, int]]:
        self.readings.append("outcomes")
        return self.outcomes_now

    def live(self, account_id: int, *, calls: int) -> Record:
        found = self.calls_now if account_id == MINE else []
        return {"waiting": 0, "ringing": len(found), "talking": 0, "calls": found[:calls]}

    def campaigns(self, account_id: int, **asked: Any) -> tuple[list[Record], int | None]:
        self.readings.append("campaigns")
        mine = self.campaigns_now if account_id == MINE else []
        return [one for one in mine if asked["status"] in {None, one["status"]}], self.next_campaign

    def campaign(self, account_id: int, uuid: str) -> Record | None:
        mine = self.campaigns_now if account_id == MINE else []
        return next((one for one in mine if one["uuid"] == uuid), None)

    def calls(self, account_id: int, uuid: str, **asked: Any) -> tuple[list[Record], int | None] | None:
        self.readings.append("calls")
        return (self.calls_now, 7) if self.campaign(account_id, uuid) else None

    def calls_to(self, account_id: int, phone: str, *, limit: int) -> list[Record]:
        return [one for one in self.calls_now if one["phone"] == phone and account_id == MINE]


@dataclass
class FakeMinutes:
    kept: list[Ended] = field(default_factory=list)
    fault: Exception | None = None
    forgotten: int = 0

    def add(self, ended: Sequence[Ended]) -> None:
        if self.fault is not None:
            raise self.fault
        self.kept += ended

    def forget(self, now: WallMs) -> None:
        self.forgotten += 1


class PageWorld:
    """One server's page. Make it inside of the loop."""

    def __init__(self, *, rules: PageRules | None = None, fakes: Fakes | None = None) -> None:
        self.fakes = fakes or Fakes()
        self.fakes.campaigns = {MINE: {CAMPAIGN: _shown_campaign()}}
        self.fakes.calls = {MINE: {CALL: whole_call()}}
        times = {"created_at": "2025-03-01T10:00:00.000Z", "updated_at": "2025-03-01T10:00:00.000Z"}
        person = {"id": CONTACT, "phone": PHONE, "first_name": "Ana", "last_name": "García", **times}
        self.fakes.stored_contacts = {MINE: {CONTACT: person}}
        self.board, self.minutes, self.recent, self.clock = FakeBoard(), FakeMinutes(), Recent(), FakeClock()
        self.watch = Watch(self.board, self.minutes, self.recent, self.clock)
        self.trunks = [trunk_record()]
        backend = replace(self.fakes.backend(), trunks=lambda: self.trunks)
        self.app = create_app(backend, Page(self.watch, rules or PageRules()))

    def browser(self, **options: Any) -> "Browsing":
        return Browsing(self, **options)


class Browsing(httpx.AsyncClient):
    """A browser as far as HTTP shows it: it keeps cookies, asks for HTML, and says where its requests come from."""

    def __init__(self, world: PageWorld, *, base_url: str = "http://dialer", url: str | None = None) -> None:
        transport = None if url else httpx.ASGITransport(world.app)
        self.origin = url or base_url
        headers = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
        super().__init__(transport=transport, base_url=url or base_url, headers=headers)

    async def key(self, path: str) -> str:
        """The key in the forms of a page."""
        found = re.search(r'name="key" value="([0-9a-f]{64})"', (await self.get(path)).text)
        assert found, path
        return found[1]

    async def send_form(self, path: str, fields: dict[str, str], **headers: str) -> httpx.Response:
        """A form, as it is sent from a page of ours."""
        return await self.post(path, data=fields, headers={"Origin": self.origin, **headers})

    async def log_in(self, token: str = TOKEN, **fields: str) -> httpx.Response:
        key = await self.key("/page/login")
        return await self.send_form("/page/login", {"key": key, "token": token, **fields})

    async def order(self, path: str, **fields: str) -> httpx.Response:
        return await self.send_form(path, {"key": await self.key("/page/search"), **fields})


async def inside(world: PageWorld, **options: Any) -> Browsing:
    """A browser that is logged in."""
    browser = world.browser(**options)
    assert (await browser.log_in()).status_code == 303
    return browser


def _shown_campaign() -> Record:
    return {
        "id": CAMPAIGN,
        "status": "running",
        "recall": [30],
        "next_attempt_at": "2025-03-01T10:00:02.000Z",
        "total_contacts": 1201,
        "duplicate_contacts": 1,
    }


Story = Callable[[PageWorld], Coroutine[Any, Any, None]]


def tell(story: Story, **options: Any) -> None:
    """Run a story in a world of its own."""

    async def run() -> None:
        await asyncio.wait_for(story(PageWorld(**options)), 30)

    asyncio.run(run())
