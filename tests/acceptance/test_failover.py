"""A server whose first trunk is dead: calls go over the next one, the dead one is seen to be down, and it comes back."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.dialer_process import Client, Dialer, eventually
from tests.support.lab_thread import LabThread


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A port where nobody says anything."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole:
        hole.bind(("127.0.0.1", 0))
        yield hole


def trunks_of(client: Client) -> dict[str, dict[str, Any]]:
    answer = client.http.get("/trunk")
    assert answer.status_code == 200
    return {trunk["name"]: trunk for trunk in answer.json()["items"]}


def test_a_trunk_that_goes_silent_is_passed_over_and_taken_up_when_it_speaks_again(
    lab: LabThread, silent: socket.socket, tmp_path: Any
) -> None:
    port = silent.getsockname()[1]
    dead = {"uri": f"sip:127.0.0.1:{port}", "max_concurrent_calls": 4, "calls_per_second": 20}
    dialer = Dialer(tmp_path, {"main": dead, "spare": lab.trunk})
    dialer.run("db", "migrate")
    dialer.start()
    client = dialer.account()
    try:
        # Four meet the silence. An INVITE that is sent again when the trunk speaks is answered, not given up.
        book = client.playbook(trunks=["main", "spare"], ring_timeout_seconds=30)
        first = client.post(book, [f"+3460000{n:02d}01" for n in range(12)])
        eventually(lambda: trunks_of(client)["main"]["state"] != "up", 20, "the silent trunk is down")
        shown = trunks_of(client)["main"]
        assert shown["last_failure"]["reason"] == "no response to INVITEs"
        assert client.http.get("/readyz").status_code == 200, "the other trunk is usable"
        # What had not left yet went the other way.
        eventually(lambda: client.campaign(first)["calls"]["finished"] >= 8, 20, "the rest is answered over the spare")
        assert 'dialer_trunk_state{state="up",trunk="main"} 0.0' in client.http.get("/metrics").text
        silent.close()
        with LabThread(pace=0.1, port=port):
            eventually(lambda: trunks_of(client)["main"]["state"] == "up", 60, "it is up again")
            done = client.finished(first, 60)
        assert done["dispositions"] == {"answered": 12}
    finally:
        client.close()
        dialer.stop()
