"""The table of the called party: which number does what."""

import pytest

from dialer.core.model import Disposition
from sip.lab import BEHAVIOURS, Behaviour, Plan, behaviour_table
from sip.lab.behaviours import MAX_REMEMBERED_NUMBERS, Repertoire, digits_of
from sip.lab.call import Q850_REASONS


@pytest.mark.parametrize(
    ("user", "ending"),
    [
        ("+34600000001", "01"),
        ("34600000486", "486"),
        ("+34 600-000-404", "404"),  # longer than 04
        ("+34600000404;phone-context=+34486", "404"),
        ("600", "600"),
        ("01", "01"),
        ("34600000099", ""),
        ("alice", ""),
        ("", ""),
    ],
)
def test_the_longest_ending_wins_and_any_other_number_answers(user: str, ending: str) -> None:
    assert Repertoire(BEHAVIOURS).behaviour_for(user).ending == ending


def test_digits_are_all_that_counts_of_a_user_part() -> None:
    assert digits_of("+34 (600) 000-010;ext=486") == "34600000010"
    assert digits_of("٣") == ""


def test_a_number_s_calls_follow_its_plans_in_turn_and_stay_at_the_last() -> None:
    repertoire = Repertoire(BEHAVIOURS)
    assert [repertoire.next_plan("34600000011").status for _ in range(3)] == [486, 200, 200]
    assert repertoire.next_plan("+34700000011").status == 486
    assert repertoire.next_plan("+34 600000011").status == 200  # the same number in another form


def test_only_the_numbers_called_last_are_remembered() -> None:
    repertoire = Repertoire(BEHAVIOURS)
    repertoire.next_plan("111")
    for n in range(MAX_REMEMBERED_NUMBERS - 1):
        repertoire.next_plan(f"2{n}11")
    assert repertoire.next_plan("111").status == 200
    repertoire.next_plan("311")
    repertoire.next_plan("411")  # forgets the number that was called longest ago
    assert repertoire.next_plan("2011").status == 486
    assert repertoire.next_plan("111").status == 200


def test_the_table_begins_with_the_default_and_tells_each_row_in_words() -> None:
    rows = behaviour_table()
    assert rows[0].ending == ""
    assert rows[0].what_happens == "rings 1 s, answers, talks 3 s, hangs up"
    words = {row.ending: row.what_happens for row in rows}
    assert words["02"] == "rings 1 s, answers, stays until the caller hangs up"
    assert words["05"] == "183 with early audio 2 s, answers, talks 3 s, hangs up"
    assert words["06"] == "rings 1 s, answers, sends no audio, stays 3 s, hangs up"
    assert words["07"] == "rings 1 s, answers, hangs up at once"
    assert words["10"] == "rings until the caller gives up"
    assert words["11"] == "call 1: 486 Busy Here; then: rings 1 s, answers, talks 3 s, hangs up"
    assert words["20"] == "no reply"
    assert words["21"] == "100 Trying and no more"
    assert words["42"] == "rings 1 s, answers, greets for 4 s, beeps, stays 30 s, hangs up"
    assert words["503"] == "503 Service Unavailable, Retry-After 5 s"
    assert words["603"] == "rings 1 s, 603 Decline"


def test_endings_are_unique_and_every_failure_code_is_its_own_ending() -> None:
    endings = [row.ending for row in BEHAVIOURS]
    assert len(set(endings)) == len(endings)
    for row in BEHAVIOURS:
        if len(row.ending) == 3:
            assert row.plans[0].status == int(row.ending)
        for plan in row.plans:
            assert plan.q850_cause is None or plan.q850_cause in Q850_REASONS


def test_a_repertoire_without_default_or_a_behaviour_without_plan_is_refused() -> None:
    with pytest.raises(ValueError, match="empty ending"):
        Repertoire([row for row in BEHAVIOURS if row.ending])
    with pytest.raises(ValueError, match="'99'"):
        Behaviour("99", "nothing", (), ())
    with pytest.raises(ValueError, match="'99'"):
        Behaviour("99", "no outcome", (Plan(),), (Disposition.BUSY, Disposition.BUSY))
