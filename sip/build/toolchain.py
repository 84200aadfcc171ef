"""What the build needs of the machine: compilers, headers and swig.

Headers and swig are fetched where they are missing, to a folder of the build: no root, and nothing on the system changes.
"""

import os
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sip.build.archive import Archive
from sip.build.recipe import SWIG
from sip.build.steps import CannotBuildError, StepFailedError, Steps

_COMMANDS = ("gcc", "g++", "make")


@dataclass(frozen=True)
class Header:
    """A header that must compile, the library that must link with it, and the Debian package that brings both."""

    include: str
    library: str | None
    package: str


@dataclass(frozen=True)
class Toolchain:
    """How this machine compiles and links; flags beyond the recipe's own."""

    swig: Path
    swig_environment: dict[str, str]
    python_cflags: tuple[str, ...]
    cflags: tuple[str, ...] = ()
    ldflags: tuple[str, ...] = ()


def prepare(steps: Steps, work: Path, archive: Archive | None) -> Toolchain:
    """Find the tools, fetching into `work` what is missing and can be had.

    Raises CannotBuildError naming everything that stays missing.
    """
    check_commands()
    python_cflags = tuple(f"-I{folder}" for folder in _python_includes())
    cflags: tuple[str, ...] = ()
    ldflags: tuple[str, ...] = ()
    missing = _missing(steps, work, python_cflags, ldflags)
    if missing:
        sysroot = work / "sysroot"
        names = ", ".join(missing)
        if archive is None:
            raise CannotBuildError(f"headers are missing, and there is no apt to fetch them with: {names}")
        steps.phase(f"headers that this machine does not have: {names}")
        archive.unpack_packages(missing, sysroot)
        triplet = steps.run("multiarch", ["gcc", "-print-multiarch"]).strip()
        _point_at_runtime(steps, sysroot / "usr/lib" / triplet)
        cflags = (f"-I{sysroot / 'usr/include'}", f"-I{sysroot / 'usr/include' / triplet}")
        ldflags = (f"-L{sysroot / 'usr/lib' / triplet}",)
        # Debian's pyconfig.h sends on to <triplet/pythonX.Y/pyconfig.h>, which the first of these finds.
        python_cflags += (*cflags, f"-I{sysroot / 'usr/include' / _python_name()}")
        missing = _missing(steps, work, python_cflags, ldflags)
        if missing:
            raise CannotBuildError(f"the headers of these packages do not compile here: {', '.join(missing)}")
    swig, environment = _find_swig(steps, work)
    return Toolchain(swig, environment, python_cflags, cflags, ldflags)


def check_commands() -> None:
    """Refuse a machine without a compiler or make."""
    missing = [command for command in _COMMANDS if shutil.which(command) is None]
    if missing:
        raise CannotBuildError(
            f"{', '.join(missing)} not found. The build needs a C and a C++ compiler and make (Debian: g++ and make)."
        )


def _headers() -> list[Header]:
    return [
        Header("openssl/ssl.h", "ssl", "libssl-dev"),
        Header("openssl/evp.h", "crypto", "libssl-dev"),
        # Without it pjproject makes Call-IDs and tags from a guessable random().
        Header("uuid/uuid.h", "uuid", "uuid-dev"),
        Header("Python.h", None, f"lib{_python_name()}-dev"),
    ]


def _missing(steps: Steps, work: Path, cflags: Sequence[str], ldflags: Sequence[str]) -> list[str]:
    """The packages whose header does not compile, or whose library does not link."""
    missing: list[str] = []
    for header in _headers():
        source = work / "probe.c"
        source.write_text(f"#include <{header.include}>\nint main(void) {{ return 0; }}\n", encoding="utf-8")
        libraries = [f"-l{header.library}"] if header.library else []
        name = f"probe-{header.package}"
        try:
            steps.run(name, ["gcc", *cflags, str(source), "-o", str(work / "probe"), *ldflags, *libraries])
        except StepFailedError:
            missing.append(header.package)
    if any(package.startswith("libpython") for package in missing) and not _is_debians_python():
        raise CannotBuildError(f"this Python ({sys.executable}) has no headers: {_python_includes()[0]}/Python.h")
    return list(dict.fromkeys(missing))


def _is_debians_python() -> bool:
    return str(_python_includes()[0]).startswith("/usr/include/")


def _python_includes() -> list[Path]:
    paths = sysconfig.get_paths()
    return [Path(name) for name in dict.fromkeys((paths["include"], paths["platinclude"]))]


def _python_name() -> str:
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


def _point_at_runtime(steps: Steps, folder: Path) -> None:
    """Point the links of a -dev package at the libraries that this machine runs: their package was not unpacked."""
    for link in folder.glob("*.so"):
        if not link.is_symlink() or link.exists():
            continue
        name = link.readlink().name
        found = Path(steps.run("find-library", ["gcc", f"-print-file-name={name}"]).strip())
        if not found.is_absolute():
            raise CannotBuildError(f"{name} is not installed on this machine, and pjsua2 needs it to run")
        link.unlink()
        link.symlink_to(found)


def _find_swig(steps: Steps, work: Path) -> tuple[Path, dict[str, str]]:
    """The machine's swig, or one from PyPI, with the environment that it needs."""
    found = shutil.which("swig")
    if found is not None:
        return Path(found), {}
    steps.phase(f"{SWIG} from PyPI")
    target = work / "swig"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--only-binary=:all:"]
    try:
        steps.run("swig", [*pip, "--target", target, SWIG])
    except StepFailedError as error:
        raise CannotBuildError(f"there is no swig here, and pip could not fetch it: {error.last_line}") from None
    (library,) = (target / "swig/data/share/swig").iterdir()
    swig = target / "swig/data/bin/swig"
    swig.chmod(swig.stat().st_mode | 0o111)
    return swig, {"SWIG_LIB": os.fspath(library)}
