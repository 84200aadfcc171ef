"""The fields of a contact: which there are, what they may hold, and how later values join earlier ones."""

import json
from typing import Any

import pytest

from dialer.core.contact import fields_text, merge, read_fields, zones

STRINGS = [
    "first_name", "last_name", "email", "company", "job_title", "address", "city", "state",
    "country", "postal_code", "utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content",
]  # fmt: skip


def test_every_field_of_the_contract_is_kept_and_unknown_ones_are_not() -> None:
    given = {name: f"a {name}" for name in STRINGS} | {"timezone": "Europe/Madrid", "custom_fields": {"a": [1, None]}}
    assert read_fields(given | {"phone": "+34910000000", "shoe_size": 43}) == (given, [])


@pytest.mark.parametrize("name", [*STRINGS, "timezone"])
@pytest.mark.parametrize("value", [None, 5, True, ["x"], {"x": 1}])
def test_a_field_that_is_not_a_string_is_named(name: str, value: object) -> None:
    assert read_fields({name: value}) == ({}, [(name, "must be a string")])


@pytest.mark.parametrize("value", [None, "x", [], 5])
def test_custom_fields_are_an_object(value: object) -> None:
    assert read_fields({"custom_fields": value}) == ({}, [("custom_fields", "must be an object")])


def test_all_faults_of_a_contact_are_named_at_once() -> None:
    _, faults = read_fields({"email": 4, "city": "x" * 1001, "state": "\ud800"})
    assert faults == [
        ("email", "must be a string"),
        ("city", "must be at most 1000 characters"),
        ("state", "holds half of a surrogate pair"),
    ]


@pytest.mark.parametrize("zone", ["", "Madrid", "europe/madrid", "localtime", "Factory", "../UTC", "GMT+25"])
def test_a_zone_that_iana_does_not_list_is_refused(zone: str) -> None:
    _, [(name, reason)] = read_fields({"timezone": zone})
    assert (name, reason[:19]) == ("timezone", "is not an IANA time")


def test_the_zones_are_the_well_known_ones() -> None:
    assert {"UTC", "Europe/Madrid", "America/Argentina/Buenos_Aires", "Asia/Kolkata"} <= zones()


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return {"a": value}


@pytest.mark.parametrize(
    ("custom", "reason"),
    [
        ({"a": float("inf")}, "holds a number that is too large"),
        ({"a": [{"b": float("nan")}]}, "holds a number that is too large"),
        ({"a": "\ud800"}, "holds half of a surrogate pair"),
        ({"\ud800": 1}, "holds half of a surrogate pair"),
        (nested(16), "is nested deeper than 16 levels"),
        (nested(3000), "is nested deeper than 16 levels"),
        ({"a": "x" * 16_384}, "must be at most 16384 bytes"),
    ],
)
def test_custom_fields_that_no_database_could_keep_are_refused(custom: dict[str, Any], reason: str) -> None:
    assert read_fields({"custom_fields": custom})[1] == [("custom_fields", reason)]


def test_custom_fields_may_be_as_deep_and_as_long_as_their_limits() -> None:
    for custom in (nested(15), {"a": "x" * (16_384 - 8)}, {"n": 10**300, "z": None, "k": ""}):
        assert read_fields({"custom_fields": custom}) == ({"custom_fields": custom}, [])


def test_given_fields_change_others_stay_and_custom_fields_merge_by_key() -> None:
    known = {"city": "Vigo", "email": "a@b.example", "custom_fields": {"a": {"x": 1}, "b": 1}}
    given = {"city": "Lugo", "custom_fields": {"a": {"y": 2}, "c": None}}
    assert merge(known, given) == {
        "city": "Lugo",
        "email": "a@b.example",
        "custom_fields": {"a": {"y": 2}, "b": 1, "c": None},
    }
    assert known["custom_fields"] == {"a": {"x": 1}, "b": 1}


def test_what_is_stored_is_compact_json() -> None:
    assert fields_text({"city": "A Coruña", "custom_fields": {"n": 1}}) == '{"city":"A Coruña","custom_fields":{"n":1}}'
    assert json.loads(fields_text({"city": 'a"\n\x00'})) == {"city": 'a"\n\x00'}
