"""Messages as the stack's log prints them, and what is left out of them before anybody sees them."""

import pytest

from dialer.log_lines import masked
from sip.trace import Printed, call_id_of, read_printed, without_secrets

INVITE = (
    "INVITE sip:+34600000001@10.0.0.5:5060 SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 10.0.0.9:5061;rport;branch=z9hG4bKPj1\r\n"
    'From: "Renewals" <sip:+34910000000@10.0.0.5>;tag=2\r\n'
    "To: <sip:+34600000001@10.0.0.5>\r\n"
    "Call-ID: 581c437a-79d8-88e2-9f45-7f603af91dd4-1\r\n"
    'Authorization: Digest username="dialer", realm="asterisk", nonce="17/5f", uri="sip:10.0.0.5", response="6629fae4"\r\n'
    "Content-Type: application/sdp\r\n"
    "\r\n"
    "v=0\r\nm=audio 10000 RTP/SAVP 8\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9|2^20\r\n"
)


def test_a_sent_and_a_received_message_are_read() -> None:
    sent = (
        f"TX 953 bytes Request msg INVITE/cseq=24339 (tdta0x55e52d6b53f0) to UDP 10.0.0.5:5060:\n{INVITE}\n--end msg--"
    )
    assert read_printed(sent) == Printed(True, "UDP", "10.0.0.5:5060", INVITE)
    ringing = "SIP/2.0 180 Ringing\r\nCall-ID: x\r\n\r\n"
    received = (
        f"RX 40 bytes Response msg 180/INVITE/cseq=1 (rdata0x55) from TLS [2001:db8::5]:5061:\n{ringing}\n--end msg--"
    )
    assert read_printed(received) == Printed(False, "TLS", "[2001:db8::5]:5061", ringing)


@pytest.mark.parametrize(
    "line",
    ["Making call with acc #0 to sip:1@h", "TX ", "TX timeout", "RX 5 bytes", "TX 5 bytes Request msg x:\nINVITE"],
)
def test_what_is_no_message_is_none(line: str) -> None:
    assert read_printed(line) is None


def test_the_call_id_is_found_in_both_its_forms() -> None:
    assert call_id_of(INVITE) == "581c437a-79d8-88e2-9f45-7f603af91dd4-1"
    assert call_id_of("SIP/2.0 200 OK\r\ni:short\r\n\r\n") == "short"
    assert call_id_of("SIP/2.0 200 OK\r\n\r\n") == ""


def test_credentials_and_media_keys_are_left_out_and_the_rest_stays() -> None:
    shown = without_secrets(INVITE)
    assert 'Authorization: Digest username="dialer", realm="asterisk", …\r\n' in shown
    for secret in ("6629fae4", "17/5f", "WVNfX19z"):
        assert secret not in shown
    assert "inline:…|2^20\r\n" in shown
    assert shown.replace("inline:…", "").count("\r\n") == INVITE.count("\r\n")
    proxy = without_secrets('ACK sip:x SIP/2.0\r\nproxy-authorization: Digest response="abc",username="dialer"\r\n\r\n')
    assert "abc" not in proxy
    assert 'username="dialer"' in proxy


def test_typed_digits_are_left_out() -> None:
    relay = "INFO sip:x SIP/2.0\r\nContent-Type: application/dtmf-relay\r\n\r\nSignal= 4\r\nDuration=160\r\n"
    assert without_secrets(relay).endswith("\r\n\r\nSignal= …\r\nDuration=160\r\n")
    plain = "INFO sip:x SIP/2.0\r\nContent-Type: application/dtmf\r\n\r\n4"
    assert without_secrets(plain).endswith("application/dtmf\r\n\r\n…")


def test_numbers_are_masked_in_every_place_where_sip_writes_them() -> None:
    shown = masked(
        INVITE
        + 'P-Asserted-Identity: "600000001" <tel:600000001>\r\nDiversion: 600000001 <sip:600000001@h>;reason=no-answer\r\n'
    )
    assert "600000001" not in shown
    assert "34910000000" not in shown
    assert "INVITE sip:+…0001@10.0.0.5:5060 SIP/2.0" in shown
    assert 'P-Asserted-Identity: "…0001" <tel:…0001>' in shown
    assert "Diversion: …0001 <sip:…0001@h>" in shown
    assert "581c437a-79d8-88e2-9f45-7f603af91dd4-1" in shown
