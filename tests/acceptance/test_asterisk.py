"""A whole server against a real Asterisk, whose own records have to agree with ours call by call."""

import asyncio
import wave
from array import array
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from dialer.core.events import Answered, StreamEnd, StreamEnded
from dialer.core.model import LegId
from dialer.ports import StreamOrder
from sip.g711 import decode
from tests.integration.test_sip_bridge import pitch
from tests.integration.test_sip_media import crossings, loud_seconds, write_tone
from tests.integration.test_sip_stream import sine
from tests.support.asterisk import PEER, Asterisk, register_phone
from tests.support.dialer_process import Client, Dialer, eventually
from tests.support.far_end import FarEnd
from tests.support.labs import async_test
from tests.support.pools import order, pool_to, trunk_to
from tests.support.stream_server import StreamServer

pytestmark = [
    pytest.mark.asterisk,
    pytest.mark.skipif(not PEER, reason="$ASTERISK_PEER names no Asterisk peer script"),
    pytest.mark.timeout(400),
]

# What is dialed, what it comes to, and the final SIP status.
OUTCOMES = {
    "1002": ("answered", 200),
    "1103": ("answered", 200),
    "1701": ("answered", 200),
    "2001": ("answered", 200),
    "1201": ("busy", 486),
    "9017": ("busy", 486),
    "1300": ("no_answer", 487),
    "1350": ("no_answer", 487),
    "2700": ("no_answer", 487),  # its announcement is longer than our ring timeout
    "9019": ("no_answer", 480),  # Q.850 cause 19
    "9020": ("unreachable", 480),  # Q.850 cause 20
    "9018": ("unreachable", 408),
    "9001": ("invalid_number", 404),
    "9021": ("declined", 403),
}
REFUSED_BY_THE_TRUNK = {"9034": 503, "9127": 500}


@pytest.fixture(scope="module")
def dialer(asterisk: Asterisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dialer]:
    ours = {"username": "dialer", "password": "dialer-secret", "from_user": "dialer", "calls_per_second": 20}
    uri = f"sip:127.0.0.1:{asterisk.port}"
    trunks: dict[str, dict[str, Any]] = {
        "pbx": {"uri": uri, "register": True, "options_interval_seconds": 1, **ours},
        "codes": {"uri": f"{uri};transport=tcp", "dispositions.403": "declined", **ours},
        "refusing": {"uri": uri, **ours},
        "secure": {
            "uri": f"sip:127.0.0.1:{asterisk.port + 2};transport=tls",
            "username": "secure",
            "password": "dialer-secret",
            "from_user": "secure",
            "ca_file": str(asterisk.home / "var/keys/tls.pem"),
            "srtp": "mandatory",
        },
    }
    dialer = Dialer(
        tmp_path_factory.mktemp("dialer"),
        trunks,
        phone={"internal_pattern": "^[0-9]{4}$"},
        pacing={"stagger_seconds": 0.05},
    )
    dialer.run("db", "migrate")
    write_tone(dialer.media / "hello.wav", 440, 1.0)
    try:
        yield dialer.start()
    finally:
        dialer.stop()


@pytest.fixture(scope="module")
def client(dialer: Dialer) -> Iterator[Client]:
    client = dialer.account()
    yield client
    client.close()


@pytest.fixture(scope="module")
def refused(client: Client) -> str:
    """A campaign whose calls the PBX refuses, so that they take more than a minute: posted first, looked at late."""
    return client.post(client.playbook(trunks=["refusing"]), list(REFUSED_BY_THE_TRUNK))


def outcomes(client: Client, numbers: list[str], trunk: str, **playbook: Any) -> dict[str, dict[str, Any]]:
    """The finished calls to these numbers, by number."""
    steps = playbook.pop("steps", [{"do": "wait", "seconds": 30}])
    book = client.playbook(trunks=[trunk], steps=steps, **playbook)
    uuid = client.post(book, numbers)
    client.finished(uuid, 150)
    calls: dict[str, dict[str, Any]] = client.calls(uuid)
    return calls


def test_it_registers(client: Client, refused: str) -> None:
    def registered() -> bool:
        trunks = {one["name"]: one for one in client.http.get("/trunk").json()["items"]}
        return bool(trunks["pbx"]["registration"] == "registered")

    eventually(registered, 20, "the trunk is registered")


