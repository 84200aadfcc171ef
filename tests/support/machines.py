"""Machines that a package is installed on: a copy of this one that only its processes see, or a Debian with its own systemd."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from tests.support.dialer_process import eventually

Done = subprocess.CompletedProcess[str]

# A file system of its own, which lays what is changed over this machine's.
COPY = """
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/changes" "$1/work" "$1/all"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/changes,workdir=$1/work" "$1/all"
mount --rbind /proc "$1/all/proc"
mount --rbind /dev "$1/all/dev"
mount -t tmpfs tmpfs "$1/all/run"
exec chroot "$1/all" sh -c 'echo mounted; exec sleep infinity'
"""


class CannotCopy(Exception):
    """This process may not mount anything here; the text says why."""


class Machine:
    """Run programs there, as root, and look at its files below `root`. It is gone when its first process is."""

    def __init__(self, leader: int, *, namespaces: Sequence[str]) -> None:
        self.root = Path(f"/proc/{leader}/root")
        self._way = ["nsenter", "-t", str(leader), *namespaces, "--root", "--wd", "--"]

    @classmethod
    @contextlib.contextmanager
    def copy_of_this_one(cls, folder: Path) -> Iterator[Self]:
        """What is done there stays there. Its services do not run: there is no systemd. Raises `CannotCopy`."""
        words = ["unshare", "--mount", "--propagation=private", "sh", "-c", COPY, "sh", str(folder)]
        first = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with first:
            try:
                assert first.stdout is not None
                assert first.stderr is not None
                if not first.stdout.readline():
                    raise CannotCopy(first.stderr.read())
                yield cls(first.pid, namespaces=["-m"])
            finally:
                first.kill()

    @classmethod
    @contextlib.contextmanager
    def debian(cls, folder: Path, packages: Sequence[str]) -> Iterator[Self]:
        """Installed by debootstrap, then booted, with processes, mounts and a network of loopback of its own."""
        root = folder / "machine"
        wanted = ",".join(["systemd", "systemd-sysv", "dbus", "procps", *packages])
        suite = next(line for line in Path("/etc/os-release").read_text().splitlines() if "VERSION_CODENAME" in line)
        words = ["debootstrap", "--variant=minbase", f"--include={wanted}", suite.partition("=")[2], str(root)]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, timeout=900)
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        container = ["systemd-nspawn", "-D", str(root), "-M", f"dialer-test-{os.getpid()}", "--private-network"]
        with (folder / "boot.log").open("wb") as log:
            nspawn = subprocess.Popen(
                [*container, "--register=no", "--keep-unit", "--boot"],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            yield eventually(lambda: cls._booted_by(nspawn.pid), 120, "systemd has started everything")
        finally:
            os.killpg(nspawn.pid, signal.SIGKILL)
            nspawn.wait(30)
            shutil.rmtree(root, ignore_errors=True)

    def run(self, *words: str, check: bool = True) -> Done:
        """Run a program there to its end."""
        done = subprocess.run(
            [*self._way, *words],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"},
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def at(self, path: str) -> Path:
        """Where a file of it is seen from here."""
        return self.root / path.lstrip("/")

    def bring(self, file: Path) -> str:
        """Make the file readable there; its path."""
        shutil.copy(file, self.at("/srv"))
        return f"/srv/{file.name}"

    @classmethod
    def _booted_by(cls, container: int) -> Self | None:
        """The machine, once it is up. Its first process is not the first that the container starts."""
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(stat.read_text().rpartition(")")[2].split()[1]) == container:
                    machine = cls(int(stat.parent.name), namespaces=["-m", "-u", "-i", "-n", "-p", "-C"])
                    state = machine.run("systemctl", "is-system-running", check=False).stdout.strip()
                    return machine if state in {"running", "degraded"} else None
        return None
