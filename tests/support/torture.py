"""Messages in the manner of RFC 4475, written for this project: what a parser meets at its worst."""

_VIA = "Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK{n};rport\r\n"
_REST = (
    "From: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:b@127.0.0.1>\r\n"
    "Call-ID: torture-{n}\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n"
)


def _request(n: int, method: str, *, uri: str = "sip:b@127.0.0.1", extra: str = "", body: str = "") -> bytes:
    head = f"{method} {uri} SIP/2.0\r\n" + _VIA.format(n=n) + _REST.format(n=n, method=method) + extra
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode("latin-1")


def _with(n: int, **change: str) -> bytes:
    """An OPTIONS with one header line replaced (the name with _ for -), or left out where the line is empty."""
    text = _request(n, "OPTIONS").decode()
    for name, line in change.items():
        header = name.replace("_", "-").lower()
        lines = text.split("\r\n")
        kept = [old if not old.lower().startswith(header + ":") else line for old in lines]
        text = "\r\n".join(old for old, before in zip(kept, lines, strict=True) if old or not before)
    return text.encode("latin-1")


_SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
_TYPE = "Content-Type: application/sdp\r\nContact: <sip:a@127.0.0.1:9>\r\n"

TORTURE: tuple[bytes, ...] = (
    b"",
    b"\r\n\r\n",
    b"\x00" * 500,
    b"SIP/2.0",
    b"SIP/2.0 200 OK\r\n\r\n",
    b"OPTIONS\r\n\r\n",
    b"OPTIONS sip:b@127.0.0.1 SIP/7.0\r\n\r\n",
    b"INVITE " + b"a" * 4000 + b" SIP/2.0\r\n\r\n",
    _request(1, "OPTIONS", uri="sip:b@[::1"),
    _request(2, "OPTIONS", uri="<sip:b@127.0.0.1>"),
    _request(3, "OPTIONS", uri="sip:b@127.0.0.1; lr"),
    _request(4, "OPTIONS", uri="sip:%00%ff@127.0.0.1"),
    _request(5, "OPTIONS", uri="tel:" + "9" * 2000),
    _request(6, "OPTIONS", uri="unknown-scheme:what"),
    _request(7, "OPTIONS", extra="Max-Forwards: -1\r\n"),
    _request(8, "OPTIONS", extra='Contact: "unclosed <sip:a@b>\r\n'),
    _request(9, "OPTIONS", extra="Accept: " + ", ".join(["text/plain"] * 400) + "\r\n"),
    _request(10, "OPTIONS", extra="X-Fold: a\r\n b\r\n\tc\r\n"),
    _request(11, "OPTIONS", extra="X-Colonless\r\n"),
    _request(12, "OPTIONS", extra="Route: <sip:[fe80::1%25eth0]>,,,<>\r\n"),
    _request(13, "!interesting-Method0123456789_*+`.%indeed'~"),
    _request(14, "INVITE", extra=_TYPE, body=_SDP + "m=audio 0 RTP/AVP\r\n"),
    _request(15, "INVITE", extra=_TYPE, body=_SDP + "m=audio 99999 RTP/AVP 0\r\n"),
    _request(16, "INVITE", extra=_TYPE, body=_SDP + "m=audio 9 RTP/AVP " + " ".join(map(str, range(300))) + "\r\n"),
    _request(17, "INVITE", extra=_TYPE, body=_SDP + "m=audio 9 RTP/AVP 0\r\na=ptime:0\r\na=ptime:-5\r\n"),
    _request(18, "INVITE", extra=_TYPE, body="v=0"),
    _request(19, "INVITE", extra="Contact: <sip:a@127.0.0.1:9>\r\n"),
    _request(20, "INVITE", extra="Content-Type: multipart/mixed\r\nContact: <sip:a@127.0.0.1:9>\r\n", body="--\r\n--"),
    _request(21, "INVITE", extra="Require: nothingSupportsThis\r\nContact: <sip:a@127.0.0.1:9>\r\n"),
    _request(22, "INVITE", extra="Replaces: x;to-tag=1;from-tag=2\r\nContact: <sip:a@127.0.0.1:9>\r\n"),
    _request(23, "SUBSCRIBE", extra="Event: presence\r\nExpires: 0\r\nContact: <sip:a@127.0.0.1:9>\r\n"),
    _request(24, "REFER", extra="Refer-To: <sip:c@127.0.0.1?Replaces=%00>\r\nContact: <sip:a@127.0.0.1:9>\r\n"),
    _request(25, "REGISTER", extra="Contact: *\r\nExpires: 4294967296\r\n"),
    _request(26, "CANCEL"),
    _request(27, "ACK"),
    _request(28, "PRACK", extra="RAck: 99999999999 1 INVITE\r\n"),
    _with(29, CSeq="CSeq: 4294967296 OPTIONS"),
    _with(30, CSeq="CSeq: 1 INVITE"),
    _with(31, CSeq=""),
    _with(32, Via=""),
    _with(33, Via="Via: SIP/2.0/UDP 127.0.0.1:9;branch=" + "z" * 3000),
    _with(34, Via="Via: SIP/2.0/UDP 127.0.0.1:99999;branch=z9hG4bK1;rport=77777;received=not-an-address"),
    _with(35, Via="Via: SIP/2.0/UDP [::1:9;branch=z9hG4bK1"),
    _with(36, From="From: <sip:a@127.0.0.1>;tag=" + "t" * 5000),
    _with(37, From='From: "\\'),
    _with(38, From=""),
    _with(39, To="To: sip:b@127.0.0.1?header=%0d%0aX:1;tag=x"),
    _with(40, Call_ID="Call-ID:"),
    _with(41, Content_Length="Content-Length: -999"),
    _with(42, Content_Length="Content-Length: 99999"),
    _with(43, Content_Length="Content-Length: 0\r\nContent-Length: 17"),
    _with(44, Max_Forwards="Max-Forwards: 0"),
    b"SIP/2.0 4294967301 better not break\r\n" + _request(45, "OPTIONS").split(b"\r\n", 1)[1],
    b"SIP/2.0 100\r\n" + _request(46, "INVITE").split(b"\r\n", 1)[1],
    b"SIP/2.0 200 OK\r\n" + _request(47, "BYE").split(b"\r\n", 1)[1],
    _request(48, "OPTIONS").replace(b"\r\n", b"\n"),
    _request(49, "OPTIONS") * 3,
    _request(50, "MESSAGE", extra="Content-Type: text/plain\r\n", body="x" * 30_000),
)
