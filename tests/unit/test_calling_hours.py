"""When a person may be called: openings, holidays, clocks that change, and the zone of a number."""

from typing import Any

import pytest
from pydantic import ValidationError

from dialer.core.calling_hours import next_opening, opening_at
from dialer.core.hours import CallingHours, Rules
from dialer.core.model import WallMs
from dialer.core.timetable import read_launch_at, show_time
from dialer.core.zones import zones_of, zones_of_number

MADRID = ("Europe/Madrid",)
WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday")


def at(text: str) -> WallMs:
    found = read_launch_at(text)
    assert found is not None
    return found


def rules(zone: str = "Europe/Madrid", holidays: list[str] | None = None, **days: list[str]) -> Rules:
    return CallingHours.model_validate({"zone": zone, "holidays": holidays or [], **days}).compiled()


def pack(name: str, **keys: Any) -> Rules:
    return CallingHours.model_validate({"rules": name, **keys}).compiled()


def opens(text: str, given: Rules, *zones: str) -> str | None:
    found = next_opening(at(text), zones or MADRID, given)
    return None if found is None else show_time(found).removesuffix(":00.000Z")


class TestTheWorkedExample:
    given = rules(holidays=["ES"], **{day: ["09:00-13:00", "15:00-20:00"] for day in WEEK})

    @pytest.mark.parametrize(
        ("due", "goes"),
        [
            ("2025-06-13T12:30+02:00", "2025-06-13T10:30"),  # Friday, open
            ("2025-06-13T13:30+02:00", "2025-06-13T13:00"),  # the midday pause: at 15:00
            ("2025-06-13T20:00+02:00", "2025-06-16T07:00"),  # the end is closed: Monday, in summer
            ("2025-01-10T20:00+01:00", "2025-01-13T08:00"),  # in winter
            ("2025-06-13T12:59:59.999+02:00", "2025-06-13T10:59:59.999Z"),
            ("2025-06-13T09:00+02:00", "2025-06-13T07:00"),
            ("2024-12-24T20:00+01:00", "2024-12-26T08:00"),  # Christmas is a holiday
        ],
    )
    def test_is_kept(self, due: str, goes: str) -> None:
        assert opens(due, self.given) == goes


class TestWhereTheClocksChange:
    # Europe/Madrid: 2025-03-30 02:00 is 03:00, 2025-10-26 03:00 is 02:00 again.
    @pytest.mark.parametrize(
        ("span", "due", "goes"),
        [
            ("09:00-21:00", "2025-03-29T22:00+01:00", "2025-03-30T07:00"),
            ("09:00-21:00", "2025-10-25T22:00+02:00", "2025-10-26T08:00"),
            (
                "02:30-05:00",
                "2025-03-30T00:00+01:00",
                "2025-03-30T01:00",
            ),  # 02:30 is not there: the moment of the change
            ("02:30-05:00", "2025-10-26T00:00+02:00", "2025-10-26T01:30"),  # 02:30 is there twice: the second
        ],
    )
    def test_openings_are_right(self, span: str, due: str, goes: str) -> None:
        assert opens(due, rules(sunday=[span], saturday=["09:00-10:00"])) == goes

    def test_what_closes_in_an_hour_that_is_there_twice_closes_with_the_first(self) -> None:
        found = opening_at(at("2025-10-26T00:30+02:00"), MADRID, rules(sunday=["00:00-02:30"]))
        assert found is not None
        assert show_time(found.closes) == "2025-10-26T00:30:00.000Z"

    def test_a_whole_day_has_no_hole_where_midnight_is_skipped(self) -> None:
        # Cairo: 2025-04-25 00:00 is 01:00.
        whole = rules(zone="Africa/Cairo", thursday=["00:00-24:00"], friday=["00:00-24:00"])
        for minute in range(0, 180, 7):
            due = WallMs(at("2025-04-24T20:30Z") + minute * 60_000)
            assert next_opening(due, ("Africa/Cairo",), whole) == due


def test_several_zones_must_all_be_open() -> None:
    usa = pack("us-tcpa")
    zones = ("America/New_York", "America/Los_Angeles")
    assert opens("2025-06-16T13:00Z", usa, *zones) == "2025-06-16T15:00"  # 8 am in Los Angeles
    assert opens("2025-06-17T01:00Z", usa, *zones) == "2025-06-17T15:00"  # 9 pm in New York is the end


def test_zones_that_are_never_open_together_have_no_opening() -> None:
    given = rules(monday=["09:00-10:00"])
    assert next_opening(at("2025-06-16T00:00Z"), ("Europe/Madrid", "Asia/Tokyo"), given) is None


def test_hours_that_never_open_have_no_opening() -> None:
    assert next_opening(at("2025-06-16T00:00Z"), MADRID, pack("es", **{day: [] for day in WEEK})) is None


