"""Post a campaign, follow it by the stream of events, and print what each call came to. Needs Python's standard library only.

export DIALER_URL=http://127.0.0.1:8080 DIALER_TOKEN=dlr_...
python3 follow_campaign.py PLAYBOOK_ID +34600000001 +34600000002
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

URL = os.environ.get("DIALER_URL", "http://127.0.0.1:8080")
AUTHORIZED = {"Authorization": f"Bearer {os.environ['DIALER_TOKEN']}"}


def ask(method: str, path: str, body: object = None, **headers: str) -> dict[str, Any]:
    """One request. A connection that breaks, 429 and 503 are tried again; with an Idempotency-Key nothing happens twice."""
    content = None if body is None else json.dumps(body).encode()
    headers = {**AUTHORIZED, "Content-Type": "application/json", **headers}
    pauses = [1.0, 2.0, 4.0, 8.0]
    while True:
        request = urllib.request.Request(URL + path, content, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            problem = json.load(error)
            if error.code not in {429, 503} or not pauses:
                faults = [json.dumps(fault) for fault in problem.get("details", [])]
                sys.exit("\n  ".join([f"{method} {path}: {error.code} {problem['error']}", *faults]))
            pauses[0] = float(error.headers.get("Retry-After", pauses[0]))
        except OSError as error:
            if not pauses:
                sys.exit(f"{URL}: {error}")
        time.sleep(pauses.pop(0))


def events() -> Iterator[dict[str, Any]]:
    """The account's events, for ever: {} once it listens, and after a break it goes on where it was (Last-Event-ID)."""
    last: dict[str, str] = {}
    while True:
        request = urllib.request.Request(f"{URL}/events", headers={**AUTHORIZED, **last})
        try:
            with urllib.request.urlopen(request, timeout=60) as stream:
                for line in stream:
                    name, _, value = line.decode().rstrip("\n").partition(": ")
                    if name == "retry":
                        yield {}
                    elif name == "id":
                        last = {"Last-Event-ID": value}
                    elif name == "data":
                        yield json.loads(value)
        except urllib.error.HTTPError as error:
            sys.exit(f"GET /events: {error.code} {json.load(error)['error']}")
        except OSError:
            time.sleep(2)


def main() -> None:
    """Listen first, then post: so nothing is missed."""
    playbook, *numbers = sys.argv[1:]
    stream = events()
    next(stream)
    asked = {"playbook_id": playbook, "contacts": [{"phone": number} for number in numbers], "recall": [0.05, 0.1]}
    posted = ask("POST", "/campaign", asked, **{"Idempotency-Key": str(uuid.uuid4())})
    campaign = posted["campaign_id"]
    print(posted["message"], campaign)
    for event in stream:
        if event.get("campaign_id") != campaign:
            continue
        if event["type"] == "call.ended":
            print(f"{event['phone']}  attempt {event['attempt']}: {event['disposition']} ({event['reason']})")
        elif event["type"] == "call.recall_scheduled":
            print(f"{event['phone']}  again at {event['next_attempt_at']}")
        elif event["type"] in {"campaign.completed", "campaign.cancelled"}:
            break
    print(json.dumps(ask("GET", f"/campaign/{campaign}")["dispositions"]))


if __name__ == "__main__":
    main()
