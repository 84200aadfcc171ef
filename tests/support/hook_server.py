"""An HTTP server that takes webhooks: it writes down what comes, and answers as the test says."""

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from standardwebhooks.webhooks import Webhook


@dataclass(frozen=True)
class Delivery:
    path: str
    headers: dict[str, str]
    body: bytes
    status: int


class HookServer:
    """`status` is answered to all deliveries, with `headers`; `judge`, where it is set, decides for each."""

    def __init__(self) -> None:
        self.status = 204
        self.headers: dict[str, str] = {}
        self.judge: Any = None
        self.deliveries: list[Delivery] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = outer.status if outer.judge is None else outer.judge(json.loads(body))
                outer.deliveries.append(
                    Delivery(self.path, {k.lower(): v for k, v in self.headers.items()}, body, status)
                )
                self.send_response(status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def taken(self) -> list[Delivery]:
        return [delivery for delivery in list(self.deliveries) if delivery.status < 300]

    @staticmethod
    def verified(delivery: Delivery, secret: str) -> dict[str, Any]:
        found: dict[str, Any] = Webhook(secret).verify(delivery.body, delivery.headers)
        assert delivery.headers["webhook-id"] == found["event_id"]
        return found

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
