import fcntl
import hashlib
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.tags import sys_tags
from packaging.utils import parse_wheel_filename

import sip.build.__main__ as command
from sip.build import recipe as recipe_module
from sip.build import toolchain, wheel
from sip.build.archive import Archive, main_archives, read_offers
from sip.build.compile import Binding
from sip.build.recipe import Pinned, Recipe, max_calls
from sip.build.source import SourceCache, Tarball, check_version, obtain, sha256, unpack
from sip.build.steps import CannotBuildError, StepFailedError, Steps
from sip.build.wheel import UnusableWheelError, pack, prove

ROOT = Path(__file__).parents[2]

VERSION_MAK = """\
export PJ_VERSION_MAJOR  := {major}
export PJ_VERSION_MINOR  := {minor}
export PJ_VERSION_REV    :={rev}
export PJ_VERSION_SUFFIX :={suffix}
export PJ_VERSION := $(PJ_VERSION_MAJOR).$(PJ_VERSION_MINOR)
"""


def version_mak(major: str = "2", minor: str = "17", rev: str = "", suffix: str = "") -> str:
    return VERSION_MAK.format(major=major, minor=minor, rev=f" {rev}" * bool(rev), suffix=f" {suffix}" * bool(suffix))


def tarball(path: Path, files: dict[str, str]) -> Path:
    tree = path.with_suffix(".tree")
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    with tarfile.open(path, "w:gz") as archive:
        for top in sorted(tree.iterdir()):
            archive.add(top, arcname=top.name)
    return path


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    return Steps(tmp_path / "log")


# What is built


def test_the_wheel_satisfies_what_the_project_asks_for_and_beats_the_one_of_pypi() -> None:
    _, version, _, _ = parse_wheel_filename(Recipe().wheel_name)
    assert version in SpecifierSet(">=2.15.1")
    assert version not in SpecifierSet("<2.16")
    assert str(version) == f"2.17+dialer.{Recipe().config_hash}"


def test_the_running_interpreter_accepts_the_wheels_tag() -> None:
    *_, tags = parse_wheel_filename(Recipe().wheel_name)
    assert tags & set(sys_tags())


def test_assertions_are_another_build_with_a_place_of_its_own() -> None:
    production, checked = Recipe(), Recipe(assertions=True)
    assert "-DNDEBUG" in production.cflags
    assert "-DNDEBUG" not in checked.cflags
    assert production.cache_key != checked.cache_key
    assert checked.version.endswith(".assertions")


