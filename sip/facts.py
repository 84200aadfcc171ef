"""What the pjsua2 build that is installed can carry. Asked in a child process: this one never loads the stack."""

import asyncio
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path


class StackUnusable(Exception):
    """pjsua2 cannot be imported or started here; the message is the child's own last word."""


@dataclass(frozen=True, slots=True)
class BuildFacts:
    """The facts of one build.

    `max_calls` is its compile-time PJSUA_MAX_CALLS. `waits_by_epoll` False means select() with 64 handles, which aborts
    the process when too many sockets rest. `tls_1_3` tells a maintained TLS library from OpenSSL 1.0.
    """

    version: str
    max_calls: int
    waits_by_epoll: bool
    tls_1_3: bool

    def as_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))


def child_command(module: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """Command line and environment that run a module in this interpreter, from this very copy of the program.

    `-P` keeps a `sip` folder in the working directory from being taken for ours.
    """
    home = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH", "")]))
    return [sys.executable, "-P", "-m", module, *arguments], {**os.environ, "PYTHONPATH": path}


async def probe() -> BuildFacts:
    """Ask the installed build. Raises StackUnusable."""
    command, environment = child_command("sip.worker", "facts")
    child = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await child.communicate()
    lines = out.decode(errors="replace").splitlines()
    try:
        return BuildFacts(**json.loads(lines[-1]))
    except (IndexError, ValueError, TypeError):
        words = err.decode(errors="replace").strip().splitlines() or [f"exit status {child.returncode}"]
        raise StackUnusable(f"pjsua2 does not start: {words[-1]}") from None
