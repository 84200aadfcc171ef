"""A worker process: one SIP stack, polled by one thread that also reads the pool's commands.

Started as `python -m sip.worker DESCRIPTOR`, where DESCRIPTOR is its end of the channel to the pool. When the other end
closes, the main process is gone: every call is ended properly, so that nobody is left in one, and the worker leaves.
"""

import gc
import logging
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections import deque
from pathlib import Path
from typing import Final, NoReturn

import pjsua2 as pj

from dialer.log_lines import LogStyle, Outlet, speak
from sip.endpoint import Endpoint, epoll_descriptors
from sip.facts import BuildFacts
from sip.legs import Legs
from sip.messages import (
    Begin,
    Bridge,
    Command,
    Dial,
    DropTrunk,
    Failed,
    HangUp,
    MediaOrder,
    Ping,
    Pong,
    Refer,
    Report,
    Retire,
    SetTrunk,
    Speak,
    Trace,
    TrunkFailed,
    decode,
    encode,
)
from sip.packets import MAX_PACKET, lines_of, packet_of
from sip.trunk import UnfitForSip

log = logging.getLogger(__name__)

LIVE_WAIT_MS: Final = 10  # the longest sleep with legs: the stack's own timers are late by so much at most
IDLE_WAIT_MS: Final = 100
POLL_LIVE_MS: Final = 1  # a select() build cannot be waited for: it is polled
POLL_IDLE_MS: Final = 20
FAREWELL_SECONDS: Final = 75.0  # longer than the stack can hold a place
LINGER_SECONDS: Final = 1.0  # after the last leg, for answers to what the peer sends twice
GOOD_BYE_SECONDS: Final = 4.0  # for registrars to answer: a challenge, and a packet that is lost
TLS_1_3_CIPHERS: Final = range(0x1301, 0x1306)  # RFC 8446 B.4
COMMANDS_A_TURN: Final = 32


