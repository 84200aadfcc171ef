"""Workers that die and brokers that are away leave no cycle behind: one that the collector spares would stay for good."""

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

from dialer.core.events import Answered, LegLost
from dialer.core.model import LegId
from tests.integration.test_mqtt import outlet, target
from tests.support.broker import Broker, needs_mosquitto
from tests.support.event_world import event_world, until
from tests.support.far_end import FarEnd
from tests.support.labs import async_test
from tests.support.leftovers import leftovers
from tests.support.pools import order, pool_to, pool_until, trunk_to

ROUNDS = 4
# The first time of anything leaves something. A worker, a client or a window of events for each round would be hundreds.
FEW = 20


@async_test
async def test_a_worker_that_was_killed_is_gone_with_all_that_was_its() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port), max_concurrent_calls=8, workers=2) as (pool, events):
        await pool_until(pool, lambda: pool.state().workers_up == 2)
        with leftovers() as found:
            for number in range(1, ROUNDS + 1):
                leg = LegId(number)
                pool.dial(leg, order())
                await far.talking()
                await events.wait(Answered, leg)
                os.kill(pool._carriers[leg].pid, signal.SIGKILL)
                far.reply(await far.request("BYE"), 200)
                assert isinstance(await events.over(leg), LegLost)
                await pool_until(pool, lambda: pool.state().workers_up == 2)
    assert found["sip.process.WorkerProcess"] == 0, found
    assert found.total() < FEW, found


@needs_mosquitto
def test_a_broker_that_was_away_leaves_no_client_and_no_event(tmp_path: Path) -> None:
    mosquitto = Broker(tmp_path / "broker")

    async def main() -> Counter[str]:
        async with event_world(tmp_path / "d.db") as world, outlet(world, target(mosquitto.port)) as sink:
            campaign = world.sqlite.add_campaign(size=100 * ROUNDS)
            await asyncio.to_thread(mosquitto.start)
            await until(lambda: sink.connected)
            with leftovers() as found:
                for number in range(ROUNDS):
                    world.lives(campaign, range(100 * number, 100 * number + 100))
                    await asyncio.to_thread(mosquitto.kill)
                    await until(lambda: not sink.connected)
                    await asyncio.to_thread(mosquitto.start)
                    await until(lambda: sink.connected)
                await until(lambda: world.feed.waiting == 0)
            return found

    try:
        found = asyncio.run(main())
    finally:
        mosquitto.kill()
    assert found["api.mqtt._Client"] == 0, found
    assert found.total() < FEW, found