def test_every_outcome_is_told_as_it_was_and_the_pbxs_records_agree(client: Client, asterisk: Asterisk) -> None:
    before = len(asterisk.cdrs())
    calls = outcomes(client, list(OUTCOMES), "codes", ring_timeout_seconds=4)
    seen = {number: (call["disposition"], call["attempts"][0]["sip_status"]) for number, call in calls.items()}
    assert seen == OUTCOMES
    assert {number for number, call in calls.items() if call["attempts"][0]["ringing_at"]} >= {"1201", "1300", "1701"}

    def recorded() -> list[dict[str, str]] | None:
        rows = [row for row in asterisk.cdrs()[before:] if row["dst"] in OUTCOMES]
        return rows if len(rows) >= len(OUTCOMES) else None

    rows = eventually(recorded, 20, "a record of every call")
    assert Counter(row["dst"] for row in rows) == Counter(list(OUTCOMES))
    for row in rows:
        call = calls[row["dst"]]
        assert (row["disposition"] == "ANSWERED") == (call["disposition"] == "answered"), row
        if call["disposition"] == "answered":
            assert abs(call["attempts"][0]["talk_seconds"] - float(row["billsec"])) < 1.5


def test_audio_flows_both_ways_over_tls_and_srtp(client: Client) -> None:
    steps = [{"do": "play", "audio": "hello.wav"}, {"do": "wait", "seconds": 30}]
    calls = outcomes(client, ["1003"], "secure", steps=steps)
    (attempt,) = calls["1003"]["attempts"]
    assert (attempt["disposition"], attempt["ended_by"]) == ("answered", "far")
    assert attempt["rtp"]["packets_received"] > 50
    assert attempt["rtp"]["packets_sent"] > 50


def test_a_long_call_is_ended_by_us_and_the_pbx_saw_it(client: Client) -> None:
    calls = outcomes(client, ["1060"], "pbx", steps=[{"do": "wait", "seconds": 5}, {"do": "hangup"}])
    (attempt,) = calls["1060"]["attempts"]
    assert attempt["ended_by"] == "us"
    assert 4.5 < attempt["talk_seconds"] < 8


def test_recorded_voices_are_told_apart(client: Client) -> None:
    # A person who says two words, and a mailbox whose greeting is half a minute long.
    calls = outcomes(client, ["2408", "1505"], "pbx", amd={}, steps=[{"do": "hangup"}])
    found = {number: (call["disposition"], call["result"]["amd"]["decision"]) for number, call in calls.items()}
    assert found == {"2408": ("answered", "human"), "1505": ("machine", "machine")}


@pytest.mark.slow
def test_a_message_follows_the_tone_of_a_mailbox(client: Client) -> None:
    beep = {"on_machine": "beep", "max_beep_wait_seconds": 90}
    steps = [{"do": "play", "audio": "hello.wav"}]
    calls = outcomes(client, ["1505"], "pbx", amd=beep, max_call_seconds=120, steps=steps)
    found = calls["1505"]["result"]["amd"]
    assert (found["decision"], found["beep"]) == ("machine", "tone"), found
    assert found["beep_after_ms"] > 20_000


@async_test
async def test_a_stream_hears_from_the_pbx_what_it_says(asterisk: Asterisk) -> None:
    rate, one = 16_000, LegId(1)
    pbx = trunk_to(asterisk.port, "pbx", username="dialer", password="dialer-secret", from_user="dialer")
    async with StreamServer() as server, pool_to(pbx, private_streams=True) as (pool, events):
        pool.dial(one, order("1130", trunk="pbx"))
        await events.wait(Answered, one)
        pool.stream(one, 1, StreamOrder(server.url, rate, "{}"))
        talk = await server.conversation()
        await talk.send(sine(700, 1.0, rate))
        await talk.until(lambda: len(talk.audio) >= 2 * 2 * rate)
        await talk.say("stop")
        assert (await events.wait(StreamEnded, one)).by is StreamEnd.SERVER
        pool.hang_up(one)
        await events.over(one)
    heard = bytes(talk.audio)
    assert loud_seconds(heard) * 8_000 / rate == pytest.approx(1.0, abs=0.1)
    assert crossings(heard) == pytest.approx(700, rel=0.05)
    assert max(array("h", heard)) == pytest.approx(6_000, rel=0.1)


def test_what_the_trunk_refused_was_retried_inside_the_attempt(
    client: Client, asterisk: Asterisk, refused: str
) -> None:
    client.finished(refused, 150)
    for number, call in client.calls(refused).items():
        (attempt,) = call["attempts"]
        assert (call["disposition"], attempt["sip_status"]) == ("trunk_failure", REFUSED_BY_THE_TRUNK[number])
    tried = Counter(row["dst"] for row in asterisk.cdrs() if row["dst"] in REFUSED_BY_THE_TRUNK)
    assert tried == dict.fromkeys(REFUSED_BY_THE_TRUNK, 4), "once, and after 5, 15 and 45 s"