@pytest.mark.parametrize(
    ("name", "value"), [("CONFIG_SITE", "#define PJSUA_MAX_CALLS 8\n"), ("CONFIGURE", ("--disable-epoll",))]
)
def test_the_hash_follows_the_configuration(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    before = Recipe().config_hash
    assert Recipe().config_hash == before
    monkeypatch.setattr(recipe_module, name, value)
    assert Recipe().config_hash != before


def test_calls_a_process_are_read_from_config_site() -> None:
    assert max_calls() == 1024


# Where sources come from


def test_offers_are_read_from_apt_and_its_remarks_are_not() -> None:
    text = (
        "Reading package lists...\n"
        "NOTICE: 'asterisk' packaging is maintained in the 'Git' version control system\n"
        f"'http://mirror.test/pool/a%2bb_1.dsc' a+b_1.dsc 5389 SHA256:{'0' * 64}\n"
        f"'http://mirror.test/pool/a%2bb_1.orig-Xp.tar.xz' a+b_1.orig-Xp.tar.xz 6775552 SHA256:{'f' * 64}\n"
    )
    assert [(offer.name, offer.sha256[0]) for offer in read_offers(text)] == [
        ("a+b_1.dsc", "0"),
        ("a+b_1.orig-Xp.tar.xz", "f"),
    ]
    assert read_offers(text)[1].uri == "http://mirror.test/pool/a%2bb_1.orig-Xp.tar.xz"


def test_the_archive_of_the_running_release_is_tried_first_and_updates_never() -> None:
    text = "".join(
        f"'http://{host}/dists/{suite}/InRelease' {host}_InRelease 0 \n"
        for host, suite in [
            ("vendor.test/deb", "nodistro"),
            ("security.test/debian-security", "bookworm-security"),
            ("mirror.test/debian", "bookworm"),
            ("mirror.test/debian", "bookworm-updates"),
        ]
    )
    release = 'ID=debian\nVERSION_CODENAME="bookworm"\n'
    assert main_archives(text, release) == ["http://mirror.test/debian", "http://vendor.test/deb"]
    assert main_archives("", release) == []


class FakeApt(Steps):
    """Answers as apt does, from `served`: suite to the offers of its source package. Downloads write `content`."""

    def __init__(self, logs: Path, served: dict[str, str], content: bytes) -> None:
        super().__init__(logs)
        self.served = served
        self.content = content
        self.commands: list[list[str]] = []

    def run(self, name: str, command: object, **_options: object) -> str:  # type: ignore[override]
        words = [str(word) for word in command]  # type: ignore[attr-defined]
        self.commands.append(words)
        if words[-2:] == ["update", "--print-uris"]:
            return "'http://mirror.test/debian/dists/stable/InRelease' x 0 \n"
        conf = Path(words[words.index("-c") + 1])
        suite = (conf.parent / "sources.list").read_text().split()[-2]
        if "update" in words and suite not in self.served:
            raise StepFailedError("no", "E: no such suite", conf)
        if "--print-uris" in words:
            return self.served[suite]
        if "download-file" in words:
            Path(words[-2]).write_bytes(self.content)
        return ""


def offered(content: bytes) -> str:
    return f"'http://mirror.test/p.tar.xz' p.tar.xz 1 SHA256:{hashlib.sha256(content).hexdigest()}\n"


def pinned(content: bytes, *suites: str) -> Pinned:
    return Pinned("thing-1", "thing", suites, hashlib.sha256(content).hexdigest())


def test_the_first_suite_that_serves_the_pinned_file_is_taken(tmp_path: Path) -> None:
    apt = FakeApt(tmp_path / "log", {"sid": offered(b"newer"), "trixie": offered(b"right")}, b"right")
    cache = SourceCache(tmp_path / "sources", Archive(tmp_path / "apt", apt))
    path = cache.fetch(pinned(b"right", "gone", "sid", "trixie", "never"))
    assert path.read_bytes() == b"right"
    assert not any("never" in word for words in apt.commands for word in words)
    asked = len(apt.commands)
    assert cache.fetch(pinned(b"right", "trixie")) == path
    assert len(apt.commands) == asked, "what is in the cache is not asked for again"


def test_a_file_that_no_suite_serves_is_refused_with_each_suites_reason(tmp_path: Path) -> None:
    apt = FakeApt(tmp_path / "log", {"sid": offered(b"newer")}, b"newer")
    cache = SourceCache(tmp_path / "sources", Archive(tmp_path / "apt", apt))
    with pytest.raises(CannotBuildError, match=r"thing-1.*gone: E: no such suite; sid carries another version"):
        cache.fetch(pinned(b"right", "gone", "sid"))
    assert not any("download-file" in words for words in apt.commands)


def test_a_download_with_other_bytes_never_enters_the_cache(tmp_path: Path) -> None:
    apt = FakeApt(tmp_path / "log", {"sid": offered(b"right")}, b"tampered")
    cache = SourceCache(tmp_path / "sources", Archive(tmp_path / "apt", apt))
    with pytest.raises(CannotBuildError, match="SHA-256"):
        cache.fetch(pinned(b"right", "sid"))
    assert not list((tmp_path / "sources").glob("*.tar"))


def test_a_damaged_cached_source_is_fetched_again(tmp_path: Path) -> None:
    apt = FakeApt(tmp_path / "log", {"sid": offered(b"right")}, b"right")
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "thing-1.tar").write_bytes(b"half of it")
    cache = SourceCache(tmp_path / "sources", Archive(tmp_path / "apt", apt))
    assert cache.fetch(pinned(b"right", "sid")).read_bytes() == b"right"


