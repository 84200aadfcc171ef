"""A new configuration for a running server: what of it can act at once, and the one who carries it out, one at a time.

SIGHUP asks for it (`dialer reload` and systemd send one). A configuration that cannot be used changes nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NoReturn

import structlog
from pydantic import BaseModel

from config.settings import InvalidSettings, Settings
from scheduler.server_lock import Reloads

log = structlog.get_logger(__name__)

# Sections, and keys of the others, that act when they are reloaded. Everything else needs a restart.
RELOADED: Final = frozenset(
    {
        "trunks",
        "pacing",
        "limits",
        "phone",
        "speech",
        "mqtt",
        "webhooks",
        "stream",
        "events",
        "backup",
        "log",
        "api.max_contacts",
        "api.max_body_bytes",
        "media.keep_recordings_days",
        "page.show_numbers",
        "page.session_hours",
        "page.behind_proxy",
    }
)


class CannotFollow(Exception):
    """The configuration is well formed, and this server cannot work by it; the text says why."""


def adopted(old: Settings, new: Settings) -> Settings:
    """The settings to go on with: those of `new` that can act now, and of `old` those that need a restart."""
    update: dict[str, Any] = {}
    for name in Settings.model_fields:
        section = getattr(old, name)
        if name in RELOADED:
            update[name] = getattr(new, name)
        elif isinstance(section, BaseModel):
            keys = [key for key in type(section).model_fields if f"{name}.{key}" in RELOADED]
            update[name] = section.model_copy(update={key: getattr(getattr(new, name), key) for key in keys})
    return old.model_copy(update=update)


def differences(old: Settings, new: Settings) -> tuple[str, ...]:
    """The keys that differ, as they stand in the file; of a section or trunk that came or went only its name."""
    return tuple(_differences(old, new, ""))


def _differences(old: object, new: object, where: str) -> list[str]:
    if old == new:
        return []
    before, after = _parts(old), _parts(new)
    if before is None or after is None:
        return [where]
    found = []
    for key in sorted(before.keys() | after.keys()):
        place = f"{where}.{key}" if where else key
        if key not in before or key not in after:
            found.append(place)
        else:
            found += _differences(before[key], after[key], place)
    return found


def _parts(value: object) -> Mapping[str, object] | None:
    """The parts that have keys of their own in the file. The outcomes of a trunk's statuses are one setting."""
    if isinstance(value, BaseModel):
        return {field.alias or name: getattr(value, name) for name, field in type(value).model_fields.items()}
    if isinstance(value, dict) and all(isinstance(held, BaseModel) for held in value.values()):
        return value
    return None


class Reloader:
    """Reads and follows a new configuration whenever it is asked to; `told` how it stands, before each and after it.

    `follow` is given the old settings and the adopted ones, and brings the server to act by them; it raises `CannotFollow`
    before it has changed anything.
    """

    def __init__(
        self,
        settings: Settings,
        read: Callable[[], Settings],
        follow: Callable[[Settings, Settings], Awaitable[None]],
        told: Callable[[Reloads], None],
    ) -> None:
        self._settings = settings
        self._read = read
        self._follow = follow
        self._told = told
        self._asked = asyncio.Event()
        self._reloads = Reloads()

    def ask(self) -> None:
        """There may be something new: look when what is being done is done."""
        self._asked.set()

    async def run(self) -> NoReturn:
        """Until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            number = self._reloads.begun + 1
            self._tell(Reloads(number, self._reloads.ended))
            self._tell(await self._reload(number))

    async def _reload(self, number: int) -> Reloads:
        old = self._settings
        try:
            new = await asyncio.to_thread(self._read)
            settings = adopted(old, new)
            await self._follow(old, settings)
        except InvalidSettings as error:
            return self._refused(number, tuple(error.faults))
        except CannotFollow as error:
            return self._refused(number, (str(error),))
        except Exception as defect:
            log.exception("a reload failed: this is a defect")
            return self._refused(number, (f"unexpected {type(defect).__name__}: {defect}: restart the server",))
        self._settings = settings
        changed, needs_restart = differences(old, settings), differences(settings, new)
        log.info("the configuration was reloaded", changed=list(changed))
        for key in needs_restart:
            log.warning("a changed setting needs a restart", key=key)
        return Reloads(number, number, changed, needs_restart)

    def _refused(self, number: int, faults: tuple[str, ...]) -> Reloads:
        for fault in faults:
            log.error("the configuration was not reloaded", fault=fault)
        return Reloads(number, number, faults=faults)

    def _tell(self, reloads: Reloads) -> None:
        self._reloads = reloads
        self._told(reloads)
