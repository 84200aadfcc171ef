"""The service put in place below a folder of the test's: what is made, what stays, and how tight its unit is."""

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import config
from config.settings import load
from dialer import installing
from dialer.cli import main
from dialer.commands import installation
from dialer.installing import CONFIGURATION, PACKAGED, PACKAGED_UNIT, STATE, UNIT, CannotInstall, Place
from dialer.terminal import Refused

SHIPPED = Path(config.__file__).with_name("dialer.service")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make users")
needs_systemd = pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd is not installed")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "etc").mkdir()
    return Place(tmp_path, program=PACKAGED, needs=[])


def carry_out(place: Place) -> list[str]:
    done = []
    for step in place.missing():
        step.do()
        done.append(step.text)
    return done


def owner(place: Place, path: Path) -> tuple[str, str, int]:
    """User, group and mode, by the names of that root."""
    found = place.at(path).stat()
    users, groups = ({number: name for name, number in place._ids(file).items()} for file in ("passwd", "group"))
    return users[found.st_uid], groups[found.st_gid], stat.S_IMODE(found.st_mode)


@as_root
@needs_systemd
def test_a_fresh_machine_gets_user_folders_a_configuration_and_the_unit(place: Place) -> None:
    assert carry_out(place) == [
        "create the user dialer",
        "make the folder /etc/dialer",
        "make the folder /var/lib/dialer",
        "make the folder /var/lib/dialer/media",
        "write a first configuration to /etc/dialer/dialer.toml",
        "write the unit /etc/systemd/system/dialer.service",
    ]
    assert re.search(
        r"^dialer:x:\d+:\d+:.*:/var/lib/dialer:/usr/sbin/nologin$",
        place.at(Path("/etc/passwd")).read_text(),
        re.MULTILINE,
    )
    assert owner(place, STATE) == ("dialer", "dialer", 0o750)
    assert owner(place, STATE / "media") == ("dialer", "dialer", 0o750)
    # Secrets may stand in it.
    assert owner(place, CONFIGURATION.parent) == ("root", "dialer", 0o750)
    assert owner(place, CONFIGURATION) == ("root", "dialer", 0o640)
    assert owner(place, UNIT) == ("root", "root", 0o644)
    assert load(place.at(CONFIGURATION)).database.path.parent == STATE
    assert place.at(UNIT).read_text() == SHIPPED.read_text()


@as_root
@needs_systemd
def test_a_second_time_nothing_is_done_and_what_an_operator_changed_stays(place: Place) -> None:
    carry_out(place)
    assert carry_out(place) == []
    place.at(CONFIGURATION).write_text("[log]\n")
    place.at(STATE).chmod(0o700)
    assert carry_out(place) == []
    assert place.at(CONFIGURATION).read_text() == "[log]\n"
    place.at(UNIT).write_text("[Service]\n")
    assert carry_out(place) == ["replace the unit /etc/systemd/system/dialer.service"]
    assert place.at(UNIT).read_text() == SHIPPED.read_text()
    moved = Place(place.root, Path("/srv/dialer/bin/dialer"), needs=[], configuration=Path("/etc/d.toml"))
    assert "ExecStart=/srv/dialer/bin/dialer --config /etc/d.toml serve\n" in moved.unit()
    assert "ExecReload=/srv/dialer/bin/dialer --config /etc/d.toml reload\n" in moved.unit()


@as_root
@needs_systemd
def test_a_packages_unit_is_enough_where_it_starts_this_program(place: Place) -> None:
    packaged = place.at(PACKAGED_UNIT)
    packaged.parent.mkdir(parents=True)
    shutil.copyfile(SHIPPED, packaged)
    carry_out(place)
    assert not place.at(UNIT).exists()
    other = Place(place.root, Path("/srv/dialer/bin/dialer"), needs=[])
    assert carry_out(other) == ["write the unit /etc/systemd/system/dialer.service"]


@as_root
@needs_systemd
def test_taking_it_away_leaves_configuration_data_and_user(place: Place) -> None:
    carry_out(place)
    for step in place.remaining():
        step.do()
    assert not place.at(UNIT).exists()
    assert place.at(CONFIGURATION).exists()
    assert "dialer" in place._ids("passwd")
    assert list(place.remaining()) == []


def test_a_dry_run_tells_and_does_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not installation._carry_out(place.missing(), dry_run=True)
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "would create the user dialer"
    assert told[-1] == "would write the unit /etc/systemd/system/dialer.service"
    assert [path.name for path in place.root.rglob("*")] == ["etc"]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Refused, match="only root"):
        installation._carry_out(place.missing(), dry_run=False)


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[str]]:
    """`dialer --config /etc/mine.toml service WORDS` below a folder of the test's; what it says."""
    monkeypatch.setattr(installing, "_HIDDEN", ())
    (tmp_path / "etc").mkdir()

    def dialer(*words: str) -> list[str]:
        line = ["dialer", "--config", "/etc/mine.toml", "service", *words, "--root", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return capsys.readouterr().err.splitlines()

    return dialer


def test_the_command_tells_what_it_would_do(run: Callable[..., list[str]], tmp_path: Path) -> None:
    told = run("install", "--dry-run")
    assert told[-2:] == [
        "would write a first configuration to /etc/mine.toml",
        "would write the unit /etc/systemd/system/dialer.service",
    ]
    assert list(tmp_path.rglob("*")) == [tmp_path / "etc"]


@as_root
@needs_systemd
def test_the_command_says_what_comes_next_and_what_stays(run: Callable[..., list[str]], tmp_path: Path) -> None:
    assert run("install")[-1].startswith("Now edit /etc/mine.toml,")
    assert " --config /etc/mine.toml serve\n" in (tmp_path / "etc/systemd/system/dialer.service").read_text()
    assert run("install") == ["everything is as it should be"]
    assert run("uninstall")[-1].startswith("What stays: /etc/dialer, /var/lib/dialer")
    assert run("uninstall") == ["everything is as it should be"]
    assert (tmp_path / "etc/mine.toml").exists()


@as_root
def test_a_step_that_fails_is_a_reason_in_one_line() -> None:
    def fail() -> None:
        installing._run("sh", "-c", "echo no room >&2; exit 3")

    with pytest.raises(Refused, match=r"^sh -c .*: no room$"):
        installation._carry_out(iter([installing.Step("try", fail)]), dry_run=False)
    with pytest.raises(CannotInstall, match=r"^false: exit status 1$"):
        installing._run("false")


@pytest.mark.parametrize("hidden", ["/home/ana/dialer/.venv/bin/dialer", "/root/.pyenv", "/tmp/dialer"])
def test_a_program_that_the_sandbox_would_hide_is_refused(place: Place, hidden: str) -> None:
    for unfit in (Place(place.root, Path(hidden), needs=[]), Place(place.root, needs=[Path("/opt"), Path(hidden)])):
        with pytest.raises(CannotInstall, match="is hidden from the service"):
            list(unfit.missing())


def test_a_machine_without_systemd_is_told_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installing.shutil, "which", lambda _: None)
    with pytest.raises(CannotInstall, match="needs a machine with systemd"):
        carry_out(place)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_units_exposure_is_2_or_less(tmp_path: Path) -> None:
    """Asterisk's own unit comes to 9.0."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", SHIPPED],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Overall exposure level for dialer.service: [01]\.\d OK|: 2\.0", done.stdout)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", SHIPPED],
        capture_output=True,
        text=True,
        check=False,
    )
    faults = [
        line for line in verified.stderr.splitlines() if "dialer.service" in line and "not executable" not in line
    ]
    assert faults == []
