"""Bodies, headers, query parameters and cursors as they come in: checked before anyone else sees them."""

import asyncio
import base64
import binascii
import io
import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import IO, Any, NoReturn

from starlette.requests import Request

from api.problems import Problem, bad_request
from dialer.ports import StoreUnavailable

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000

# A body is written to its file in pieces of this size.
_PIECE_BYTES = 1 << 20
# A body that stops coming for so long, or takes so long in all, is given up: it holds a file and a connection.
_STALL_SECONDS = 30.0
_BODY_SECONDS = 900.0

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
# SQLite's rowids are signed 64-bit numbers.
_POSITION = re.compile(r"[0-9]{1,18}")


async def fill(body: IO[bytes], request: Request, max_bytes: int, rule: str = "") -> None:
    """Write the request's body into the file, and go back to its start. Never more than `max_bytes` is taken in.

    `rule` is the setting that they come from, for the refusal; "" where it is none.

    Raises the problems 413 (by Content-Length before a byte is read, or when a chunked body passes the limit), 415 for a
    content coding, 408 for a body that stalls; `StoreUnavailable` where the disk has no room for it;
    `starlette.requests.ClientDisconnect` when the client leaves.
    """
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"", "identity"}:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Content-Encoding {coding!r} is not supported: send plain JSON",
            headers={"Accept-Encoding": "identity"},  # RFC 9110, 15.5.16
        )
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced) > max_bytes:
        raise _too_large(max_bytes, rule)
    received = 0
    waiting = bytearray()
    chunks = aiter(request.stream())
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            while True:
                async with asyncio.timeout(_STALL_SECONDS):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    break
                received += len(chunk)
                if received > max_bytes:
                    raise _too_large(max_bytes, rule)
                waiting += chunk
                if len(waiting) >= _PIECE_BYTES:
                    # A disk may take its time; the loop has calls to place meanwhile.
                    await asyncio.to_thread(body.write, bytes(waiting))
                    waiting.clear()
        body.write(waiting)
        body.seek(0)
    except TimeoutError:
        raise Problem(
            HTTPStatus.REQUEST_TIMEOUT, "The body did not arrive in time", headers={"Connection": "close"}
        ) from None
    except OSError as error:
        raise StoreUnavailable(f"no room for the request: {error}") from error


def _too_large(max_bytes: int, rule: str) -> Problem:
    named = f" ({rule})" if rule else ""
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {max_bytes} bytes{named}")


def media_type(request: Request) -> str:
    """What the body is said to be, in lower case and without parameters; "" where nothing is said."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def text_body(request: Request, max_bytes: int) -> str:
    """The body as UTF-8 text, without the byte order mark that spreadsheets put first. Raises the problem 400."""
    with io.BytesIO() as body:
        await fill(body, request, max_bytes)
        raw = body.getvalue()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise bad_request(f"The body is not UTF-8: byte {error.start} cannot be read") from None


async def json_object(request: Request, max_bytes: int) -> dict[str, Any]:
    """The body as a JSON object. Raises the problem 400 for anything else, with where the JSON breaks off."""
    text = await text_body(request, max_bytes)
    try:
        parsed = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise bad_request(f"Malformed JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise bad_request("Malformed JSON: nested too deeply") from None
    except ValueError:
        # Python reads no number of more than 4,300 digits.
        raise bad_request("Malformed JSON: a number has too many digits") from None
    if not isinstance(parsed, dict):
        raise bad_request("The body must be a JSON object")
    return parsed


def _no_constant(name: str) -> NoReturn:
    # Python reads NaN and Infinity, which are not JSON (RFC 8259, 6).
    raise bad_request(f"Malformed JSON: {name} is not a JSON value")


def idempotency_key(request: Request) -> str | None:
    """The Idempotency-Key header, None without one. Raises the problem 400 where it is not 1 to 255 printable characters."""
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) > 1 or _IDEMPOTENCY_KEY.fullmatch(given[0].strip()) is None:
        raise bad_request("Idempotency-Key must be given once, as 1 to 255 printable ASCII characters")
    return given[0].strip()


def query(request: Request, *known: str) -> dict[str, str]:
    """The query parameters. Raises the problem 400 for one that is not known here, or is given twice."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            among = f"known here: {', '.join(known)}" if known else "there are none here"
            raise bad_request(f"Unknown query parameter {name!r} ({among})")
        if name in found:
            raise bad_request(f"Query parameter {name!r} is given twice")
        found[name] = value
    return found


def one_of(name: str, parameters: Mapping[str, str], words: Sequence[str]) -> str | None:
    """The parameter's value, one of the words; None (no filter) where it is missing or empty."""
    value = parameters.get(name) or None
    if value is not None and value not in words:
        raise bad_request(f"{name} must be one of {', '.join(words)}")
    return value


def limit_of(parameters: Mapping[str, str]) -> int:
    """How many items a page may hold: 1 to 1,000, 100 where it is not said."""
    text = parameters.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_LIMIT):
        raise bad_request(f"limit must be a whole number from 1 to {MAX_LIMIT}")
    return int(text)


def cursor(kind: str, position: int | str | None) -> str | None:
    """A position in the list `kind`, as the client gets it: opaque, and good for that list only. None stays None."""
    if position is None:
        return None
    return base64.urlsafe_b64encode(f"{kind}:{position}".encode()).decode().rstrip("=")


def text_position(kind: str, parameters: Mapping[str, str]) -> str | None:
    """The position that the `cursor` parameter stands for; None at the start. Raises the problem 400 for a foreign one."""
    text = parameters.get("cursor") or None
    if text is None:
        return None
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        decoded = ""
    found, separator, position = decoded.partition(":")
    # Only what `cursor` would write counts: base64 has several spellings of one value.
    if not separator or found != kind or cursor(kind, position) != text:
        raise bad_request("cursor is not one that this list gave out")
    return position


def number_position(kind: str, parameters: Mapping[str, str]) -> int | None:
    """As `text_position`, for lists whose positions are numbers."""
    position = text_position(kind, parameters)
    if position is not None and _POSITION.fullmatch(position) is None:
        raise bad_request("cursor is not one that this list gave out")
    return int(position) if position is not None else None
