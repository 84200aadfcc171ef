"""Campaigns with calling hours and an expiry, as the dialing core drives them. The clock begins on a Saturday, 10:00 UTC."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

from dialer.core.changes import AttemptArmed, AttemptEnded, CallFinished, CallSnoozed, Change
from dialer.core.gate import NO_OPENING, ZONE_UNKNOWN
from dialer.core.model import Campaign, Disposition, Trunk, WallMs
from dialer.core.playbook import Playbook
from tests.support.clock import EPOCH
from tests.support.fake_store import FakeCall
from tests.support.model_dispatch import Rig

HOUR = 3_600_000
MADRID, NEW_YORK = "Europe/Madrid", "America/New_York"
EVERY_DAY = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def rig() -> Rig:
    return Rig([Trunk("main", 50, 100)], max_concurrent_calls=50)


def submit(
    bench: Rig, hours: dict[str, Any] | None, contacts: list[tuple[str, str | None]], *, known: bool = True, **more: Any
) -> Campaign:
    """`contacts` are (phone, zone). `known`: the intake has told where they are."""
    expires_at = more.pop("expires_at", None)
    body = {"name": "any", "trunks": ["main"], "ring_timeout_seconds": 10, "max_call_seconds": 20}
    playbook = Playbook.model_validate({**body, "calling_hours": hours})
    phones = [phone for phone, _ in contacts]
    campaign = bench.store.add_campaign(
        size=len(phones), phones=phones, launch_at=bench.clock.wall, playbook=playbook, **more
    )
    zones = tuple({(zone,) for _, zone in contacts if zone}) if known else ()
    campaign = replace(campaign, expires_at=expires_at, zones=zones)
    bench.store.campaigns[campaign.id].campaign = campaign
    for i, (phone, zone) in enumerate(contacts):
        fields = {} if zone is None else {"timezone": zone}
        bench.store.calls[type(campaign.first_call)(campaign.first_call + i)] = FakeCall(phone, fields)
    bench.submit(campaign)
    return campaign


def every_day(span: str, zone: str = MADRID) -> dict[str, Any]:
    return {"zone": zone, **{day: [span] for day in EVERY_DAY}}


def changes(bench: Rig, kind: type[Change]) -> list[Any]:
    return [change for batch in bench.store.commits for change in batch if isinstance(change, kind)]


def test_a_campaign_whose_people_share_a_zone_sleeps_until_the_opening_and_then_keeps_its_stagger() -> None:
    bench = rig()
    bench.judge.closed = lambda at: at < EPOCH + 3 * HOUR
    people = [(f"+3460000{n:04d}", MADRID) for n in range(40)]
    submit(bench, every_day("14:00-20:00"), people, stagger_ms=200)
    bench.advance(3 * 3600 - 60)  # 10:00 UTC is 11:00 in Madrid; it opens at 13:00 UTC
    turns = bench.turns
    assert (changes(bench, AttemptArmed), changes(bench, CallSnoozed)) == ([], [])
    assert turns < 100
    bench.advance(70)
    fired = [change.fire_at for change in changes(bench, AttemptArmed)]
    assert {change.due_at for change in changes(bench, AttemptArmed)} == {EPOCH + 3 * HOUR}
    assert fired[0] >= EPOCH + 3 * HOUR
    assert len(fired) == 40
    assert all(later - earlier >= 195 for earlier, later in pairwise(fired))
    assert {change.delay_reason for change in changes(bench, AttemptArmed)} == {f"outside calling hours in {MADRID}"}


def test_people_of_other_zones_are_put_off_apart_to_their_own_opening() -> None:
    bench = rig()
    people = [(f"+3460000{n:04d}", MADRID if n % 2 else NEW_YORK) for n in range(20)]
    submit(bench, every_day("08:00-21:00"), people, stagger_ms=100)
    bench.advance(10)
    assert len(changes(bench, AttemptArmed)) == 10
    snoozed = changes(bench, CallSnoozed)
    assert [change.due_at - EPOCH for change in snoozed] == [3 * HOUR + 100 * n for n in range(10)]  # 8 am is 13:00 UTC
    assert "America/New_York" in snoozed[0].reason
    bench.advance(3 * 3600 + 10)
    fired = [change.fire_at for change in changes(bench, AttemptArmed)]
    assert len(fired) == 20
    assert fired[10] >= EPOCH + 3 * HOUR
    assert all(later - earlier >= 95 for earlier, later in pairwise(fired))
    assert all(change.number == 1 for change in changes(bench, AttemptArmed))
    reasons = [change.delay_reason for change in changes(bench, AttemptArmed)]
    assert reasons == [None] * 10 + [f"outside calling hours in {NEW_YORK}"] * 10


def test_where_nobody_told_the_zones_each_call_is_looked_at_by_itself() -> None:
    bench = rig()
    submit(bench, every_day("14:00-20:00"), [("+34600000001", None), ("+34600000002", MADRID)], known=False)
    bench.advance(1)
    assert [change.due_at for change in changes(bench, CallSnoozed)] == [EPOCH + 3 * HOUR, EPOCH + 3 * HOUR + 1]


def test_a_recall_outside_the_hours_waits_for_the_opening_and_is_not_counted_before() -> None:
    bench = rig()
    bench.judge.closed = lambda at: at < EPOCH + 22 * HOUR
    submit(bench, every_day("09:00-12:00"), [("+34600000001", MADRID)], recall_ms=(HOUR,), scheduled=True)
    bench.advance(1)
    (leg,) = bench.judge.legs.values()
    bench.happen(leg, "sent")
    bench.happen(leg, "final 486")
    bench.advance(2 * 3600)
    assert len(changes(bench, AttemptArmed)) == 1
    bench.advance(22 * 3600)
    first, recall = changes(bench, AttemptArmed)
    assert (first.number, recall.number) == (1, 2)
    assert (first.delay_reason, recall.delay_reason) == (None, f"outside calling hours in {MADRID}")
    assert EPOCH + 22 * HOUR <= recall.fire_at < EPOCH + 22 * HOUR + 1000  # Sunday, 09:00 in Madrid


def test_a_call_whose_opening_comes_after_the_expiry_is_expired_at_once() -> None:
    bench = rig()
    people = [("+34600000001", MADRID), ("+34600000002", MADRID)]
    submit(bench, every_day("14:00-20:00"), people, expires_at=WallMs(EPOCH + 2 * HOUR))
    bench.advance(5)
    finished = changes(bench, CallFinished)
    assert [(change.disposition, change.reason) for change in finished] == [(Disposition.EXPIRED, NO_OPENING)] * 2


def test_what_is_left_at_the_expiry_is_expired_then_and_not_at_its_slot() -> None:
    bench = rig()
    people = [(f"+3460000{n:04d}", None) for n in range(10)]
    submit(bench, None, people, stagger_ms=10_000, expires_at=WallMs(EPOCH + 25_000))
    bench.advance(25.5)
    assert len(changes(bench, AttemptArmed)) == 3
    assert [change.disposition for change in changes(bench, CallFinished)] == [Disposition.EXPIRED] * 7


def test_a_recall_that_would_come_after_the_expiry_expires_the_call() -> None:
    bench = rig()
    submit(bench, None, [("+34600000001", None)], recall_ms=(HOUR,), expires_at=WallMs(EPOCH + HOUR // 2))
    bench.advance(1)
    (leg,) = bench.judge.legs.values()
    bench.happen(leg, "sent")
    bench.happen(leg, "final 486")
    bench.advance(1)
    (finished,) = changes(bench, CallFinished)
    assert finished.disposition is Disposition.EXPIRED
    assert "busy" in finished.reason


def test_a_pack_that_asks_for_the_zone_calls_nobody_whose_zone_is_unknown() -> None:
    bench = rig()
    submit(bench, {"rules": "us-tcpa"}, [("200", None)], known=False)
    bench.advance(1)
    (finished,) = changes(bench, CallFinished)
    assert (finished.disposition, finished.reason) == (Disposition.SUPPRESSED, ZONE_UNKNOWN)


def test_a_technical_retry_that_would_leave_after_hours_is_not_made() -> None:
    bench = rig()
    bench.advance(55)
    submit(bench, every_day("09:00-11:01"), [("+34600000001", MADRID)], recall_ms=(HOUR,))
    bench.advance(1)
    (leg,) = bench.judge.legs.values()
    bench.happen(leg, "sent")
    bench.happen(leg, "final 503")  # with Retry-After: 20, which ends at 11:01:16 in Madrid
    bench.advance(60)
    assert [(change.disposition, change.reason) for change in changes(bench, AttemptEnded)] == [
        (Disposition.TRUNK_FAILURE, "the calling hours ended before the technical retry")
    ]
    bench.advance(22 * 3600)
    first, recall = changes(bench, AttemptArmed)
    assert recall.number == first.number + 1
    assert recall.fire_at >= EPOCH + 22 * HOUR
