"""MQTT topics and what is said on them. Pure.

{prefix}/status                                       retained: online, offline
{prefix}/account/{account}/campaign/{id}/state        retained: the campaign's newest event
{prefix}/account/{account}/campaign/{id}/command      to us: pause, resume, cancel
{prefix}/account/{account}/call/{id}/event            every event of the call
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dialer.ports import RecordedEvent

ONLINE, OFFLINE = b"online", b"offline"

Order = Literal["pause", "resume", "cancel"]

_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_COMMAND = re.compile(f"account/({_UUID})/campaign/({_UUID})/command")
_ORDERS: Mapping[bytes, Order] = {b"pause": "pause", b"resume": "resume", b"cancel": "cancel"}


@dataclass(frozen=True, slots=True)
class Command:
    """An order that came by MQTT; the account is the one of the topic."""

    account: str
    campaign: str
    order: Order


def status_topic(prefix: str) -> str:
    """Where it stands whether the dialer is connected.

    >>> status_topic("dialer/v1")
    'dialer/v1/status'
    """
    return f"{prefix}/status"


def event_topic(prefix: str, event: RecordedEvent) -> str:
    """Where an event goes: a call's to the call, a campaign's to the campaign's state."""
    account = f"{prefix}/account/{event.account}"
    return f"{account}/call/{event.call}/event" if event.call else f"{account}/campaign/{event.campaign}/state"


def command_filter(prefix: str) -> str:
    """What to subscribe to for all commands."""
    return f"{prefix}/account/+/campaign/+/command"


def read_command(prefix: str, topic: str, payload: bytes) -> Command:
    """The order in a message. Raises ValueError with the reason for what is none."""
    found = _COMMAND.fullmatch(topic.removeprefix(f"{prefix}/").lower())
    if not topic.startswith(f"{prefix}/") or found is None:
        raise ValueError("the topic does not name an account and a campaign by their ids")
    order = _ORDERS.get(payload.strip())
    if order is None:
        raise ValueError(f"the payload must be {', '.join(word.decode() for word in _ORDERS)}")
    return Command(found[1], found[2], order)


def body(payload: Mapping[str, Any]) -> bytes:
    """The payload as it goes out everywhere: compact JSON in UTF-8."""
    return json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")