class Worker:
    """The loop: commands in, stack, reports out."""

    def __init__(self, channel: socket.socket, begin: Begin) -> None:
        self._channel = channel
        self._main = _pid_of_peer(channel)
        self._out: deque[bytes] = deque()
        self._endpoint = Endpoint(begin, self._report).start()
        self._legs = Legs(self._endpoint, Path(begin.media_directory), self._report)
        self._leaving_since: float | None = None
        self._orphaned = False
        self._last_busy_at = 0.0
        self._poll = select.poll()
        if self._endpoint.wait_descriptor is not None:
            self._poll.register(self._endpoint.wait_descriptor, select.POLLIN)
        self._poll.register(channel, select.POLLIN)

    def run(self) -> None:
        """Until told to leave, or left alone, and every leg has ended."""
        while not self._done():
            self._flush()
            self._wait()
            self._endpoint.handle_events(0)
            self._endpoint.register_again()
            self._legs.settle()
        self._flush()

    def _wait(self) -> None:
        """Sleep until there is work, or the stack's timers may want a turn; take the commands that came."""
        busy = len(self._legs) > 0
        if self._endpoint.wait_descriptor is not None:
            ready = self._poll.poll(LIVE_WAIT_MS if busy else IDLE_WAIT_MS)
        elif busy:
            self._endpoint.handle_events(POLL_LIVE_MS)
            ready = self._poll.poll(0)
        else:
            ready = self._poll.poll(POLL_IDLE_MS)
        if any(descriptor == self._channel.fileno() for descriptor, _ in ready):
            self._take_commands()

    def _take_commands(self) -> None:
        for _ in range(COMMANDS_A_TURN):
            # Asked first: what a dead process had ordered and this one was too slow to read must not be dialed any more. The
            # next server waits for the ring timeout of such calls, and no longer.
            if os.getppid() != self._main:
                self._orphan()
                return
            try:
                packet, descriptors, _, _ = socket.recv_fds(self._channel, MAX_PACKET, 1, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except ConnectionError:
                packet, descriptors = b"", []
            if not packet:
                self._orphan()
                return
            line = socket.socket(fileno=descriptors[0]) if descriptors else None
            for text in lines_of(packet):
                self._obey(decode(text), line)  # type: ignore[arg-type]  # the pool sends nothing but commands
            self._flush()

    def _obey(self, command: Command, line: socket.socket | None) -> None:
        match command:
            case Dial():
                self._legs.dial(command)
            case HangUp(leg):
                self._legs.hang_up(leg)
            case Ping(number):
                self._report(Pong(number, len(self._legs), self._legs.dialed, _resident_kb()))
            case Speak(style):
                speak(style, Outlet(style), "sip-worker")
            case SetTrunk():
                try:
                    self._endpoint.set_trunk(command)
                except (pj.Error, UnfitForSip) as fault:
                    reason = fault.reason if isinstance(fault, pj.Error) else str(fault)
                    self._report(TrunkFailed(command.trunk.name, reason))
            case DropTrunk(trunk):
                self._endpoint.drop_trunk(trunk)
            case Trace(call_ids):
                self._endpoint.trace(call_ids, self._report)
            case Retire(hang_up):
                self._leave(hang_up=hang_up)
            case _ if isinstance(command, MediaOrder | Bridge | Refer):
                self._legs.direct(command, line)

    def _leave(self, *, hang_up: bool) -> None:
        self._legs.accepting = False
        if self._leaving_since is None:
            self._leaving_since = time.monotonic()
            self._endpoint.unregister()
        if hang_up:
            self._legs.hang_up_all()

    def _orphan(self) -> None:
        log.warning("the main process is gone: ending %d calls", len(self._legs))
        self._orphaned = True
        self._poll.unregister(self._channel)
        self._out.clear()
        self._leaving_since = time.monotonic()
        self._leave(hang_up=True)

    def _done(self) -> bool:
        now = time.monotonic()
        if len(self._legs):
            self._last_busy_at = now
        if self._leaving_since is None:
            return False
        leaving = now - self._leaving_since
        if self._orphaned and leaving > FAREWELL_SECONDS:
            return True
        if self._endpoint.says_good_bye and leaving < GOOD_BYE_SECONDS:
            return False
        return now - self._last_busy_at > LINGER_SECONDS

    def _report(self, report: Report) -> None:
        if not self._orphaned:
            self._out.append(encode(report))

    def _flush(self) -> None:
        while self._out:
            packet, lines = packet_of(self._out)
            try:
                self._channel.send(packet)
            except BlockingIOError:  # the main process is busy: it will read later
                return
            except OSError:  # gone: the next recv says so
                self._out.clear()
                return
            for _ in range(lines):
                self._out.popleft()


def _pid_of_peer(channel: socket.socket) -> int:
    """The process that made the pair of sockets (unix(7), SO_PEERCRED)."""
    pid, _, _ = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(pid)


def _resident_kb() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def print_facts() -> NoReturn:
    """What this build can carry, as one line of JSON on standard output, and out."""
    stack = pj.Endpoint()
    known = epoll_descriptors()
    stack.libCreate()
    waits_by_epoll = bool(epoll_descriptors() - known)
    config = pj.EpConfig()
    config.logConfig.level = config.logConfig.consoleLevel = 0
    most = config.uaConfig.maxCalls  # of a fresh object: the build's PJSUA_MAX_CALLS
    stack.libInit(config)
    try:
        modern = any(cipher in TLS_1_3_CIPHERS for cipher in stack.utilSslGetAvailableCiphers())
    except pj.Error:  # built without TLS
        modern = False
    facts = BuildFacts(stack.libVersion().full, most, waits_by_epoll, modern)
    sys.stdout.write(f"\n{facts.as_json()}\n")
    sys.stdout.flush()
    os._exit(0)


def main() -> None:
    """The process: never returns, because leaving through the interpreter's end aborts some builds of the stack."""
    # The pool says when to leave: a signal to the whole group must not cut calls short, that of systemd's watchdog neither.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGABRT):
        signal.signal(number, signal.SIG_IGN)
    # Two descriptors a call, and one for each file that plays: the usual soft limit of 1,024 ends at 400 calls.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # Objects of the stack must die on this thread and outside callbacks: by their count alone, never by a collection.
    gc.disable()
    if sys.argv[1] == "facts":
        print_facts()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # before its log is set up the stack prints
    os.umask(0o077)  # what people say is nobody else's business
    speak(LogStyle(), Outlet(LogStyle()), "sip-worker")  # until the pool says how
    channel = socket.socket(fileno=int(sys.argv[1]))
    code = 1
    try:
        begin = decode(channel.recv(MAX_PACKET))
        channel.setblocking(False)
        if isinstance(begin, Begin):
            speak(begin.log, Outlet(begin.log), "sip-worker")
            Worker(channel, begin).run()
            code = 0
    except pj.Error as fault:
        log.critical("the SIP stack: %s", fault.info())
        channel.send(encode(Failed(fault.reason)))
    except Exception:
        log.exception("the worker failed")
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
