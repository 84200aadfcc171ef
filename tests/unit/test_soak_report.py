"""The judge of a soak finds what it is there to find."""

from dataclasses import replace

import pytest

from benchmarks.mixture import SORTS, sort_of
from benchmarks.soak_report import Attempt, Report, Sample, growth, rows, slowing, told

T0 = 1_000_000


def number(disposition: str, *, retried: bool = False) -> str:
    """A number of that kind."""
    return next(
        phone
        for n in range(100)
        if sort_of(phone := f"+34600000{n:03}").disposition == disposition and sort_of(phone).retried is retried
    )


BUSY, ANSWERS, RETRIED = number("busy"), number("answered"), number("answered", retried=True)


def report() -> Report:
    """Four attempts as they should be: one of them interrupted before it left, one with a technical retry."""
    return Report(
        seconds=40,
        began_at=T0,
        attempts={
            "a-1": Attempt(BUSY, T0, T0, "busy"),
            "a-2": Attempt(BUSY, T0 + 500, T0 + 500, "interrupted"),
            "b-1": Attempt(ANSWERS, T0 + 30, T0 + 32, "answered"),
            "c-1": Attempt(RETRIED, T0 + 60, T0 + 60, "answered"),
        },
        invites=[
            ("a-1", T0 + 1.5, BUSY),
            ("b-1", T0 + 35.0, ANSWERS),
            ("c-1", T0 + 61.0, RETRIED),
            ("c-1.2", T0 + 5061.0, RETRIED),
        ],
        calls=3,
    )


def test_a_soak_that_went_well_has_no_faults() -> None:
    assert report().faults() == []
    assert "None was made twice" in told(report())
    assert report().gaps_ms() == [33.5, 26.0]
    assert report().lateness_ms(0, 0.05) == [(1.5, 1.5), (5.0, 3.0)]


@pytest.mark.parametrize(
    ("invite", "fault"),
    [
        (("a-1", T0 + 90.0, BUSY), "a-1 left 2 times"),
        (("a-1.2", T0 + 90.0, BUSY), "was made 2 times"),
        (("d-1", T0 + 90.0, BUSY), "d-1: an INVITE of an attempt that is not on record"),
    ],
)
def test_an_invite_too_many_is_found(invite: tuple[str, float, str], fault: str) -> None:
    found = report()
    found.invites.append(invite)
    assert any(fault in one for one in found.faults())


def test_what_was_early_missing_or_came_to_something_else_is_found() -> None:
    found = report()
    found.attempts["b-1"] = replace(found.attempts["b-1"], due_at=T0 + 36)
    assert found.faults() == ["b-1 left 1.0 ms early"]
    found = report()
    del found.invites[0]
    assert found.faults() == [f"a-1 to {BUSY} was busy, and never reached it"]
    found = report()
    found.attempts["a-1"] = replace(found.attempts["a-1"], disposition="no_answer")
    assert found.faults() == [f"a-1 to {BUSY} was no_answer and not busy"]
    found = report()
    found.given_up = 3
    found.tracebacks = ["ValueError: no"]
    assert found.faults() == ["3 events were given up", "a traceback in the server's log: ValueError: no"]


def test_too_many_in_a_second_are_found() -> None:
    found = report()
    for n in range(401):
        found.attempts[f"x{n}-1"] = Attempt(BUSY, T0, T0, "busy")
        found.invites.append((f"x{n}-1", T0 + n, BUSY))
    assert [one for one in found.faults() if "in one second" in one]


def test_levels_are_compared_between_the_second_quarter_and_the_last() -> None:
    found = report()
    found.samples = [Sample(at, at, 1, 1, 30, 5, 2, 8, 0, 3) for at in range(0, 40, 2)]
    assert growth(found, lambda sample: sample.main_mb) == (14, 34)
    [row] = rows(found, 1)
    assert row[:3] == ["0 to 0.667", 3 / 40, 1.5]
    assert (row[7], row[-2:]) == (19, [8, 0])


def test_the_way_to_the_wire_is_compared_between_the_same_quarters() -> None:
    found = report()
    found.attempts = {f"{n}-1": Attempt(BUSY, T0 + n * 1000, T0 + n * 1000 + 500, "busy") for n in range(40)}
    found.invites = [(name, one.fire_at + n, BUSY) for n, (name, one) in enumerate(found.attempts.items())]
    assert slowing(found) == (14.5, 34.5)


def test_every_place_has_a_kind_and_every_kind_a_number() -> None:
    assert {sort_of(f"+34600000{n:03}") for n in range(100)} == set(SORTS)
