"""Delivers events to webhooks: signed as Standard Webhooks asks (standardwebhooks.com), at least once, in order per call.

Each webhook has a courier, which takes a window of events, sends those of different calls side by side and those of one
call one after the other. After a failure the whole webhook rests, longer each time, and the window is tried again from
what was not taken. What could not be delivered in time (`events.outbox_hours`) is given up, counted and shown.
"""

import asyncio
import contextlib
import random
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpx
import structlog
from standardwebhooks.webhooks import Webhook

from api import topics
from api.event_log import Webhooks
from api.feed import Feed
from api.offload import in_thread
from api.signing import signed_headers
from api.webhook_targets import CheckedTransport
from dialer.core.model import WallMs
from dialer.core.targets import ForbiddenTarget
from dialer.ports import RecordedEvent, StoreUnavailable, WebhookTarget

log = structlog.get_logger("webhooks")

_WINDOW = 100
_SIDE_BY_SIDE = 4
_TIMEOUT_SECONDS = 15.0
_LOOK_SECONDS = 1.0
_SHORT_ANSWER_BYTES = 1 << 16
_FIRST_PAUSE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 1800.0


class _Undelivered(Exception):
    """The text says why. `after_seconds` is what the other side asked to wait; `gone`: it wants no more."""

    def __init__(self, reason: str, *, after_seconds: float = 0.0, gone: bool = False) -> None:
        super().__init__(reason)
        self.after_seconds = after_seconds
        self.gone = gone


