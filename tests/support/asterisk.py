"""A real Asterisk as a peer. The script that runs one is named by $ASTERISK_PEER; its extensions are described there."""

import csv
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sip.digest import digest_response, parse_digest
from sip.wire import Request, Response
from tests.support.far_end import FarEnd

PEER = os.environ.get("ASTERISK_PEER", "")


class Asterisk:
    """The peer, from install to stop, in a folder and on ports of its own. `calls` it can carry with audio."""

    def __init__(self, home: Path, calls: int = 100) -> None:
        self.port = free_block(4)
        rtp = free_block(2 * calls) & ~1
        self._env = {
            **os.environ,
            "ASTERISK_HOME": str(home),
            "ASTERISK_PORT": str(self.port),
            "ASTERISK_RTP_START": str(rtp),
            "ASTERISK_RTP_END": str(rtp + 2 * calls - 1),
        }
        self.home = home

    def do(self, *words: str) -> str:
        done = subprocess.run([PEER, *words], env=self._env, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return done.stdout

    @property
    def pid(self) -> int:
        return int((self.home / "run/asterisk.pid").read_text())

    def extend(self, endpoints: str, dialplan: str) -> None:
        """Add to the configuration of an Asterisk that runs, until its next start: `dialplan` to the called parties."""
        for file, text in (("pjsip.conf", endpoints), ("extensions.conf", f"[callee](+)\n{dialplan}")):
            with (self.home / "etc" / file).open("a") as conf:
                conf.write(text)
        self.do("cli", "module reload res_pjsip.so")
        self.do("cli", "dialplan reload")

    def messages(self, call_id: str) -> list[str]:
        """What was received ("<") and sent (">") in this dialog since `pjsip set history on`: each first line."""
        shown = self.do("cli", f'pjsip show history where sip.msg.call-id = "{call_id}"').splitlines()
        found = (re.match(r"[0-9]+ +[0-9]+ +\* +(<|=)=[=>] +\S+ +(.+)", line) for line in shown)
        return [f"{'<' if one[1] == '<' else '>'} {one[2].strip()}" for one in found if one]

    def packets_from(self, user: str) -> int:
        """How many RTP packets have come on the only channel of that endpoint; 0 without one."""
        line = re.search(rf"\b{user}-[0-9a-f]+ +[0-9:]+ +\S+ +([0-9]+)", self.do("cli", "pjsip show channelstats"))
        return int(line[1]) if line else 0

    def cdrs(self) -> list[dict[str, str]]:
        names = (
            "account src dst context clid channel dstchannel app data start answer end duration billsec disposition "
            "flags id userfield"
        )
        path = self.home / "log/cdr-csv/Master.csv"
        rows = csv.reader(path.read_text().splitlines()) if path.exists() else []
        return [dict(zip(names.split(), row, strict=False)) for row in rows]

    @contextmanager
    def manager(self) -> Iterator["Manager"]:
        """Its manager interface, without events."""
        with socket.create_connection(("127.0.0.1", self.port + 1)) as connection:
            yield Manager(connection)


class Manager:
    """Orders to Asterisk (AMI). What it answers is read and thrown away."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        self.order("Login", Username="ami", Secret="ami-secret", Events="off")

    def order(self, action: str, **fields: str) -> None:
        lines = [f"Action: {action}", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        self._connection.sendall("\r\n".join(lines).encode())

    def _read(self) -> None:
        try:
            while self._connection.recv(65_536):
                pass
        except OSError:
            return


def free_block(size: int) -> int:
    """The first of so many ports that are free now: below those that the system gives, and elsewhere in each process.

    What is free to two at once would be taken from one of them.
    """
    places = range(21_000, 32_700, 211)
    first = os.getpid() % len(places)
    for base in (*places[first:], *places[:first]):
        sockets = []
        try:
            for port in range(base, base + size):
                one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                sockets.append(one)
                one.bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
        return base
    raise AssertionError("no free ports")


async def register_phone(far: FarEnd, user: str, password: str, pbx: int) -> None:
    """Have the PBX ring this phone for its extension `user` (RFC 3261 10.2, with digest)."""
    uri, credentials = f"sip:127.0.0.1:{pbx}", ""
    for cseq in (1, 2):
        headers = [
            ("Via", f"SIP/2.0/UDP 127.0.0.1:{far.port};rport;branch=z9hG4bK-{far.port}-{cseq}"),
            ("Max-Forwards", "70"),
            ("From", f"<sip:{user}@127.0.0.1>;tag=reg"),
            ("To", f"<sip:{user}@127.0.0.1>"),
            ("Call-ID", f"register-{far.port}"),
            ("CSeq", f"{cseq} REGISTER"),
            ("Contact", f"<sip:{user}@127.0.0.1:{far.port}>"),
            ("Expires", "60"),
            *([("Authorization", credentials)] if credentials else []),
        ]
        far.send_to(Request(method="REGISTER", uri=uri, headers=tuple(headers)), ("127.0.0.1", pbx))
        answer = await far.receive()
        assert isinstance(answer, Response)
        if answer.status == 401:
            given = parse_digest(answer.lines("WWW-Authenticate")[0])
            proof = digest_response(
                "MD5",
                user=user,
                realm=given["realm"],
                password=password,
                method="REGISTER",
                uri=uri,
                nonce=given["nonce"],
                protection="00000001:c:auth",
            )
            words = {"username": user, "realm": given["realm"], "nonce": given["nonce"], "uri": uri, "response": proof}
            quoted = ", ".join(f'{name}="{value}"' for name, value in {**words, "opaque": given["opaque"]}.items())
            credentials = f'Digest {quoted}, cnonce="c", algorithm=MD5, qop=auth, nc=00000001'
    assert answer.status == 200
