"""What the called side sees of a running server: pace, recalls, trunks, times. The lab's log is the judge."""

import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sip.lab import Auth
from tests.support.dialer_process import Client, Dialer, eventually
from tests.support.judge import most_at_once, most_in_any_second, shortest_gap
from tests.support.lab_thread import LabThread

# Timers and sockets of two processes on a loaded machine; the stagger itself is planned to 2 ms. How late things may be is
# the machine's business here (the benchmarks measure it); never early and never closer is ours.
JITTER = 0.015


@contextmanager
def serving(folder: Path, trunks: dict[str, Any], **sections: Any) -> Iterator[tuple[Dialer, Client]]:
    dialer = Dialer(folder, trunks, **sections)
    dialer.run("db", "migrate")
    try:
        client = dialer.start().account()
        try:
            yield dialer, client
        finally:
            client.close()
    finally:
        dialer.stop()


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def minutes(seconds: float) -> float:
    return seconds / 60


def test_busy_is_recalled_and_answered(client: Client, playbook: str, lab: LabThread) -> None:
    number = "+34600100011"
    campaign = client.post(playbook, [number], recall=[minutes(1.5), minutes(30)])
    seen = client.finished(campaign)
    assert (seen["attempts"], seen["dispositions"]) == (2, {"answered": 1})
    call = client.calls(campaign)[number]
    first, second = call["attempts"]
    assert (first["disposition"], first["sip_status"], first["q850_cause"]) == ("busy", 486, 17)
    assert second["disposition"] == "answered"
    # The anchor of an immediate campaign is the first INVITE; nothing leaves before it is due.
    assert at(second["due_at"]) == pytest.approx(at(first["dialed_at"]) + 1.5, abs=0.005)
    one, two = lab.invites(number)
    assert 1.5 <= two.at - one.at < 4
    assert {one.call_id.partition("@")[0], two.call_id.partition("@")[0]} == {f"{call['id']}-1", f"{call['id']}-2"}


def test_a_scheduled_campaign_leaves_at_its_slots_and_recalls_count_from_them(client: Client, lab: LabThread) -> None:
    playbook = client.playbook()
    launch = datetime.now(UTC) + timedelta(seconds=2)
    numbers = [f"+3460011{n:02d}11" for n in range(5)]
    campaign = client.post(playbook, numbers, launch_at=launch.isoformat(), recall=[minutes(2)])
    assert client.campaign(campaign)["status"] == "scheduled"
    client.finished(campaign)
    for index, number in enumerate(numbers):
        slot = launch.timestamp() + index * 0.02
        first, recall = (entry.at for entry in lab.invites(number))
        assert slot <= first < slot + 2
        assert slot + 2 <= recall < slot + 4


def test_pace_and_channels_hold_for_two_hundred_contacts(tmp_path: Path) -> None:
    with LabThread(pace=0.1) as lab:
        trunk = {**lab.trunk, "calls_per_second": 20, "max_concurrent_calls": 30}
        pacing = {"max_concurrent_calls": 10, "stagger_seconds": 0.05}
        with serving(tmp_path, {"pbx": trunk}, pacing=pacing) as (_, client):
            playbook = client.playbook(steps=[{"do": "wait", "seconds": 0.3}])
            numbers = [f"+34600{n:04d}{('02', '02', '486', '404', '01')[n % 5]}" for n in range(200)]
            seen = client.finished(client.post(playbook, numbers), 60)
            assert seen["dispositions"] == {"answered": 120, "busy": 40, "invalid_number": 40}
        times = [entry.monotonic_at for entry in lab.invites()]
        assert len(times) == 200
        assert shortest_gap(times) >= 0.05 - JITTER
        assert most_in_any_second(times) <= 20
        assert most_at_once(lab.seen("invite", "ended")) <= 10
        # And it is as fast as it may be: the limits are reached, not merely kept.
        assert max(times) - min(times) < 200 * 0.05 * 1.5


