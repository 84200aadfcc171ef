"""Which files a test's code has had written to the disk."""

import os

import pytest


def watch_fsync(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The inode numbers of what Python's `os.fsync` is called for from now on; SQLite's own calls are not among them."""
    synced: list[int] = []
    real = os.fsync

    def sync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    return synced
