"""Builds the Debian package: a venv under /opt/dialer with our pjsua2 in it, the unit, the user, a first configuration.

`python deb/build.py` prints the package's path. It runs in the venv of `make install`, which brings pip and says which versions
of the libraries the tests have seen; those go into a venv for the system's own Python, which the package depends on. Nothing
needs root.
"""

import argparse
import gzip
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parent.parent
PARTS: Final = PROJECT / "deb"
HOME: Final = Path("/opt/dialer")
SCRIPTS: Final = ("preinst", "postinst", "prerm", "postrm")
# The file of the repository, where it goes, and its mode. Those below /etc are the operator's (conffiles).
FILES: Final = (
    ("config/dialer.toml", "etc/dialer/dialer.toml", 0o640),
    ("config/dialer.service", "usr/lib/systemd/system/dialer.service", 0o644),
    ("config/dialer.sysusers", "usr/lib/sysusers.d/dialer.conf", 0o644),
    ("deb/copyright", "usr/share/doc/dialer/copyright", 0o644),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, print the path; 0. Raises CalledProcessError where a tool fails, which has said why."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, default=Path("/usr/bin/python3"), help="the system's interpreter")
    parser.add_argument("--output", type=Path, default=PROJECT / "dist", help="the folder for the package")
    options = parser.parse_args(arguments)
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="dialer-deb-") as folder:
        root = Path(folder) / "root"
        root.mkdir(mode=0o755)
        version = debian_version(tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]["version"])
        _fill_venv(root, options.python)
        _copy_files(root)
        _write_control(root, version, options.python)
        options.output.mkdir(parents=True, exist_ok=True)
        package = options.output / f"dialer_{version}_{_architecture()}.deb"
        _run("dpkg-deb", "--root-owner-group", "-Zzstd", "--build", root, package, quiet=True)
    sys.stdout.write(f"{package}\n")
    return 0


def debian_version(version: str) -> str:
    """The version as Debian orders it: what comes before a release (1.0rc1, PEP 440) has tildes there (deb-version(7))."""
    return re.sub(r"(a|b|rc)(?=\d)", r"~\1", version.replace(".dev", "~~dev"))


def _architecture() -> str:
    return _run("dpkg", "--print-architecture").strip()


def _fill_venv(root: Path, python: Path) -> None:
    """The venv as it will be under /opt: nothing in it names the folder that it is built in."""
    home = root / HOME.relative_to("/")
    _run(python, "-m", "venv", "--without-pip", home)
    pjsua2 = _run(python, "-m", "sip.build", cwd=PROJECT).strip()
    tried = root.with_name("tried.txt")
    tried.write_text("".join(f"{library.name}=={library.version}\n" for library in _tried()), "utf-8")
    options: list[str | Path] = ["--no-compile", "--no-warn-script-location", "--constraint", tried]
    pip = (sys.executable, "-m", "pip", "--python", home / "bin/python", "--disable-pip-version-check", "--quiet")
    _run(*pip, "install", *options, pjsua2, PROJECT)
    for file in [*home.glob("bin/*ctivate*"), *home.rglob("direct_url.json")]:
        file.unlink()
    for file in [home / "pyvenv.cfg", *(file for file in (home / "bin").iterdir() if not file.is_symlink())]:
        text = file.read_bytes()
        file.write_bytes(text.replace(os.fsencode(home), os.fsencode(HOME)))
    # Complete, so that nobody writes there later; held valid by their content's hash, which installing does not change.
    words: list[str | Path] = ["-q", "-j0", "-s", root, "-p", "/", "--invalidation-mode", "unchecked-hash"]
    _run(home / "bin/python", "-m", "compileall", *words, home / "lib")


def _tried() -> Iterator[importlib.metadata.Distribution]:
    """The libraries of this venv: what the tests ran with is what is shipped."""
    own = {"dialer", "pjsua2-python"}
    return (library for library in importlib.metadata.distributions() if library.name not in own)


