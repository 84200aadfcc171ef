"""Puts the service in place on this machine, or below another root: user, folders, a first configuration, the unit.

What is there already stays as it is, but for the unit, which is ours: it is brought up to date.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import config
from config.settings import DEFAULT_FILES

USER: Final = "dialer"
CONFIGURATION: Final = DEFAULT_FILES[0]
STATE: Final = Path("/var/lib/dialer")
UNIT: Final = Path("/etc/systemd/system/dialer.service")
# What the shipped unit says, where our package puts the program; and its unit, which that of an operator stands above.
PACKAGED: Final = Path("/opt/dialer/bin/dialer")
PACKAGED_UNIT: Final = Path("/usr/lib/systemd/system/dialer.service")
# From the service.
_HIDDEN: Final = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108
_SHIPPED: Final = Path(config.__file__).parent


class CannotInstall(Exception):
    """The service cannot be put in place; the text says why in one line."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that is not as it should be, in words, and what makes it so."""

    text: str
    do: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where to install: below `root`, to run `program` with `configuration`; it needs its modules and an interpreter."""

    root: Path = Path("/")
    program: Path = field(default_factory=lambda: Path(sys.executable).with_name("dialer"))
    needs: Sequence[Path] = field(default_factory=lambda: (Path(__file__).resolve().parent, Path(sys.base_prefix)))
    configuration: Path = CONFIGURATION

    def missing(self) -> Iterator[Step]:
        """What is to be done, in order; each step is looked at when those before it are done. Raises `CannotInstall`."""
        self._require_visible_program()
        if USER not in self._ids("passwd"):
            yield Step(f"create the user {USER}", self._create_user)
        yield from self._folder(self.configuration.parent, 0o750, "root")
        yield from self._folder(STATE, 0o750, USER)
        yield from self._folder(STATE / "media", 0o750, USER)
        file = self.at(self.configuration)
        if not file.exists():
            shown = (_SHIPPED / "dialer.toml").read_text("utf-8")
            yield Step(f"write a first configuration to {self.configuration}", lambda: self._write(file, shown, 0o640))
        unit, wanted = self.at(UNIT), self.unit()
        if self._unit_in_force() != wanted:
            what = "replace" if unit.exists() else "write"
            yield Step(f"{what} the unit {UNIT}", lambda: self._write(unit, wanted, 0o644, group="root"))
            if self._is_live():
                yield Step("let systemd read its units again", lambda: _run("systemctl", "daemon-reload"))

    def remaining(self) -> Iterator[Step]:
        """What is to be taken away again, in order. Configuration, data and user stay."""
        unit = self.at(UNIT)
        if not unit.exists():
            return
        if self._is_live():
            yield Step("stop and disable the service", lambda: _run("systemctl", "disable", "--now", UNIT.name))
        yield Step(f"remove the unit {UNIT}", unit.unlink)
        if self._is_live():
            yield Step("let systemd read its units again", lambda: _run("systemctl", "daemon-reload"))

    def unit(self) -> str:
        """The unit, for this program and configuration."""
        text = (_SHIPPED / "dialer.service").read_text("utf-8")
        return text.replace(str(PACKAGED), str(self.program)).replace(str(CONFIGURATION), str(self.configuration))

    def _unit_in_force(self) -> str | None:
        units = (self.at(path) for path in (UNIT, PACKAGED_UNIT))
        return next((unit.read_text("utf-8") for unit in units if unit.exists()), None)

    def at(self, path: Path) -> Path:
        """An absolute path, below the root."""
        return self.root / path.relative_to("/")

    def _is_live(self) -> bool:
        """Whether it is this machine, and systemd runs it (sd_booted(3))."""
        return self.root == Path("/") and Path("/run/systemd/system").is_dir()

    def _require_visible_program(self) -> None:
        for path in (self.program, *self.needs):
            if any(path.is_relative_to(hidden) for hidden in _HIDDEN):
                raise CannotInstall(
                    f"{path} is hidden from the service (ProtectHome=, PrivateTmp=): install the dialer elsewhere, in a venv"
                    f" like {PACKAGED.parent.parent} made by the system's Python"
                )

    def _create_user(self) -> None:
        words = next(line for line in (_SHIPPED / "dialer.sysusers").read_text("utf-8").splitlines() if line[0] == "u")
        _run("systemd-sysusers", f"--root={self.root}", "--inline", words)

    def _folder(self, path: Path, mode: int, owner: str) -> Iterator[Step]:
        folder = self.at(path)
        if folder.is_dir():
            return

        def make() -> None:
            folder.mkdir(parents=True)
            folder.chmod(mode)
            self._give(folder, owner, USER)

        yield Step(f"make the folder {path}", make)

    def _write(self, file: Path, text: str, mode: int, *, group: str = USER) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".{file.name}.new")
        new.write_text(text, "utf-8")
        new.chmod(mode)
        self._give(new, "root", group)
        new.replace(file)

    def _give(self, path: Path, user: str, group: str) -> None:
        os.chown(path, self._ids("passwd")[user], self._ids("group")[group])

    def _ids(self, database: str) -> dict[str, int]:
        """Users or groups of that root, with their numbers (passwd(5), group(5))."""
        file = self.at(Path("/etc") / database)
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
        return {"root": 0} | {fields[0]: int(fields[2]) for line in lines if len(fields := line.split(":")) > 2}


def _run(*words: str) -> None:
    program = shutil.which(words[0])
    if program is None:
        raise CannotInstall(f"{words[0]} is not here: this needs a machine with systemd")
    done = subprocess.run([program, *words[1:]], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise CannotInstall(f"{' '.join(words)}: {done.stderr.strip() or f'exit status {done.returncode}'}")
