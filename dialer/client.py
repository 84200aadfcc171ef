"""The API as the command line calls it: answers as parsed JSON, refusals as one line and their details."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, Self

import httpx

from dialer.terminal import Refused

_TRIES = 3
PAUSE_SECONDS = 1.0
# A campaign of a million contacts takes the server seconds; a server that hangs must not hold a terminal for ever.
_TIMEOUT = httpx.Timeout(10.0, read=300.0, write=60.0)
# A stream that is alive says so more often.
_STREAM_TIMEOUT = httpx.Timeout(10.0, read=60.0)

Json = dict[str, Any]


class ApiRefused(Refused):
    """The API answered with an error. `status` is the HTTP status, `details` what it listed."""

    def __init__(self, status: int, error: str, details: list[Json]) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.details = details

    def told(self, place: Callable[[int], str]) -> Refused:
        """The refusal with its details, one a line; `place` names the contact of an index."""
        details = [
            f"{': '.join([*([place(one['index'])] if 'index' in one else []), str(one.get('field', ''))])}: "
            f"{one.get('reason', '')}"
            for one in self.details
        ]
        return Refused.listing(self.error, details)


def may_pass(refused: Refused) -> bool:
    """Whether to ask again is worth it: nobody was reached, or a server or a proxy before it that cannot just now."""
    return not isinstance(refused, ApiRefused) or refused.status >= HTTPStatus.INTERNAL_SERVER_ERROR


class Client:
    """A connection to one server on behalf of one token. Raises `Refused` for everything that goes wrong."""

    def __init__(self, url: str, token: str, *, transport: httpx.BaseTransport | None = None) -> None:
        if not url.startswith(("http://", "https://")):
            raise Refused(f"{url}: the address of the API begins with http:// or https://")
        token = token.strip()
        if not (token.isascii() and token.isprintable()):
            raise Refused("this is no token: it has characters that no token has")
        try:
            self._http = httpx.Client(
                base_url=url,
                headers={"Authorization": f"Bearer {token}"},
                timeout=_TIMEOUT,
                trust_env=False,
                transport=transport,
            )
        except (httpx.InvalidURL, UnicodeError, ValueError) as error:
            raise Refused(f"{url}: {error}") from error
        self.url = url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: str | int | None) -> Json:
        """The answer to a GET."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._ask("GET", path, params=given)

    def post(self, path: str, body: object = None) -> Json:
        """The answer to a POST. It is tried again where the connection broke, under one Idempotency-Key."""
        if body is None:
            return self._ask("POST", path)
        return self._ask("POST", path, json=body, headers={"Idempotency-Key": str(uuid.uuid4())})

    def stream(self, path: str, **query: str | None) -> Iterator[tuple[str, Json]]:
        """The server-sent events of a path, until it ends: the name of each ("message" where it has none) and its data."""
        given = {name: value for name, value in query.items() if value is not None}
        try:
            with self._http.stream("GET", path, params=given, timeout=_STREAM_TIMEOUT) as answer:
                if not answer.is_success:
                    answer.read()
                    _read(answer)
                event = "message"
                for line in answer.iter_lines():
                    name, _, value = line.partition(": ")
                    if name == "event":
                        event = value
                    elif name == "data":
                        yield event, json.loads(value)
                        event = "message"
        except httpx.ConnectError as error:
            raise Refused(f"cannot reach {self.url} ({error}); is `dialer serve` running?") from error
        except httpx.TransportError as error:
            raise Refused(f"{self.url}: the connection broke ({error or type(error).__name__})") from error

    def pages(self, path: str, limit: int, **query: str | None) -> Iterator[Json]:
        """The items of a list, up to `limit` of them, page by page."""
        cursor: str | None = None
        while limit > 0:
            page = self.get(path, limit=min(limit, 1000), cursor=cursor, **query)
            yield from page["items"]
            limit -= len(page["items"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _ask(self, method: str, path: str, **options: Any) -> Json:  # noqa: ANN401 - httpx's own
        for tried in range(1, _TRIES + 1):
            try:
                answer = self._http.request(method, path, **options)
                break
            except (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
                raise Refused(f"cannot reach {self.url} ({error}); is `dialer serve` running?") from error
            except httpx.TransportError as error:
                if tried == _TRIES:
                    raise Refused(f"{self.url}: the connection broke ({error or type(error).__name__})") from error
                time.sleep(tried * PAUSE_SECONDS)
        return _read(answer)


def _read(answer: httpx.Response) -> Json:
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refused(f"{answer.url}: HTTP {answer.status_code}, and not the answer of a dialer")
    if answer.is_success:
        return body
    details = body.get("details")
    raise ApiRefused(
        answer.status_code,
        str(body.get("error", f"HTTP {answer.status_code}")),
        [one for one in details if isinstance(one, dict)] if isinstance(details, list) else [],
    )