def _copy_files(root: Path) -> None:
    for source, target, mode in FILES:
        _put(root / target, (PROJECT / source).read_bytes(), mode)
    for document in _files(PROJECT / "docs"):
        place = root / "usr/share/doc/dialer" / document.relative_to(PROJECT / "docs")
        _put(place, document.read_bytes(), 0o644)
    changes = gzip.compress((PROJECT / "CHANGELOG.md").read_bytes(), mtime=0)
    _put(root / "usr/share/doc/dialer/changelog.gz", changes, 0o644)
    command = root / "usr/bin/dialer"
    command.parent.mkdir(parents=True)
    command.symlink_to(HOME / "bin/dialer")


def _put(file: Path, content: bytes, mode: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    file.chmod(mode)


def _write_control(root: Path, version: str, python: Path) -> None:
    folder = root / "DEBIAN"
    folder.mkdir()
    files = sorted(file for file in _files(root) if folder not in file.parents)
    sums = (f"{hashlib.md5(file.read_bytes()).hexdigest()}  {file.relative_to(root)}\n" for file in files)  # noqa: S324
    _put(folder / "md5sums", "".join(sums).encode(), 0o644)
    conffiles = [f"/{target}\n" for _, target, _ in FILES if target.startswith("etc/")]
    _put(folder / "conffiles", "".join(conffiles).encode(), 0o644)
    functions = (PARTS / "functions").read_text("utf-8")
    for script in SCRIPTS:
        text = f"#!/bin/sh\nset -e\n\n{functions}\n{(PARTS / script).read_text('utf-8')}"
        _put(folder / script, text.encode(), 0o755)
    values = {
        "version": version,
        "architecture": _architecture(),
        "installed_size": str(-(-sum(file.stat().st_size for file in files) // 1024)),
        "libraries": _libraries([file for file in files if ".so" in file.suffixes]),
        **_pythons(python),
    }
    text = (PARTS / "control").read_text("utf-8")
    _put(folder / "control", re.sub(r"\{(\w+)\}", lambda found: values[found[1]], text).encode(), 0o644)


def _files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def _pythons(python: Path) -> dict[str, str]:
    """The Python that the venv is for, and the first that it is not for: its folder carries the number."""
    major, minor = _run(python, "-c", "import sys; print(*sys.version_info[:2])").split()
    return {"python": f"{major}.{minor}", "next_python": f"{major}.{int(minor) + 1}"}


def _libraries(objects: Sequence[Path]) -> str:
    """The packages of the shared libraries that the venv's extensions need, as dpkg knows them."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "debian").mkdir()
        (Path(folder) / "debian/control").write_text("Source: dialer\n\nPackage: dialer\nArchitecture: any\n")
        # What wheels bring with them is theirs.
        own = {f"-l{file.parent}" for file in objects if file.parent.name.endswith(".libs")}
        words = ["-O", "--ignore-missing-info", *sorted(own), *(f"-e{file}" for file in objects)]
        found = _run("dpkg-shlibdeps", *words, cwd=Path(folder), quiet=True)
    depends = next(line for line in found.splitlines() if line.startswith("shlibs:Depends="))
    return depends.partition("=")[2]


def _run(*words: str | Path, cwd: Path | None = None, quiet: bool = False) -> str:
    """What the program prints. `quiet`: what it says besides is shown only where it fails."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": _date(), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(  # noqa: S603
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
        cwd=cwd,
        env=environment,
        check=False,
    )
    if done.returncode:
        sys.stderr.write(done.stderr or "")
        raise subprocess.CalledProcessError(done.returncode, done.args)
    return done.stdout


def _date() -> str:
    """The time of the last commit, so that the same sources make the same package; of pyproject.toml where there is no git."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return given
    git = shutil.which("git")
    if git is not None:
        words = [git, "-C", str(PROJECT), "log", "-1", "--format=%ct"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode == 0:
            return done.stdout.strip()
    return str(int((PROJECT / "pyproject.toml").stat().st_mtime))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as failed:
        sys.exit(f"no package was made: {failed}")
