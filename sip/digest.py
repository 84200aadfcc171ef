"""Digest access authentication as SIP uses it: MD5 and SHA-256, qop=auth or none (RFC 3261 section 22, RFC 8760, RFC 7616).

Pure; nonces and counters come from the caller.
"""

import hashlib
from typing import Final, Literal

from sip.grammar import MalformedMessage, split_unquoted, unquote_string

Algorithm = Literal["MD5", "SHA-256"]
ALGORITHMS: Final[dict[str, Algorithm]] = {
    "md5": "MD5",
    "sha-256": "SHA-256",
}  # by what stands in a header, in lower case


def parse_digest(value: str) -> dict[str, str]:
    """The parameters of a `Digest ...` header value, names in lower case, without quotes. Raises MalformedMessage."""
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest":
        raise MalformedMessage("an authentication scheme other than Digest")
    parameters: dict[str, str] = {}
    for piece in split_unquoted(rest, ","):
        name, equals, text = piece.partition("=")
        if equals:
            parameters.setdefault(name.strip().lower(), unquote_string(text.strip()))
    return parameters


def digest_response(
    algorithm: Algorithm,
    *,
    user: str,
    realm: str,
    password: str,
    method: str,
    uri: str,
    nonce: str,
    protection: str = "",
) -> str:
    """The `response` parameter in hex. `protection` is "nc:cnonce:qop" as sent, "" where no qop was chosen (RFC 2069)."""
    secret = _hashed(algorithm, f"{user}:{realm}:{password}")
    request = _hashed(algorithm, f"{method}:{uri}")
    middle = f"{nonce}:{protection}" if protection else nonce
    return _hashed(algorithm, f"{secret}:{middle}:{request}")


def _hashed(algorithm: Algorithm, text: str) -> str:
    data = text.encode("utf-8", "surrogateescape")
    if algorithm == "MD5":
        return hashlib.md5(data, usedforsecurity=False).hexdigest()
    return hashlib.sha256(data).hexdigest()
