"""`dialer playbook try`: one call now, by the engine, over the configured trunks, with nothing on disk and no server needed.

It stands beside a server that runs: it does not count in that one's limits, and is not in its database.
"""

import asyncio
import json
import re
import signal
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any, Final

from api.webhook_asker import WebhookAsker
from config.settings import Settings
from dialer.core.agents import AgentRules
from dialer.core.changes import CallFinished, CallSnoozed, Change
from dialer.core.dispatch import Limits
from dialer.core.events import LegEvent
from dialer.core.model import (
    AccountId,
    CallId,
    CallRecord,
    Campaign,
    CampaignId,
    CampaignStatus,
    HeldCall,
    LegId,
    OpenAgentLeg,
    OpenAttempt,
    WallMs,
)
from dialer.core.phone import normalize
from dialer.core.playbook import Machine, Playbook
from dialer.engine import Engine
from dialer.event_loop import new_event_loop
from dialer.logs import configure
from dialer.machine import (
    asker_options,
    library_options,
    log_style,
    machine_of,
    pool_options,
    trunk_profiles,
    trunks_of,
)
from dialer.ports import DialOrder, StoredCampaign
from dialer.terminal import Refused, give, say
from dialer.trial_trace import Trace
from scheduler.clock import SystemClock
from scheduler.server_lock import serving_pid
from sip.facts import StackUnusable
from sip.library import Library
from sip.plan import PlanImpossible
from sip.pool import WorkerPool
from sip.trunk import TrunkProfile, UnfitForSip

CALL, CAMPAIGN = CallId(1), CampaignId(1)
CALLS: Final = 4  # the call, an agent's leg, and those of before that are still to be confirmed as over
ELSEWHERE: Final = "(direct)"  # the trunk to the host of a URI that no configured one leads to; none has such a name
_URI: Final = re.compile(r"(?i:sips?):([A-Za-z0-9._+*-]{1,64})@([^;@\s]+)((?:;[A-Za-z0-9=._-]+)*)")
STOPPED: Final = 130  # as a shell has it for Ctrl-C
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Called:
    """Whom to call: `phone` over the playbook's trunks; or `uri` over one trunk, and `phone` is its user."""

    phone: str
    uri: str = ""
    trunk: str = ""
    direct: TrunkProfile | None = None


def read_called(to: str, trunks: Sequence[str], machine: Machine) -> Called:
    """Whom `to` names: a number that calls may go to, or a SIP URI, whatever host that has. Raises `Refused`."""
    agents = machine.agents
    found = _URI.fullmatch(to)
    try:
        if found is None:
            return Called(agents.read(to, trunks).number)
        user, host, parameters = found.groups()
        _hold_to_limits(user, agents)
        leading = agents.domains.get(host.lower(), ())
        if leading and not parameters:
            trunk = next((trunk for trunk in trunks if trunk in leading), leading[0])
            return Called(user, f"sip:{user}@{host}", trunk)
        direct = TrunkProfile(ELSEWHERE, f"{to.partition(':')[0]}:{host}{parameters}")
        return Called(user, f"sip:{user}@{direct.target.host_port}", ELSEWHERE, direct)
    except (ValueError, UnfitForSip) as fault:
        raise Refused(f"--to {to}: {fault}") from None


def _hold_to_limits(user: str, agents: AgentRules) -> None:
    """Raise ValueError where the user of a URI is a number that calls may not go to; what is no number stays as it is."""
    try:
        number = normalize(user, agents.phone)
    except ValueError:
        return
    for _, reason in agents.destinations.refused([number]):
        raise ValueError(reason)


def run(settings: Settings, playbook: Playbook, to: str, contact: Mapping[str, Any]) -> int:
    """Make the call, and show it on standard error; the exit status (`dialer.trial_trace.Exit`). Its result is printed.

    Raises `Refused` where it cannot be made at all.
    """
    called = read_called(to, playbook.trunks, machine_of(settings))
    configure(replace(log_style(settings), level="warning"))
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        try:
            return runner.run(_call(settings, playbook, called, contact))
        except (StackUnusable, PlanImpossible, UnfitForSip, OSError) as fault:
            raise Refused(str(fault)) from fault


