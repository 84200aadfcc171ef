"""Digest authentication against the examples of RFC 7616 section 3.9.1."""

import hashlib

import pytest

from sip.digest import Algorithm, digest_response, parse_digest
from sip.grammar import MalformedMessage


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_the_rfc_come_out(algorithm: Algorithm, expected: str) -> None:
    response = digest_response(
        algorithm,
        user="Mufasa",
        realm="http-auth@example.org",
        password="Circle of Life",
        method="GET",
        uri="/dir/index.html",
        nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        protection="00000001:f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ:auth",
    )
    assert response == expected


def test_without_qop_the_form_of_rfc_2069_is_used() -> None:
    def md5(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    expected = md5(f"{md5('u:r:p')}:n:{md5('INVITE:sip:x')}")
    assert (
        digest_response("MD5", user="u", realm="r", password="p", method="INVITE", uri="sip:x", nonce="n") == expected
    )


def test_the_parameters_of_a_challenge_are_read_with_and_without_quotes() -> None:
    assert parse_digest('Digest Realm="a, \\"b\\"",nonce = "n", stale=TRUE, algorithm=MD5, stray') == {
        "realm": 'a, "b"',
        "nonce": "n",
        "stale": "TRUE",
        "algorithm": "MD5",
    }


def test_another_scheme_is_malformed() -> None:
    with pytest.raises(MalformedMessage):
        parse_digest("Basic dTpw")
