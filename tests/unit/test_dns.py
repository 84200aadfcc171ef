import pytest

from sip import dns
from sip.dns import nameservers_in, responses, system_nameservers


def test_the_nameservers_are_those_of_the_file_that_can_be_asked() -> None:
    text = "# nameserver 10.0.0.9\nsearch example.org\n nameserver 10.0.0.1\nnameserver fe80::1%eth0\nnameserver 2001:db8::1\n"
    assert nameservers_in(text) == [("10.0.0.1", 53), ("2001:db8::1", 53)]
    assert nameservers_in("nameserver\nnameserver pbx\noptions ndots:5\n") == []
    assert len(nameservers_in("".join(f"nameserver 10.0.0.{n}\n" for n in range(9)))) == 3


def test_without_any_this_host_is_asked(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "RESOLV_CONF", dns.Path(str(tmp_path)) / "missing")
    assert system_nameservers() == [("127.0.0.1", 53)]


def test_a_name_has_one_address_and_none_of_the_other_kind() -> None:
    question = b"\x03pbx\x07example\x00"
    a, aaaa = responses("pbx.example", "10.0.0.5")
    assert a == (
        b"\x00\x01\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"
        + question
        + b"\x00\x01\x00\x01"
        + question
        + b"\x00\x01\x00\x01\x00\x00\xff\xff\x00\x04\x0a\x00\x00\x05"
    )
    assert aaaa == b"\x00\x01\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00" + question + b"\x00\x1c\x00\x01"
    a, aaaa = responses("pbx.example", "2001:db8::5")
    assert a.endswith(b"\x00\x01\x00\x01")
    assert aaaa.endswith(b"\x00\x10" + bytes.fromhex("20010db8000000000000000000000005"))


@pytest.mark.parametrize("name", ["", "pbx.", "a..b", "x" * 64, ".".join(["x" * 60] * 5)])
def test_what_is_no_dns_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="DNS"):
        responses(name, "10.0.0.5")
