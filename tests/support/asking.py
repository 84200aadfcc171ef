"""Requests to the HTTP edge without a server, and what every refusal of it looks like."""

from collections.abc import Callable
from typing import Any

import anyio
import httpx

from api.app import create_app
from tests.support.fake_backend import TOKEN, Fakes

Ask = Callable[..., httpx.Response]


def asking(fakes: Fakes) -> Ask:
    """Asks an application that serves from `fakes`, with `TOKEN` unless another one (None: none) is given."""
    app = create_app(fakes.backend())

    def request(method: str, path: str, *, token: str | None = TOKEN, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            headers = httpx.Headers(options.pop("headers", {}))
            if token is not None and "Authorization" not in headers:
                headers["Authorization"] = f"Bearer {token}"
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://dialer") as client:
                return await client.request(method, path, headers=headers, **options)

        return anyio.run(send)

    return request


def error_of(answer: httpx.Response) -> str:
    """The refusal's line, in the form that the contract gives to all of them."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) <= {"error", "details"}
    assert isinstance(body["error"], str)
    assert body["error"]
    return str(body["error"])
