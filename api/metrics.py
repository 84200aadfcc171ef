"""Prometheus metrics, read from the engine when somebody asks: nothing is counted twice and nothing on the hot path."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from dialer.core.breaker import TrunkState
from dialer.core.model import Disposition
from dialer.core.pacing import TrunkView
from dialer.tally import Backups, Tally


@dataclass(frozen=True, slots=True)
class Outbox:
    """The events: `waiting` have not reached everybody yet, `given_up` were removed before they had (since the start).

    `mqtt_connected` None: there is no broker.
    """

    waiting: int = 0
    given_up: int = 0
    listeners: int = 0
    mqtt_connected: bool | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The engine at one instant, and `tally`, what it has done since the process started.

    `registered` holds the trunks that are to register. `backups` None: the server takes none.
    """

    tally: Tally = field(default_factory=Tally)
    live: int = 0
    talking: int = 0
    database_writable: bool = True
    workers: int = 0
    worker_restarts: int = 0
    traces: int = 0
    free_places: int = 0
    trunks: Mapping[str, TrunkView] = field(default_factory=dict)
    registered: Mapping[str, bool] = field(default_factory=dict)
    outbox: Outbox = Outbox()
    backups: Backups | None = None


class _Engine(Collector):
    def __init__(self, read: Callable[[], Snapshot]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        now = self._read()
        attempts = CounterMetricFamily("dialer_attempts", "Attempts that ended, by disposition", labels=["disposition"])
        # All of them from the start: a rate over a series that appears later misses its first step.
        for disposition in Disposition:
            attempts.add_metric([disposition], now.tally.dispositions[disposition])
        yield attempts
        yield from _tallied(now)
        for name, documentation, value in (
            ("dialer_attempts_live", "Attempts under way", now.live),
            ("dialer_calls_talking", "Calls that were answered and go on", now.talking),
            ("dialer_database_writable", "1 while the database accepts writes", int(now.database_writable)),
            ("dialer_sip_workers", "SIP worker processes that are up", now.workers),
            ("dialer_sip_traces", "Watchers of SIP messages; while there are any, calls cost more", now.traces),
            ("dialer_sip_free_places", "Further legs that the SIP workers can carry now", now.free_places),
        ):
            yield GaugeMetricFamily(name, documentation, value)
        yield from _trunks(now)
        yield from _events(now.outbox)
        if now.backups is not None:
            yield from _backups(now.backups)


def _tallied(now: Snapshot) -> Iterator[Metric]:
    tally = now.tally
    responses = CounterMetricFamily(
        "dialer_sip_responses", "Final responses to the INVITEs of attempts that ended", labels=["code"]
    )
    for code, count in sorted(tally.responses.items()):
        responses.add_metric([str(code)], count)
    yield responses
    yield CounterMetricFamily("dialer_sip_worker_restarts", "SIP workers lost and replaced", now.worker_restarts)
    for name, documentation, histogram in (
        ("dialer_pdd_seconds", "Post-dial delay: INVITE to the first 18x or the answer", tally.pdd),
        ("dialer_ring_seconds", "Ring time: the first 18x to the answer or the end", tally.ring),
        ("dialer_talk_seconds", "Talk time: the answer to the end", tally.talk),
        ("dialer_schedule_lag_seconds", "How long after its due time an attempt was let go", tally.lag),
        ("dialer_commit_seconds", "One transaction of the schedule, on disk", tally.commit),
    ):
        yield HistogramMetricFamily(name, documentation, buckets=histogram.buckets(), sum_value=histogram.sum)


def _trunks(now: Snapshot) -> Iterator[Metric]:
    in_use = GaugeMetricFamily("dialer_trunk_channels_in_use", "Channels in use", labels=["trunk"])
    limits = GaugeMetricFamily("dialer_trunk_channels", "Channels of the trunk", labels=["trunk"])
    rate = GaugeMetricFamily(
        "dialer_trunk_calls_per_second", "INVITEs a second that the trunk is given at most now", labels=["trunk"]
    )
    up = GaugeMetricFamily("dialer_trunk_up", "1 while calls are given to the trunk", labels=["trunk"])
    states = GaugeMetricFamily("dialer_trunk_state", "1 for the state that the trunk is in", labels=["trunk", "state"])
    for name, trunk in now.trunks.items():
        in_use.add_metric([name], trunk.channels_in_use)
        limits.add_metric([name], trunk.channels)
        rate.add_metric([name], trunk.calls_per_second_now)
        up.add_metric([name], int(trunk.state is not TrunkState.DOWN))
        for state in TrunkState:
            states.add_metric([name, state], int(trunk.state is state))
    registered = GaugeMetricFamily("dialer_trunk_registered", "1 while the registrar has accepted us", labels=["trunk"])
    for name, accepted in now.registered.items():
        registered.add_metric([name], int(accepted))
    yield from (in_use, limits, rate, up, states, registered)


def _events(outbox: Outbox) -> Iterator[Metric]:
    yield GaugeMetricFamily("dialer_outbox_events", "Events that somebody is still to be told", outbox.waiting)
    yield CounterMetricFamily(
        "dialer_events_given_up", "Events that were removed before everybody was told", outbox.given_up
    )
    yield GaugeMetricFamily("dialer_event_listeners", "Listeners on GET /events", outbox.listeners)
    if outbox.mqtt_connected is not None:
        yield GaugeMetricFamily("dialer_mqtt_connected", "1 while the broker is connected", int(outbox.mqtt_connected))


def _backups(backups: Backups) -> Iterator[Metric]:
    for name, documentation, at in (
        ("succeeded", "When the newest good backup was begun, Unix time; 0: there is none", backups.succeeded_at),
        ("failed", "When a backup failed last, Unix time; 0: none has since the start", backups.failed_at),
    ):
        seconds = 0 if at is None else at / 1000
        yield GaugeMetricFamily(f"dialer_backup_last_{name}_timestamp_seconds", documentation, seconds)
    yield CounterMetricFamily("dialer_backup_failures", "Backups that failed", backups.failures)
    yield GaugeMetricFamily("dialer_backup_duration_seconds", "How long the newest backup took", backups.seconds)
    yield GaugeMetricFamily("dialer_backup_size_bytes", "How large the newest backup is", backups.size_bytes)


def make_registry(read: Callable[[], Snapshot]) -> CollectorRegistry:
    """A registry of the engine's metrics and the process's own. `read` is called on the event loop for each scrape."""
    registry = CollectorRegistry()
    registry.register(_Engine(read))
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
