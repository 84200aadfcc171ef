import json

import pytest

from api import topics
from dialer.core.model import AccountId, WallMs
from dialer.ports import RecordedEvent

ACCOUNT = "11111111-1111-4111-8111-111111111111"
CAMPAIGN = "22222222-2222-4222-8222-222222222222"
CALL = "33333333-3333-8333-8333-333333333333"


def event(call: str | None = CALL, campaign: str | None = CAMPAIGN) -> RecordedEvent:
    return RecordedEvent(1, AccountId(1), ACCOUNT, campaign, call, True, WallMs(0), {"type": "call.dialing"})


def test_a_calls_event_goes_to_the_call_and_a_campaigns_to_its_state() -> None:
    assert topics.event_topic("a/b", event()) == f"a/b/account/{ACCOUNT}/call/{CALL}/event"
    assert topics.event_topic("a/b", event(campaign=None)) == f"a/b/account/{ACCOUNT}/call/{CALL}/event"
    assert topics.event_topic("a/b", event(call=None)) == f"a/b/account/{ACCOUNT}/campaign/{CAMPAIGN}/state"


@pytest.mark.parametrize("order", ["pause", "resume", "cancel"])
def test_a_command_names_account_campaign_and_order(order: str) -> None:
    topic = f"a/b/account/{ACCOUNT}/campaign/{CAMPAIGN}/command"
    assert topics.read_command("a/b", topic, f" {order}\n".encode()) == topics.Command(ACCOUNT, CAMPAIGN, order)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        (f"a/b/account/{ACCOUNT}/campaign/{CAMPAIGN}/command", b"stop", "payload must be pause, resume, cancel"),
        (f"a/b/account/{ACCOUNT}/campaign/{CAMPAIGN}/command", b"", "payload"),
        (f"a/b/account/x/campaign/{CAMPAIGN}/command", b"pause", "topic"),
        (f"a/b/account/{ACCOUNT}/campaign/{CAMPAIGN}/state", b"pause", "topic"),
        (f"account/{ACCOUNT}/campaign/{CAMPAIGN}/command", b"pause", "topic"),
    ],
)
def test_anything_else_is_no_command(topic: str, payload: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        topics.read_command("a/b", topic, payload)


def test_payloads_are_compact_utf_8_whatever_a_reason_phrase_holds() -> None:
    body = topics.body({"reason": "Besetzt: ü \udc80", "q850_cause": None})
    assert body.startswith('{"reason":"Besetzt: ü '.encode())
    assert json.loads(body)["q850_cause"] is None