@pytest.mark.parametrize(
    ("name", "zone", "due", "goes"),
    [
        ("us-tcpa", "America/Chicago", "2025-06-15T02:00-05:00", "2025-06-15T13:00"),  # a Sunday
        ("us-tcpa", "America/Chicago", "2025-06-15T21:00-05:00", "2025-06-16T13:00"),
        ("uk", "Europe/London", "2025-06-14T08:30+01:00", "2025-06-14T08:00"),  # a Saturday
        ("uk", "Europe/London", "2025-06-15T12:00+01:00", "2025-06-16T07:00"),  # a Sunday
        ("uk", "Europe/London", "2025-05-26T12:00+01:00", "2025-05-27T07:00"),  # a bank holiday
        ("uk", "Europe/London", "2026-04-06T12:00+01:00", "2026-04-07T07:00"),  # Easter Monday: not in Scotland
        ("uk", "Europe/London", "2026-08-31T12:00+01:00", "2026-09-01T07:00"),  # nor this one
        ("uk", "Europe/London", "2026-01-02T12:00+00:00", "2026-01-03T09:00"),  # in Scotland only
        ("uk", "Europe/London", "2026-03-17T12:00+00:00", "2026-03-18T08:00"),  # in Northern Ireland only
        ("es", "Europe/Madrid", "2025-06-14T12:00+02:00", "2025-06-16T07:00"),  # a Saturday
        ("es", "Europe/Madrid", "2025-08-15T12:00+02:00", "2025-08-18T07:00"),  # a holiday, a Friday
    ],
)
def test_the_packs_say_what_the_law_says(name: str, zone: str, due: str, goes: str) -> None:
    assert opens(due, pack(name), zone) == goes


def test_days_beside_a_pack_make_it_narrower_and_never_wider() -> None:
    narrow = pack("es", monday=["07:00-10:00", "20:00-23:00"], sunday=["10:00-12:00"], holidays=["ES-MD"])
    assert narrow.week[0] == ((540, 600), (1200, 1260))
    assert narrow.week[6] == ()
    # The second of May is a holiday of Madrid alone.
    assert opens("2025-05-02T12:00+02:00", narrow) == "2025-05-05T07:00"
    assert opens("2025-05-02T12:00+02:00", pack("es")) == "2025-05-02T10:00"


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "rules or at least one day"),
        ({"monday": ["09:00-20:00"]}, "zone"),
        ({"zone": "Europe/Madrid"}, "rules or at least one day"),
        ({"rules": "us-tcpa", "zone": "Europe/Madrid"}, "zone"),
        ({"rules": "fr"}, "rules"),
        ({"zone": "Mars/Olympus", "monday": []}, "IANA"),
        ({"zone": "UTC", "monday": ["9-20"]}, "9-20"),
        ({"zone": "UTC", "monday": ["20:00-09:00"]}, "20:00-09:00"),
        ({"zone": "UTC", "monday": ["22:00-24:30"]}, "24:30"),
        ({"zone": "UTC", "monday": ["10:00-12:00", "11:00-13:00"]}, "11:00-13:00"),
        ({"zone": "UTC", "monday": [], "holidays": ["XX"]}, "XX"),
        ({"zone": "UTC", "monday": [], "noon": []}, "noon"),
    ],
)
def test_hours_that_make_no_sense_are_refused_with_the_reason(body: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        CallingHours.model_validate(body)


@pytest.mark.parametrize(
    ("name", "caller_id", "fine"),
    [
        ("us-tcpa", "+12125550100", True),
        ("us-tcpa", "", False),
        ("uk", "2000", False),
        ("es", "+34910000000", True),
        ("es", "+34600000000", False),
        ("es", "+34710000000", False),
    ],
)
def test_a_pack_has_a_word_on_what_calls_may_show(name: str, caller_id: str, fine: bool) -> None:
    hours = CallingHours.model_validate({"rules": name})
    assert (hours.caller_id_fault(caller_id) is None) is fine


class TestTheZone:
    @pytest.mark.parametrize(
        ("phone", "zones"),
        [
            ("+4930123456", ("Europe/Berlin",)),
            ("+12125550100", ("America/New_York",)),
            ("+442071234567", ("Europe/London",)),  # and Jersey, whose clocks are the same
            ("+999123456789", ()),
        ],
    )
    def test_of_a_number_is_known_where_it_is_one(self, phone: str, zones: tuple[str, ...]) -> None:
        assert zones_of_number(phone[:10]) == zones

    def test_of_the_contact_comes_first(self) -> None:
        contact = {"timezone": "America/New_York"}
        assert zones_of("+4930123456", contact, rules(monday=[])) == ("America/New_York",)

    def test_that_the_rules_give_stands_in_for_one_that_is_unknown(self) -> None:
        assert zones_of("+34910000000", {}, rules(monday=[])) == MADRID
        assert zones_of("200", {}, rules(monday=[])) == MADRID

    def test_that_a_pack_asks_for_is_every_one_that_the_number_leaves_open(self) -> None:
        found = zones_of("+18005550100", {}, pack("us-tcpa"))
        assert found is not None
        assert {"America/New_York", "America/Los_Angeles"} <= set(found)

    @pytest.mark.parametrize(
        ("phone", "zones"),
        [
            ("+12195550100", {"America/Chicago", "America/New_York"}),
            ("+12705550100", {"America/Chicago", "America/New_York"}),
            ("+18505550100", {"America/Chicago", "America/New_York"}),
            ("+12085550100", {"America/Denver", "America/Los_Angeles"}),
            ("+12125550100", {"America/New_York"}),
            ("+34600000000", {"Europe/Madrid"}),
            ("+34910000000", {"Europe/Madrid"}),
            ("+34928000000", {"Atlantic/Canary"}),
        ],
    )
    def test_that_a_pack_asks_for_is_not_only_where_most_people_with_such_numbers_are(
        self, phone: str, zones: set[str]
    ) -> None:
        assert set(zones_of(phone, {}, pack("us-tcpa")) or ()) == zones
        assert set(zones_of(phone, {}, pack("es")) or ()) == zones

    def test_of_a_number_is_what_most_have_where_the_rules_give_one_for_the_rest(self) -> None:
        assert zones_of("+12195550100", {}, rules(monday=[])) == ("America/New_York",)

    def test_that_a_pack_asks_for_and_nobody_knows_is_none(self) -> None:
        assert zones_of("200", {}, pack("us-tcpa")) is None
