import re
from typing import Any

import pytest

from dialer.core.targets import ForbiddenTarget, Reach, is_public

PRIVATE = """
10.0.0.1 172.16.0.1 192.168.1.1 127.0.0.1 169.254.0.1 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255
::1 fe80::1 fc00::1 ::ffff:127.0.0.1 64:ff9b::a00:1 2002:7f00:1:: ff02::1 ::
"""


@pytest.mark.parametrize("address", PRIVATE.split())
def test_addresses_of_our_own_networks_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are(address: str) -> None:
    assert is_public(address)


def reach(*, allow_private: bool = False) -> Reach:
    return Reach("wss", "ws", "stream.allow_private", allow_private)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (7, "must be a URL"),
        ("https://example.org/", "must look like wss://HOST/PATH"),
        ("ws://example.org/", "must begin with wss://"),
        ("wss://me@example.org/", "user or password"),
        ("wss://example.org/#x", "fragment"),
        ("wss://example.org:0/", "must not name port 0"),
        ("wss://[::1]:9/", "the host ::1 is ::1, a private address; the setting stream.allow_private lets them in"),
    ],
)
def test_a_url_is_refused_with_a_reason(url: Any, reason: str) -> None:
    with pytest.raises(ForbiddenTarget, match=reason.replace("(", r"\(")):
        reach().read(url)


def test_the_operator_may_let_private_ones_in() -> None:
    allowed = reach(allow_private=True)
    parts = allowed.read("ws://127.0.0.1/x")
    assert (parts.hostname, allowed.port(parts)) == ("127.0.0.1", 80)
    allowed.check("localhost", ["127.0.0.1"])


def test_a_name_is_looked_at_by_its_addresses() -> None:
    parts = reach().read("wss://assistant.example/call?key=1")
    assert reach().port(parts) == 443
    reach().check("assistant.example", ["93.184.215.14"])
    with pytest.raises(ForbiddenTarget, match=re.escape("assistant.example is 10.0.0.1")):
        reach().check("assistant.example", ["93.184.215.14", "10.0.0.1"])
