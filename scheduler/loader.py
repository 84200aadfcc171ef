"""A loader process: checks and stores requests, one after the other, so that the process that places calls need not.

As a thread of that process, the interpreter lock alone would make calls 141 ms late while a large list is read. This module
is what the process runs; `scheduler.loading` starts it and speaks with it.
"""

from __future__ import annotations

import gc
import json
import logging
import multiprocessing
import os
import pickle
import select
import signal
import socket
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dialer.core.amounts import amount
from dialer.core.form_intake import fingerprint, is_form, read_form
from dialer.core.intake import (
    UNKNOWN_PLAYBOOK,
    CampaignRequest,
    Fault,
    Form,
    IntakeRules,
    Refusal,
    accepted,
    accepted_call,
    read_call,
    read_campaign,
)
from dialer.core.model import AccountId, CallId, Campaign, CampaignId, WallMs
from dialer.core.playbook import Machine, Playbook, check_against
from dialer.core.rehearsal import rehearsal_answer, rehearse
from dialer.log_lines import LogStyle, Outlet, speak
from dialer.ports import StoreUnavailable
from scheduler.connection import connect, disk_errors, sqlite3
from scheduler.ids import PublicIds
from scheduler.intake_rows import Acceptance, IdempotencyKey, IntakeRows, KeyTaken, OverLimit, Removed, Stored, wall_ms
from scheduler.loader_frames import Frame, receive, send
from scheduler.write_turn import Flag, Orphaned, WriteTurn

_log = logging.getLogger(__name__)

_TRY_AGAIN_S = 5.0
_LONGEST_KEY = 255
NOT_STORED = "The database cannot be written now; nothing was stored, send the request again later"


@dataclass(frozen=True, slots=True)
class LoaderSettings:
    """What a loader process needs to know. `ahead` are those it lets pass, `own` is what makes others let it pass.

    `nice` is added to the process's niceness.
    """

    path: Path
    rules: IntakeRules
    machine: Machine
    ahead: tuple[Flag, ...]
    own: Flag | None
    nice: int
    log: LogStyle


