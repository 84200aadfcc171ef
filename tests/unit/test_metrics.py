"""Metrics: what the tally counts, and that the dashboard asks for nothing that is not served."""

import json
import re
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from api.metrics import Outbox, Snapshot, make_registry
from dialer.core.changes import AttemptAnswered, AttemptArmed, AttemptDialed, AttemptEnded, AttemptRinging
from dialer.core.model import CallId, CampaignId, Disposition, WallMs
from dialer.tally import Backups, Histogram, Tally
from tests.support.fake_backend import PBX

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana-dashboard.json"
C = CampaignId(1)


def attempt(tally: Tally, call: int, *, rings: int | None, answers: int | None, ends: int, status: int) -> None:
    """Dialed at 1,000 ms; `rings`, `answers` and `ends` are at so many ms (None: not at all)."""
    id_ = CallId(call)
    tally.take(AttemptArmed(id_, C, 1, WallMs(990), WallMs(1000), "pbx", "", "x"))
    tally.take(AttemptDialed(id_, C, 1, WallMs(1000), ""))
    if rings is not None:
        tally.take(AttemptRinging(id_, C, 1, WallMs(rings), ""))
    if answers is not None:
        tally.take(AttemptAnswered(id_, C, 1, WallMs(answers), ""))
    word = Disposition.ANSWERED if answers else Disposition.BUSY
    tally.take(AttemptEnded(id_, C, 1, WallMs(ends), word, "", status, None, "far"))


def served(snapshot: Snapshot) -> dict[str, float]:
    text = generate_latest(make_registry(lambda: snapshot)).decode()
    return {
        sample.name + "".join(f"{{{key}={value}}}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_tally_counts_what_went_to_the_disk() -> None:
    tally = Tally()
    attempt(tally, 1, rings=1400, answers=7400, ends=9000, status=200)  # PDD 0.4 s, rang 6 s
    attempt(tally, 2, rings=2500, answers=None, ends=14_500, status=486)  # PDD 1.5 s, rang 12 s
    attempt(tally, 3, rings=None, answers=None, ends=1100, status=486)  # never rang
    seen = served(Snapshot(tally=tally))
    assert seen["dialer_attempts_total{disposition=answered}"] == 1
    assert seen["dialer_attempts_total{disposition=busy}"] == 2
    assert seen["dialer_sip_responses_total{code=486}"] == 2
    assert (seen["dialer_pdd_seconds_count"], round(seen["dialer_pdd_seconds_sum"], 3)) == (2, 1.9)
    assert (seen["dialer_ring_seconds_count"], round(seen["dialer_ring_seconds_sum"], 3)) == (2, 18)
    assert seen["dialer_ring_seconds_bucket{le=10.0}"] == 1
    assert (seen["dialer_talk_seconds_count"], round(seen["dialer_talk_seconds_sum"], 3)) == (1, 1.6)
    assert seen["dialer_schedule_lag_seconds_bucket{le=0.01}"] == 3
    assert tally._live == {}


def test_a_histogram_counts_each_value_once_and_the_last_bucket_holds_all() -> None:
    histogram = Histogram((1, 2))
    for value in (0.5, 1, 1.5, 99, -3):
        histogram.add(value)
    assert histogram.buckets() == [("1.0", 3), ("2.0", 4), ("+Inf", 5)]
    assert histogram.sum == 102


def test_no_metric_has_a_label_that_grows_with_the_work() -> None:
    tally = Tally()
    attempt(tally, 1, rings=1400, answers=7400, ends=9000, status=200)
    names = {label for sample in served(Snapshot(tally=tally)) for label in re.findall(r"\{(\w+)=", sample)}
    assert names <= {"disposition", "code", "trunk", "state", "le", "generation", "implementation"}


def test_the_dashboard_asks_only_for_what_is_served() -> None:
    tally = Tally()
    attempt(tally, 1, rings=1400, answers=7400, ends=9000, status=200)
    snapshot = Snapshot(
        tally=tally,
        trunks={"pbx": PBX},
        registered={"pbx": True},
        outbox=Outbox(mqtt_connected=True),
        backups=Backups(),
    )
    known = {sample.partition("{")[0] for sample in served(snapshot)}
    board = json.loads(DASHBOARD.read_text())
    asked = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"\b(?:dialer|process)_\w+", target["expr"])
    }
    assert asked <= known
    own = {name for name in known if name.startswith("dialer_") and not name.endswith(("_created", "_sum", "_count"))}
    # What a dashboard leaves out is not looked at.
    assert own - asked <= {
        "dialer_trunk_state",
        "dialer_trunk_calls_per_second",
        "dialer_event_listeners",
        "dialer_mqtt_connected",
        "dialer_backup_last_failed_timestamp_seconds",
        "dialer_backup_duration_seconds",
        "dialer_backup_size_bytes",
        "dialer_sip_traces",
    }


def test_backups_are_told_of_where_the_server_takes_some() -> None:
    assert not [name for name in served(Snapshot()) if name.startswith("dialer_backup")]
    assert served(Snapshot(backups=Backups()))["dialer_backup_last_succeeded_timestamp_seconds"] == 0
    seen = served(Snapshot(backups=Backups(WallMs(1_740_823_200_000), WallMs(1_740_823_100_000), 2, 1.5, 4096)))
    assert seen["dialer_backup_last_succeeded_timestamp_seconds"] == 1_740_823_200
    assert seen["dialer_backup_last_failed_timestamp_seconds"] == 1_740_823_100
    assert seen["dialer_backup_failures_total"] == 2
    assert (seen["dialer_backup_duration_seconds"], seen["dialer_backup_size_bytes"]) == (1.5, 4096)
