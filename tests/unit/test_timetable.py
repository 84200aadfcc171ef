"""launch_at and recall as programs write them."""

import pytest

from dialer.core.timetable import read_launch_at, read_recall, show_minute, show_time

TEN = "2025-03-01T10:00:00.000Z"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("2025-03-01T10:00:00.000Z", TEN),
        ("2025-03-01T10:00:00", TEN),
        ("2025-03-01T10:00", TEN),
        ("2025-03-01t10:00:00z", TEN),
        ("2025-03-01 10:00:00", TEN),
        ("2025-03-01T12:00:00+02:00", TEN),
        ("2025-03-01T12:00:00+0200", TEN),
        ("2025-02-28T23:30-10:30", TEN),
        ("20250301T100000Z", TEN),
        ("2025-W09-6T10:00", TEN),
        ("2025-03-01T10:00:00.5Z", "2025-03-01T10:00:00.500Z"),
        ("2025-03-01T10:00:00.0001Z", "2025-03-01T10:00:00.001Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
    ],
)
def test_a_date_with_a_time_is_an_instant_and_utc_where_nothing_else_is_said(written: str, shown: str) -> None:
    launch_at = read_launch_at(written)
    assert launch_at is not None
    assert show_time(launch_at) == shown


def test_no_launch_is_now() -> None:
    assert read_launch_at(None) is None


@pytest.mark.parametrize(
    "written",
    [
        "", " ", "2025-03-01", "10:00", "tomorrow", "2025-02-30T10:00", "2025-03-01T25:00", "2025-03-01T10:00+25:00",
        "2025-03-01x10:00", "2025-03-01T", "1740823200", "0001-01-01T00:00+10:00", "9999-12-31T23:59:59Z",
        "2025-03-01T10:00:00Z\n", "2025-03-01T10:00:00 Z", "2025-03-01T10:00+02:00:30", "2025-3-1T1:00", "2025-060T10:00",
        1740823200, 1740823200.0, True, False, [], {}, float("nan"),
    ],
)  # fmt: skip
def test_what_is_not_a_date_with_a_time_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="must"):
        read_launch_at(written)


def test_people_read_day_month_year_in_utc() -> None:
    launch_at = read_launch_at("2025-03-01T23:30:00-02:00")
    assert launch_at is not None
    assert show_minute(launch_at) == "02/03/2025 01:30"


@pytest.mark.parametrize("none", [None, "", [], "[]", " [ ] "])
def test_these_mean_no_recalls(none: object) -> None:
    assert read_recall(none) == ()


@pytest.mark.parametrize(
    ("written", "recall"),
    [
        ([30, 120], "(30, 120)"),
        ("[30, 120]", "(30, 120)"),
        ([120, 30, 30, 30.0], "(30, 120)"),
        ([0.5], "(0.5,)"),
        ("[1.0]", "(1,)"),
        ([43_200], "(43200,)"),
        (list(range(10, 0, -1)), "(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)"),
    ],
)
def test_recalls_come_out_ascending_and_once_and_whole_numbers_stay_whole(written: object, recall: str) -> None:
    # Compared as text: 30 == 30.0.
    assert repr(read_recall(written)) == recall


@pytest.mark.parametrize(
    "written",
    [
        [0], [-1], [43_200.1], ["30"], [None], [True], [[30]], 30, 30.0, True, False, {"a": 1}, "30", "null", "true", "x",
        "[30", "{}", '"[30]"', [float("nan")], "[NaN]", "[Infinity]", [float("inf")], "[1e400]", [10**400], [1] * 11,
        "[" * 5000, "[" + "9" * 5000 + "]", " ",
    ],
)  # fmt: skip
def test_anything_else_is_no_list_of_recalls(written: object) -> None:
    with pytest.raises(ValueError, match="must"):
        read_recall(written)
