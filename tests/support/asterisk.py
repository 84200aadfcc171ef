"""A real Asterisk as a peer. The script that runs one is named by $ASTERISK_PEER; its extensions are described there."""

import csv
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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

    def cdrs(self) -> list[dict[str, str]]:
        names = "account src dst context clid channel dstchannel app data start answer end duration billsec disposition"
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
    """The first of so many ports that are free now."""
    for base in range(30_000, 60_000, 211):
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
