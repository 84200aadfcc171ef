"""What programs are told of a running server's calls: by MQTT, webhook and GET /events, over crashes of either side."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.broker import Broker, Subscriber, needs_mosquitto, without_gaps
from tests.support.dialer_process import Client, Dialer, eventually, free_port
from tests.support.hook_server import HookServer
from tests.support.lab_thread import LabThread

ANSWERED = ["call.scheduled", "call.dialing", "call.ringing", "call.answered", "call.ended", "call.finished"]


@contextmanager
def serving(folder: Path, lab: LabThread, **sections: Any) -> Iterator[tuple[Dialer, Client]]:
    dialer = Dialer(folder, {"pbx": lab.trunk}, **sections)
    dialer.run("db", "migrate")
    try:
        client = dialer.start().account()
        try:
            yield dialer, client
        finally:
            client.close()
    finally:
        dialer.stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as broker:
        yield broker


@needs_mosquitto
def test_a_subscriber_sees_the_whole_life_of_a_call_and_the_campaigns_state(
    lab: LabThread, tmp_path: Path, broker: Broker
) -> None:
    with Subscriber(broker) as subscriber:
        with serving(tmp_path, lab, mqtt={"url": broker.url, "topic_prefix": "test/d"}) as (_, client):
            subscriber.wait_for(lambda heard: heard and heard[-1].payload == b"online", 10, "online")
            number = "+34600100002"
            campaign = client.post(client.playbook(), [number])
            client.finished(campaign)
            subscriber.wait_for(
                lambda heard: any(b"campaign.completed" in one.payload for one in heard), 10, "completed"
            )
            call = client.calls(campaign)[number]
            (events,) = subscriber.by_call().values()
            assert [event["type"] for event in events] == ANSWERED
            assert [event["sequence"] for event in events] == [1, 2, 3, 4, 5, 6]
            (attempt,) = call["attempts"]
            for event in events:
                assert (event["call_id"], event["campaign_id"], event["phone"]) == (call["id"], campaign, number)
            ended = events[4]
            assert {key: ended[key] for key in ("trunk", "sip_call_id", "disposition", "sip_status", "q850_cause")} == {
                key: attempt[key] for key in ("trunk", "sip_call_id", "disposition", "sip_status", "q850_cause")
            }
            assert [event["at"] for event in events[1:5]] == [
                attempt[key] for key in ("dialed_at", "ringing_at", "answered_at", "ended_at")
            ]
            account = events[0]["account_id"]
            assert {one.topic for one in subscriber.heard} == {
                "test/d/status",
                f"test/d/account/{account}/campaign/{campaign}/state",
                f"test/d/account/{account}/call/{call['id']}/event",
            }
            states = [one.event["type"] for one in subscriber.heard if one.topic.endswith("/state")]
            assert states == ["campaign.scheduled", "campaign.started", "campaign.completed"]
            with Subscriber(broker) as late:
                late.wait_for(lambda heard: len(heard) == 2, 10, "what is retained")
                state = late.last("/state")
                assert state is not None
                assert (state.retained, state.event["status"]) == (True, "completed")
                assert state.event["dispositions"] == {"answered": 1}
                assert state.event["calls"] == {"scheduled": 0, "live": 0, "finished": 1}
        subscriber.wait_for(lambda heard: heard[-1].payload == b"offline", 10, "offline after a stop")


@pytest.mark.parametrize(
    ("events", "given_up"), [({"max_events": 1000}, 500), ({"outbox_hours": 0.0005}, 1500)], ids=["number", "age"]
)
def test_events_that_no_broker_takes_are_bounded_and_what_is_given_up_is_counted(
    lab: LabThread, tmp_path: Path, events: dict[str, Any], given_up: int
) -> None:
    nobody = f"mqtt://127.0.0.1:{free_port()}"
    with serving(tmp_path, lab, mqtt={"url": nobody}, events=events) as (dialer, client):
        client.post(client.playbook(), [f"+3460{i:07d}" for i in range(1500)], launch_at="2031-01-01T00:00Z")

        def counted() -> float:
            lines = httpx.get(f"{dialer.url}/metrics").text.splitlines()
            return next(float(line.split()[1]) for line in lines if line.startswith("dialer_events_given_up_total"))

        eventually(lambda: counted() >= given_up, 30, f"{given_up} events are given up")


@needs_mosquitto
def test_commands_pause_resume_and_cancel_and_a_killed_server_is_offline(
    lab: LabThread, tmp_path: Path, broker: Broker
) -> None:
    mqtt = {"url": broker.url}
    with Subscriber(broker) as subscriber, serving(tmp_path, lab, mqtt=mqtt) as (dialer, client):
        campaign = client.post(client.playbook(), ["+34600100102"], launch_at="2031-01-01T10:00Z")
        subscriber.wait_for(lambda heard: any(one.topic.endswith("/state") for one in heard), 10, "the state")
        state = subscriber.last("/state")
        assert state is not None
        command = state.topic.removesuffix("state") + "command"
        for order, status in (("pause", "paused"), ("resume", "scheduled"), ("cancel", "cancelled")):
            subscriber.send(command, order)
            eventually(lambda s=status: client.campaign(campaign)["status"] == s, 10, status)
        subscriber.wait_for(
            lambda heard: any(b'"call.finished"' in one.payload for one in heard), 10, "the cancelled call's end"
        )
        words = [one.event["type"] for one in subscriber.heard if one.topic.endswith("/state")]
        assert words == [f"campaign.{word}" for word in ("scheduled", "paused", "resumed", "cancelled")]
        (events,) = subscriber.by_call().values()
        assert [(e["type"], e["sequence"]) for e in events] == [("call.scheduled", 1), ("call.finished", 2)]
        assert events[1]["disposition"] == "cancelled"
        dialer.kill()
        subscriber.wait_for(lambda heard: heard[-1].payload == b"offline", 10, "the last will")


@needs_mosquitto
def test_kill_9_of_server_and_broker_loses_no_event(lab: LabThread, tmp_path: Path) -> None:
    pacing = {"stagger_seconds": 0.05, "max_concurrent_calls": 10}
    # Sessions outlive the broker's death, so that what it had acknowledged reaches a subscriber that is not back yet.
    lines = ("persistence true", f"persistence_location {tmp_path}/", "autosave_on_changes true", "autosave_interval 1")
    with (
        Broker(tmp_path / "broker", *lines) as broker,
        serving(tmp_path, lab, mqtt={"url": broker.url}, pacing=pacing) as (dialer, client),
        Subscriber(broker, session="watch") as subscriber,
    ):
        numbers = [f"+346003{n:03d}02" for n in range(60)]
        campaign = client.post(client.playbook(), numbers, recall=[0.01])
        subscriber.wait_for(lambda heard: len(heard) > 40, 20, "forty messages")
        dialer.kill()
        dialer.start()
        before = len(subscriber.heard)
        subscriber.wait_for(lambda heard: len(heard) > before + 40, 20, "forty more")
        broker.kill()
        made = len(lab.invites())
        eventually(lambda: len(lab.invites()) > made + 3, 20, "calls go on without a broker")
        eventually(lambda: waiting(dialer) > 0, 10, "the metric shows what waits")
        broker.start()
        seen = client.finished(campaign, 60)
        assert seen["calls"]["finished"] == 60
        subscriber.wait_for(
            lambda _: sum(e["type"] == "call.finished" for e in subscriber.events()) == 60, 30, "sixty ends"
        )
        calls = subscriber.by_call()
        assert len(calls) == 60
        assert without_gaps(calls)
        for events in calls.values():
            assert (events[0]["type"], events[-1]["type"]) == ("call.scheduled", "call.finished")
        # Those in flight when the server was killed were told as such, and what became of them.
        interrupted = sum(e.get("disposition") == "interrupted" for e in subscriber.events() if "attempt" in e)
        assert interrupted == sum(
            attempt["disposition"] == "interrupted"
            for call in client.calls(campaign).values()
            for attempt in call["attempts"]
        )
        eventually(lambda: waiting(dialer) == 0, 10, "nothing waits any more")


def waiting(dialer: Dialer) -> float:
    text = httpx.get(f"{dialer.url}/metrics").text
    return float(next(line for line in text.splitlines() if line.startswith("dialer_outbox_events ")).split()[1])


def listen(client: Client, seen: list[dict[str, Any]], until: str, after: str | None = None) -> None:
    """Read GET /events until an event of the type comes."""
    headers = {"Last-Event-ID": after} if after else {}
    with client.http.stream("GET", "/events", headers=headers, timeout=30) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                seen.append(json.loads(line.removeprefix("data: ")))
                if seen[-1]["type"] == until:
                    return


def test_get_events_streams_the_accounts_own_events_and_resumes_after_a_crash(lab: LabThread, tmp_path: Path) -> None:
    with serving(tmp_path, lab) as (dialer, client):
        other = dialer.account("Other")
        seen: list[dict[str, Any]] = []
        thread = threading.Thread(target=listen, args=(client, seen, "campaign.completed"))
        thread.start()
        eventually(lambda: "dialer_event_listeners 1.0" in httpx.get(f"{dialer.url}/metrics").text, 10, "it listens")
        other.finished(other.post(other.playbook(), ["+34600110002"]))
        campaign = client.post(client.playbook(), ["+34600110102"])
        client.finished(campaign)
        thread.join(20)
        assert not thread.is_alive()
        assert [e["type"] for e in seen if e["type"].startswith("call.")] == ANSWERED
        assert {e["campaign_id"] for e in seen} == {campaign}
        dialer.kill()
        dialer.start()
        again: list[dict[str, Any]] = []
        listen(client, again, "campaign.completed", after=seen[2]["event_id"])
        assert again == seen[3:]
        assert client.http.get("/events", headers={"Last-Event-ID": "x"}).status_code == 400
        other.close()


def test_a_stream_ends_when_its_token_is_revoked(lab: LabThread, tmp_path: Path) -> None:
    with serving(tmp_path, lab) as (dialer, client), client.http.stream("GET", "/events", timeout=40) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("retry:")
        dialer.run("token", "revoke", client.token)
        # Without a break in the middle of what is sent: clients come back, and are told 401.
        assert all(not line or line.startswith(":") for line in lines)
        assert client.http.get("/events").status_code == 401


def test_a_webhook_gets_signed_events_in_order_and_what_it_missed(lab: LabThread, tmp_path: Path) -> None:
    with HookServer() as hook, serving(tmp_path, lab, webhooks={"allow_private": True}) as (dialer, client):
        hook.status = 503
        made = client.http.post("/webhook", json={"url": f"{hook.url}/in?key=1"})
        assert made.status_code == 201, made.text
        secret = made.json()["secret"]
        campaign = client.post(client.playbook(), ["+34600120002"])
        client.finished(campaign)

        def shown() -> dict[str, Any]:
            (record,) = client.http.get("/webhook").json()["items"]
            assert "secret" not in record
            return dict(record)

        eventually(lambda: shown()["status"] == "failing", 10, "it is shown as failing")
        assert shown()["last_error"] == "answered 503"
        dialer.kill()
        hook.status = 204
        dialer.start()
        eventually(lambda: len(hook.taken) >= 9, 20, "nine events")
        events = [hook.verified(delivery, secret) for delivery in hook.taken]
        assert [e["type"] for e in events if e["type"].startswith("call.")] == ANSWERED
        eventually(lambda: shown()["status"] == "active" and shown()["delivered_events"] == 9, 10, "it is active")
        assert client.http.delete(f"/webhook/{made.json()['id']}").status_code == 204
        assert client.http.get("/webhook").json()["items"] == []


def test_private_addresses_are_refused_unless_allowed(client: Client) -> None:
    for url in (
        "http://127.0.0.1/",
        "https://127.0.0.1/",
        "https://localhost/x",
        "https://[::1]/",
        "https://10.1.2.3/",
    ):
        answer = client.http.post("/webhook", json={"url": url})
        assert answer.status_code == 400
        assert answer.json()["details"][0]["field"] == "url"
    assert client.http.get("/webhook").json()["items"] == []
