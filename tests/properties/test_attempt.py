"""Whatever happens to an attempt, in any order: a second INVITE needs a refusal by the trunk, and every attempt can end."""

from hypothesis import given
from hypothesis import strategies as st

from dialer.core.attempt import MOVES, Event, IllegalTransition, State, advance

events = st.lists(st.sampled_from(Event), max_size=60)
# What tends to happen, so that walks get far into the table.
likely = st.lists(
    st.sampled_from([Event.FIRE, Event.SENT, Event.LEG_REFUSED_TRUNK, Event.RETRY, Event.RANG, Event.RING_TIMEOUT]),
    max_size=60,
)


@given(st.one_of(events, likely))
def test_an_invite_after_the_first_comes_only_after_the_trunk_refused_the_one_before(happening: list[Event]) -> None:
    state = State.ARMED
    since_fire: list[Event] | None = None
    for event in happening:
        try:
            after = advance(state, event)
        except IllegalTransition:
            continue
        if after is None:
            continue
        if event is Event.FIRE and since_fire is not None:
            assert since_fire[-2:] == [Event.LEG_REFUSED_TRUNK, Event.RETRY]
        if event is Event.FIRE:
            since_fire = []
        elif since_fire is not None:
            since_fire.append(event)
        state = after


@given(events)
def test_what_is_late_or_illegal_never_changes_what_follows(happening: list[Event]) -> None:
    def walk(happened: list[Event]) -> tuple[State, list[Event]]:
        state, moved = State.ARMED, []
        for event in happened:
            try:
                after = advance(state, event)
            except IllegalTransition:
                continue
            if after is not None:
                state = after
                moved.append(event)
        return state, moved

    state, moved = walk(happening)
    assert walk(moved) == (state, moved)


def test_every_state_can_be_reached_and_can_end() -> None:
    reached = {State.ARMED}
    for _ in State:
        reached |= {after for (before, _), after in MOVES.items() if before in reached}
    assert reached == set(State)
    ends = {State.ENDED}
    for _ in State:
        ends |= {before for (before, _), after in MOVES.items() if after in ends}
    assert ends == set(State)
