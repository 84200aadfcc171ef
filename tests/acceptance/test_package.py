"""The Debian package: what is in it, and installed, upgraded, removed and purged for real, also under a systemd of its own."""

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from msgspec import _core

from dialer.installing import PACKAGED, UNIT
from tests.support.dialer_process import eventually
from tests.support.machines import CannotCopy, Machine

PROJECT = Path(__file__).parents[2]
OURS = ("dialer", "sip", "api", "scheduler", "config")
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")
TOOLS = ("dpkg-deb", "dpkg-shlibdeps", "/usr/bin/python3")


def system_python() -> str:
    words = ["/usr/bin/python3", "-c", "import sys; print(*sys.version_info[:2], sep='.')"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason="needs Debian's python3 and dpkg-dev")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root installs packages")
# Else pjproject would be built once more.
with_our_build = pytest.mark.skipif(
    "+dialer" not in importlib.metadata.version("pjsua2-python")
    or system_python() != ".".join(map(str, sys.version_info[:2])),
    reason="our own pjsua2 was not built for Debian's python3",
)

# A database of five migrations, as an earlier version left it.
OLDER = """
import sys
from sqlite_utils import Database
from scheduler import migrations
from scheduler.connection import connect
connection = connect(sys.argv[1], create=True)
migrations._migrations.apply(Database(connection, execute_plugins=False), stop_before="m006_attempts")
connection.execute("PRAGMA user_version = 5")
connection.execute("INSERT INTO account VALUES (1, 'a', 'An older one', 0)")
"""


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("deb_build", PROJECT / "deb/build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def listed(package: Path) -> dict[str, tuple[str, str]]:
    """Mode and owner of each path in the package."""
    found = {}
    lines = subprocess.run(["dpkg-deb", "-c", package], capture_output=True, text=True, check=True).stdout
    for line in lines.splitlines():
        mode, owner, _, _, _, path, *_ = line.split(None, 6)
        found[path.removeprefix(".")] = mode, owner
    return found


def test_the_package_holds_what_it_is_to_hold_and_the_same_sources_make_the_same_one(
    builder: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the venv, whose making takes half a minute."""

    def small_venv(root: Path, _: Path) -> None:
        program = root / "opt/dialer/bin/dialer"
        program.parent.mkdir(parents=True)
        program.write_text("#!/opt/dialer/bin/python\n")
        program.chmod(0o755)
        extension = Path(_core.__file__)
        library = root / "opt/dialer/lib/python3/site-packages" / extension.name
        library.parent.mkdir(parents=True)
        shutil.copyfile(extension, library)

    monkeypatch.setattr(builder, "_fill_venv", small_venv)
    before = os.umask(0o077)
    try:
        for folder in ("one", "two"):
            assert builder.main(["--output", str(tmp_path / folder)]) == 0
    finally:
        os.umask(before)
    version = re.search(r'^version = "(.*)"', (PROJECT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    (package,) = (tmp_path / "one").iterdir()
    assert re.fullmatch(rf"dialer_{re.escape(version[1])}_\w+\.deb", package.name)
    assert package.read_bytes() == (tmp_path / "two" / package.name).read_bytes()

    files = listed(package)
    assert {owner for _, owner in files.values()} == {"root/root"}
    assert {mode for path, (mode, _) in files.items() if path.endswith("/")} == {"drwxr-xr-x"}
    assert files["/etc/dialer/dialer.toml"][0] == "-rw-r-----", "secrets may come to stand in it"
    assert files["/usr/bin/dialer"][0].startswith("l")
    assert files[str(PACKAGED)][0] == "-rwxr-xr-x", "what the unit starts"
    for path in ("/usr/lib/systemd/system/dialer.service", "/usr/lib/sysusers.d/dialer.conf"):
        assert files[path][0] == "-rw-r--r--"
    documents = {"copyright", "changelog.gz", "operations.md", "examples/stream_server.py"}
    assert {f"/usr/share/doc/dialer/{name}" for name in documents} <= files.keys()

    control = tmp_path / "control"
    subprocess.run(["dpkg-deb", "-e", package, control], check=True)
    assert (control / "conffiles").read_text() == "/etc/dialer/dialer.toml\n"
    fields = dict(re.findall(r"^(\S+): (.*)$", (control / "control").read_text(), re.MULTILINE))
    assert (fields["Package"], fields["Version"]) == ("dialer", version[1])
    assert re.match(r"python3 \(>= 3\.\d+\), python3 \(<< 3\.\d+\), systemd, libc6 ", fields["Depends"])
    for script in SCRIPTS:
        assert stat.S_IMODE((control / script).stat().st_mode) == 0o755
        assert (control / script).read_text().startswith("#!/bin/sh\nset -e\n")
        subprocess.run(["/bin/sh", "-n", control / script], check=True)
    subprocess.run(["dpkg-deb", "-x", package, tmp_path / "root"], check=True)
    subprocess.run(["md5sum", "--check", "--quiet", control / "md5sums"], cwd=tmp_path / "root", check=True)


def test_what_comes_before_a_release_is_older_than_it(builder: ModuleType) -> None:
    versions = [builder.debian_version(version) for version in ("1.0.dev2", "1.0a1", "1.0b1", "1.0rc1", "1.0", "1.0.1")]
    for older, newer in pairwise(versions):
        subprocess.run(["dpkg", "--compare-versions", older, "lt", newer], check=True)


@pytest.fixture(scope="module")
def package(builder: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    assert builder.main(["--output", str(folder)]) == 0
    (made,) = folder.iterdir()
    return made


def as_version(package: Path, version: str) -> Path:
    """The same package under another version's name; its files are not packed again (deb(5))."""
    folder = package.parent / version
    folder.mkdir()
    subprocess.run(["dpkg-deb", "-e", package, folder / "control"], check=True)
    control = folder / "control/control"
    control.write_text(re.sub(r"^Version: .*$", f"Version: {version}", control.read_text(), flags=re.MULTILINE))
    subprocess.run(["ar", "x", "--output", folder, package], check=True)
    parts = [folder / "debian-binary", folder / "control.tar", *folder.glob("data.tar*")]
    subprocess.run(["tar", "-cf", parts[1], "-C", folder / "control", "."], check=True)
    made = package.parent / f"dialer_{version}.deb"
    subprocess.run(["ar", "rc", made, *parts], check=True)
    return made


def state_of(machine: Machine) -> str:
    """How dpkg sees the package: version and state."""
    return machine.run("dpkg-query", "-W", "-f", "${Version} ${db:Status-Abbrev}", "dialer", check=False).stdout.strip()


def backups_of(machine: Machine) -> list[str]:
    """By version from which was upgraded; the oldest first."""
    files = sorted(machine.at("/var/lib/dialer/backups").glob("before-*.db"), key=lambda file: file.stat().st_mtime)
    return [re.sub(r"-?\d{8}T\d{6}Z\.db$", "", file.name) for file in files]


@as_root
@with_our_build
@pytest.mark.timeout(600)
def test_installed_upgraded_removed_and_purged_by_dpkg(package: Path, tmp_path: Path) -> None:
    try:
        with Machine.copy_of_this_one(tmp_path) as machine:
            assert not machine.at("/opt/dialer").exists(), "this machine has a dialer of its own"
            installs_and_goes_again(machine, package)
    except CannotCopy as reason:
        pytest.skip(f"no copy of this machine can be mounted: {reason}")


def installs_and_goes_again(machine: Machine, package: Path) -> None:
    version = package.name.split("_")[1]
    newer = machine.bring(as_version(package, "9.9"))
    this = machine.bring(package)
    machine.run("dpkg", "-i", this)
    assert state_of(machine) == f"{version} ii"
    assert machine.run("dialer", "--version").stdout == f"dialer {version}\n"
    assert machine.run("stat", "-c", "%U:%G %a", "/etc/dialer/dialer.toml").stdout == "root:dialer 640\n"
    assert machine.run("stat", "-c", "%U:%G %a", "/var/lib/dialer/dialer.db").stdout == "dialer:dialer 600\n"
    assert machine.run("systemctl", "is-enabled", "dialer").stdout == "enabled\n"
    facts = machine.run("/opt/dialer/bin/python", "-m", "sip.worker", "facts").stdout
    assert '"waits_by_epoll": true' in facts, "our own build of pjsua2"
    listed = machine.run("/opt/dialer/bin/python", "-m", "pip", "list", "--format=freeze").stdout.splitlines()
    ours = {f"{library.name}=={library.version}" for library in importlib.metadata.distributions()}
    assert {line for line in listed if not line.startswith("dialer==")} <= ours, "what the tests run with is shipped"

    depends = machine.run("dpkg-query", "-W", "-f", "${Depends}", "dialer").stdout
    assert re.search(r"\blibssl3.*\blibuuid1", depends), "what pjsua2 is linked with"
    assert machine.run("grep", "-rl", "dialer-deb-", "/opt/dialer", check=False).stdout == "", "where it was built"
    (modules,) = machine.at("/opt/dialer").glob("lib/python3*/site-packages")
    tracked = subprocess.run(["git", "ls-files", *OURS], capture_output=True, text=True, check=True, cwd=PROJECT).stdout
    assert [name for name in tracked.split() if not (modules / name).is_file()] == [], "templates and SQL, too"
    (compiled,) = modules.glob("dialer/__pycache__/cli.*.pyc")
    assert compiled.read_bytes()[4:8] == b"\1\0\0\0", (
        "held valid by the content's hash (PEP 552), for nobody may write there"
    )

    # An upgrade: the operator's configuration stays, the database is backed up and brought up to date.
    configuration, database = machine.at("/etc/dialer/dialer.toml"), machine.at("/var/lib/dialer/dialer.db")
    text = configuration.read_text().replace("stagger_seconds = 0.2", "stagger_seconds = 7")
    configuration.write_text(text)
    database.unlink()
    machine.run("runuser", "-u", "dialer", "--", "/opt/dialer/bin/python", "-c", OLDER, "/var/lib/dialer/dialer.db")
    upgraded = machine.run("dpkg", "--force-confdef", "--force-confold", "-i", newer)
    assert "m006_attempts" in upgraded.stdout + upgraded.stderr
    assert state_of(machine) == "9.9 ii"
    assert configuration.read_text() == text
    machine.run("dialer", "db", "check")
    assert machine.run("dialer", "account", "create", "An older one", check=False).returncode == 1, "its data is there"
    assert backups_of(machine) == [f"before-upgrade-from-{version}"]
    (backup,) = machine.at("/var/lib/dialer/backups").iterdir()
    look = f"import sqlite3; print(*sqlite3.connect('/var/lib/dialer/backups/{backup.name}').execute('PRAGMA user_version'))"
    assert machine.run("/usr/bin/python3", "-c", look).stdout == "(5,)\n"

    # What cannot be read, or not be backed up, is not touched.
    def refuses() -> str:
        refused = machine.run("dpkg", "-i", this, check=False)
        assert refused.returncode == 1
        assert "nothing is upgraded" in refused.stderr
        assert state_of(machine) == "9.9 ii"
        return refused.stderr

    configuration.write_text("[pacing]\nstagger = 1\n")
    assert "\npacing.stagger: no such key" in refuses()
    configuration.write_text(text)
    away = database.rename(database.with_name("away"))
    database.write_bytes(b"no database" * 1000)
    assert "/backups/before-upgrade-from-9.9-" in refuses()
    away.rename(database)

    # Removed, and there again: what was left is taken up, backed up like before an upgrade.
    machine.run("dpkg", "--remove", "dialer")
    assert not machine.at("/opt/dialer").exists()
    assert configuration.read_text() == text
    assert database.exists()
    machine.run("dpkg", "-i", newer)
    assert backups_of(machine) == [f"before-upgrade-from-{version}", "before-upgrade-from-9.9"]
    machine.run("dialer", "db", "check")

    machine.run("dpkg", "--purge", "dialer")
    assert not machine.at("/etc/dialer").exists()
    assert not machine.at("/var/lib/dialer").exists()
    assert "ii" not in state_of(machine)


# Under systemd, as on a machine of an operator

CONFIGURATION = """
[trunks.pbx]
uri = "sip:localhost:5070"
max_concurrent_calls = 100
calls_per_second = 100
[pacing]
max_concurrent_calls = 100
[speech]
command = "espeak-ng -v {voice} -w {output} -f {input}"
[stream]
allow_private = true
secret = "x"
[backup]
directory = "/var/lib/dialer/backups"
"""
ASKS_FOR_A_PASSWORD = """
import asyncio
from sip.lab import Lab
from sip.lab.guard import Auth

async def main():
    async with Lab(port=5071, auth=Auth("ana", "only systemd knows")):
        await asyncio.Event().wait()

asyncio.run(main())
"""
GET = "import httpx, sys; print(httpx.get(sys.argv[1], headers={'Authorization': f'Bearer {sys.argv[2]}'}).text)"


class Service:
    """The installed service on a machine of its own, beside a called party."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.configuration = machine.at("/etc/dialer/dialer.toml")
        self.token = ""

    def shown(self, name: str) -> str:
        return self.machine.run("systemctl", "show", "-p", name, "--value", "dialer").stdout.strip()

    def is_up(self) -> bool:
        return self.shown("ActiveState") == "active"

    def journal(self) -> str:
        return self.machine.run("journalctl", "-u", "dialer", "--no-pager").stdout

    def workers(self) -> list[str]:
        return self.machine.run("pgrep", "-f", "sip.worker", check=False).stdout.split()

    def upgrade(self, package: Path, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        words = ["--force-confdef", "--force-confold", "-i", self.machine.bring(package)]
        return self.machine.run("dpkg", *words, check=check)

    def dialer(self, *words: str) -> str:
        return self.machine.run("env", f"DIALER_TOKEN={self.token}", "dialer", *words).stdout.strip()

    def get(self, path: str) -> Any:
        words = ["/opt/dialer/bin/python", "-c", GET, f"http://127.0.0.1:8080{path}", self.token]
        return json.loads(self.machine.run(*words).stdout)

    def playbook(self, *steps: dict[str, Any], **keys: Any) -> str:
        body = {"name": "x", "trunks": ["pbx"], "max_call_seconds": 300, "steps": [*steps, {"do": "hangup"}], **keys}
        self.machine.at("/srv/playbook.json").write_text(json.dumps(body))
        return self.dialer("playbook", "create", "--account", "A", "/srv/playbook.json")

    def submit(self, playbook: str, numbers: Sequence[str], *words: str) -> str:
        self.machine.at("/srv/list.csv").write_text("phone\n" + "\n".join(numbers) + "\n")
        return self.dialer("campaign", "submit", "--playbook", playbook, "/srv/list.csv", *words)

    def came_to(self, campaign: str) -> dict[str, int]:
        """The dispositions of its calls."""
        found: dict[str, int] = self.get(f"/campaign/{campaign}")["dispositions"]
        return found

    def talks(self, number: str, seconds: int) -> str:
        """A campaign of one call that is answered by now, and goes on for so long."""
        campaign = self.submit(self.playbook({"do": "wait", "seconds": seconds}), [number])
        eventually(lambda: self.far_end_saw("answered", number), 30, "the call is answered")
        return campaign

    def far_end_saw(self, event: str, number: str) -> bool:
        seen = map(json.loads, self.machine.at("/srv/lab.log").read_text().splitlines())
        return any((entry["event"], entry["number"]) == (event, number) for entry in seen)


@pytest.fixture(scope="module")
def service(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    told = subprocess.run(["dpkg-deb", "-f", package, "Depends"], capture_output=True, text=True, check=True).stdout
    needed = re.findall(r"(?:^|, )([\w.+-]+)", told)
    with Machine.debian(tmp_path_factory.mktemp("debian"), [*needed, "espeak-ng"]) as machine:
        machine.run("dpkg", "-i", machine.bring(package))
        service = Service(machine)
        eventually(service.is_up, 30, "the service was started")
        machine.run("systemd-run", "--unit=lab", "dialer", "lab", "--port", "5070", "--log", "/srv/lab.log")
        example = "/usr/share/doc/dialer/examples/stream_server.py"
        machine.run("systemd-run", "/opt/dialer/bin/python", example, "--port", "9000", "--secret", "x")
        service.configuration.write_text(CONFIGURATION)
        machine.run("systemctl", "reload", "dialer")
        machine.run("runuser", "-u", "dialer", "--", "dialer", "account", "create", "A")
        service.token = machine.run("dialer", "token", "create", "--account", "A").stdout.strip()
        yield service


def under_systemd(test: Callable[..., None]) -> Callable[..., None]:
    tools = all(map(shutil.which, ("debootstrap", "systemd-nspawn", "nsenter")))
    in_a_container = pytest.mark.skipif(not tools, reason="needs debootstrap and systemd-container")
    for mark in (as_root, with_our_build, in_a_container, pytest.mark.slow, pytest.mark.timeout(1800)):
        test = mark(test)
    return test


@under_systemd
def test_all_of_it_works_within_the_sandbox(service: Service) -> None:
    machine = service.machine
    for process in (service.shown("MainPID"), *service.workers()):
        status = machine.run("cat", f"/proc/{process}/status").stdout
        for line in ("Seccomp:\t2", "NoNewPrivs:\t1", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"):
            assert line in status
    assert "1 of 1 trunks usable" in service.shown("StatusText")

    book = service.playbook(
        {"do": "say", "text": "Hello"},
        {"do": "record", "max_seconds": 1},
        {"do": "stream", "url": "ws://127.0.0.1:9000/talk", "max_seconds": 2},
        amd={},
    )
    campaign = service.submit(book, [f"+346001{n:03d}41" for n in range(20)])
    eventually(lambda: service.came_to(campaign) == {"answered": 20}, 120, "all steps are taken on twenty calls")
    assert len(list(machine.at("/var/lib/dialer/media/recordings").iterdir())) == 20
    for call in service.get(f"/campaign/{campaign}/calls")["items"]:
        said = service.get(f"/call/{call['id']}")["transcript"]
        assert [line["do"] for line in said] == ["amd", "say", "record", "stream", "hangup"]
        assert [line.get("fault") for line in said] == [None] * 5
        assert said[3]["ended_by"] == "max_seconds"
    eventually(lambda: list(machine.at("/var/lib/dialer/backups").glob("dialer-*.db")), 60, "there is a backup")

    service.submit(service.playbook(), [f"+3460{n:07d}" for n in range(20_000)], "--launch-at", "2031-01-01T00:00Z")
    assert "5" in machine.run("ps", "-eo", "ni=").stdout.split(), "the loader of large lists may step back"


@under_systemd
def test_a_faulty_reload_fails_and_a_good_one_lets_the_call_go_on(service: Service) -> None:
    campaign, main = service.talks("+34600200002", 20), service.shown("MainPID")
    service.configuration.write_text(CONFIGURATION.replace("calls_per_second = 100", "calls_per_second = 0"))
    assert service.machine.run("systemctl", "reload", "dialer", check=False).returncode == 1
    assert "trunks.pbx.calls_per_second: must be greater than 0" in service.journal()
    service.configuration.write_text(CONFIGURATION.replace("calls_per_second = 100", "calls_per_second = 50"))
    service.machine.run("systemctl", "reload", "dialer")
    assert service.get("/trunk")["items"][0]["calls_per_second"] == 50
    eventually(lambda: service.came_to(campaign) == {"answered": 1}, 60, "the call has ended by its steps")
    assert (service.shown("MainPID"), service.is_up()) == (main, True)


@under_systemd
def test_an_upgrade_lets_the_call_end_and_starts_the_new_version(service: Service, package: Path) -> None:
    campaign, main = service.talks("+34600300002", 15), service.shown("MainPID")
    service.upgrade(as_version(package, "9.1"))
    assert service.is_up()
    assert service.shown("MainPID") != main
    assert service.came_to(campaign) == {"answered": 1}
    assert len(backups_of(service.machine)) == 1
    main = service.shown("MainPID")
    service.configuration.write_text("[pacing]\nstagger = 1\n")
    assert service.upgrade(as_version(package, "9.2"), check=False).returncode == 1
    assert service.shown("MainPID") == main, "it was stopped, and could not start again"
    service.configuration.write_text(CONFIGURATION)
    # One that never comes up is in nobody's way, and does not stop being tried.
    in_the_way = ["/usr/bin/python3", "-m", "http.server", "8080"]
    service.machine.run("systemctl", "stop", "dialer")
    service.machine.run("systemd-run", "--unit=in-the-way", *in_the_way)
    assert service.machine.run("systemctl", "start", "dialer", check=False).returncode == 1
    upgraded = service.upgrade(as_version(package, "9.3"))
    assert "the service does not start" in upgraded.stderr
    assert state_of(service.machine) == "9.3 ii"
    service.machine.run("systemctl", "stop", "in-the-way")
    eventually(service.is_up, 30, "it is up once it can be")


@under_systemd
def test_killed_or_hanging_it_is_there_again_in_seconds_and_nobody_is_left_in_a_call(service: Service) -> None:
    for number, fault, seconds in (("+34600400002", "KILL", 30), ("+34600400102", "STOP", 90)):
        campaign, main = service.talks(number, 200), service.shown("MainPID")
        service.machine.run("kill", f"-{fault}", main)
        eventually(lambda: service.far_end_saw("bye_received", number), seconds, "the worker has ended the call")  # noqa: B023
        eventually(lambda: service.shown("MainPID") not in {main, "0"} and service.is_up(), seconds, "a new one")  # noqa: B023
        assert service.came_to(campaign) == {"interrupted": 1}
    assert "Watchdog timeout" in service.journal()


@under_systemd
def test_a_worker_that_hangs_is_replaced_and_no_reason_to_begin_anew(service: Service) -> None:
    main, worker = service.shown("MainPID"), service.workers()[0]
    service.machine.run("kill", "-STOP", worker)
    eventually(lambda: worker not in service.workers(), 30, "it is replaced")
    calls = service.submit(service.playbook(), [f"+346005{n:03d}02" for n in range(5)])
    eventually(lambda: service.came_to(calls) == {"answered": 5}, 60, "calls go on")
    assert service.shown("MainPID") == main


@under_systemd
def test_a_secret_that_only_systemd_hands_over_is_used(service: Service) -> None:
    machine = service.machine
    secret = machine.at("/etc/dialer/secrets/pbx")
    secret.parent.mkdir(mode=0o700)
    secret.write_text("only systemd knows\n")
    secret.chmod(0o600)
    drop_in = machine.at("/etc/systemd/system/dialer.service.d/secrets.conf")
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nLoadCredential=trunks.pbx.password:/etc/dialer/secrets/pbx\n")
    service.configuration.write_text(
        CONFIGURATION.replace("localhost:5070", "localhost:5071").replace("[pacing]", 'username = "ana"\n[pacing]')
    )
    machine.run("systemd-run", "/opt/dialer/bin/python", "-c", ASKS_FOR_A_PASSWORD)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "dialer")
    campaign = service.submit(service.playbook(), ["+34600600002"])
    eventually(lambda: service.came_to(campaign) == {"answered": 1}, 30, "the trunk has let the call in")


@under_systemd
def test_service_install_stands_above_the_package_and_gives_way_again(service: Service) -> None:
    machine = service.machine
    assert machine.run("dialer", "service", "install").stderr == "everything is as it should be\n"
    main = service.shown("MainPID")
    machine.run("dialer", "--config", "/etc/dialer/other.toml", "service", "install")
    assert (service.shown("FragmentPath"), service.shown("NeedDaemonReload")) == (str(UNIT), "no")
    assert "/etc/dialer/other.toml serve" in service.shown("ExecStart")
    assert (service.shown("MainPID"), service.is_up()) == (main, True), "nothing was started anew"
    machine.run("dialer", "service", "uninstall")
    assert (service.shown("ActiveState"), service.shown("UnitFileState")) == ("inactive", "disabled")
    # /lib is a link on some machines, and the name that systemd has for it on others.
    assert service.shown("FragmentPath").endswith("/lib/systemd/system/dialer.service")
    assert service.shown("NeedDaemonReload") == "no"
    machine.run("systemctl", "enable", "--now", "dialer")


@under_systemd
def test_purged_while_it_runs_it_is_gone(service: Service) -> None:
    """The last one: no more tests can follow."""
    machine = service.machine
    assert service.is_up()
    machine.run("dpkg", "--purge", "dialer")
    assert service.workers() == []
    assert (service.shown("LoadState"), service.shown("ActiveState")) == ("not-found", "inactive")
    left = machine.run("find", "/etc", "/usr", "/opt", "/var/lib", "-name", "*dialer*", check=False).stdout.split()
    assert set(left) <= {"/etc/systemd/system/dialer.service.d"}, "but for the operator's own drop-in"
