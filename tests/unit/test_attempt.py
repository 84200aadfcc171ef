"""The attempt's table, written down a second time as a person would read it off the diagram."""

import pytest

from dialer.core.attempt import LATE, MOVES, Event, IllegalTransition, State, advance

# Rows are events, columns the states in the order of `State`. A word is the state after; "late" is ignored; "-" is illegal.
TABLE = """
                   armed     dialing   ringing   answered  ending    waiting   ended
fire               dialing   -         -         -         -         -         -
retry              -         -         -         -         -         armed     -
drain              ended     ending    ending    late      late      ended     late
cancel             ended     ending    ending    ending    late      ended     late
sent               -         dialing   late      late      ending    late      late
rang               -         ringing   late      late      late      late      late
confirmed          -         answered  answered  -         late      -         late
leg_ended          -         ended     ended     ended     ended     -         late
leg_refused_trunk  -         waiting   -         -         waiting   -         late
leg_lost           -         ended     ended     ended     ended     -         late
ring_timeout       -         ending    ending    late      late      late      late
talk_timeout       -         -         -         ending    late      -         late
steps_ended        -         -         -         ending    late      -         late
believed           -         -         -         -         -         ended     late
"""


def cells() -> list[tuple[State, Event, str]]:
    header, *rows = [line.split() for line in TABLE.strip().splitlines()]
    return [
        (State(state), Event(event), word) for event, *words in rows for state, word in zip(header, words, strict=True)
    ]


def test_the_table_names_every_pair_of_state_and_event_once() -> None:
    assert [(state, event) for state, event, _ in cells()] == [(s, e) for e in Event for s in State]


@pytest.mark.parametrize(("state", "event", "word"), cells(), ids=str)
def test_every_pair_moves_or_is_late_or_is_illegal(state: State, event: Event, word: str) -> None:
    if word == "-":
        with pytest.raises(IllegalTransition, match=f"{event} cannot happen to an attempt that is {state}"):
            advance(state, event)
    else:
        assert advance(state, event) == (None if word == "late" else State(word))


def test_no_pair_both_moves_and_is_late() -> None:
    assert not LATE & MOVES.keys()


def test_nothing_leaves_the_end() -> None:
    assert not [pair for pair in MOVES if pair[0] is State.ENDED]


def test_only_a_refusal_by_the_trunk_opens_the_way_to_another_invite() -> None:
    assert {pair for pair, after in MOVES.items() if after is State.WAITING} == {
        (State.DIALING, Event.LEG_REFUSED_TRUNK),
        (State.ENDING, Event.LEG_REFUSED_TRUNK),
    }
    assert [pair for pair, after in MOVES.items() if after is State.ARMED] == [(State.WAITING, Event.RETRY)]
