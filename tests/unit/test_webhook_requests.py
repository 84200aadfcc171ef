"""What may be asked of /webhook and /events, and how wrong requests are refused."""

from typing import Any

import anyio
import httpx
import pytest

from api.app import create_app
from tests.support.fake_backend import NOBODYS, OTHER_TOKEN, TOKEN, Fakes

URL = "http://127.0.0.1:9/hook"


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


class Client:
    def __init__(self, fakes: Fakes) -> None:
        self._app = create_app(fakes.backend())

    def __getattr__(self, method: str) -> Any:
        def request(path: str, **options: Any) -> httpx.Response:
            async def send() -> httpx.Response:
                headers = {"Authorization": f"Bearer {TOKEN}", **options.pop("headers", {})}
                async with httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url="http://x") as client:
                    return await client.request(method.upper(), path, headers=headers, **options)

            return anyio.run(send)

        return request


@pytest.fixture
def client(fakes: Fakes) -> Client:
    return Client(fakes)


def test_a_webhook_is_registered_shown_and_deleted_by_its_account_only(client: Client) -> None:
    made = client.post("/webhook", json={"url": URL, "events": ["call.finished", "call.finished"]})
    assert made.status_code == 201
    record = made.json()
    assert (record["url"], record["events"], record["secret"]) == (URL, ["call.finished"], "whsec_x")
    path = f"/webhook/{record['id']}"
    assert made.headers["location"] == path
    assert client.get(path).json() == {"id": record["id"], "url": URL, "events": ["call.finished"]}
    other = {"Authorization": f"Bearer {OTHER_TOKEN}"}
    assert client.get(path, headers=other).status_code == 404
    assert client.delete(path, headers=other).status_code == 404
    assert client.get("/webhook", headers=other).json() == {"items": [], "next_cursor": None}
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "url: must be a URL"),
        ({"url": 5}, "url: must be a URL"),
        ({"url": "ftp://x"}, "url: must look like"),
        ({"url": URL, "events": "call.finished"}, "events must be an array"),
        ({"url": URL, "events": ["call.began"]}, "events must be an array"),
        ({"url": URL, "events": [["call.finished"]]}, "events must be an array"),
        ({"url": URL, "secret": "mine"}, "Unknown field 'secret'"),
    ],
)
def test_a_wrong_body_is_refused_and_stores_nothing(client: Client, fakes: Fakes, body: Any, error: str) -> None:
    answer = client.post("/webhook", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(error)
    assert fakes.stored_webhooks == {}


def test_an_account_may_have_so_many_webhooks(client: Client) -> None:
    codes = [client.post("/webhook", json={"url": URL}).status_code for _ in range(4)]
    assert codes == [201, 201, 201, 409]


def test_unknown_webhooks_methods_and_event_ids_are_refused(client: Client) -> None:
    assert client.get(f"/webhook/{NOBODYS}").status_code == 404
    assert client.get("/webhook/7").status_code == 404
    assert client.put("/webhook", json={}).status_code == 405
    assert client.post("/events").status_code == 405
    assert client.get("/events", headers={"Last-Event-ID": "7"}).status_code == 400
    assert client.get("/events", params={"last_event_id": "7"}).status_code == 400
    assert client.get("/events", params={"since": "7"}).status_code == 400
    assert client.get("/events", headers={"Authorization": "Basic x"}).status_code == 401
    assert client.head("/events").headers["content-type"].startswith("text/event-stream")
