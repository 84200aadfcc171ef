"""The Debian archive that this machine already uses, read through a private apt: nothing on the system is touched.

apt checks every signature and checksum. All of its state (sources, lists, downloads) is in a folder of the build, its
package status is empty, and no hook of the system's apt configuration runs.
"""

import itertools
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from sip.build.recipe import Pinned
from sip.build.steps import CannotBuildError, StepFailedError, Steps

_APT_HELPER = Path("/usr/lib/apt/apt-helper")
_KEYRINGS = [Path("/usr/share/keyrings") / f"debian-archive-keyring.{ending}" for ending in ("gpg", "pgp")]
_OS_RELEASE = Path("/etc/os-release")

# Suites that hold updates to a release and not the release: no other release lies beside them.
_PARTIAL_SUITE = re.compile(r"[-/](security|updates|backports|proposed)")

_CONF = """\
Dir::State "{root}";
Dir::State::lists "{root}/lists";
Dir::State::status "{root}/status";
Dir::State::extended_states "{root}/extended_states";
Dir::Cache "{root}";
Dir::Cache::archives "{root}/archives";
Dir::Log "{root}/log";
APT::Sandbox::User "root";
Acquire::Retries "3";
Acquire::Languages "none";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


class Offer(NamedTuple):
    """A file of a source package, as apt would fetch it."""

    uri: str
    name: str
    sha256: str


class Archive:
    """Fetches source archives of other suites, and packages of this machine's own."""

    def __init__(self, root: Path, steps: Steps) -> None:
        """Use `root`, a folder of the build, for everything that apt writes."""
        self._root = root
        self._steps = steps
        self._addresses: list[str] | None = None
        self._updated: set[str] = set()

    @staticmethod
    def available() -> bool:
        """Whether this machine has an apt to fetch with."""
        return bool(shutil.which("apt-get") and shutil.which("dpkg-deb")) and _APT_HELPER.exists()

    def fetch_source(self, pinned: Pinned, target: Path) -> None:
        """Download exactly the pinned archive to `target`, from the first suite that serves it.

        Raises CannotBuildError when none does.
        """
        reasons = []
        for address, suite in itertools.product(self._main_archives(), pinned.suites):
            try:
                conf = self._updated_conf(address, suite)
                text = self._steps.run(
                    f"apt-source-{pinned.package}",
                    ["apt-get", "-q", "-c", conf, "source", "--print-uris", pinned.package],
                )
                offer = next((offer for offer in read_offers(text) if offer.sha256 == pinned.sha256), None)
                if offer is None:
                    reasons.append(f"{suite} carries another version of it")
                    continue
                self._download(conf, offer, target)
            except StepFailedError as error:
                reasons.append(f"{suite}: {error.last_line.rstrip('.')}")
            else:
                return
        raise CannotBuildError(f"{pinned.name} (in Debian's source package {pinned.package}): {'; '.join(reasons)}")

    def unpack_packages(self, names: Iterable[str], target: Path) -> None:
        """Download packages of this machine's own suite and unpack them under `target`, without installing them."""
        conf = self._conf("own", None)
        debs = self._root / "debs"
        debs.mkdir(parents=True, exist_ok=True)
        # One of the machine's other sources may be out of reach; what counts is that the packages are found.
        self._steps.run("apt-update", ["apt-get", "-q", "-c", conf, "update"], may_fail=True)
        self._steps.run("apt-download", ["apt-get", "-q", "-c", conf, "download", *names], cwd=debs)
        for deb in sorted(debs.glob("*.deb")):
            self._steps.run(f"unpack-{deb.name.partition('_')[0]}", ["dpkg-deb", "-x", deb, target])

    def _download(self, conf: Path, offer: Offer, target: Path) -> None:
        words = (conf, "download-file", offer.uri, target, f"SHA256:{offer.sha256}")
        self._steps.run(f"apt-download-{offer.name.partition('_')[0]}", [_APT_HELPER, "-c", *words])

    def _main_archives(self) -> list[str]:
        if self._addresses is None:
            conf = self._conf("own", None)
            text = self._steps.run("apt-addresses", ["apt-get", "-c", conf, "update", "--print-uris"])
            release = _OS_RELEASE.read_text(encoding="utf-8") if _OS_RELEASE.exists() else ""
            self._addresses = main_archives(text, release)
            if not self._addresses:
                raise CannotBuildError("apt has no archive among its sources to fetch pjproject from")
        return self._addresses

    def _updated_conf(self, address: str, suite: str) -> Path:
        name = f"{self._main_archives().index(address)}-{suite}"
        conf = self._conf(name, f"deb-src {_signed_by()}{address} {suite} main\n")
        if name not in self._updated:
            # Without this apt takes a mirror that is out of reach for a warning.
            strict = ("-o", "APT::Update::Error-Mode=any")
            self._steps.run(f"apt-update-{suite}", ["apt-get", "-q", "-c", conf, *strict, "update"])
            self._updated.add(name)
        return conf

    def _conf(self, name: str, sources: str | None) -> Path:
        """A configuration with state of its own: for the given sources, or for the machine's where that is None."""
        root = self._root / name
        conf = root / "apt.conf"
        if not conf.exists():
            for folder in ("lists/partial", "archives/partial", "log"):
                (root / folder).mkdir(parents=True)
            (root / "status").touch()
            text = _CONF.format(root=root)
            if sources is not None:
                (root / "sources.list").write_text(sources, encoding="utf-8")
                text += f'Dir::Etc::sourcelist "{root}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n'
            conf.write_text(text, encoding="utf-8")
        return conf


def read_offers(text: str) -> list[Offer]:
    """The files in the output of ``apt-get source --print-uris``."""
    found = re.findall(r"^'(\S+)' (\S+) \d+ SHA256:([0-9a-f]{64})$", text, re.MULTILINE)
    return [Offer(*groups) for groups in found]


def main_archives(text: str, os_release: str) -> list[str]:
    """The addresses that may be the main archive, likeliest first.

    Takes the output of ``apt-get update --print-uris`` and the text of /etc/os-release. Archives that serve the running
    release come before the rest; those with nothing but updates are left out.
    """
    codename = re.search(r'^VERSION_CODENAME="?([^"\n]*)', os_release, re.MULTILINE)
    running = {"stable", *([codename[1]] if codename else [])}
    served = re.findall(r"^'(\S+)/dists/(\S+)/(?:In)?Release'", text, re.MULTILINE)
    whole = [(address, suite) for address, suite in served if not _PARTIAL_SUITE.search(suite)]
    likely = [address for address, suite in whole if suite in running]
    return list(dict.fromkeys([*likely, *(address for address, _ in whole)]))


def _signed_by() -> str:
    """Hold the archive to Debian's own keys where they are at hand; else apt's trusted keys decide."""
    keyring = next((path for path in _KEYRINGS if path.exists()), None)
    return f"[signed-by={keyring}] " if keyring else ""