def test_a_pbx_that_stops_is_noticed_and_taken_up_again(client: Client, asterisk: Asterisk) -> None:
    def state() -> str:
        return {one["name"]: one["state"] for one in client.http.get("/trunk").json()["items"]}["pbx"]

    assert state() == "up"
    asterisk.do("stop")
    try:
        eventually(lambda: state() != "up", 30, "the trunk is seen to be down")
    finally:
        asterisk.do("start")
    eventually(lambda: state() == "up", 60, "the trunk is up again")


# Calls that are handed over


def transferred(client: Client, callee: str, agent: str, **keys: Any) -> dict[str, Any]:
    """A call to `callee` that is handed over to `agent`, when it is finished."""
    step = {"do": "transfer", "to": agent, **keys}
    return outcomes(client, [callee], "pbx", steps=[step, {"do": "wait", "seconds": 1}])[callee]


@pytest.mark.parametrize(("callee", "agent"), [("1004", "1902"), ("1903", "1004")])
def test_a_bridged_transfer_carries_audio_through_the_pbx_both_ways(
    client: Client, asterisk: Asterisk, dialer: Dialer, callee: str, agent: str
) -> None:
    """1004 plays a tone of 440 Hz, 19NN records what it hears."""
    write_tone(dialer.media / "ring.wav", 1_000, 0.5)
    before = {path.name for path in (asterisk.home / "spool/recording").glob("*.wav")}
    call = transferred(client, callee, agent, ringback="ring.wav")
    assert call["result"]["transfers"][0]["outcome"] == "transferred"
    (leg,) = call["attempts"][0]["agent_legs"]
    assert leg["disposition"] == "answered"
    made = [path for path in (asterisk.home / "spool/recording").glob("*.wav") if path.name not in before]
    (path,) = made
    with wave.open(str(path)) as file:
        pcm = file.readframes(file.getnframes())
    assert pitch(pcm[-8_000:]) == pytest.approx(440, rel=0.05)


def test_agents_of_the_pbx_who_cannot_be_had_leave_the_callee_with_us(client: Client) -> None:
    agents = [("9017", "busy"), ("1300", "no_answer"), ("9001", "failed")]
    steps = [{"do": "transfer", "to": agent, "ring_timeout_seconds": 1.5} for agent, _ in agents]
    call = outcomes(client, ["1110"], "pbx", steps=steps)["1110"]
    assert [made["outcome"] for made in call["result"]["transfers"]] == [outcome for _, outcome in agents]
    assert (call["disposition"], call["attempts"][0]["ended_by"]) == ("answered", "us")


@async_test
async def test_refer_has_the_pbx_call_the_agent_and_leave_us(client: Client, asterisk: Asterisk) -> None:
    """The callee is a phone of the PBX, which connects it with 1004, a tone, in our place."""
    step = {"do": "transfer", "mode": "refer", "to": "1004", "on_failed": "failed"}
    rest = [{"do": "hangup"}, {"label": "failed", "do": "wait", "seconds": 30}]
    async with FarEnd() as phone:
        await register_phone(phone, "agent1", "agent-secret", asterisk.port)
        calling = asyncio.create_task(asyncio.to_thread(outcomes, client, ["7701"], "pbx", steps=[step, *rest]))
        invite = await phone.talking()
        call = (await calling)["7701"]
        (transfer,) = call["result"]["transfers"]
        assert (transfer["outcome"], transfer["agent"]) == ("transferred", "1004"), transfer
        # The phone is in its call still, and hears the tone of 440 Hz.
        heard = b"".join([decode((await phone.rtp.receive())[12:], "PCMA") for _ in range(100)])
        assert pitch(heard[-16_000:]) == pytest.approx(440, rel=0.05)
        phone.hang_up(invite)
        await phone.response(200)


def test_a_refer_that_the_pbx_refuses_leaves_the_callee_with_us(client: Client) -> None:
    """A channel of Asterisk that is in no bridge cannot be handed over: it says so."""
    steps = [
        {"do": "transfer", "mode": "refer", "to": "1103", "ring_timeout_seconds": 5},
        {"do": "wait", "seconds": 0.2},
    ]
    call = outcomes(client, ["1110"], "pbx", steps=steps)["1110"]
    (transfer,) = call["result"]["transfers"]
    assert transfer["outcome"] == "failed"
    assert call["attempts"][0]["ended_by"] == "us"