async def _call(settings: Settings, playbook: Playbook, called: Called, contact: Mapping[str, Any]) -> int:
    over, stopped = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        stopped.set()
        # A second signal does not wait for the goodbye: the workers say it when this process is gone.
        for number in SIGNALS:
            loop.remove_signal_handler(number)

    for number in SIGNALS:
        loop.add_signal_handler(number, stop)

    def give_up() -> None:
        loop.call_soon(engine.cancel_call, CALL)

    trace = Trace(playbook, say, finished=over.set, give_up=give_up)
    # Legal hours are for those who did not ask to be called; to one URI there is one way.
    trunks = playbook.trunks[:1] if called.uri else playbook.trunks
    tried = playbook.model_copy(update={"calling_hours": None, "trunks": trunks})
    store = _TrialStore(tried, CallRecord(CALL, str(uuid.uuid4()), called.phone, dict(contact)), trace.told)
    async with AsyncExitStack() as parts:
        pool = _TrialPool(called, trace, settings)
        parts.push_async_callback(pool.stop, 0)
        await pool.start()
        library = Library(settings.media.directory, **library_options(settings))
        parts.push_async_callback(library.close)
        asker = WebhookAsker(**asker_options(settings))
        parts.push_async_callback(asker.close)
        engine = Engine(
            clock=SystemClock(),
            store=store,
            control=pool,
            trunks=trunks_of(settings),
            limits=Limits(max_concurrent_calls=CALLS, min_recall_gap_ms=0),
            library=library,
            programs=asker,
            machine=replace(machine_of(settings), audio=None),
        )
        parts.callback(engine.stop)
        engine.start()
        pool.on_state(engine.wake)
        engine.submitted(CAMPAIGN)
        told = [asyncio.ensure_future(event.wait()) for event in (over, stopped)]
        ends: list[asyncio.Future[Any]] = [*told, engine.failed]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in told:
            end.cancel()
        if engine.failed.done():
            await engine.failed
        by_a_person = stopped.is_set() and not over.is_set()
        if by_a_person:
            trace.line("stopped")
            engine.cancel_call(CALL)
        await engine.drain(0)
        status, outcome = trace.outcome
        trace.line(f"{outcome['disposition']}: {outcome['reason']}")
    give(json.dumps(outcome, ensure_ascii=False))
    return STOPPED if by_a_person else status


class _TrialPool(WorkerPool):
    """The SIP floor, for one call: it goes where the trial says, and the trace is told first of all that happens."""

    def __init__(self, called: Called, trace: Trace, settings: Settings) -> None:
        self._called = called
        self._trace = trace
        # A second registration would take the calls of the server that runs.
        profiles = [replace(profile, register=False) for profile in trunk_profiles(settings)]
        options = pool_options(settings)
        options["log"] = replace(options["log"], level="warning")
        if serving_pid(settings.database.path) is not None:
            options |= {"port": None, "rtp_ports": None}  # that server has them
        direct = [] if called.direct is None else [called.direct]
        super().__init__([*profiles, *direct], max_concurrent_calls=CALLS, **{**options, "workers": None})

    def listen(self, receive: Callable[[LegEvent], None]) -> None:
        """See CallControl."""

        def heard(event: LegEvent) -> None:
            self._trace.heard(event)
            receive(event)

        super().listen(heard)

    def dial(self, leg: LegId, order: DialOrder) -> None:
        """See CallControl."""
        if order.beside is None and self._called.uri:
            order = replace(order, uri=self._called.uri, trunk=self._called.trunk)
        self._trace.dialed(leg, order)
        super().dial(leg, order)


class _TrialStore:
    """Implements `dialer.ports.Store` for one call of one campaign, in memory. `tell` is given all changes.

    The real one would need a file, its migrations and an intake that takes what is no number.
    """

    def __init__(self, playbook: Playbook, record: CallRecord, tell: Callable[[Change], None]) -> None:
        self._campaign = Campaign(
            id=CAMPAIGN,
            account=AccountId(1),
            launch_at=SystemClock().now().wall,
            stagger_ms=0,
            first_call=CALL,
            size=1,
            recall_ms=(),
            scheduled=False,
            playbook=playbook,
        )
        self._record = record
        self._tell = tell
        self._due_at: WallMs | None = None

    def apply(self, changes: Sequence[Change]) -> None:
        """See Store."""
        for change in changes:
            match change:
                case CallSnoozed(due_at=due_at):
                    self._due_at = due_at
                case CallFinished():
                    self._record = replace(self._record, finished=True)
            self._tell(change)

    def call(self, call: CallId) -> CallRecord:  # noqa: ARG002 - there is one
        """See Store."""
        return self._record

    def campaign(self, campaign: CampaignId) -> StoredCampaign:  # noqa: ARG002 - there is one
        """See Store."""
        return StoredCampaign(self._campaign, CampaignStatus.RUNNING, 0, 0, 0, None)

    def due_timers(self, until: WallMs) -> Iterable[tuple[WallMs, CallId]]:
        """See Store."""
        due_at = self._due_at
        if due_at is None or due_at > until:
            return []
        self._due_at = None
        return [(due_at, CALL)]

    def next_timer(self) -> WallMs | None:
        """See Store."""
        return self._due_at

    def clock_stepped(self, step_ms: int, before: WallMs | None) -> None:
        """See Store. A trial does not last."""

    def noted_offset_ms(self, boot: str) -> float | None:  # noqa: ARG002
        """See Store. Nobody ran before."""
        return None

    def note_offset(self, boot: str, offset_ms: float) -> None:
        """See Store. Nobody runs afterwards."""

    # What a process before this one left: nothing.

    def active_campaigns(self) -> list[StoredCampaign]:
        """See Store."""
        return []

    def open_attempts(self) -> list[OpenAttempt]:
        """See Store."""
        return []

    def open_agent_legs(self) -> list[OpenAgentLeg]:
        """See Store."""
        return []

    def under_review(self, first: CallId, last: CallId, limit: int) -> list[HeldCall]:  # noqa: ARG002
        """See Store."""
        return []
