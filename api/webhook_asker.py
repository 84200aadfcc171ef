"""Asks programs what a call is to do next, for the step `webhook`. Implements `dialer.ports.Programs`.

One POST for each question, signed as events to webhooks are, on connections that are kept for the next. Whatever the other side
does, the question is answered in its time.
"""

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import httpx
import structlog
from standardwebhooks.webhooks import Webhook

from api.offload import in_thread
from api.signing import signed_headers
from api.webhook_targets import CheckedTransport
from dialer.core.targets import ForbiddenTarget
from dialer.ports import Question, Reply

log = structlog.get_logger("webhooks")

MAX_ANSWER_BYTES: Final = 1 << 16
_IDLE_SECONDS: Final = 60.0
_MOST_HOSTS: Final = 64
# A server may close a connection that was idle at the moment at which we use it again.
_BROKEN = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


@dataclass(slots=True, eq=False)
class _Host:
    """The connections to one host, `busy` of them. `left`: no question goes there any more."""

    client: httpx.AsyncClient
    busy: int = 0
    left: bool = False


class WebhookAsker:
    """`secret` signs the questions. Calls limit the connections: each has one question at a time."""

    def __init__(self, *, allow_private: bool, secret: str) -> None:
        self._allow_private, self._secret = allow_private, secret
        self._trust: asyncio.Task[ssl.SSLContext] | None = None
        self._hosts: OrderedDict[str, _Host] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def follow(self, *, allow_private: bool, secret: str) -> None:
        """Questions from now on go by this."""
        if allow_private != self._allow_private:
            while self._hosts:
                self._leave_oldest()
        self._allow_private, self._secret = allow_private, secret

    async def close(self) -> None:
        """Drop the questions that are under way, without an answer, and all connections."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._trust is not None:
            await self._trust
        for host in self._hosts.values():
            await host.client.aclose()
        self._hosts.clear()

    def ask(self, question: Question, answered: Callable[[Reply], None]) -> None:
        """See Programs."""
        self._begin(self._ask(question, answered))

    def _begin(self, act: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(act)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, question: Question, answered: Callable[[Reply], None]) -> None:
        try:
            async with asyncio.timeout(question.timeout_seconds):
                reply = await self._post(question)
        except TimeoutError:
            reply = Reply(fault=f"no answer within {question.timeout_seconds:g} s")
        except ForbiddenTarget as error:
            reply = Reply(fault=str(error))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            reply = Reply(fault=f"{type(error).__name__}: {error}"[:300])
        except Exception:
            log.exception("a question to a program failed")
            reply = Reply(fault="it could not be asked")
        answered(reply)

    async def _post(self, question: Question) -> Reply:
        if self._trust is None:
            # Once, and in a thread: the system's authorities take 30 ms to read.
            self._trust = asyncio.create_task(in_thread(ssl.create_default_context))
        host = self._host_of(question.url, await asyncio.shield(self._trust))
        host.busy += 1
        try:
            try:
                return await self._exchange(host.client, question)
            except _BROKEN:
                return await self._exchange(host.client, question)
        finally:
            host.busy -= 1
            self._let_go(host)

    async def _exchange(self, client: httpx.AsyncClient, question: Question) -> Reply:
        body = question.body.encode()
        headers = {
            **signed_headers(Webhook(self._secret), question.id, body),
            "accept": "application/json",
            # What is compressed has any length.
            "accept-encoding": "identity",
        }
        async with client.stream("POST", question.url, content=body, headers=headers) as answer:
            if not answer.is_success:
                return Reply(answer.status_code, fault=f"answered {answer.status_code}")
            read = bytearray()
            async for chunk in answer.aiter_raw():
                read += chunk
                if len(read) > MAX_ANSWER_BYTES:
                    return Reply(answer.status_code, fault=f"answered more than {MAX_ANSWER_BYTES:,} bytes")
        try:
            return Reply(answer.status_code, read.decode())
        except UnicodeDecodeError:
            return Reply(answer.status_code, fault="the answer is not UTF-8")

    def _host_of(self, url: str, context: ssl.SSLContext) -> _Host:
        name = httpx.URL(url).netloc.decode("ascii")
        found = self._hosts.get(name)
        if found is None:
            transport = CheckedTransport(context, allow_private=self._allow_private, idle_seconds=_IDLE_SECONDS)
            client = httpx.AsyncClient(transport=transport, timeout=None, follow_redirects=False, trust_env=False)  # noqa: S113
            found = self._hosts[name] = _Host(client)
            if len(self._hosts) > _MOST_HOSTS:
                self._leave_oldest()
        self._hosts.move_to_end(name)
        return found

    def _leave_oldest(self) -> None:
        _, host = self._hosts.popitem(last=False)
        host.left = True
        self._let_go(host)

    def _let_go(self, host: _Host) -> None:
        if host.left and not host.busy:
            self._begin(host.client.aclose())
