"""`dialer check`: can what is configured work on this machine now? One finding for each thing that was looked at."""

import asyncio
import os
import resource
import shutil
import socket
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from config.settings import Settings
from dialer.core.amounts import amount
from dialer.machine import audio_files, trunk_profile
from dialer.ports import StoreUnavailable
from scheduler import migrations
from scheduler.clock import SystemClock
from scheduler.server_lock import serving_pid
from scheduler.timed_backups import newest_backup
from sip.facts import StackUnusable
from sip.facts import probe as probe_build
from sip.options import NoAnswer, probe
from sip.plan import PlanImpossible, PoolPlan, plan_pool
from sip.trunk import UnfitForSip

_LITTLE_SPACE_BYTES = 1 << 30
# RTP, RTCP and the WAV of a leg; the pair of a leg that has just ended rests for half a second.
_DESCRIPTORS_A_LEG = 5
_DESCRIPTORS_ANYWAY = 200


class Grade(StrEnum):
    """How it stands: fine, working but not as it should, not working."""

    OK = "ok"
    WARNING = "warn"
    FAILED = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, and what was found."""

    grade: Grade
    subject: str
    text: str

    @property
    def failed(self) -> bool:
        """Whether the dialer cannot work like this."""
        return self.grade is Grade.FAILED

    def line(self) -> str:
        """The finding for a terminal."""
        return f"{self.grade:<4}  {self.subject}: {self.text}"


async def examine(settings: Settings) -> list[Finding]:
    """Look at everything. Takes some seconds where a trunk does not answer, more where the database is large."""
    findings = [await asyncio.to_thread(_database, settings.database.path)]
    findings += await asyncio.to_thread(_backups, settings)
    findings.append(_media(settings))
    build, plan = await _build(settings)
    findings += build
    findings += await _trunks(settings)
    findings += _ports(settings, plan)
    if plan is not None:
        findings.append(_file_limit(plan))
    return findings


def _database(path: Path) -> Finding:
    if fault := _no_access(path):
        return Finding(Grade.FAILED, "database", fault)
    free = shutil.disk_usage(path.parent).free
    room = f"{free / (1 << 30):.1f} GiB free"
    if not path.exists():
        text = f"{path} is not there yet; `dialer db migrate` or the first command makes it ({room})"
        return Finding(Grade.OK, "database", text)
    try:
        faults = migrations.check(path)
    except StoreUnavailable as error:
        return Finding(Grade.FAILED, "database", f"{path}: {error}")
    if faults:
        more = f" (and {len(faults) - 1} more: `dialer db check`)" if len(faults) > 1 else ""
        return Finding(Grade.FAILED, "database", faults[0] + more)
    if free < _LITTLE_SPACE_BYTES:
        return Finding(Grade.WARNING, "database", f"{path}: no fault found, but only {room}")
    return Finding(Grade.OK, "database", f"{path}: no fault found, {room}")


def _no_access(path: Path) -> str | None:
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return f"the folder {path.parent} cannot be written by this user"
    if path.exists() and not os.access(path, os.W_OK):
        return f"{path} cannot be written by this user"
    return None


def _backups(settings: Settings) -> list[Finding]:
    wanted = settings.backup
    if wanted is None:
        return []
    folder = wanted.directory
    place = folder if folder.exists() else folder.parent
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        return [Finding(Grade.FAILED, "backup", f"the folder {place} is not there or cannot be written by this user")]
    newest = newest_backup(folder)
    if newest is None:
        return [Finding(Grade.WARNING, "backup", f"there is none in {folder} yet; the server takes one when it runs")]
    hours = (SystemClock().now().wall - newest) / 3_600_000
    # One that takes long, or failed once and is tried again, is no reason for alarm.
    late = hours > 2 * wanted.interval_hours
    text = f"the newest in {folder} is {hours:,.1f} hours old, one is taken each {wanted.interval_hours:g}"
    return [Finding(Grade.WARNING if late else Grade.OK, "backup", text)]


def _media(settings: Settings) -> Finding:
    folder = settings.media.directory
    if not folder.is_dir():
        return Finding(Grade.WARNING, "media", f"there is no folder {folder}: playbooks with `play` are refused")
    if not os.access(folder, os.R_OK | os.X_OK):
        return Finding(Grade.FAILED, "media", f"the folder {folder} cannot be read by this user")
    return Finding(Grade.OK, "media", f"{folder}: {amount(len(audio_files(folder)), 'file')}")


async def _build(settings: Settings) -> tuple[list[Finding], PoolPlan | None]:
    try:
        facts = await probe_build()
    except StackUnusable as error:
        return [Finding(Grade.FAILED, "pjsua2", str(error))], None
    text = f"pjproject {facts.version}, {amount(facts.max_calls, 'call')} a process"
    small = not (facts.waits_by_epoll and facts.tls_1_3)
    lacks = (
        "; the wheel of the package index, for a quick look only: `make pjsua2` builds the right one" if small else ""
    )
    findings = [Finding(Grade.WARNING if small else Grade.OK, "pjsua2", text + lacks)]
    sip = settings.sip
    rtp = (sip.rtp_port_min, sip.rtp_port_max) if sip.rtp_port_min and sip.rtp_port_max else None
    calls = settings.pacing.max_concurrent_calls
    try:
        plan = plan_pool(facts, calls, workers=sip.workers, rtp=rtp)
    except PlanImpossible as error:
        return [*findings, Finding(Grade.FAILED, "capacity", str(error))], None
    channels = sum(trunk.max_concurrent_calls for trunk in settings.trunks.values())
    text = f"{amount(calls, 'call')} at once: {amount(plan.workers, 'worker')} of {plan.places}"
    if settings.trunks and channels < calls:
        text += f"; the trunks together have {amount(channels, 'channel')}"
    return [*findings, Finding(Grade.OK, "capacity", text)], plan


async def _trunks(settings: Settings) -> list[Finding]:
    if not settings.trunks:
        return [Finding(Grade.FAILED, "trunks", "none is configured: write a section [trunks.NAME]")]
    return list(await asyncio.gather(*(_trunk(name, settings) for name in settings.trunks)))


async def _trunk(name: str, settings: Settings) -> Finding:
    subject = f"trunk {name}"
    try:
        seen = await probe(trunk_profile(name, settings.trunks[name]), settings.sip.bind_host)
    except (NoAnswer, UnfitForSip) as error:
        return Finding(Grade.FAILED, subject, str(error))
    who = f", {seen.agent}" if seen.agent else ""
    text = f"{seen.way.address} answered OPTIONS with {seen.status} {seen.phrase} in {seen.milliseconds:.0f} ms{who}"
    return Finding(Grade.OK, subject, text)


def _serving(settings: Settings) -> int | None:
    """The server of this database, whose ports are its own."""
    with suppress(OSError):  # what this user may not look at is told of as the database's
        return serving_pid(settings.database.path)
    return None


def _ports(settings: Settings, plan: PoolPlan | None) -> list[Finding]:
    api, sip = settings.api, settings.sip
    if (pid := _serving(settings)) is not None:
        return [Finding(Grade.OK, "ports", f"a server (pid {pid}) serves this database; its ports were not tried")]
    findings = []
    fault = _cannot_bind(socket.SOCK_STREAM, api.host, api.port)
    where = f"{api.host}:{api.port or ' a port that the system chooses'}"
    findings.append(Finding(Grade.FAILED if fault else Grade.OK, "api port", f"{where}: {fault or 'free'}"))
    if sip.port is not None and plan is not None:
        numbers = range(sip.port, sip.port + plan.slots)
        findings.append(_udp_ports("sip ports", sip.bind_host, numbers))
    if sip.rtp_port_min is not None and sip.rtp_port_max is not None:
        findings.append(_udp_ports("rtp ports", sip.bind_host, range(sip.rtp_port_min, sip.rtp_port_max + 1)))
    return findings


def _udp_ports(subject: str, host: str, numbers: range) -> Finding:
    taken = {number: fault for number in numbers if (fault := _cannot_bind(socket.SOCK_DGRAM, host, number))}
    span = f"{host}:{numbers[0]}" + (f" to {numbers[-1]}" if len(numbers) > 1 else "")
    if not taken:
        return Finding(Grade.OK, subject, f"{span}: free")
    first = next(iter(taken))
    text = f"{span}: {len(taken)} of {len(numbers)} cannot be used, the first is {first} ({taken[first]})"
    return Finding(Grade.FAILED, subject, text)


def _cannot_bind(kind: socket.SocketKind, host: str, port: int) -> str | None:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind) as trial:
            if kind is socket.SOCK_STREAM:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        return error.strerror or str(error)
    except OverflowError:
        return "there is no such port"
    return None


def _file_limit(plan: PoolPlan) -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _DESCRIPTORS_ANYWAY + _DESCRIPTORS_A_LEG * plan.places
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return Finding(Grade.OK, "file limit", f"{amount(soft, 'open file')} a process, {needed} needed")
    return Finding(
        Grade.FAILED,
        "file limit",
        f"{amount(soft, 'open file')} a process, {needed} needed: raise LimitNOFILE= or `ulimit -n`",
    )
