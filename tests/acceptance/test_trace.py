"""`dialer trace`: a call's SIP messages on a terminal while they pass, and nothing that nobody is to see."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sip.lab import Auth
from tests.support.dialer_process import DIALER, Client, Dialer, eventually
from tests.support.lab_thread import LabThread

SECRET = "s3cret"


@pytest.fixture(scope="module")
def lab() -> Iterator[LabThread]:
    with LabThread(pace=0.1, auth=Auth("dialer", SECRET)) as lab:
        yield lab


@pytest.fixture(scope="module")
def dialer(lab: LabThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dialer]:
    """A server whose trunk asks for credentials."""
    folder: Path = tmp_path_factory.mktemp("traced")
    dialer = Dialer(folder, {"pbx": {**lab.trunk, "username": "dialer", "password": SECRET}})
    dialer.run("db", "migrate")
    try:
        yield dialer.start()
    finally:
        dialer.stop()


def tracing(dialer: Dialer, client: Client, *words: str) -> "subprocess.Popen[str]":
    """`dialer trace` that looks already."""
    process = subprocess.Popen(
        [DIALER, "trace", "--url", dialer.url, "--token", client.token, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    eventually(lambda: watchers(client) == 1, 20, "somebody looks")
    return process


def watchers(client: Client) -> int:
    text = client.http.get("/metrics").text
    [line] = [line for line in text.splitlines() if line.startswith("dialer_sip_traces ")]
    return int(float(line.split()[1]))


def test_the_next_call_of_the_account_is_drawn_from_invite_to_bye(dialer: Dialer, client: Client) -> None:
    other = dialer.account("Other")
    process = tracing(dialer, client, "--next-call", "--messages")
    stranger = other.post(other.playbook(), ["+34600009002"])
    other.finished(stranger)
    mine = client.post(client.playbook(), ["+34600001001"])
    client.finished(mine)
    [call] = client.calls(mine).values()
    out, err = process.communicate(timeout=30)
    other.close()
    assert process.returncode == 0, err
    rungs = [line for line in out.splitlines() if "│" in line]
    assert "INVITE sip:+…1001@" in rungs[0]
    assert any("401 Unauthorized" in line for line in rungs)
    assert any("(SDP, credentials)" in line for line in rungs)
    assert any("200 OK (SDP)" in line for line in rungs)
    assert sum("─ ACK ─" in line for line in rungs) == 2
    assert "BYE" in rungs[-2]
    assert "200 OK" in rungs[-1]
    assert f"call {call['id']}: finished, answered" in out
    for secret in ("600001001", "9002", 'response="', SECRET):
        assert secret not in out, secret
    assert "Authorization: Digest " in out
    eventually(lambda: watchers(client) == 0, 20, "nobody looks any more")


def test_a_scheduled_call_is_drawn_with_all_its_attempts(dialer: Dialer, client: Client) -> None:
    at = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()
    asked = {"playbook_id": client.playbook(), "phone": "+34600002011", "launch_at": at, "recall": [0.01]}
    call = client.http.post("/call", json=asked).json()["call_id"]
    process = tracing(dialer, client, call, "--numbers")
    out, err = process.communicate(timeout=40)
    assert process.returncode == 0, err
    assert [line for line in out.splitlines() if line.startswith("Call-ID")] == [
        f"Call-ID {call}-1",
        f"Call-ID {call}-2",
    ]
    assert "486 Busy Here (Q.850 17)" in out
    assert "INVITE sip:+34600002011@" in out


def test_of_a_call_that_is_over_what_it_came_to_is_told(dialer: Dialer, client: Client) -> None:
    call = client.http.post("/call", json={"playbook_id": client.playbook(), "phone": "+34600003486"}).json()["call_id"]
    eventually(lambda: client.http.get(f"/call/{call}").json()["state"] == "finished", 20, "it is finished")
    done = dialer.run("trace", call, "--url", dialer.url, "--token", client.token, check=False)
    assert done.returncode == 1
    assert "busy: 486 Busy Here" in done.stderr
    assert done.stderr.splitlines()[-2:] == [
        f"call {call}: finished, busy",
        "The call is finished, and its messages were not kept",
    ]


def test_who_may_not_or_asks_for_nothing_is_told(dialer: Dialer, client: Client) -> None:
    token = dialer.run("token", "create", "--account", client.name, "--scope", "submit").stdout.strip()
    for words, code, reason in (
        (("--next-call", "--token", token), 1, "needs 'admin'"),
        (("99999999-9999-4999-8999-999999999999", "--token", client.token), 1, "No such call"),
        (("not-an-id", "--token", client.token), 2, "must be a UUID"),
        (("--token", client.token), 2, "--next-call"),
    ):
        done = dialer.run("trace", "--url", dialer.url, *words, check=False)
        assert (done.returncode, reason in done.stderr.replace("\n", " ")) == (code, True), done.stderr