def test_apt_keeps_its_state_in_the_builds_folder_and_checks_signatures(tmp_path: Path) -> None:
    apt = FakeApt(tmp_path / "log", {"sid": offered(b"right")}, b"right")
    Archive(tmp_path / "apt", apt).fetch_source(pinned(b"right", "sid"), tmp_path / "out")
    (conf,) = {
        Path(words[words.index("-c") + 1]) for words in apt.commands if any("download-file" in word for word in words)
    }
    text = conf.read_text()
    folders = [line.split('"')[1] for line in text.splitlines() if line.startswith("Dir::")]
    assert folders
    assert all(folder.startswith(str(tmp_path)) or folder == "/dev/null" for folder in folders)
    sources = (conf.parent / "sources.list").read_text()
    assert sources.endswith("http://mirror.test/debian sid main\n")
    assert "trusted" not in sources
    assert "AllowUnauthenticated" not in text


# A tarball at hand


def test_an_unknown_tarball_is_refused_with_its_sum_and_taken_when_the_sum_is_given(tmp_path: Path) -> None:
    path = tarball(
        tmp_path / "p.tgz", {"pjproject-2.17/version.mak": version_mak(), "pjproject-2.17/third_party/srtp/x": ""}
    )
    cache = SourceCache(tmp_path / "sources", None)
    (tmp_path / "work").mkdir()
    with pytest.raises(CannotBuildError, match=f"{path} has the SHA-256 {sha256(path)}"):
        obtain(cache, Tarball(path), tmp_path / "work")
    sources = obtain(cache, Tarball(path, sha256(path)), tmp_path / "work")
    assert (sources.pjproject / "version.mak").exists()
    assert sources.srtp is None, "a complete tree brings its own SRTP"


def test_a_stripped_tarball_needs_the_companions_and_says_which(tmp_path: Path) -> None:
    path = tarball(tmp_path / "p.tgz", {"pjproject/version.mak": version_mak()})
    (tmp_path / "work").mkdir()
    with pytest.raises(CannotBuildError, match="libsrtp"):
        obtain(SourceCache(tmp_path / "sources", None), Tarball(path, sha256(path)), tmp_path / "work")


def test_without_apt_and_tarball_the_message_says_what_to_pass(tmp_path: Path) -> None:
    with pytest.raises(CannotBuildError, match="--tarball"):
        obtain(SourceCache(tmp_path / "sources", None), None, tmp_path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (version_mak(minor="16"), "2.16"),
        (version_mak(rev="1"), "2.17.1"),
        (version_mak(suffix="-dev"), "2.17-dev"),
        ("", r"\?"),
    ],
)
def test_another_version_of_pjproject_is_refused(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "version.mak").write_text(text)
    with pytest.raises(CannotBuildError, match=f"pjproject {found}"):
        check_version(tmp_path)


def test_the_recipes_version_of_pjproject_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "version.mak").write_text(version_mak())
    check_version(tmp_path)


def test_a_file_that_is_no_tarball_or_holds_no_one_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a tarball")
    with pytest.raises(CannotBuildError, match="cannot unpack"):
        unpack(tmp_path / "text", tmp_path / "a")
    two = tarball(tmp_path / "two.tgz", {"one/x": "", "two/x": ""})
    with pytest.raises(CannotBuildError, match="one folder"):
        unpack(two, tmp_path / "b")


# Steps


def test_a_failing_step_shows_the_end_of_its_log_and_where_all_of_it_is(steps: Steps) -> None:
    script = "import sys\nfor n in range(40): print('line', n, flush=True)\nsys.exit('the reason')"
    with pytest.raises(StepFailedError) as failed:
        steps.run("broken", [sys.executable, "-c", script])
    text = str(failed.value)
    assert "step 'broken' ended with 1" in text
    assert "the reason" in text
    assert "line 39" in text
    assert "line 3\n" not in text
    assert failed.value.last_line == "the reason"
    assert str(failed.value.log) in text
    assert "line 0\n" in failed.value.log.read_text()


