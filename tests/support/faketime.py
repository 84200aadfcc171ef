"""libfaketime (Debian package faketime): another clock for the processes that a test starts."""

from dataclasses import replace
from pathlib import Path

import pytest

from sip.messages import Dial

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
_NEVER_OLD = 1e12
needs_faketime = pytest.mark.skipif(LIBRARY is None, reason="needs libfaketime (Debian package faketime)")


def hurry(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Processes that are started from now on live so many times as fast: their timers and waits are as much shorter."""
    monkeypatch.setenv("LD_PRELOAD", str(LIBRARY))
    monkeypatch.setenv("FAKETIME", f"+0 x{times}")
    # Our clock is not theirs any more: no order of ours is an old one to them.
    monkeypatch.setattr("sip.pool.Dial", lambda *order: replace(Dial(*order), ordered_at=_NEVER_OLD))
