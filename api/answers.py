"""JSON as it leaves: UTF-8, compact, for no cache."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response


class JsonAnswer(Response):
    """A JSON answer, UTF-8 (RFC 8259, 8.1), that no cache keeps."""

    media_type = "application/json"

    def __init__(self, content: object, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(content, status_code, {"Cache-Control": "no-store", **(headers or {})})

    def render(self, content: Any) -> bytes:  # noqa: ANN401 - Starlette's signature
        """The content as compact JSON; bytes are JSON already."""
        if isinstance(content, bytes):
            return content
        try:
            return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except UnicodeEncodeError:
            # A client may have sent half of a surrogate pair as an escape; it goes back as the same escape.
            return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()
