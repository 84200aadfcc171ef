"""Ids as clients write them."""

import re

_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


def canonical_uuid(text: str) -> str | None:
    """The UUID in lower case; None for what has not the form of one (8-4-4-4-12 hexadecimal digits)."""
    lowered = text.lower()
    return lowered if _UUID.fullmatch(lowered) else None
