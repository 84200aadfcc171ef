"""What a monitor may read at /metrics, gathered when it asks."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dialer.engine import EngineState


class EngineCollector(Collector):
    """Gauges of the engine's state at the moment of the scrape. No per-campaign labels: their number is not bounded."""

    def __init__(self, state: Callable[[], EngineState], workers: Callable[[], int]) -> None:
        self._state = state
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        """The gauges, each with what it counts."""
        state = self._state()
        yield GaugeMetricFamily("dialer_attempts_live", "Attempts under way", value=state.live)
        yield GaugeMetricFamily("dialer_calls_talking", "Calls that were answered and go on", value=state.talking)
        yield GaugeMetricFamily(
            "dialer_database_writable", "1 while the database accepts writes", value=float(state.store_fault is None)
        )
        yield GaugeMetricFamily("dialer_sip_workers", "SIP worker processes that are up", value=self._workers())
        used = GaugeMetricFamily("dialer_trunk_channels_in_use", "Channels in use", labels=["trunk"])
        limit = GaugeMetricFamily("dialer_trunk_channels", "Channels of the trunk", labels=["trunk"])
        for trunk, (taken, channels) in state.channels.items():
            used.add_metric([trunk], taken)
            limit.add_metric([trunk], channels)
        yield used
        yield limit


def registry(state: Callable[[], EngineState], workers: Callable[[], int]) -> CollectorRegistry:
    """A registry of its own: two services in one process (tests) do not share counters."""
    metrics = CollectorRegistry()
    metrics.register(EngineCollector(state, workers))
    return metrics
