"""How the server stands: what it tells monitors, Prometheus and operators, from the engine, the SIP floor and the outbox."""

from typing import Any

from api.metrics import Outbox, Snapshot
from dialer.core.amounts import amount
from dialer.core.breaker import TrunkState
from dialer.core.pacing import TrunkView
from dialer.core.timetable import show_time
from dialer.engine import EngineState
from dialer.tally import Backups
from sip.pool import PoolState


def not_ready(engine: EngineState, pool: PoolState) -> list[str]:
    """Why work cannot be done now; empty when the database is writable, a worker is up and a trunk is usable."""
    reasons = [problem for problem in pool.problems if problem not in pool.trunk_faults.values()]
    if not any(view.usable and view.name not in pool.trunk_faults for view in engine.trunks):
        reasons += pool.trunk_faults.values()
        reasons += [f"trunk {view.name} is {view.state}{_because(view)}" for view in engine.trunks if not view.usable]
        if not engine.trunks:
            reasons.append("no trunk is configured")
    if engine.store_fault is not None:
        reasons.append(f"the database refuses: {engine.store_fault}")
    return reasons


def standing(engine: EngineState, pool: PoolState) -> str:
    """How the server stands, in one line for people."""
    trunks = [view for view in engine.trunks if not view.removed]
    usable = sum(view.usable and view.name not in pool.trunk_faults for view in trunks)
    words = f"{amount(engine.live, 'call')} live; {usable} of {len(trunks)} trunks usable"
    reasons = not_ready(engine, pool)
    return f"{words}; not ready: {'; '.join(reasons)}" if reasons else words


def _because(view: TrunkView) -> str:
    return f": {view.last_failure.reason}" if view.last_failure is not None else ""


def trunk_records(engine: EngineState, pool: PoolState) -> list[dict[str, Any]]:
    """Every trunk as `GET /trunk` shows it, by name.

    A trunk that the SIP floor cannot use (its host does not resolve) is down, whatever its calls came to. `registration` is
    null for a trunk that does not register.
    """
    return [_record(view, pool) for view in sorted(engine.trunks, key=lambda view: view.name)]


def _record(view: TrunkView, pool: PoolState) -> dict[str, Any]:
    fault, registered = pool.trunk_faults.get(view.name), pool.registered.get(view.name)
    if view.removed:
        fault = "it was removed from the configuration; calls that were begun before go on"
    failure = view.last_failure
    return {
        "name": view.name,
        "state": TrunkState.DOWN if fault is not None and registered is not False else view.state,
        "usable": view.usable and fault is None,
        "channels": view.channels,
        "channels_in_use": view.channels_in_use,
        "calls_per_second": view.calls_per_second,
        "calls_per_second_now": view.calls_per_second_now,
        "registration": None if registered is None else "registered" if registered else "not registered",
        "fault": fault,
        "last_failure": None if failure is None else {"at": show_time(failure.at), "reason": failure.reason},
    }


def snapshot(engine: EngineState, pool: PoolState, outbox: Outbox, backups: Backups | None) -> Snapshot:
    """The same for a scrape. `backups` None: the server takes none."""
    return Snapshot(
        tally=engine.tally,
        live=engine.live,
        talking=engine.talking,
        database_writable=engine.store_fault is None,
        workers=pool.workers_up,
        worker_restarts=pool.restarts,
        traces=pool.traces,
        free_places=pool.free_places,
        trunks={view.name: view for view in engine.trunks},
        registered=pool.registered,
        outbox=outbox,
        backups=backups,
    )