class WebhookSender:
    """Keeps a courier for every webhook there is. `clock` gives Unix time in milliseconds."""

    def __init__(
        self,
        webhooks: Webhooks,
        feed: Feed,
        *,
        allow_private: bool,
        clock: Callable[[], WallMs],
        first_pause: float = _FIRST_PAUSE_SECONDS,
    ) -> None:
        self._webhooks = webhooks
        self._feed = feed
        self._allow_private = allow_private
        self._clock = clock
        self._first_pause = first_pause
        self._context: ssl.SSLContext | None = None
        self._couriers: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Start and stop couriers as webhooks come and go. Until cancelled."""
        try:
            while True:
                with contextlib.suppress(StoreUnavailable):
                    await self._match(await in_thread(self._webhooks.targets))
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            for task in self._couriers.values():
                task.cancel()
            await asyncio.gather(*self._couriers.values(), return_exceptions=True)

    def follow(self, *, allow_private: bool) -> None:
        """From now on webhooks may go so far. What is under way is broken off, and sent again."""
        if allow_private != self._allow_private:
            self._allow_private = allow_private
            for task in self._couriers.values():
                task.cancel()

    async def _match(self, targets: list[WebhookTarget]) -> None:
        wanted = {target.number: target for target in targets}
        for number, task in list(self._couriers.items()):
            if number not in wanted or task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                del self._couriers[number]
        for number, target in wanted.items():
            if number not in self._couriers:
                if self._context is None:
                    self._context = await in_thread(ssl.create_default_context)
                courier = Courier(
                    target,
                    self._webhooks,
                    self._feed,
                    CheckedTransport(self._context, allow_private=self._allow_private, connections=_SIDE_BY_SIDE),
                    clock=self._clock,
                    first_pause=self._first_pause,
                )
                self._couriers[number] = asyncio.create_task(courier.run(), name=target.sink)


class Courier:
    """Delivers to one webhook."""

    def __init__(
        self,
        target: WebhookTarget,
        webhooks: Webhooks,
        feed: Feed,
        transport: httpx.AsyncBaseTransport,
        *,
        clock: Callable[[], WallMs],
        first_pause: float,
    ) -> None:
        self._target = target
        self._webhooks = webhooks
        self._feed = feed
        self._transport = transport
        self._clock = clock
        self._first_pause = first_pause
        self._failures = target.failures
        self._signer = Webhook(target.secret)
        self._taken: set[int] = set()
        self._side_by_side = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def run(self) -> None:
        """Until cancelled, or the other side is gone."""
        target = self._target
        try:
            position = (await in_thread(self._feed.log.positions)).get(target.sink)
            if position is None:
                return
            self._feed.begin(target.sink, position)
            if target.retry_at is not None:
                await asyncio.sleep(max(0, target.retry_at - self._clock()) / 1000)
            async with httpx.AsyncClient(
                transport=self._transport, timeout=_TIMEOUT_SECONDS, follow_redirects=False, trust_env=False
            ) as client:
                while True:
                    events = await self._feed.after(position, _WINDOW)
                    if not await self._deliver(client, events):
                        return
                    position = events[-1].position
                    self._feed.passed(target.sink, position)
        except StoreUnavailable as fault:
            # A new courier begins where this one's position is stored.
            log.warning("a webhook waits for the database", webhook=target.number, fault=str(fault))
        except Exception:
            log.exception("a webhook's courier failed", webhook=target.number)
        finally:
            self._feed.leave(target.sink)

    async def _deliver(self, client: httpx.AsyncClient, events: list[RecordedEvent]) -> bool:
        """Get the window delivered, however often it takes; False: the other side is gone."""
        mine = [event for event in events if self._wants(event)]
        self._taken.clear()
        while True:
            left = await self._give_up_old([event for event in mine if event.position not in self._taken])
            if not left:
                return True
            before = len(self._taken)
            failure = await self._send_all(client, left)
            if len(self._taken) > before:
                self._failures = 0
                await in_thread(self._webhooks.delivered, self._target.number, len(self._taken) - before)
            if failure is None:
                return True
            if failure.gone:
                await in_thread(self._webhooks.gone, self._target.number, str(failure))
                log.warning("a webhook is gone", webhook=self._target.number, url=self._host())
                return False
            await self._rest(failure)

    def _wants(self, event: RecordedEvent) -> bool:
        types = self._target.types
        return event.account_id == self._target.account_id and (not types or event.payload["type"] in types)

    async def _give_up_old(self, events: list[RecordedEvent]) -> list[RecordedEvent]:
        oldest = self._clock() - self._feed.keeping.longest_ms
        kept = [event for event in events if event.recorded_at >= oldest]
        dead = len(events) - len(kept)
        if dead:
            log.error("events could not be delivered in time", webhook=self._target.number, events=dead)
            await in_thread(self._webhooks.died, self._target.number, dead)
            self._taken.update(event.position for event in events if event.recorded_at < oldest)
        return kept

    async def _send_all(self, client: httpx.AsyncClient, events: list[RecordedEvent]) -> _Undelivered | None:
        """Send them, those of one call in order; the first failure, None: all were taken."""
        lanes: dict[str | None, list[RecordedEvent]] = {}
        for event in events:
            lanes.setdefault(event.call or event.campaign, []).append(event)
        stop = asyncio.Event()
        results = await asyncio.gather(*(self._send_lane(client, lane, stop) for lane in lanes.values()))
        failures = [result for result in results if result is not None]
        return next((failure for failure in failures if failure.gone), failures[0] if failures else None)

    async def _send_lane(
        self, client: httpx.AsyncClient, events: list[RecordedEvent], stop: asyncio.Event
    ) -> _Undelivered | None:
        for event in events:
            async with self._side_by_side:
                if stop.is_set():
                    return None
                try:
                    await self._send(client, event)
                except _Undelivered as failure:
                    # The others would most likely fail too; they are tried again together.
                    stop.set()
                    return failure
                self._taken.add(event.position)
        return None

    async def _send(self, client: httpx.AsyncClient, event: RecordedEvent) -> None:
        """One delivery. Raises `_Undelivered` unless it was answered with 2xx."""
        body = topics.body(event.payload)
        headers = signed_headers(self._signer, event.payload["event_id"], body)
        try:
            async with (
                asyncio.timeout(2 * _TIMEOUT_SECONDS),
                client.stream("POST", self._target.url, content=body, headers=headers) as answer,
            ):
                # An answer may be endless: one that is not known to be short is not read, and its connection is closed.
                length = answer.headers.get("content-length", "")
                if length.isdigit() and int(length) <= _SHORT_ANSWER_BYTES:
                    await answer.aread()
        except ForbiddenTarget as error:
            raise _Undelivered(str(error)) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as error:
            raise _Undelivered(f"{type(error).__name__}: {error}"[:300]) from None
        if not answer.is_success:
            raise _Undelivered(
                f"answered {answer.status_code}",
                after_seconds=_retry_after(answer),
                gone=answer.status_code == HTTPStatus.GONE,
            )

    async def _rest(self, failure: _Undelivered) -> None:
        self._failures += 1
        pause = self._first_pause * 2 ** min(self._failures - 1, 20) * random.uniform(0.8, 1.2)  # noqa: S311
        pause = min(_LONGEST_PAUSE_SECONDS, max(pause, failure.after_seconds))
        retry_at = WallMs(self._clock() + int(pause * 1000))
        await in_thread(self._webhooks.failed, self._target.number, str(failure), retry_at)
        if self._failures == 1:
            log.warning("a webhook fails", webhook=self._target.number, url=self._host(), fault=str(failure))
        await asyncio.sleep(pause)

    def _host(self) -> str:
        # Paths and queries of webhooks may hold secrets.
        return httpx.URL(self._target.url).host


def _retry_after(answer: httpx.Response) -> float:
    """Seconds (RFC 9110, 10.2.3); 0 without the header."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 8:
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