def test_a_full_machine_lets_each_call_wait_for_a_channel(tmp_path: Path) -> None:
    with LabThread(pace=0.1) as lab:
        pacing = {"max_concurrent_calls": 3, "stagger_seconds": 0}
        with serving(tmp_path, {"pbx": lab.trunk}, pacing=pacing) as (_, client):
            playbook = client.playbook(steps=[{"do": "wait", "seconds": 0.5}])
            numbers = [f"+346002{n:03d}02" for n in range(15)]
            seen = client.finished(client.post(playbook, numbers))
            assert seen["dispositions"] == {"answered": 15}
        assert most_at_once(lab.seen("invite", "ended")) == 3


def test_two_accounts_take_fair_turns(tmp_path: Path) -> None:
    with LabThread(pace=0.1) as lab:
        pacing = {"max_concurrent_calls": 4, "stagger_seconds": 0.01}
        with serving(tmp_path, {"pbx": {**lab.trunk, "calls_per_second": 20}}, pacing=pacing) as (dialer, big):
            small = dialer.account("Small")
            big.post(big.playbook(), [f"+346003{n:03d}02" for n in range(200)])
            lab.wait_for("invite", 10)
            late = small.post(small.playbook(), [f"+346004{n:03d}02" for n in range(10)])
            small.finished(late, 20)
            order = [entry.number.startswith("+346004") for entry in lab.invites()]
            places = [place for place, is_small in enumerate(order) if is_small]
            # Ten calls in turn with the backlog of the other account: every second place.
            assert places[-1] - places[0] <= 20
            small.close()


def test_one_number_is_never_in_two_calls(client: Client, playbook: str, lab: LabThread) -> None:
    number = "+34600500002"
    campaigns = [client.post(playbook, [number]) for _ in range(3)]
    for campaign in campaigns:
        assert client.finished(campaign)["dispositions"] == {"answered": 1}
    entries = [entry for entry in lab.seen("invite", "ended") if entry.number == number]
    assert len(entries) == 6
    assert most_at_once(entries) == 1


@pytest.mark.parametrize("status", [401, 407])
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_credentials_are_given_when_asked_for(tmp_path: Path, status: Any, algorithm: Any) -> None:
    with LabThread(pace=0.1, auth=Auth("dialer", "s3cret", status=status, algorithms=(algorithm,))) as lab:
        trunk = {**lab.trunk, "username": "dialer", "password": "s3cret"}
        with serving(tmp_path, {"pbx": trunk}) as (_, client):
            campaign = client.post(client.playbook(), ["+34600600002", "+34600600102"])
            assert client.finished(campaign)["dispositions"] == {"answered": 2}
        assert len(lab.invites()) == 2
        assert len(lab.seen("challenged")) == 2


def test_wrong_credentials_are_a_trunk_failure_of_one_invite_each_try(tmp_path: Path) -> None:
    with LabThread(pace=0.1, auth=Auth("dialer", "right")) as lab:
        trunk = {**lab.trunk, "username": "dialer", "password": "wrong"}
        with LabThread(pace=0.1) as other:
            with serving(tmp_path, {"pbx": trunk, "spare": other.trunk}) as (_, client):
                campaign = client.post(client.playbook(trunks=["pbx", "spare"]), ["+34600600002"])
                assert client.finished(campaign)["dispositions"] == {"answered": 1}
                attempts = client.calls(campaign)["+34600600002"]["attempts"]
            assert [(a["number"], a["trunk"]) for a in attempts] == [(1, "spare")]
            assert len(other.invites()) == 1
        assert lab.invites() == []


