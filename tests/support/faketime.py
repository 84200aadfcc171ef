"""libfaketime (Debian package faketime): another clock for the processes that a test starts."""

from pathlib import Path

import pytest

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
needs_faketime = pytest.mark.skipif(LIBRARY is None, reason="needs libfaketime (Debian package faketime)")


def hurry(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Processes that are started from now on live so many times as fast: their timers and waits are as much shorter."""
    monkeypatch.setenv("LD_PRELOAD", str(LIBRARY))
    monkeypatch.setenv("FAKETIME", f"+0 x{times}")
