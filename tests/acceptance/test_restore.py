"""A server is lost and comes back from a backup, by the commands of docs/operations.md: the called side's log is the judge."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.dialer_process import DIALER, Client, Dialer, eventually
from tests.support.lab_thread import LabThread

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
STAGGER = 0.1
PEOPLE = [f"+34600{n:04d}{('01', '486', '02', '10')[n % 4]:0>3}" for n in range(60)]


def commands(heading: str) -> str:
    """The first commands below a heading of the page."""
    text = PAGE.read_text()
    found = re.search(r"```sh\n(.*?)```", text[text.index(f"{heading}\n") :], re.DOTALL)
    assert found is not None
    return found[1]


def run(dialer: Dialer, script: str, **environment: str) -> str:
    """Run commands of the page, without a systemd; what they printed."""
    script = script.replace("/var/backups", str(dialer.folder / "copies"))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"systemctl() {{ :; }}\n{script}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={
            **os.environ,
            "NO_COLOR": "1",
            "PATH": f"{DIALER.parent}:{os.environ['PATH']}",
            "DIALER_CONFIG": str(dialer.config),
            **environment,
        },
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def lab() -> Iterator[LabThread]:
    with LabThread(pace=0.1) as lab:
        yield lab


@pytest.fixture
def dialer(tmp_path: Path, lab: LabThread) -> Iterator[Dialer]:
    backups = {"directory": str(tmp_path / "backups"), "interval_hours": 1.5 / 3600, "keep": 2}
    pacing = {"stagger_seconds": STAGGER, "min_recall_gap_seconds": 0.5}
    dialer = Dialer(tmp_path, {"pbx": {**lab.trunk, "max_concurrent_calls": 8}}, pacing=pacing, backup=backups)
    dialer.run("db", "migrate")
    (tmp_path / "copies").mkdir()
    try:
        yield dialer.start()
    finally:
        dialer.stop()


@pytest.fixture
def client(dialer: Dialer) -> Iterator[Client]:
    client = dialer.account()
    yield client
    client.close()


def under_review(client: Client, campaign: str) -> dict[str, dict[str, Any]]:
    """The campaign's calls under review, by phone."""
    items = client.http.get("/review", params={"campaign_id": campaign, "limit": 1000}).json()["items"]
    assert client.campaign(campaign)["under_review"] == len(items)
    return {call["phone"]: call for call in items}


def test_what_may_have_been_dialed_since_the_backup_is_not_dialed_before_a_person_releases_it(
    dialer: Dialer, client: Client, lab: LabThread
) -> None:
    playbook = client.playbook(ring_timeout_seconds=1)
    later = client.post(playbook, ["+34700000101"], launch_at="2031-03-01T10:00:00Z")
    launch = datetime.now(UTC) + timedelta(seconds=0.5)
    campaign = client.post(playbook, PEOPLE, launch_at=launch.isoformat(), recall=[2 / 60])
    lab.wait_for("invite", 10, 30)
    assert "no fault found" in run(dialer, commands("## Backup and restore"))
    in_backup = {entry.number for entry in lab.invites()}
    lab.wait_for("invite", len(in_backup) + 10, 30)
    single = client.http.post("/call", json={"playbook_id": playbook, "phone": "+34700000201"}).json()["call_id"]
    lost = client.post(playbook, ["+34700000301"])
    refused = dialer.run("db", "restore", str(dialer.folder / "copies" / "dialer-before-upgrade.db"), check=False)
    assert refused.returncode == 1
    assert f"another server (pid {dialer.pid}) serves" in refused.stderr
    dialer.kill()
    told = run(dialer, commands("### Restore"))
    restored_at = time.time()
    assert "restored from" in told
    assert "2 campaigns are paused" in told
    assert "lost: 2 campaigns and single calls, of 2 calls, accepted since" in told
    (kept,) = dialer.folder.glob("dialer.db.replaced-*")
    before = list(lab.invites())
    dialer.start()

    assert client.http.get(f"/call/{single}").status_code == 404
    assert client.http.get(f"/campaign/{lost}").status_code == 404
    assert [client.campaign(one)["status"] for one in (campaign, later)] == ["paused", "paused"]
    assert under_review(client, later) == {}
    reviewed = under_review(client, campaign)
    dialed_since = {entry.number for entry in before if entry.number in PEOPLE} - in_backup
    assert dialed_since <= reviewed.keys()
    some = next(call["id"] for phone, call in reviewed.items() if phone in dialed_since)
    assert client.http.get(f"/call/{some}/explain").json()["rule"] == "review"

    client.http.post(f"/campaign/{campaign}/resume")

    def only_those_are_left() -> bool:
        seen = client.campaign(campaign)
        return seen["calls"] == {"scheduled": len(reviewed), "live": 0, "finished": len(PEOPLE) - len(reviewed)}

    eventually(only_those_are_left, 60, "all that were not under review are finished")
    since = [entry for entry in lab.invites() if entry.at > restored_at]
    assert not {entry.number for entry in since} & reviewed.keys(), "somebody under review was dialed"
    assert not {entry.call_id for entry in since} & {entry.call_id for entry in before}, "the same attempt twice"
    assert client.http.get(f"/call/{some}/explain").json()["rule"] == "review"

    count = len(lab.invites())
    first, other, *_ = [call["id"] for call in reviewed.values()]
    environment = {"CAMPAIGN": campaign, "CALL": first, "OTHER_CALL": other, "DIALER_TOKEN": client.token}
    listed, rest = commands("### Review").split("\n", 1)
    assert len(run(dialer, listed, **environment).splitlines()) == min(100, len(reviewed))
    told = run(dialer, rest, **environment)
    assert f"1 call released\n1 call cancelled\n{len(reviewed) - 2} calls released\n" in told
    done = client.finished(campaign, 60)
    assert (done["under_review"], done["calls"]["finished"]) == (0, len(PEOPLE))
    after = {entry.number for entry in lab.invites()[count:]}
    cancelled = next(phone for phone, call in reviewed.items() if call["id"] == other)
    assert after == reviewed.keys() - {cancelled}, "after a release they are called"
    assert kept.exists()


def test_the_server_takes_backups_by_itself_and_keeps_the_newest(dialer: Dialer, client: Client) -> None:
    def taken() -> list[Path]:
        return sorted((dialer.folder / "backups").glob("dialer-*.db"))

    first = eventually(taken, 30, "a backup was taken")[0]
    eventually(lambda: first not in taken(), 30, "it went for newer ones")
    assert len(taken()) <= 2
    metrics = httpx.get(f"{dialer.url}/metrics").text
    assert re.search(r"^dialer_backup_last_succeeded_timestamp_seconds 1\.\d+e\+09$", metrics, re.MULTILINE)
    assert "dialer_backup_failures_total 0.0" in metrics
    dialer.stop()
    newest = taken()[-1]
    found = dialer.run("db", "check", DIALER_DATABASE__PATH=str(newest))
    assert "no fault found" in found.stderr
    assert newest.stat().st_mode & 0o777 == 0o600
