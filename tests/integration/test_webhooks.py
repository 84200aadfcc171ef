"""Webhooks against a real HTTP server: signatures, order, patience, what is given up, and where they may not go."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from api.feed import Keeping
from api.webhook_sender import WebhookSender
from api.webhook_targets import check_url
from dialer.core.targets import ForbiddenTarget, webhook_reach
from dialer.resolving import addresses
from scheduler.webhooks import MOST_PER_ACCOUNT, Webhooks
from tests.support.event_world import EventWorld, event_world, until
from tests.support.hook_server import HookServer


@asynccontextmanager
async def sending(world: EventWorld, **options: Any) -> AsyncIterator[Webhooks]:
    webhooks = Webhooks(world.database, world.clock)
    async with running_sender(world, webhooks, **options):
        yield webhooks


@asynccontextmanager
async def running_sender(world: EventWorld, webhooks: Webhooks, **options: Any) -> AsyncIterator[WebhookSender]:
    settings = {"allow_private": True, "first_pause": 0.05, **options}
    sender = WebhookSender(webhooks, world.feed, clock=lambda: world.clock.now().wall, **settings)
    running = asyncio.create_task(sender.run())
    try:
        yield sender
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def register(world: EventWorld, url: str, *types: str, account: int = 1) -> dict[str, Any]:
    world.sqlite.add_account(account)
    record = Webhooks(world.database, world.clock).create(account, url, types)
    assert record is not None
    return record


def shown(webhooks: Webhooks) -> dict[str, Any]:
    (record,) = webhooks.list(1)
    return record


def sequences(hook: HookServer, secret: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for delivery in hook.taken:
        event = hook.verified(delivery, secret)
        if event["sequence"] not in found.setdefault(event["call_id"], []):
            found[event["call_id"]].append(event["sequence"])
    return found


def test_every_event_is_signed_and_those_of_a_call_come_in_order(tmp_path: Path) -> None:
    async def main() -> None:
        with HookServer() as hook:
            async with event_world(tmp_path / "d.db") as world:
                made = register(world, hook.url)
                async with sending(world) as webhooks:
                    campaign = world.sqlite.add_campaign(size=40)
                    world.lives(campaign, range(40))
                    await until(lambda: len(hook.taken) == 160, 30)
                    assert set(map(tuple, sequences(hook, made["secret"]).values())) == {(1, 2, 3, 4)}
                    await until(lambda: shown(webhooks)["delivered_events"] == 160 and world.feed.waiting == 0)
                    assert shown(webhooks)["status"] == "active"

    asyncio.run(main())


def test_failures_rest_longer_each_time_and_lose_nothing(tmp_path: Path) -> None:
    tries = []

    def judge(event: dict[str, Any]) -> int:
        tries.append(event["event_id"])
        return 500 if len(tries) % 3 else 200

    async def main() -> None:
        with HookServer() as hook:
            hook.judge = judge
            async with event_world(tmp_path / "d.db") as world:
                made = register(world, hook.url)
                async with sending(world) as webhooks:
                    campaign = world.sqlite.add_campaign(size=5)
                    world.lives(campaign, range(5))
                    await until(lambda: shown(webhooks)["status"] == "failing")
                    assert shown(webhooks)["last_error"] == "answered 500"
                    await until(lambda: shown(webhooks)["delivered_events"] == 20, 30)
                    assert set(map(tuple, sequences(hook, made["secret"]).values())) == {(1, 2, 3, 4)}

    asyncio.run(main())


def test_retry_after_is_honoured_and_a_dead_address_shows_its_fault(tmp_path: Path) -> None:
    async def main() -> None:
        with HookServer() as hook:
            hook.status, hook.headers = 503, {"retry-after": "120"}
            async with event_world(tmp_path / "d.db") as world:
                register(world, hook.url)
                async with sending(world) as webhooks:
                    campaign = world.sqlite.add_campaign(size=1)
                    world.lives(campaign, range(1))
                    await until(lambda: shown(webhooks)["failures"] == 1)
                    (target,) = webhooks.targets()
                    assert target.retry_at is not None
                    assert 110_000 < target.retry_at - world.clock.now().wall <= 120_000

    asyncio.run(main())


def test_what_could_not_be_delivered_in_time_is_dead_and_counted(tmp_path: Path) -> None:
    async def main() -> None:
        keeping = Keeping(stream_ms=1000, longest_ms=300, most=10_000)
        with HookServer() as hook:
            hook.status = 500
            async with event_world(tmp_path / "d.db", keeping) as world:
                # Rows outlive the limit, so that the courier sees what it gives up.
                world.feed.keeping = Keeping(1000, 3_600_000, 10_000)
                register(world, hook.url)
                async with sending(world) as webhooks:
                    world.feed.keeping = keeping
                    campaign = world.sqlite.add_campaign(size=2)
                    world.lives(campaign, range(1))
                    await until(lambda: shown(webhooks)["dead_events"] == 4)
                    hook.status = 204
                    world.lives(campaign, range(1, 2))
                    await until(lambda: shown(webhooks)["delivered_events"] == 4)

    asyncio.run(main())


def test_an_address_that_is_gone_is_asked_no_more(tmp_path: Path) -> None:
    async def main() -> None:
        with HookServer() as hook:
            hook.status = 410
            async with event_world(tmp_path / "d.db") as world:
                register(world, hook.url)
                async with sending(world) as webhooks:
                    campaign = world.sqlite.add_campaign(size=2)
                    world.lives(campaign, range(1))
                    await until(lambda: shown(webhooks)["status"] == "gone")
                    assert webhooks.targets() == []
                    # With its only sink gone, nothing is recorded any more.
                    world.lives(campaign, range(1, 2))
                    assert world.log.end() == 4

    asyncio.run(main())


def test_only_the_accounts_own_events_of_the_wanted_types_are_delivered(tmp_path: Path) -> None:
    async def main() -> None:
        with HookServer() as hook:
            async with event_world(tmp_path / "d.db") as world:
                made = register(world, hook.url, "call.finished", account=2)
                async with sending(world):
                    mine = world.sqlite.add_campaign(size=3, account=2)
                    others = world.sqlite.add_campaign(size=3, account=1)
                    world.lives(others, range(3))
                    world.lives(mine, range(3))
                    await until(lambda: len(hook.taken) == 3 and world.feed.waiting == 0)
                    kinds = {hook.verified(delivery, made["secret"])["type"] for delivery in hook.taken}
                    assert kinds == {"call.finished"}

    asyncio.run(main())


def test_a_redirect_is_a_failure_and_is_not_followed(tmp_path: Path) -> None:
    async def main() -> None:
        with HookServer() as hook:
            hook.status, hook.headers = 307, {"location": f"{hook.url}/elsewhere"}
            async with event_world(tmp_path / "d.db") as world:
                register(world, f"{hook.url}/here")
                async with sending(world) as webhooks:
                    world.lives(world.sqlite.add_campaign(size=1), range(1))
                    await until(lambda: shown(webhooks)["last_error"] == "answered 307")
                    assert {delivery.path for delivery in hook.deliveries} == {"/here"}

    asyncio.run(main())


def test_a_name_that_leads_into_our_network_later_is_refused_at_delivery(tmp_path: Path) -> None:
    """Registered while private addresses were allowed; the same goes for a name that was pointed elsewhere since."""

    async def main() -> None:
        with HookServer() as hook:
            async with event_world(tmp_path / "d.db") as world:
                register(world, f"http://localhost:{hook.port}/")
                webhooks = Webhooks(world.database, world.clock)
                async with running_sender(world, webhooks, allow_private=False) as sender:
                    world.lives(world.sqlite.add_campaign(size=1), range(1))
                    await until(lambda: "private address" in (shown(webhooks)["last_error"] or ""))
                    assert hook.deliveries == []
                    # A reload allows it again.
                    sender.follow(allow_private=True)
                    await until(lambda: len(hook.deliveries) > 0)

    asyncio.run(main())


def test_an_answer_without_an_end_holds_nobody(tmp_path: Path) -> None:
    import http.server

    class Endless(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x" * 65_536)
            except OSError:
                pass

        def log_message(self, *_: object) -> None:
            pass

    async def main() -> None:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            async with event_world(tmp_path / "d.db") as world:
                register(world, f"http://127.0.0.1:{server.server_address[1]}/")
                async with sending(world) as webhooks:
                    world.lives(world.sqlite.add_campaign(size=3), range(3))
                    await until(lambda: shown(webhooks)["delivered_events"] == 12)
        finally:
            server.shutdown()
            server.server_close()

    asyncio.run(main())


def test_a_webhook_that_is_deleted_or_added_is_noticed_and_there_is_a_limit(tmp_path: Path) -> None:
    async def main() -> None:
        with HookServer() as one, HookServer() as two:
            async with event_world(tmp_path / "d.db") as world:
                first = register(world, one.url)
                async with sending(world) as webhooks:
                    campaign = world.sqlite.add_campaign(size=2)
                    world.lives(campaign, range(1))
                    await until(lambda: len(one.taken) == 4)
                    assert webhooks.delete(1, first["id"])
                    assert not webhooks.delete(1, first["id"])
                    register(world, two.url)
                    await until(lambda: set(world.feed._positions) == {"webhook:2"})
                    world.lives(campaign, range(1, 2))
                    await until(lambda: len(two.taken) == 4)
                    assert len(one.taken) == 4
                    for _ in range(MOST_PER_ACCOUNT - 1):
                        register(world, two.url)
                    assert webhooks.create(1, two.url, ()) is None

    asyncio.run(main())


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (None, "must be a URL"),
        ("", "must be a URL"),
        ("https://ex ample.org/", "must look like|is not a URL"),
        ("ftp://example.org/", "must look like https"),
        ("https:///path", "must look like https|is not a URL"),
        ("http://93.184.215.14/", "must begin with https"),
        ("https://user:pass@93.184.215.14/", "user or password"),
        ("https://93.184.215.14/#part", "fragment"),
        ("https://93.184.215.14:99999/", "is not a URL"),
        ("https://[::ffff:10.0.0.1]/", "private address"),
        ("https://169.254.169.254/latest/meta-data", "private address"),
        ("https://0.0.0.0/", "private address"),
        ("https://2130706433/", "private address"),
        ("https://nothing.invalid/", "cannot be resolved"),
        ("https://example.org/" + "x" * 2000, "must be a URL"),
    ],
)
def test_urls_that_may_not_be_told_are_refused_with_the_reason(url: Any, reason: str) -> None:
    with pytest.raises(ForbiddenTarget, match=reason):
        asyncio.run(check_url(url, allow_private=False))


def test_public_urls_are_accepted_and_private_ones_where_allowed() -> None:
    assert asyncio.run(check_url("https://93.184.215.14/x?y=1", allow_private=False)) == "https://93.184.215.14/x?y=1"
    assert asyncio.run(check_url("http://127.0.0.1:8000/", allow_private=True)) == "http://127.0.0.1:8000/"
    reach = webhook_reach(allow_private=True)
    assert asyncio.run(addresses("127.0.0.1", 80, reach)) == ["127.0.0.1"]
