"""docs/events.md is what integrators build on: its examples, types, topics and settings are held against the program."""

import json
import re
from pathlib import Path

import pytest

from api import topics
from api.schemas import EventType
from api.webhook_sender import _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS, _TIMEOUT_SECONDS
from api.webhooks import EVENT_TYPES
from config.settings import Settings
from dialer.core.changes import CampaignMoved
from dialer.core.model import AccountId, CampaignStatus, WallMs
from dialer.ports import RecordedEvent
from scheduler.clock import SystemClock
from scheduler.database import Database
from scheduler.event_log import EventLog
from scheduler.webhooks import MOST_PER_ACCOUNT
from tests.support.sqlite_world import SqliteWorld
from tests.support.store_world import T0, arm, dial, end, finish

TEXT = (Path(__file__).parents[2] / "docs" / "events.md").read_text()


def examples() -> list[dict[str, object]]:
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)]


def test_the_payloads_shown_have_exactly_the_keys_that_go_out(tmp_path: Path) -> None:
    world = SqliteWorld(tmp_path / "d.db")
    database = Database(world.path)
    log = EventLog(database, SystemClock())
    log.open("mqtt")
    campaign = world.add_campaign(size=1)
    world.store.apply([arm(campaign), dial(campaign)])
    world.store.apply(
        [end(campaign), finish(campaign), CampaignMoved(campaign.id, WallMs(T0), CampaignStatus.COMPLETED)]
    )
    sent = {event.payload["type"]: event.payload for event in log.after(0, 100)}
    assert len(examples()) == 2
    for example in examples():
        assert list(example) == list(sent[str(example["type"])])
        assert all(type(value) is type(sent[str(example["type"])][key]) for key, value in example.items() if value)
    database.close()
    world.close()


def test_the_table_names_every_type() -> None:
    rows = re.findall(r"^\| (`(?:call|campaign)\..*?) \|", TEXT, re.MULTILINE)
    named = {word for row in rows for word in re.findall(r"`(call\.\w+|campaign\.\w+)`", row)}
    named |= {f"campaign.{word}" for row in rows for word in re.findall(r"`\.(\w+)`", row)}
    assert named == set(EVENT_TYPES)
    assert EventType is not None


def test_the_topics_are_those_that_are_used() -> None:
    shown = set(re.findall(r"^\| `(\{prefix\}/[^`]+)`", TEXT, re.MULTILINE))
    call = RecordedEvent(1, AccountId(1), "{account}", "{campaign}", "{id}", True, WallMs(0), {})
    campaign = RecordedEvent(1, AccountId(1), "{account}", "{id}", None, True, WallMs(0), {})
    used = {
        topics.status_topic("{prefix}"),
        topics.event_topic("{prefix}", call),
        topics.event_topic("{prefix}", campaign),
        topics.command_filter("{prefix}").replace("+", "{account}", 1).replace("+", "{id}", 1),
    }
    assert shown == used


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("`events.outbox_hours` (24)", Settings().events.outbox_hours == 24),
        ("`events.stream_minutes` (60)", Settings().events.stream_minutes == 60),
        ("all of the account's webhooks (10 at most)", MOST_PER_ACCOUNT == 10),
        ("Answer 2xx within 15 seconds", _TIMEOUT_SECONDS == 15),
        ("(5 seconds, then twice as long each time, half an hour at most", _FIRST_PAUSE_SECONDS == 5),
        ("half an hour at most", _LONGEST_PAUSE_SECONDS == 1800),
    ],
)
def test_the_figures_are_those_of_the_program(words: str, value: bool) -> None:
    assert words in TEXT.replace("\n", " ").replace("  ", " ") or words in TEXT
    assert value
