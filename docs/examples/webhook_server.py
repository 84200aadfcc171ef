"""A program that tells calls what to do next, for the step `webhook` of the dialer (docs/webhook-step.md).

It asks the callee for the number of an order, and says where that is. Needs Python's standard library only.

    python3 webhook_server.py --port 9000 --secret "$SECRET"
"""

import argparse
import base64
import hmac
import json
import time
from email.message import Message
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FRESH_SECONDS = 300
ORDERS = {"5": "is on its way", "7": "waits for your payment"}


def is_ours(headers: Message, body: bytes, secret: str) -> bool:
    """Whether the dialer that has the secret sent this, and just now (standardwebhooks.com)."""
    message_id, sent_at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = base64.b64encode(hmac.new(key, f"{message_id}.{sent_at}.".encode() + body, sha256).digest()).decode()
    genuine = any(
        hmac.compare_digest(given, f"v1,{signed}") for given in headers.get("webhook-signature", "").split(" ")
    )
    return genuine and sent_at.isdigit() and abs(time.time() - int(sent_at)) < FRESH_SECONDS


def next_steps(question: dict[str, Any]) -> list[dict[str, Any]]:
    """What the call is to do. Here you look into your database."""
    order = question["parameters"].get("order", "")
    if not order:
        ask = {"do": "say", "text": "Please type the number of your order."}
        return [
            {"do": "gather", "save_as": "order", "prompt": [ask], "on_no_input": "end"},
            {"do": "goto", "to": "ask"},
        ]
    where = ORDERS.get(order, "is not known to us")
    return [
        {"do": "say", "text": f"Your order {order} {where}."},
        {"do": "set", "custom_fields": {"last_order": order}},
    ]


class Handler(BaseHTTPRequestHandler):
    """One connection; the dialer keeps it for its next questions."""

    protocol_version = "HTTP/1.1"
    secret = ""

    def do_POST(self) -> None:
        """A question."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if is_ours(self.headers, body, self.secret):
            self.answer(200, json.dumps({"steps": next_steps(json.loads(body))}).encode())
        else:
            self.answer(401, b"")

    def answer(self, status: int, body: bytes) -> None:
        """Status and JSON."""
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--secret", required=True, help="webhooks.secret of the dialer")
    given = parser.parse_args()
    Handler.secret = given.secret
    server = ThreadingHTTPServer(("127.0.0.1", given.port), Handler)
    print(f"listening on {server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
