"""pjproject's source tree: from Debian's archive or from a tarball at hand, checked before anything of it runs."""

import hashlib
import re
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from sip.build.archive import Archive
from sip.build.recipe import LIBSRTP, PJPROJECT, SPEEXDSP, UPSTREAM_SHA256, VERSION, Pinned
from sip.build.steps import CannotBuildError

_HOW_ELSE = (
    "Pass the tarball of pjproject's release {version} with --tarball (or $PJPROJECT_TARBALL), or run this where apt "
    "reaches a Debian archive."
)


@dataclass(frozen=True)
class Sources:
    """Unpacked trees. Without `srtp` and `speexdsp`, pjproject's own tree has them."""

    pjproject: Path
    srtp: Path | None
    speexdsp: Path | None


@dataclass(frozen=True)
class Tarball:
    """A tarball at hand, and the SHA-256 that it must have: None means one of those that we know."""

    path: Path
    sha256: str | None = None


class SourceCache:
    """Source archives kept between builds."""

    def __init__(self, folder: Path, archive: Archive | None) -> None:
        """Without an `archive`, only what is in `folder` already can be had."""
        self._folder = folder
        self._archive = archive

    def fetch(self, pinned: Pinned) -> Path:
        """The pinned archive's path, downloaded when it is not there.

        Raises CannotBuildError when it cannot be had.
        """
        path = self._folder / f"{pinned.name}.tar"
        if path.exists() and sha256(path) == pinned.sha256:
            return path
        if self._archive is None:
            raise CannotBuildError(f"{pinned.name} is not at hand and there is no apt to fetch it with")
        self._folder.mkdir(parents=True, exist_ok=True)
        arriving = path.with_suffix(".part")
        self._archive.fetch_source(pinned, arriving)
        check_sha256(arriving, {pinned.sha256})
        arriving.replace(path)
        return path


def obtain(cache: SourceCache, tarball: Tarball | None, target: Path) -> Sources:
    """Unpack the sources under `target`: pjproject from the tarball if there is one.

    Raises CannotBuildError when they cannot be had, or are not the version or the bytes that we know.
    """
    if tarball is not None:
        known = {tarball.sha256} if tarball.sha256 else {UPSTREAM_SHA256, PJPROJECT.sha256}
        check_sha256(tarball.path, known)
        tree = unpack(tarball.path, target / "pjproject")
    else:
        try:
            tree = unpack(cache.fetch(PJPROJECT), target / "pjproject")
        except CannotBuildError as error:
            raise CannotBuildError(f"{error}. {_HOW_ELSE.format(version=VERSION)}") from None
    check_version(tree)
    if (tree / "third_party" / "srtp").is_dir():
        return Sources(tree, None, None)
    return Sources(
        tree,
        srtp=unpack(cache.fetch(LIBSRTP), target / "srtp"),
        speexdsp=unpack(cache.fetch(SPEEXDSP), target / "speexdsp"),
    )


def sha256(path: Path) -> str:
    """A file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, known: set[str]) -> None:
    """Refuse a file that is none of those; the message has the sum that it has."""
    if not path.is_file():
        raise CannotBuildError(f"{path}: no such file")
    found = sha256(path)
    if found not in known:
        raise CannotBuildError(
            f"{path} has the SHA-256 {found}, which is not one that we know. If you trust it, say so: --sha256 {found}"
        )


def check_version(tree: Path) -> None:
    """Refuse a tree of another version of pjproject than the recipe's."""
    path = tree / "version.mak"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    parts = dict(re.findall(r"^export PJ_VERSION_(MAJOR|MINOR|REV|SUFFIX)[ \t]*:=[ \t]*(\S*)$", text, re.MULTILINE))
    found = f"{parts.get('MAJOR', '?')}.{parts.get('MINOR', '?')}"
    if parts.get("REV"):
        found += f".{parts['REV']}"
    found += parts.get("SUFFIX", "")
    if found != VERSION:
        raise CannotBuildError(f"the tarball is pjproject {found}; the recipe is for {VERSION}")


def unpack(path: Path, target: Path) -> Path:
    """Unpack a tarball and return its one top folder, moved to `target`."""
    holding = target.with_name(f"{target.name}.unpacked")
    try:
        with tarfile.open(path) as archive:
            # The filter came with 3.11.4; every archive here has passed its check before.
            archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _path: member)
            archive.extractall(holding)  # noqa: S202
    except tarfile.TarError as error:
        raise CannotBuildError(f"cannot unpack {path}: {error}") from None
    tops = list(holding.iterdir())
    if len(tops) != 1 or not tops[0].is_dir():
        raise CannotBuildError(f"cannot use {path}: it should hold one folder")
    shutil.move(tops[0], target)
    return target