def test_a_step_whose_command_is_not_there_fails_the_same_way(steps: Steps) -> None:
    with pytest.raises(StepFailedError, match="could not start"):
        steps.run("absent", ["/nonexistent/command"], may_fail=True)


def test_a_step_gives_its_output_and_may_be_allowed_to_fail(steps: Steps) -> None:
    assert steps.run("works", [sys.executable, "-c", "print('out')"]) == "out\n"
    assert steps.run("fails", [sys.executable, "-c", "print('out'); exit(3)"], may_fail=True) == "out\n"


def test_a_make_around_the_build_does_not_reach_the_makes_inside(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAKEFLAGS", "CFLAGS", "LDFLAGS"):
        monkeypatch.setenv(name, "-n")
    seen = steps.run("env", [sys.executable, "-c", "import os; print(sorted(os.environ))"], env={"CFLAGS": "-O2"})
    assert "'CFLAGS'" in seen
    assert "MAKEFLAGS" not in seen
    assert "LDFLAGS" not in seen


# The wheel


@pytest.fixture
def binding(tmp_path: Path) -> Binding:
    module = tmp_path / "pjsua2.py"
    module.write_text("ANSWER = 42\n")
    extension = tmp_path / "_pjsua2.so"
    extension.write_bytes(b"\x7fELF")
    license_text = tmp_path / "COPYING"
    license_text.write_text("free\n")
    return Binding(module, extension, {"pjproject": license_text})


def test_pip_installs_the_packed_wheel_and_finds_every_file(binding: Binding, tmp_path: Path) -> None:
    packed = pack(binding, Recipe(), tmp_path)
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-index", "--no-deps", "--target"]
    done = subprocess.run([*pip, target, packed], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    code = "import pjsua2, importlib.metadata as m; print(pjsua2.ANSWER, m.version('pjsua2-python'))"
    environment = {**os.environ, "PYTHONPATH": str(target)}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert shown.stdout == f"42 {Recipe().version}\n"
    assert (target / "_pjsua2.so").read_bytes() == b"\x7fELF"
    assert list(target.glob("*.dist-info/licenses/pjproject.txt"))


def test_the_same_build_packs_to_the_same_bytes(binding: Binding, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = (pack(binding, Recipe(), tmp_path / folder) for folder in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_a_wheel_that_does_not_load_is_unusable_and_says_why(binding: Binding, tmp_path: Path) -> None:
    with pytest.raises(UnusableWheelError, match="EpConfig"):
        prove(pack(binding, Recipe(), tmp_path))
    (tmp_path / "broken.whl").write_text("not a zip")
    with pytest.raises(UnusableWheelError):
        prove(tmp_path / "broken.whl")


FAKE_PJSUA2 = """
import sys
class Bag:
    def __getattr__(self, name):
        self.__dict__[name] = Bag()
        return self.__dict__[name]
    def __call__(self, *_):
        return self
class EpConfig(Bag):
    def __init__(self):
        self.uaConfig.maxCalls = {calls}
class Endpoint(Bag):
    def libVersion(self):
        version = Bag()
        version.full = "{version}"
        return version
class TransportConfig(Bag):
    pass
PJSIP_TRANSPORT_TLS = 3
print("noise of the library" * 1000)
"""


@pytest.mark.parametrize(
    ("calls", "version", "fault"),
    [(4, "2.17", "carries 4 calls, not 1024"), (1024, "2.15.1", r"is pjproject 2\.15\.1"), (1024, "2.17", "libuuid")],
)
def test_a_wheel_that_is_not_what_the_recipe_says_is_unusable(
    binding: Binding, tmp_path: Path, calls: int, version: str, fault: str
) -> None:
    binding.module.write_text(FAKE_PJSUA2.format(calls=calls, version=version))
    with pytest.raises(UnusableWheelError, match=fault):
        prove(pack(binding, Recipe(), tmp_path))


# The command


def test_a_cached_wheel_is_given_without_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = tmp_path / Recipe().cache_key
    entry.mkdir()
    cached = entry / Recipe().wheel_name
    with zipfile.ZipFile(cached, "w"):
        pass
    monkeypatch.setattr(command, "prove", lambda _path: None)
    monkeypatch.setattr(command, "_build", lambda *_: pytest.fail("it built"))
    assert command.provide(Recipe(), tmp_path, None) == cached


def test_a_cached_wheel_that_no_longer_loads_is_built_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = tmp_path / Recipe().cache_key
    entry.mkdir()
    (entry / Recipe().wheel_name).write_text("left by another system")
    built = []
    monkeypatch.setattr(command, "_build", lambda *arguments: built.append(arguments[-1]))
    assert [command.provide(Recipe(), tmp_path, None)] == built
    assert "building it anew" in capsys.readouterr().err


def test_a_second_build_waits_for_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = tmp_path / Recipe().cache_key
    entry.mkdir()
    built = threading.Event()
    monkeypatch.setattr(command, "_build", lambda *_: built.set())
    waiting = threading.Event()
    monkeypatch.setattr(command.sys.stderr, "write", lambda _text: waiting.set())
    with (entry / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        second = threading.Thread(target=command.provide, args=(Recipe(), tmp_path, None))
        second.start()
        assert waiting.wait(10)
        assert not built.is_set()
    second.join(10)
    assert built.is_set()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_CACHE_HOME": "/var/x", "HOME": "/h"}, "/var/x/dialer/pjsua2"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/dialer/pjsua2"),
        ({"XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/dialer/pjsua2"),
    ],
)
def test_the_cache_follows_the_users_own(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert command.default_cache() == Path(expected)


def test_an_empty_home_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "")
    assert command.default_cache().is_absolute()
    assert command.default_cache() != Path("/.cache/dialer/pjsua2")


def run_command(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "sip.build", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_machine_without_a_compiler_is_told_in_one_line_with_a_status_of_its_own(tmp_path: Path) -> None:
    done = run_command("--cache", str(tmp_path), PATH=str(tmp_path))
    assert done.returncode == command.EXIT_CANNOT
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "gcc, g++, make not found" in done.stderr


def test_a_cache_that_cannot_be_written_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run_command("--cache", str(tmp_path / "file"))
    assert done.returncode == command.EXIT_CANNOT
    assert str(tmp_path / "file") in done.stderr
    assert "--cache" in done.stderr


def test_a_sum_without_a_tarball_is_wrong_usage(tmp_path: Path) -> None:
    done = run_command("--sha256", "0" * 64, "--cache", str(tmp_path), PJPROJECT_TARBALL="")
    assert done.returncode == 2
    assert "--tarball" in done.stderr


@pytest.mark.parametrize(("version", "said"), [("2.15.1.post1", "WARNING"), ("2.17+dialer.00000000", "our own build")])
def test_the_installed_build_is_told_by_its_version(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], version: str, said: str
) -> None:
    monkeypatch.setattr(command.importlib.metadata, "version", lambda _name: version)
    assert command.main(["--installed"]) == 0
    shown = capsys.readouterr().err
    assert said in shown
    assert ("4 calls" in shown) == (said == "WARNING")


def test_missing_headers_without_apt_are_named(steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "check_commands", lambda: None)
    monkeypatch.setattr(toolchain, "_missing", lambda *_: ["libssl-dev", "uuid-dev"])
    with pytest.raises(CannotBuildError, match="libssl-dev, uuid-dev"):
        toolchain.prepare(steps, tmp_path, None)


def test_nothing_but_the_standard_library_is_needed_before_the_install() -> None:
    code = (
        "import sys; import sip.build.__main__;"
        "print(sorted({m.partition('.')[0] for m in sys.modules} - set(sys.stdlib_module_names) - {'sip', '__main__'}))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_wheel_and_recipe_agree_on_the_distribution(binding: Binding, tmp_path: Path) -> None:
    with zipfile.ZipFile(pack(binding, Recipe(), tmp_path)) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        assert f"Name: {wheel.DISTRIBUTION}\nVersion: {Recipe().version}\n" in archive.read(name).decode()
