"""`dialer check` against a trunk that is there, and one that is not."""

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from dialer import check
from dialer.check import Finding, Grade, examine
from scheduler.migrations import migrate
from sip.facts import BuildFacts, StackUnusable
from sip.lab import Lab
from sip.options import NoAnswer, probe
from tests.support.dialer_process import free_port
from tests.support.pools import trunk_to

FULL_BUILD = BuildFacts(version="2.17", max_calls=1024, waits_by_epoll=True, tls_1_3=True)


@pytest.fixture(autouse=True)
def _build(monkeypatch: pytest.MonkeyPatch) -> None:
    async def facts() -> BuildFacts:
        return FULL_BUILD

    monkeypatch.setattr(check, "probe_build", facts)


def settings(tmp_path: Path, **sections: Any) -> Settings:
    (tmp_path / "media").mkdir(exist_ok=True)
    defaults: dict[str, Any] = {
        "database": {"path": tmp_path / "d.db"},
        "api": {"port": free_port()},
        "sip": {"bind_host": "127.0.0.1"},
        "media": {"directory": tmp_path / "media"},
    }
    return Settings(**{**defaults, **sections})


def by_subject(found: list[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in found}


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_trunk_that_answers_options_is_seen(transport: str) -> None:
    async def story() -> None:
        async with Lab() as lab:
            seen = await probe(trunk_to(lab.port, transport=transport), "127.0.0.1")
            assert (seen.status, seen.way.address) == (200, "127.0.0.1")
            assert 0 < seen.milliseconds < 4000

    asyncio.run(story())


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_port_where_nobody_listens_is_told_without_waiting(transport: str) -> None:
    with pytest.raises(NoAnswer, match=f"by {transport}: "):
        asyncio.run(probe(trunk_to(free_port(), transport=transport), "127.0.0.1"))


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_peer_that_stays_silent_is_given_up(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as silent:
        silent.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            silent.listen()
        transport = "udp" if kind is socket.SOCK_DGRAM else "tcp"
        target = trunk_to(silent.getsockname()[1], transport=transport)
        with pytest.raises(NoAnswer, match=r"within 0\.2 s"):
            asyncio.run(probe(target, "127.0.0.1", 0.2))


def test_an_answer_is_taken_among_noise() -> None:
    class Noisy(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, source: Any) -> None:
            lines = data.decode().split("\r\n")
            kept = [line for line in lines if line.startswith(("Via", "From", "To", "Call-ID", "CSeq"))]
            answer = "\r\n".join(["SIP/2.0 404 Not Found", *kept, "Server: PBX 1", "Content-Length: 0", "", ""])
            self.transport.sendto(b"\x00\xff garbage", source)
            self.transport.sendto(answer.replace("Call-ID: ", "Call-ID: other").encode(), source)
            self.transport.sendto(answer.encode(), source)

    async def story() -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Noisy, local_addr=("127.0.0.1", 0))
        port = transport.get_extra_info("sockname")[1]
        seen = await probe(trunk_to(port), "127.0.0.1")
        assert (seen.status, seen.phrase, seen.agent) == (404, "Not Found", "PBX 1")
        transport.close()

    asyncio.run(story())


def test_everything_in_order_is_ok(tmp_path: Path) -> None:
    async def story() -> None:
        async with Lab() as lab:
            migrate(tmp_path / "d.db")
            found = await examine(settings(tmp_path, trunks={"lab": {"uri": f"sip:127.0.0.1:{lab.port}"}}))
        assert [finding.line() for finding in found if finding.grade is not Grade.OK] == []
        assert [finding.subject for finding in found] == [
            "database",
            "media",
            "pjsua2",
            "capacity",
            "trunk lab",
            "api port",
            "file limit",
        ]
        assert by_subject(found)["capacity"].text.startswith("32 calls at once: 2 workers of 32")

    asyncio.run(story())


def test_every_failure_is_found_in_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "d.db").write_bytes(b"this is no database" * 100)
    with socket.socket() as taken, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rtp:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        rtp.bind(("127.0.0.1", 0))
        port = min(rtp.getsockname()[1], 65_000)
        found = by_subject(
            asyncio.run(
                examine(
                    settings(
                        tmp_path,
                        api={"port": taken.getsockname()[1]},
                        sip={"bind_host": "127.0.0.1", "rtp_port_min": port, "rtp_port_max": port + 400},
                        pacing={"max_concurrent_calls": 2},
                        media={"directory": tmp_path / "none"},
                        trunks={"gone": {"uri": f"sip:127.0.0.1:{free_port()}"}},
                    )
                )
            )
        )
    assert {subject for subject, finding in found.items() if finding.failed} == {
        "database",
        "trunk gone",
        "api port",
        "rtp ports",
    }
    assert found["media"].grade is Grade.WARNING
    assert f"the first is {port}" in found["rtp ports"].text


def test_limits_that_the_build_cannot_carry_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unusable() -> BuildFacts:
        raise StackUnusable("pjsua2 does not start: no module")

    many = {"max_concurrent_calls": 2000}
    found = by_subject(asyncio.run(examine(settings(tmp_path, sip={"workers": 1}, pacing=many))))
    assert found["capacity"].failed
    assert found["trunks"].failed
    monkeypatch.setattr(check, "probe_build", unusable)
    found = by_subject(asyncio.run(examine(settings(tmp_path))))
    assert found["pjsua2"].text == "pjsua2 does not start: no module"
    assert "file limit" not in found


def test_a_small_build_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def wheel() -> BuildFacts:
        return BuildFacts(version="2.15.1", max_calls=4, waits_by_epoll=False, tls_1_3=False)

    monkeypatch.setattr(check, "probe_build", wheel)
    found = by_subject(asyncio.run(examine(settings(tmp_path))))
    assert found["pjsua2"].grade is Grade.WARNING
    assert "make pjsua2" in found["pjsua2"].text


def test_backups_that_are_missing_old_or_cannot_be_written_are_found(tmp_path: Path) -> None:
    def found(folder: Path) -> Finding:
        wanted = {"directory": folder, "interval_hours": 24}
        return by_subject(asyncio.run(examine(settings(tmp_path, backup=wanted))))["backup"]

    folder = tmp_path / "backups"
    assert found(folder / "deeper").grade is Grade.FAILED
    assert (found(folder).grade, found(folder).text) == (
        Grade.WARNING,
        f"there is none in {folder} yet; the server takes one when it runs",
    )
    folder.mkdir()
    for hours, grade in ((49, Grade.WARNING), (47, Grade.OK)):
        begun = datetime.now(UTC) - timedelta(hours=hours)
        (folder / f"dialer-{begun:%Y%m%dT%H%M%SZ}.db").touch()
        assert found(folder).grade is grade
        assert f"is {hours}.0 hours old, one is taken each 24" in found(folder).text
    assert "backup" not in by_subject(asyncio.run(examine(settings(tmp_path))))
