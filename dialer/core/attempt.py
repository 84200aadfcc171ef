"""The attempt's state machine: one table; every transition of an attempt is here.

    ARMED ----fire----> DIALING ---18x---> RINGING --200+ACK--> ANSWERED
      ^                    |  \\________________________________/   |
      |                    |       (an answer needs no 18x)         |
    retry                  |                |                       |
      |              trunk refused     ring timeout,          steps ended,
    WAITING <--------------+           cancel, drain          max_call_seconds
                                            |                       |
                                            +------> ENDING <-------+
                                                        | the leg's real end
                                                        v
                                                      ENDED

Who moves it on, and what a crash does:

ARMED     recorded on disk, the INVITE has not left; the engine's timer moves it. A crash makes it `interrupted`.
DIALING   the INVITE was ordered; the far side moves it, or the ring timer.
RINGING   a 18x came. Nothing may send a second INVITE for this attempt from here on.
ANSWERED  CONFIRMED was seen; the playbook's end, a limit or the far side moves it.
ENDING    we sent CANCEL or BYE; only the leg's real end moves it, and the channel stays taken until then.
WAITING   a trunk refused without reaching the callee; no leg, no channel; the technical retry's time moves it. Or the trunk
          says that the number does not exist, and is doubted: what its other calls come to moves it.
ENDED     final. Late news of its legs is ignored.

The leg to an agent (`dialer.core.agent_legs`) goes by the same table, and begins WAITING: for a channel.

Each (state, event) pair has one of three answers: it moves; it is late and ignored, listed by name; it is illegal, raises
`IllegalTransition` and changes nothing.
"""

from enum import StrEnum


class State(StrEnum):
    """Where an attempt stands."""

    ARMED = "armed"
    DIALING = "dialing"
    RINGING = "ringing"
    ANSWERED = "answered"
    ENDING = "ending"
    WAITING = "waiting"
    ENDED = "ended"


class Event(StrEnum):
    """What can happen to an attempt. The first four are ours, the next six the leg's, then limits, and the end of a doubt."""

    FIRE = "fire"
    RETRY = "retry"
    DRAIN = "drain"
    CANCEL = "cancel"
    SENT = "sent"
    RANG = "rang"
    CONFIRMED = "confirmed"
    LEG_ENDED = "leg_ended"
    LEG_REFUSED_TRUNK = "leg_refused_trunk"
    LEG_LOST = "leg_lost"
    RING_TIMEOUT = "ring_timeout"
    TALK_TIMEOUT = "talk_timeout"
    STEPS_ENDED = "steps_ended"
    BELIEVED = "believed"


class IllegalTransition(Exception):
    """The event cannot happen in this state: a defect of ours, never the far side's doing."""


LATE: frozenset[tuple[State, Event]] = frozenset(
    {
        # What the far side said before it heard of our hang-up.
        (State.ENDING, Event.RANG),
        (State.ENDING, Event.CONFIRMED),
        # Our limits and orders need not be repeated once the end is under way.
        *(
            (State.ENDING, e)
            for e in (Event.CANCEL, Event.DRAIN, Event.RING_TIMEOUT, Event.TALK_TIMEOUT, Event.STEPS_ENDED)
        ),
        # A second provisional, and one that was overtaken by the answer.
        (State.RINGING, Event.RANG),
        (State.RINGING, Event.SENT),
        (State.ANSWERED, Event.RANG),
        (State.ANSWERED, Event.SENT),
        # The ring timer and the answer crossed inside one turn of the loop.
        (State.ANSWERED, Event.RING_TIMEOUT),
        # Draining lets answered calls go on.
        (State.ANSWERED, Event.DRAIN),
        # After the end nothing matters any more. (FIRE and RETRY never come: the end takes their timers away.)
        *((State.ENDED, e) for e in Event if e not in {Event.FIRE, Event.RETRY}),
        # News of the leg that was refused.
        *((State.WAITING, e) for e in (Event.SENT, Event.RANG, Event.RING_TIMEOUT)),
    }
)

MOVES: dict[tuple[State, Event], State] = {
    (State.ARMED, Event.FIRE): State.DIALING,
    (State.ARMED, Event.CANCEL): State.ENDED,
    (State.ARMED, Event.DRAIN): State.ENDED,
    (State.DIALING, Event.SENT): State.DIALING,
    (State.DIALING, Event.RANG): State.RINGING,
    (State.DIALING, Event.CONFIRMED): State.ANSWERED,
    (State.DIALING, Event.LEG_ENDED): State.ENDED,
    (State.DIALING, Event.LEG_REFUSED_TRUNK): State.WAITING,
    (State.DIALING, Event.LEG_LOST): State.ENDED,
    (State.DIALING, Event.RING_TIMEOUT): State.ENDING,
    (State.DIALING, Event.CANCEL): State.ENDING,
    (State.DIALING, Event.DRAIN): State.ENDING,
    (State.RINGING, Event.CONFIRMED): State.ANSWERED,
    (State.RINGING, Event.LEG_ENDED): State.ENDED,
    (State.RINGING, Event.LEG_LOST): State.ENDED,
    (State.RINGING, Event.RING_TIMEOUT): State.ENDING,
    (State.RINGING, Event.CANCEL): State.ENDING,
    (State.RINGING, Event.DRAIN): State.ENDING,
    (State.ANSWERED, Event.LEG_ENDED): State.ENDED,
    (State.ANSWERED, Event.LEG_LOST): State.ENDED,
    (State.ANSWERED, Event.TALK_TIMEOUT): State.ENDING,
    (State.ANSWERED, Event.STEPS_ENDED): State.ENDING,
    (State.ANSWERED, Event.CANCEL): State.ENDING,
    # The worker had the order to hang up behind the order to dial, or was held up between the two.
    (State.ENDING, Event.SENT): State.ENDING,
    (State.ENDING, Event.LEG_ENDED): State.ENDED,
    (State.ENDING, Event.LEG_REFUSED_TRUNK): State.WAITING,
    (State.ENDING, Event.LEG_LOST): State.ENDED,
    (State.WAITING, Event.RETRY): State.ARMED,
    (State.WAITING, Event.BELIEVED): State.ENDED,
    (State.WAITING, Event.CANCEL): State.ENDED,
    (State.WAITING, Event.DRAIN): State.ENDED,
}


def advance(state: State, event: Event) -> State | None:
    """The state after `event`; None when the event is late and means nothing any more.

    Raises `IllegalTransition` for a pair that cannot happen.

    >>> advance(State.RINGING, Event.CONFIRMED)
    <State.ANSWERED: 'answered'>
    >>> advance(State.ENDING, Event.CONFIRMED) is None
    True
    """
    if (state, event) in LATE:
        return None
    try:
        return MOVES[state, event]
    except KeyError:
        raise IllegalTransition(f"{event} cannot happen to an attempt that is {state}") from None