@dataclass(frozen=True, slots=True)
class Job:
    """One request. `uuid` becomes its campaign's id, by which its fate can be asked for."""

    uuid: str
    account: int
    endpoint: str
    key: str | None
    form: Form = field(default_factory=Form)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request came to: the answer as JSON text, and the campaign that it made."""

    status: int
    text: str
    replayed: bool = False
    campaign: CampaignId | None = None
    retry_after: int | None = None


class _Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


def run(connection: socket.socket, settings: LoaderSettings) -> None:
    """Serve requests until the other side of `connection` closes it. The first message says whether the database opened."""
    # They are meant for the service, which ends this process by closing the socket: a request is not cut short.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.nice(settings.nice)
    speak(settings.log, Outlet(settings.log), multiprocessing.current_process().name)
    # A hundred thousand contacts are no cycles, and the collector would walk through all of them again and again.
    gc.disable()
    try:
        try:
            loader = Loader(connection, settings)
        except (StoreUnavailable, sqlite3.Error, LookupError, RuntimeError) as error:
            send(connection, Frame({"fault": str(error)}))
            return
        send(connection, Frame({"ready": True}))
        loader.serve()
    except (Orphaned, ConnectionError):
        _log.info("the engine is gone")


class Loader:
    """The process's side: one connection to the database, one to the engine."""

    def __init__(self, connection: socket.socket, settings: LoaderSettings) -> None:
        self._connection = connection
        self._rules = settings.rules
        self._machine = settings.machine
        database = connect(settings.path, checkpoints=False)
        self._ids = PublicIds.of(database)
        self._rows = IntakeRows(
            database, WriteTurn(database, ahead=settings.ahead, own=settings.own, only_for_parent=True), settings.rules
        )
        # What the disk did not let us finish.
        self._to_remove: set[CampaignId] = set()
        self._to_complete: set[CampaignId] = set()

    def serve(self) -> None:
        """Answer message after message; return when the engine closes the socket."""
        while True:
            if self._left_over() and not select.select([self._connection], [], [], _TRY_AGAIN_S)[0]:
                self._tidy()
                continue
            frame = receive(self._connection)
            if frame is None:
                return
            if frame.head["do"] == "follow":
                self._follow(frame.whole_content())
                continue
            if self._left_over():
                self._tidy()
            if frame.head["do"] == "sweep":
                self._sweep()
                send(self._connection, Frame({"swept": True}))
            else:
                outcome = self._serve_request(frame)
                head = {"status": outcome.status, "replayed": outcome.replayed, "campaign": outcome.campaign}
                head["retry_after"] = outcome.retry_after
                send(self._connection, Frame(head, outcome.text.encode()))
            if frame.file is not None:
                gc.collect()

    def _follow(self, content: bytes) -> None:
        """Other rules, from our own engine, which has started this process with the first ones in the same way."""
        rules, machine, style = pickle.loads(content)  # noqa: S301
        self._rules, self._machine = rules, machine
        self._rows.limits = rules
        speak(style, Outlet(style), multiprocessing.current_process().name)

    def _serve_request(self, frame: Frame) -> Outcome:
        head = frame.head
        job = Job(head["uuid"], head["account"], head["endpoint"], head["key"], Form(**head.get("form", {})))
        try:
            with disk_errors():
                return self._resolve(job) if head["do"] == "resolve" else self._accept(job, frame.whole_content())
        except _Refused as refused:
            return Outcome(refused.refusal.status, json.dumps(refused.refusal.body()))
        except (Orphaned, ConnectionError):
            raise
        except (StoreUnavailable, OSError) as error:
            _log.warning("a request was not stored: %s", error)
            return _UNAVAILABLE
        except Exception:  # noqa: BLE001 - whatever is wrong with one request, the others must not pay for it
            _log.exception("a request failed")
            return Outcome(500, json.dumps({"error": "Internal error"}))

    def _accept(self, job: Job, body: bytes) -> Outcome:
        """Carry out one request. Order of checks: 400 and 413, then 409, then 403."""
        key = _read_key(job, body)
        before = None if key is None else self._rows.answer_to(key)
        if key is not None and before is not None and before[0] == key.body_hash:
            return Outcome(202, before[1], replayed=True)
        request = _read(job, body, self._rules)
        if isinstance(request, Refusal):
            raise _Refused(request)
        if before is not None:
            raise _Refused(_KEY_CONFLICT)
        number, text, playbook = self._fitting_playbook(job.account, request)
        single = job.endpoint == "call"
        hours = playbook.calling_hours
        rules = None if hours is None else hours.compiled()
        acceptance = Acceptance(
            job.uuid, job.account, number, text, self._rules.stagger_ms, single, request, rules, job.form.token
        )
        self._require_destinations(request, single=single)
        self._require_fit(request)
        if job.form.dry_run:
            return Outcome(200, self._rehearse(acceptance, playbook))
        try:
            stored = self._rows.store_at_once(acceptance, key, self._compose) or self._store_large(acceptance, key)
        except KeyTaken:
            return self._after_race(key)
        except OverLimit as over:
            retry_after = -(-over.left_ms // 1000)
            return Outcome(429, json.dumps({"error": str(over)}), retry_after=retry_after)
        except Removed:
            return _UNAVAILABLE
        return Outcome(202, self._compose(stored), campaign=stored.id)

    def _require_destinations(self, request: CampaignRequest, *, single: bool) -> None:
        """Refuse numbers that the operator allows no calls to."""
        if not self._rules.destinations.active:
            return
        refused = self._rules.destinations.refused(request.contacts)
        if refused:
            faults = request.faults({phone: f"{phone} {reason}" for phone, reason in refused})
            if single:
                faults = tuple(replace(fault, index=None) for fault in faults)
            raise _Refused(Refusal(403, f"The phone {faults[0].reason}", faults))

    def _require_fit(self, request: CampaignRequest) -> None:
        """Refuse more calls than a whole day may have: no waiting would help."""
        calls = len(request.contacts)
        for name in ("max_calls_per_day", "max_calls_per_day_per_token"):
            most = getattr(self._rules, name)
            if most is not None and calls > most:
                error = f"{amount(calls, 'call')} in one request, and {most} a day allowed (limits.{name})"
                raise _Refused(Refusal(403, error))

    def _rehearse(self, acceptance: Acceptance, playbook: Playbook) -> str:
        request = acceptance.request
        people, listed, zones = self._rows.look(acceptance)
        now = wall_ms()
        campaign = Campaign(
            id=CampaignId(0),
            account=AccountId(acceptance.account),
            launch_at=WallMs(now) if request.launch_at is None else request.launch_at,
            stagger_ms=acceptance.stagger_ms,
            first_call=CallId(0),
            size=len(people),
            recall_ms=tuple(round(minutes * 60_000) for minutes in request.recall),
            scheduled=request.launch_at is not None,
            playbook=playbook,
            expires_at=request.expires_at,
            zones=zones,
        )
        calls = rehearse(campaign, people, listed, WallMs(now))
        ring_ms = round(playbook.ring_timeout_seconds * 1000)
        return json.dumps(rehearsal_answer(campaign, calls, total_contacts=request.total_contacts, ring_ms=ring_ms))

    def _store_large(self, acceptance: Acceptance, key: IdempotencyKey | None) -> Stored:
        stored = self._rows.reserve(acceptance)
        try:
            work = self._rows.write_calls(stored, acceptance)
            self._rows.activate(stored, key, self._compose)
        except BaseException:
            self._to_remove.add(stored.id)
            self._tidy()
            raise
        send(self._connection, Frame({"activated": stored.id}))
        try:
            with disk_errors():
                self._rows.complete(stored.id, work)
        except StoreUnavailable as error:
            # Accepted is accepted: what its contacts get is on disk with its calls.
            _log.warning("contacts of an accepted campaign are stored later: %s", error)
            self._to_complete.add(stored.id)
        return stored

    def _after_race(self, key: IdempotencyKey | None) -> Outcome:
        before = None if key is None else self._rows.answer_to(key)
        if key is None or before is None or before[0] != key.body_hash:
            raise _Refused(_KEY_CONFLICT)
        return Outcome(202, before[1], replayed=True)

    def _resolve(self, job: Job) -> Outcome:
        """What became of a request whose loader process died: the answer that it would have had, or nothing stored."""
        found = self._rows.find(job.uuid)
        if found is None:
            return _UNAVAILABLE
        stored, loading = found
        (self._to_remove if loading else self._to_complete).add(stored.id)
        self._tidy()
        return _UNAVAILABLE if loading else Outcome(202, self._compose(stored), campaign=stored.id)

    def _sweep(self) -> None:
        """Remove and complete what an earlier life of the service left behind."""
        try:
            with disk_errors():
                loading, incomplete = self._rows.unfinished()
        except StoreUnavailable as error:
            _log.warning("what an earlier run left behind stays for now: %s", error)
            return
        self._to_remove.update(loading)
        self._to_complete.update(incomplete)
        self._tidy()

    def _tidy(self) -> None:
        try:
            with disk_errors():
                for campaign in sorted(self._to_remove):
                    self._rows.remove(campaign)
                    self._to_remove.discard(campaign)
                for campaign in sorted(self._to_complete):
                    self._rows.complete(campaign)
                    self._to_complete.discard(campaign)
        except StoreUnavailable as error:
            _log.warning("tidying up is put off: %s", error)

    def _left_over(self) -> bool:
        return bool(self._to_remove or self._to_complete)

    def _fitting_playbook(self, account: int, request: CampaignRequest) -> tuple[int, str, Playbook]:
        """The row id, JSON and meaning of the playbook that the request names, if this machine can carry it out."""
        found = self._rows.playbook(account, request.playbook_uuid)
        if found is None:
            raise _Refused(Refusal(403, UNKNOWN_PLAYBOOK))
        number, text = found
        try:
            playbook = _read_playbook(text)
            if request.calling_hours is not None:
                playbook = playbook.model_copy(update={"calling_hours": request.calling_hours})
                text = playbook.model_dump_json()
            faults = [(fault.path, fault.reason) for fault in check_against(playbook, self._machine)]
        except ValidationError as error:
            faults = [(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors()]
        if faults:
            details = tuple(Fault(None, f"playbook.{path}", reason) for path, reason in faults)
            first = f"{details[0].field}: {details[0].reason}"
            raise _Refused(Refusal(400, f"The playbook cannot be carried out on this server: {first}", details))
        return number, text, playbook

    def _compose(self, stored: Stored) -> str:
        answer: dict[str, Any]
        if stored.single:
            answer = accepted_call(self._ids.call_uuid(stored.first_call), launch_at=stored.launch_at)
        else:
            answer = accepted(
                stored.uuid,
                total_contacts=stored.total_contacts,
                duplicate_contacts=stored.duplicate_contacts,
                launch_at=stored.launch_at,
            )
        return json.dumps(answer)


@lru_cache(maxsize=64)
def _read_playbook(body: str) -> Playbook:
    return Playbook.model_validate_json(body)


def _read(job: Job, body: bytes, rules: IntakeRules) -> CampaignRequest | Refusal:
    if job.endpoint == "call":
        return read_call(body, rules)
    return read_form(body, job.form, rules) if is_form(job.form.content_type) else read_campaign(body, rules)


def _read_key(job: Job, body: bytes) -> IdempotencyKey | None:
    if job.key is None:
        return None
    if not 1 <= len(job.key) <= _LONGEST_KEY:
        raise _Refused(Refusal(400, f"Idempotency-Key must have 1 to {_LONGEST_KEY} characters"))
    return IdempotencyKey(job.account, job.endpoint, job.key, fingerprint(body, job.form))


_UNAVAILABLE = Outcome(503, json.dumps({"error": NOT_STORED}))
_KEY_CONFLICT = Refusal(409, "This Idempotency-Key was used for a request with another body")