def test_a_playbook_chooses_among_the_caller_ids_that_its_trunk_allows(tmp_path: Path) -> None:
    allowed = ["+34910000000", "+34910000001"]
    with LabThread(pace=0.1) as lab:
        trunk = {**lab.trunk, "caller_id": allowed[0], "allowed_caller_ids": allowed}
        known = {**trunk, "from_user": "acct7"}
        with serving(tmp_path, {"pbx": trunk, "known": known}) as (_, client):
            books = [client.playbook(), client.playbook(caller_id=allowed[1])]
            books.append(client.playbook(trunks=["known"], caller_id=allowed[1]))
            numbers = [f"+346006100{n}03" for n in range(3)]
            for book, number in zip(books, numbers, strict=True):
                client.finished(client.post(book, [number]))
            refused = client.http.post(
                "/playbook", json={"name": "Other", "trunks": ["pbx"], "caller_id": "+34910000002"}
            )
        assert (refused.status_code, refused.json()["details"][0]["field"]) == (400, "caller_id")
        shown = [(entry.caller, entry.asserted) for number in numbers for entry in lab.invites(number)]
    assert shown == [(allowed[0], ""), (allowed[1], ""), ("acct7", allowed[1])]


def test_the_ring_timeout_cancels_and_the_disposition_is_no_answer(client: Client, lab: LabThread) -> None:
    number = "+34600700010"
    campaign = client.post(client.playbook(ring_timeout_seconds=1), [number])
    assert client.finished(campaign)["dispositions"] == {"no_answer": 1}
    (invite,), (cancel,) = lab.invites(number), [e for e in lab.seen("cancel") if e.number == number]
    assert 0.99 <= cancel.at - invite.at < 3
    (attempt,) = client.calls(campaign)[number]["attempts"]
    assert attempt["ringing_at"] is not None
    assert attempt["answered_at"] is None


def test_max_call_seconds_ends_a_long_call(client: Client, lab: LabThread) -> None:
    number = "+34600700102"
    playbook = client.playbook(max_call_seconds=1, steps=[{"do": "wait", "seconds": 60}])
    campaign = client.post(playbook, [number])
    assert client.finished(campaign)["dispositions"] == {"answered": 1}
    (answer,), (bye,) = ([e for e in lab.seen(kind) if e.number == number] for kind in ("answered", "bye_received"))
    assert 0.99 <= bye.at - answer.at < 3


def test_a_trunk_that_refuses_gives_way_to_the_next(tmp_path: Path) -> None:
    with LabThread(pace=0.1, max_calls=0) as full, LabThread(pace=0.1) as lab:
        with serving(tmp_path, {"first": full.trunk, "second": lab.trunk}) as (_, client):
            numbers = [f"+34600800{n}02" for n in range(3)]
            campaign = client.post(client.playbook(trunks=["first", "second"]), numbers)
            assert client.finished(campaign)["dispositions"] == {"answered": 3}
            for call in client.calls(campaign).values():
                (attempt,) = call["attempts"]
                assert attempt["trunk"] == "second"
        assert len(lab.invites()) == 3


def test_technical_retries_use_no_recall_and_honour_retry_after(client: Client, lab: LabThread) -> None:
    number = "+34600900013"  # the first call gets 503 with Retry-After 5, later ones are answered
    campaign = client.post(client.playbook(), [number], recall=[minutes(60)])
    assert client.finished(campaign)["dispositions"] == {"answered": 1}
    (attempt,) = client.calls(campaign)[number]["attempts"]
    assert attempt["number"] == 1
    one, two = lab.invites(number)
    assert 5.0 <= two.at - one.at < 8
    assert one.call_id != two.call_id


def test_who_objects_or_is_erased_after_a_trunks_refusal_is_not_called_again(client: Client, lab: LabThread) -> None:
    objects, erased, _ = numbers = ["+34600901013", "+34600902013", "+34600903013"]
    campaign = client.post(client.playbook(), numbers, recall=[minutes(60)])
    eventually(lambda: all(lab.invites(number) for number in numbers), 10, "all three were refused once")
    assert client.http.post("/do-not-call", json={"phone": objects}).status_code == 200
    (person,) = client.http.get("/contact", params={"phone": erased}).json()["items"]
    assert client.http.delete(f"/contact/{person['id']}").status_code == 204
    assert client.finished(campaign)["dispositions"] == {"answered": 1, "suppressed": 2}
    assert [len(lab.invites(number)) for number in numbers] == [1, 1, 2]
    (attempt,) = client.calls(campaign)[objects]["attempts"]
    assert (attempt["disposition"], attempt["reason"]) == ("suppressed", "the number is on a do-not-call list")


