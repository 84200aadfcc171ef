"""What of a new configuration can act at once, and how a reload is carried out and told."""

import asyncio
import tomllib
from pathlib import Path
from typing import Any

import pytest

from config import settings as configuration
from config.settings import InvalidSettings, Settings
from dialer.reload import RELOADED, CannotFollow, Reloader, adopted, differences
from scheduler.server_lock import Reloads
from tests.support.labs import async_test

PBX = {"uri": "sip:10.0.0.5"}
OLD = Settings(trunks={"pbx": PBX, "old": PBX}, speech={"command": "say {input} {output}"})
NEW = Settings(
    database={"path": Path("/elsewhere.db")},
    api={"port": 8081, "max_contacts": 7, "max_body_bytes": 2048},
    pacing={"max_concurrent_calls": 5},
    sip={"port": 5070},
    trunks={"pbx": {**PBX, "register": True, "username": "x"}, "new": PBX},
    mqtt={"url": "mqtt://127.0.0.1"},
    media={"directory": Path("/media"), "keep_recordings_days": 5},
    log={"level": "debug"},
)


def test_what_can_act_is_adopted_and_what_needs_a_restart_stays() -> None:
    got = adopted(OLD, NEW)
    assert (got.database, got.sip) == (OLD.database, OLD.sip)
    assert (got.api.host, got.api.port) == (OLD.api.host, OLD.api.port)
    assert (got.api.max_contacts, got.api.max_body_bytes) == (7, 2048)
    assert (got.media.directory, got.media.keep_recordings_days) == (OLD.media.directory, 5)
    for section in ("pacing", "trunks", "mqtt", "speech", "log", "limits"):
        assert getattr(got, section) == getattr(NEW, section)


def test_differences_are_named_by_their_keys_in_the_file() -> None:
    got = adopted(OLD, NEW)
    assert differences(OLD, got) == (
        "api.max_body_bytes",
        "api.max_contacts",
        "log.level",
        "media.keep_recordings_days",
        "mqtt",
        "pacing.max_concurrent_calls",
        "speech",
        "trunks.new",
        "trunks.old",
        "trunks.pbx.register",
        "trunks.pbx.username",
    )
    assert differences(got, NEW) == ("api.port", "database.path", "media.directory", "sip.port")
    assert differences(NEW, NEW) == ()
    words = Settings(trunks={"pbx": {**PBX, "dispositions": {"480": "busy"}}})
    assert differences(Settings(trunks={"pbx": PBX}), words) == ("trunks.pbx.dispositions",)


def test_a_password_that_changed_is_named_and_not_told() -> None:
    def with_password(secret: str) -> Settings:
        return Settings(trunks={"pbx": {**PBX, "username": "x", "password": secret}})

    assert differences(with_password("a"), with_password("b")) == ("trunks.pbx.password",)


def test_every_setting_that_is_shown_is_known_to_act_or_to_need_a_restart() -> None:
    shown = Path(configuration.__file__).with_name("dialer.toml").read_text()
    assert set(tomllib.loads(shown)) <= set(Settings.model_fields)
    sections = {name.partition(".")[0] for name in RELOADED}
    assert sections <= set(Settings.model_fields)
    for name in RELOADED:
        section, _, key = name.partition(".")
        assert not key or key in configuration._SECTIONS[section].model_fields
    assert set(Settings.model_fields) - sections == {"database", "sip"}, (
        "a new section: does it act when it is reloaded?"
    )


def test_the_operators_document_says_of_every_section_when_it_acts() -> None:
    page = (Path(configuration.__file__).parents[1] / "docs/operations.md").read_text()
    rows = page.partition("### Reload")[2].partition("after a restart")[0].splitlines()
    for name in RELOADED:
        assert f"`{name}`" in "\n".join(rows[:-1])
    for name in ("database", "sip", "api.host", "api.port", "media.directory"):
        assert f"`{name}`" in rows[-1]


class World:
    """A reloader whose file is `given`, and what it did."""

    def __init__(self) -> None:
        self.given: Settings | Exception = NEW
        self.followed: list[tuple[Settings, Settings]] = []
        self.told: list[Reloads] = []
        self.refuses: Exception | None = None
        self.news = asyncio.Event()
        self.reloader = Reloader(OLD, self._read, self._follow, self._tell)

    def _read(self) -> Settings:
        if isinstance(self.given, Exception):
            raise self.given
        return self.given

    async def _follow(self, old: Settings, new: Settings) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.followed.append((old, new))

    def _tell(self, reloads: Reloads) -> None:
        self.told.append(reloads)
        self.news.set()

    async def until(self, ended: int) -> Reloads:
        async with asyncio.timeout(10):
            while not self.told or self.told[-1].ended < ended:
                self.news.clear()
                await self.news.wait()
        return self.told[-1]


@async_test
async def test_a_reload_is_told_when_it_begins_and_what_came_of_it_when_it_ends() -> None:
    world = World()
    task = asyncio.create_task(world.reloader.run())
    world.reloader.ask()
    done = await world.until(1)
    assert world.told[0] == Reloads(begun=1, ended=0)
    assert (done.begun, done.ended, done.faults) == (1, 1, ())
    assert "trunks.new" in done.changed
    assert done.needs_restart == ("api.port", "database.path", "media.directory", "sip.port")
    world.reloader.ask()
    again = await world.until(2)
    assert (again.changed, again.needs_restart) == ((), done.needs_restart), "they still wait for a restart"
    assert [new for _, new in world.followed] == [adopted(OLD, NEW)] * 2
    task.cancel()


@pytest.mark.parametrize(
    ("given", "refuses", "faults"),
    [
        (InvalidSettings(["pacing.stagger: no such key", "trunks.pbx.uri: is required"]), None, 2),
        (NEW, CannotFollow("10000 RTP ports do not fit"), 1),
        (NEW, RuntimeError("a defect"), 1),
    ],
)
@async_test
async def test_a_configuration_that_cannot_be_used_is_told_fault_by_fault_and_the_next_one_counts_from_the_old(
    given: Any, refuses: Exception | None, faults: int
) -> None:
    world = World()
    world.given, world.refuses = given, refuses
    task = asyncio.create_task(world.reloader.run())
    world.reloader.ask()
    done = await world.until(1)
    assert len(done.faults) == faults
    assert (done.changed, world.followed) == ((), [])
    world.given, world.refuses = NEW, None
    world.reloader.ask()
    assert (await world.until(2)).faults == ()
    assert world.followed == [(OLD, adopted(OLD, NEW))]
    task.cancel()


@async_test
async def test_those_who_ask_while_a_reload_goes_on_get_one_that_begins_after_they_asked() -> None:
    world = World()
    begun, gate = asyncio.Event(), asyncio.Event()

    async def slow(old: Settings, new: Settings) -> None:
        world.followed.append((old, new))
        begun.set()
        await gate.wait()

    world.reloader._follow = slow
    task = asyncio.create_task(world.reloader.run())
    world.reloader.ask()
    await asyncio.wait_for(begun.wait(), 10)
    world.given = OLD
    for _ in range(5):
        world.reloader.ask()
    gate.set()
    assert (await world.until(2)).begun == 2
    assert [new for _, new in world.followed] == [adopted(OLD, NEW), adopted(OLD, OLD)]
    task.cancel()
