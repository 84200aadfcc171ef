"""SIGHUP and `dialer reload`: a running server follows its changed configuration, and no call notices."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.broker import Broker, Subscriber, needs_mosquitto
from tests.support.dialer_process import Client, Dialer, eventually, free_port
from tests.support.judge import most_at_once, most_in_any_second, shortest_gap
from tests.support.lab_thread import LabThread
from tests.support.program import SECRET

JITTER = 0.008


@pytest.fixture(scope="module")
def other() -> Iterator[LabThread]:
    with LabThread(pace=0.1) as lab:
        yield lab


@pytest.fixture(scope="module")
def dialer(lab: LabThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dialer]:
    dialer = Dialer(tmp_path_factory.mktemp("reload"), {"pbx": lab.trunk}, log={"format": "text"})
    dialer.run("db", "migrate")
    try:
        yield dialer.start()
    finally:
        dialer.stop()


@pytest.fixture
def fresh(dialer: Dialer, request: pytest.FixtureRequest) -> Iterator[Client]:
    client = dialer.account(f"{request.node.name} {uuid4()}")
    yield client
    client.close()


def trunks_of(client: Client) -> dict[str, dict[str, Any]]:
    return {trunk["name"]: trunk for trunk in client.http.get("/trunk").json()["items"]}


def test_a_call_lives_through_reloads_and_the_next_ones_go_where_the_trunks_lead_now(
    dialer: Dialer, fresh: Client, lab: LabThread, other: LabThread
) -> None:
    long = fresh.playbook(trunks=["pbx"], steps=[{"do": "wait", "seconds": 110}], max_call_seconds=120)
    first = fresh.post(long, ["+34600100002"])
    answered = lab.wait_for("answered", 1)[0]

    # A trunk is added: playbooks may name it, and calls land there.
    elsewhere = {**other.trunk, "caller_id": "+34911"}
    dialer.configure({"pbx": {**lab.trunk, "max_concurrent_calls": 2}, "new": elsewhere})
    told = dialer.run("reload")
    assert (told.stdout, told.stderr.strip()) == ("", "reloaded: trunks.new, trunks.pbx.max_concurrent_calls")
    book = fresh.playbook(trunks=["new", "pbx"])
    assert fresh.finished(fresh.post(book, ["+34600100102"]))["dispositions"] == {"answered": 1}
    assert [entry.number for entry in other.invites()] == ["+34600100102"]
    shown = trunks_of(fresh)
    assert [(name, trunk["channels"], trunk["channels_in_use"]) for name, trunk in sorted(shown.items())] == [
        ("new", 20, 0),
        ("pbx", 2, 1),
    ]

    # One is removed while a campaign's calls wait for it, and the live call is on the other.
    dialer.configure({"pbx": lab.trunk, "new": {**elsewhere, "calls_per_second": 1}})
    dialer.reload()
    slow = fresh.post(book, [f"+346001{n:03d}02" for n in range(10, 14)])
    other.wait_for("invite", 2)
    dialer.configure({"pbx": lab.trunk})
    dialer.reload()
    done = fresh.finished(slow)
    assert done["dispositions"] == {"answered": 4}
    went = {attempt["trunk"] for call in fresh.calls(slow).values() for attempt in call["attempts"]}
    assert went == {"new", "pbx"}

    # One channel, which the live call has: what was accepted for the trunk waits.
    dialer.configure({"pbx": {**lab.trunk, "max_concurrent_calls": 1}})
    dialer.reload()
    waits = fresh.post(fresh.playbook(trunks=["pbx"]), ["+34600190002"])

    # The live call's own trunk goes: it is shown until the call's end, which is ours to choose.
    dialer.configure({"new": elsewhere})
    dialer.reload()
    removed = trunks_of(fresh)["pbx"]
    assert (removed["channels_in_use"], removed["usable"]) == (1, False)
    assert "removed" in removed["fault"]
    (live,) = fresh.calls(first).values()
    hung_up = time.monotonic()
    assert fresh.http.post(f"/call/{live['id']}/cancel").status_code == 200
    assert fresh.finished(first)["dispositions"] == {"answered": 1}
    (ended,) = [entry for entry in lab.seen("ended") if entry.call_id == answered.call_id]
    assert ended.reason == "caller_hung_up"
    assert ended.monotonic_at >= hung_up, "the call was cut short"
    assert list(trunks_of(fresh)) == ["new"]

    # It is back, and leads elsewhere now.
    (waiting,) = fresh.calls(waits).values()
    assert waiting["attempts"] == []
    assert fresh.http.get(f"/call/{waiting['id']}/explain").json()["rule"] == "no_trunk"
    dialer.configure({"pbx": other.trunk})
    dialer.reload()
    assert fresh.finished(waits)["dispositions"] == {"answered": 1}
    assert len(other.invites("+34600190002")) == 1


def test_a_lower_and_a_higher_cps_show_on_the_wire(dialer: Dialer, fresh: Client, lab: LabThread) -> None:
    trunk = {**lab.trunk, "max_concurrent_calls": 100}

    def allow(calls_per_second: float) -> int:
        dialer.configure({"pbx": {**trunk, "calls_per_second": calls_per_second}})
        dialer.reload()
        return len(lab.invites())

    dialer.configure(pacing={"stagger_seconds": 0, "max_concurrent_calls": 90})
    begin = allow(20)
    campaign = fresh.post(fresh.playbook(), [f"+346002{n:03d}02" for n in range(80)])
    lab.wait_for("invite", begin + 10)
    slow_from = allow(4)
    lab.wait_for("invite", slow_from + 4)
    asked = time.monotonic()
    fast_from = allow(60)
    assert fresh.finished(campaign)["dispositions"] == {"answered": 80}
    times = [entry.monotonic_at for entry in lab.invites()]
    assert shortest_gap(times[begin:slow_from]) >= 1 / 20 - JITTER
    slow = [at for at in times[slow_from:] if at < asked]
    assert len(slow) >= 4
    assert shortest_gap(slow) >= 1 / 4 - JITTER
    assert most_in_any_second(times[begin:]) <= 60
    assert times[-1] - times[fast_from] < (len(times) - fast_from) / 20, "they go on at an old pace"


def test_a_faulty_configuration_changes_nothing_and_is_told_fault_by_fault(
    dialer: Dialer, fresh: Client, lab: LabThread
) -> None:
    dialer.configure({"pbx": lab.trunk}, pacing={"max_concurrent_calls": 40})
    dialer.reload()
    good, book = dialer.config.read_text(), fresh.playbook()
    dialer.config.write_text(good + "[limits]\nrequests_per_second = 0\n[trunks.x]\nurl = 1\n")
    told = dialer.run("reload", check=False)
    assert told.returncode == 1
    faults = [
        "limits.requests_per_second: must be 0.01 or more",
        "trunks.x.uri: is required",
        "trunks.x.url: no such key; did you mean uri?",
    ]
    assert sorted(told.stderr.splitlines()) == faults
    # The command has looked first; the server finds the same, and says so in its log.
    dialer.signal(signal.SIGHUP)
    eventually(lambda: all(fault in dialer.log.read_text() for fault in faults), 10, "the faults are in the log")
    assert list(trunks_of(fresh)) == ["pbx"]
    assert fresh.finished(fresh.post(book, ["+34600300002"]))["dispositions"] == {"answered": 1}

    # What only the server can know: its pool has other ports in use.
    dialer.config.write_text(good)
    dialer.configure(pacing={"max_concurrent_calls": 90_000})
    told = dialer.run("reload", check=False)
    assert told.returncode == 1
    assert "RTP ports do not fit" in told.stderr or "concurrent calls need" in told.stderr
    dialer.configure(pacing={"max_concurrent_calls": 40})

    # What cannot change in a running server is named, and the rest acts.
    dialer.configure({"pbx": {**lab.trunk, "calls_per_second": 50}}, sip={"port": 5999}, api={"max_contacts": 3})
    port = dialer.port
    dialer.configure(api={"port": free_port()})
    told = dialer.run("reload")
    assert told.stderr.splitlines() == [
        "api.port: needs a restart",
        "sip.port: needs a restart",
        "reloaded: api.max_contacts, trunks.pbx.calls_per_second",
    ]
    assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    assert trunks_of(fresh)["pbx"]["calls_per_second"] == 50
    dialer.configure(sip={"bind_host": "127.0.0.1"}, api={"port": port, "max_contacts": 1000})
    dialer.drop("sip")
    dialer.configure(sip={"bind_host": "127.0.0.1"})
    dialer.reload()


@needs_mosquitto
def test_every_section_that_can_be_reloaded_acts(dialer: Dialer, fresh: Client, lab: LabThread, tmp_path: Path) -> None:
    book = fresh.playbook()
    says = {"name": "Says", "trunks": ["pbx"], "steps": [{"do": "say", "text": "Hello"}]}
    asks = {"name": "Asks", "trunks": ["pbx"], "steps": [{"do": "webhook", "url": "https://shop.example/"}]}

    def rehearse(*phones: str, **keys: Any) -> httpx.Response:
        contacts = [{"phone": phone} for phone in phones]
        body = {"playbook_id": book, "contacts": contacts, "launch_at": "2031-01-01T00:00Z", **keys}
        return fresh.http.post("/campaign", params={"dry_run": "1"}, json=body)

    def hook(url: str) -> int:
        return fresh.http.post("/webhook", json={"url": url}).status_code

    def refused() -> list[int]:
        return [fresh.http.get("/campaign").status_code for _ in range(6)]

    people = [f"+346004{n:03d}02" for n in range(3)]
    assert rehearse("1234").status_code == 400
    assert rehearse("600400002").status_code == 400
    assert fresh.http.post("/playbook", json=says).status_code == 400
    assert fresh.http.post("/playbook", json=asks).status_code == 400
    assert hook("http://127.0.0.1:9/") == 400
    assert refused() == [200] * 6

    with Broker(tmp_path / "broker") as broker:
        dialer.configure(
            {"pbx": {**lab.trunk, "allowed_caller_ids": ["+34911"], "caller_id": "+34911"}},
            api={"max_contacts": 4, "max_body_bytes": 2000},
            pacing={"stagger_seconds": 7, "max_concurrent_calls": 1, "min_recall_gap_seconds": 3600},
            phone={"internal_pattern": "^[0-9]{4}$", "default_region": "ES"},
            limits={"destinations": ["+34"], "max_calls_per_day": 3, "premium": False},
            webhooks={"allow_private": True, "secret": SECRET},
            events={"stream_minutes": 5},
            speech={"command": "cp {input} {output}"},
            mqtt={"url": broker.url},
            backup={"directory": str(tmp_path / "backups"), "interval_hours": 24},
            media={"directory": str(dialer.media), "keep_recordings_days": 3},
            log={"format": "json", "level": "debug", "mask_numbers": False},
        )
        changed = dialer.run("reload").stderr.removeprefix("reloaded: ").strip().split(", ")
        assert {"backup", "mqtt", "speech", "events.stream_minutes", "media.keep_recordings_days"} <= set(changed)

        eventually(lambda: "connected to the broker" in dialer.log.read_text(), 15, "MQTT is connected")
        due = [call["due_at"] for call in rehearse(*people).json()["calls"]]
        assert due == ["2031-01-01T00:00:00.000Z", "2031-01-01T00:00:07.000Z", "2031-01-01T00:00:14.000Z"]
        assert rehearse(*people, "+34600400302", "+34600400402").status_code == 413
        assert rehearse(people[0], filler="x" * 2000).status_code == 413
        assert rehearse("1234").status_code == 200
        assert rehearse("600400002").json()["calls"][0]["phone"] == "+34600400002"
        assert "limits.destinations" in rehearse("+351910000000").text
        assert "limits.premium" in rehearse("+34803123456").text
        refusal = rehearse(*people, "+34600400302")
        assert refusal.status_code == 403
        assert "limits.max_calls_per_day)" in refusal.text
        answer = fresh.http.post("/playbook", json={**says, "caller_id": "+34922"})
        assert answer.status_code == 400
        assert "+34922" in answer.text
        assert fresh.http.post("/playbook", json=says).status_code == 201
        assert fresh.http.post("/playbook", json=asks).status_code == 201
        assert hook("http://127.0.0.1:9/") == 201
        eventually(lambda: list((tmp_path / "backups").glob("*.db")), 20, "there is a backup")
        assert "dialer_backup_last_succeeded" in fresh.http.get("/metrics").text

        # One call at once on this machine from now on, and the recall waits for the gap.
        before = len(lab.invites())
        dialer.drop("limits")
        dialer.configure(
            pacing={"stagger_seconds": 0},
            limits={"max_calls_per_day_per_token": 2, "international": False},
            mqtt={"topic_prefix": "other"},
        )
        dialer.reload()
        assert "limits.international" in rehearse("+351910000000").text
        campaign = fresh.post(book, [people[0], "+34600400486"], recall=[0.01])
        refusal = fresh.http.post("/call", json={"playbook_id": book, "phone": people[1]})
        assert refusal.status_code == 429
        assert "limits.max_calls_per_day_per_token" in refusal.text
        with Subscriber(broker, "other/status") as subscriber:
            subscriber.wait_for(lambda heard: heard and heard[-1].payload == b"online", 15, "it is online there")

        def busy() -> Any:
            call = fresh.calls(campaign)["+34600400486"]
            return call["disposition"] == "busy" and call["next_attempt_at"]

        later = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() + 3000))
        assert eventually(busy, 15, "the busy one waits for its recall") > later
        ours = {entry.call_id for entry in lab.invites()[before:]}
        assert most_at_once([entry for entry in lab.seen("invite", "ended") if entry.call_id in ours]) == 1
        lines = [json.loads(line) for line in dialer.log.read_text().splitlines() if line.startswith("{")]
        assert any(line["event"] == "the configuration was reloaded" for line in lines)
        (invite,) = [line for line in lines if line["event"] == "INVITE" and line.get("number") == people[0]]
        assert invite["process"] == "sip-worker"

        for section in ("mqtt", "speech", "backup", "phone", "limits", "webhooks"):
            dialer.drop(section)
        dialer.configure(limits={"requests_per_second": 1}, log={"format": "text", "level": "info"})
        dialer.reload()
        eventually(lambda: "Client dialer" in broker.log or "disconnect" in broker.log.lower(), 10, "MQTT is left")
        assert 429 in refused()
        assert "dialer_backup_last_succeeded" not in fresh.http.get("/metrics").text
        dialer.configure(api={"max_contacts": 1000, "max_body_bytes": 100_000}, limits={"requests_per_second": 1000})
        dialer.reload()
        assert rehearse("1234").status_code == 400
        assert fresh.http.post("/playbook", json=says).status_code == 400


def test_without_a_server_there_is_nothing_to_reload(tmp_path: Path) -> None:
    dialer = Dialer(tmp_path, {})
    told = dialer.run("reload", check=False)
    assert told.returncode == 1
    assert told.stderr.splitlines() == [
        f"no server serves {tmp_path}/dialer.db: there is nothing to reload (another database.path needs a restart)"
    ]