def test_a_wav_is_heard_by_the_callee(tmp_path: Path) -> None:
    with LabThread(pace=0.1, record=True) as lab, serving(tmp_path, {"pbx": lab.trunk}) as (dialer, client):
        write_tone(dialer.media / "tone.wav", seconds=1.0, hertz=440)
        playbook = client.playbook(steps=[{"do": "play", "audio": "tone.wav"}, {"do": "hangup"}])
        campaign = client.post(playbook, ["+34600950002"])
        assert client.finished(campaign)["dispositions"] == {"answered": 1}
        (recording,) = lab.lab.recordings.values()
        samples = array("h", recording.pcm())
        loud = [i for i, sample in enumerate(samples) if abs(sample) > 3000]
        assert 0.9 < (loud[-1] - loud[0]) / 8000 < 1.1
        crossings = sum(a < 0 <= b for a, b in zip(samples[loud[0] : loud[-1]], samples[loud[0] + 1 :], strict=False))
        assert crossings == pytest.approx(440, rel=0.05)


def write_tone(path: Path, *, seconds: float, hertz: float) -> None:
    import math
    import struct
    import wave

    with wave.open(str(path), "wb") as wav:
        wav.setparams((1, 2, 8000, 0, "NONE", ""))
        tone = (int(12000 * math.sin(2 * math.pi * hertz * i / 8000)) for i in range(int(seconds * 8000)))
        wav.writeframes(b"".join(struct.pack("<h", sample) for sample in tone))


def test_pause_stops_attempts_and_resume_goes_on_at_pace(tmp_path: Path) -> None:
    with LabThread(pace=0.1) as lab:
        pacing = {"stagger_seconds": 0.1}
        with serving(tmp_path, {"pbx": lab.trunk}, pacing=pacing) as (_, client):
            campaign = client.post(client.playbook(), [f"+346010{n:03d}02" for n in range(30)])
            lab.wait_for("invite", 5)
            paused = client.http.post(f"/campaign/{campaign}/pause").json()
            assert paused["status"] == "paused"
            before = len(lab.invites())
            assert client.http.post(f"/campaign/{campaign}/pause").json()["status"] == "paused"
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                client.campaign(campaign)
            assert len(lab.invites()) <= before + 1
            assert client.http.post(f"/campaign/{campaign}/resume").json()["status"] == "running"
            assert client.finished(campaign)["dispositions"] == {"answered": 30}
        assert shortest_gap([entry.monotonic_at for entry in lab.invites()]) >= 0.1 - JITTER


def test_cancel_finishes_what_is_pending_and_lets_answered_calls_end(tmp_path: Path) -> None:
    with (
        LabThread(pace=0.1) as lab,
        serving(tmp_path, {"pbx": lab.trunk}, pacing={"stagger_seconds": 0.2}) as (_, client),
    ):
        playbook = client.playbook(steps=[{"do": "wait", "seconds": 1}])
        campaign = client.post(playbook, [f"+346020{n:03d}02" for n in range(30)], recall=[5])
        lab.wait_for("answered", 2)
        body = client.http.post(f"/campaign/{campaign}/cancel").json()
        assert body["status"] == "cancelled"
        assert client.http.post(f"/campaign/{campaign}/cancel").json()["status"] == "cancelled"
        started = time.monotonic()
        while client.campaign(campaign)["calls"]["live"] and time.monotonic() - started < 10:
            pass
        seen = client.campaign(campaign)
        assert seen["calls"] == {"scheduled": 0, "live": 0, "finished": 30}
        assert seen["dispositions"]["answered"] >= 2
        assert seen["dispositions"]["cancelled"] >= 20
        assert len(client.calls(campaign)) == 30
