"""`python3 -m sip.build`: print the path of a wheel of our own pjsua2, building it the first time."""

import argparse
import fcntl
import importlib.metadata
import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sip.build.archive import Archive
from sip.build.compile import Compiler
from sip.build.recipe import DISTRIBUTION, VERSION, Recipe, abi, max_calls
from sip.build.source import SourceCache, Tarball, obtain
from sip.build.steps import CannotBuildError, StepFailedError, Steps
from sip.build.toolchain import check_commands, prepare
from sip.build.wheel import UnusableWheelError, pack, prove

EXIT_FAILED = 1
EXIT_CANNOT = 3
EXIT_INTERRUPTED = 130

_STOCK_LACKS = """\
This environment runs the pjsua2 wheel of PyPI ({version}), which is fit for a first look and not for production:
  - 4 calls at a time in one process, where our own build carries {calls}; fast-failing calls can end the process
  - a message from the network can end the process: its assertions are on
  - TLS by OpenSSL 1.0.2 of 2017
  - 12 security fixes of pjproject 2.16 and 2.17 are missing
To build our own: make pjsua2
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 done, 1 failed, 3 cannot be built here, 130 interrupted."""
    options = _parse(arguments)
    if options.installed:
        return _say_installed()
    recipe = Recipe(assertions=options.assertions)
    tarball = Tarball(options.tarball, options.sha256) if options.tarball else None
    try:
        wheel = provide(recipe, options.cache or default_cache(), tarball, rebuild=options.rebuild)
    except CannotBuildError as error:
        sys.stderr.write(f"Cannot build pjsua2 {VERSION} here: {error}\n")
        return EXIT_CANNOT
    except (StepFailedError, UnusableWheelError, OSError) as error:
        sys.stderr.write(f"The build of pjsua2 {VERSION} failed: {error}\n")
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    sys.stdout.write(f"{wheel}\n")
    return 0


def provide(recipe: Recipe, cache: Path, tarball: Tarball | None, *, rebuild: bool = False) -> Path:
    """The recipe's wheel, from the cache where it is there and still loads, else built into it.

    Two builds of one recipe at a time are one: the second waits for the first. Raises CannotBuildError,
    StepFailedError, or UnusableWheelError when what was built is not what the recipe says.
    """
    entry = cache / recipe.cache_key
    wheel = entry / recipe.wheel_name
    try:
        entry.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotBuildError(f"no place to keep it: {error}. Choose one by --cache or $XDG_CACHE_HOME.") from None
    with _locked(entry / "lock"):
        if wheel.exists() and not rebuild:
            try:
                prove(wheel)
            except UnusableWheelError as error:
                # Most likely the system went on to another OpenSSL since.
                sys.stderr.write(f"The cached wheel {error}; building it anew.\n")
            else:
                return wheel
        _build(recipe, cache, tarball, wheel)
    return wheel


def default_cache() -> Path:
    """``$XDG_CACHE_HOME/dialer/pjsua2``, or the same in ``~/.cache``; an empty HOME counts as none."""
    base = os.environ.get("XDG_CACHE_HOME") or ""
    if not Path(base).is_absolute():
        home = os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
        base = f"{home}/.cache"
    return Path(base) / "dialer" / "pjsua2"


def _build(recipe: Recipe, cache: Path, tarball: Tarball | None, wheel: Path) -> None:
    check_commands()
    jobs = len(os.sched_getaffinity(0))
    logs = wheel.parent / "log"
    shutil.rmtree(logs, ignore_errors=True)
    steps = Steps(logs)
    sys.stderr.write(
        f"Building pjsua2 {recipe.version} for {abi()}, once: the wheel is kept in {wheel.parent}.\n"
        f"This takes {'two to five' if jobs == 1 else 'one to four'} minutes, 1.2 GB of memory and 300 MB of temporary "
        f"space. Logs are in {logs}.\n"
    )
    with tempfile.TemporaryDirectory(prefix="dialer-pjsua2-") as folder:
        work = Path(folder)
        archive = Archive(work / "apt", steps) if Archive.available() else None
        steps.phase("source code")
        sources = obtain(SourceCache(cache / "source", archive), tarball, work)
        tools = prepare(steps, work, archive)
        binding = Compiler(recipe, sources, tools, steps, work, jobs).compile()
        steps.phase("packing, and a first run")
        packed = pack(binding, recipe, work)
        prove(packed)
        # The temporary folder may be on another file system: copy beside the target, then rename.
        arriving = wheel.with_suffix(".part")
        shutil.copyfile(packed, arriving)
        arriving.replace(wheel)
    steps.phase("done")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write("Another build of the same pjsua2 is under way; waiting for it.\n")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _say_installed() -> int:
    """Say which pjsua2 this environment has, and what it lacks."""
    try:
        version = importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        sys.stderr.write(f"{DISTRIBUTION} is not installed in this environment.\n")
        return EXIT_FAILED
    if "+dialer" in version:
        sys.stderr.write(f"pjsua2 {version}: our own build.\n")
    else:
        sys.stderr.write("WARNING: " + _STOCK_LACKS.format(version=version, calls=max_calls()))
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -m sip.build",
        description="Print the path of a wheel of our own pjsua2, building it the first time.",
        epilog="Exits 0 when the wheel is there, 1 when the build failed, 3 when this machine cannot build it.",
    )
    parser.add_argument(
        "--tarball",
        type=Path,
        default=os.environ.get("PJPROJECT_TARBALL") or None,
        help=f"pjproject {VERSION}'s source, instead of Debian's copy (default: $PJPROJECT_TARBALL)",
    )
    parser.add_argument("--sha256", metavar="HEX", help="what the tarball's SHA-256 must be, if it is not a known one")
    parser.add_argument("--assertions", action="store_true", help="build with assertions on, to find misuse in tests")
    parser.add_argument(
        "--cache", type=Path, help="where wheels and sources are kept (default: ~/.cache/dialer/pjsua2)"
    )
    parser.add_argument("--rebuild", action="store_true", help="build even where the cache has it")
    parser.add_argument("--installed", action="store_true", help="only say which pjsua2 this environment has")
    options = parser.parse_args(arguments)
    if options.sha256 and not options.tarball:
        parser.error("--sha256 is about --tarball, and there is none")
    return options


if __name__ == "__main__":
    sys.exit(main())
