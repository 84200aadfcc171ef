"""INVITEs under way and the channels they hold: the one place where a leg gets its channel's use, and gives it back by its end.

An `Outgoing` is whatever leaves as an INVITE on a trunk. Its channel and its place in the trunk's rate are taken when it is
armed (`Pacing.take`); from its departure to its leg's real end it is known here by its leg, and what it comes to is told to
the trunk's breaker and throttle.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from dialer.core.attempt import Event, State, advance
from dialer.core.disposition import Evidence, Verdict, Why
from dialer.core.events import EndedBy, InviteSent, LegEnded
from dialer.core.model import Disposition, LegId, Mono, Now, WallMs
from dialer.core.pacing import Pacing, Sent
from dialer.core.throttle import OVERLOADED


@dataclass(slots=True, eq=False, kw_only=True)
class Outgoing:
    """Mutable. `state` follows the table of `dialer.core.attempt`. `stored`: its latest INVITE is on disk and may leave.

    `departure` is that INVITE's place in the order in which the trunk's INVITEs left. `asked` None: we have not ended it;
    else why, and when by the wall clock.
    """

    trunk: str
    fire_at: Mono
    sip_call_id: str
    state: State = State.ARMED
    invites: int = 1
    stored: bool = False
    leg: LegId | None = None
    departure: int = 0
    sent: Sent | None = None
    rang: bool = False
    answered: bool = False
    asked: Why | None = None
    asked_at: WallMs | None = None

    def advance(self, event: Event) -> bool:
        """Move on; False when the event is late."""
        after = advance(self.state, event)
        if after is None:
            return False
        self.state = after
        return True

    def evidence(self, end: LegEnded) -> Evidence:
        """What was seen of the leg that has ended."""
        return Evidence(
            sip_status=end.sip_status,
            by=end.by,
            q850=end.q850,
            rang=self.rang,
            answered=self.answered,
            asked=self.asked,
            phrase=end.reason,
        )


class Channels:
    """Owns the legs on the wire. `learned` is called with the trunk that something was heard of, which may be well or not."""

    def __init__(self, pacing: Pacing, learned: Callable[[str, Now], None]) -> None:
        self._pacing = pacing
        self._learned = learned
        self._legs: dict[LegId, Outgoing] = {}
        self._leg_ids = count(1)

    def of(self, leg: LegId) -> Outgoing | None:
        """Whose leg it is; None: it is over."""
        return self._legs.get(leg)

    @property
    def armed(self) -> int:
        """How many hold a channel and have no leg yet."""
        return self._pacing.taken - len(self._legs)

    def depart(self, out: Outgoing, number: str, at: Mono, now: Now) -> Mono | None:
        """The planned time `at` has come: the INVITE to `number` leaves, and `out.leg` is its leg.

        Not so when a departure before it has slipped: then comes the time at which to ask again, and nothing has changed.
        Raises ValueError for what was not armed and stored.
        """
        if out.sent is None or not out.stored:
            raise ValueError("an INVITE was to leave that was not armed and stored")
        earliest = out.sent.earliest()
        if earliest > at:
            return earliest
        out.sent.left(now.mono)
        out.advance(Event.FIRE)
        out.leg = LegId(next(self._leg_ids))
        out.departure = self._pacing.breaker(out.trunk).departed(out.leg, number, now.mono)
        self._legs[out.leg] = out
        return None

    def hold(self, out: Outgoing) -> LegId:
        """Count a channel of a process that died, whose INVITE may have left or not, as that of a leg."""
        out.leg = LegId(next(self._leg_ids))
        self._legs[out.leg] = out
        self._pacing.hold(out.trunk)
        return out.leg

    def give_up(self, out: Outgoing) -> None:
        """It was armed, and will not leave."""
        self._pacing.breaker(out.trunk).given_back()
        self._pacing.release(out.trunk)

    def sent(self, out: Outgoing, event: InviteSent, now: Now) -> None:
        """The INVITE is on the wire."""
        if out.sent is not None:
            out.sent.seen(Mono(min(now.mono, now.mono_of(event.at))))

    def silent(self, out: Outgoing, now: Now) -> None:
        """The INVITE had no response for some seconds."""
        if out.leg is not None:
            self._pacing.breaker(out.trunk).silent(out.leg, now)
            self._learned(out.trunk, now)

    def reached(self, out: Outgoing, now: Now) -> None:
        """The leg rings, or was answered."""
        if out.leg is not None:
            self._pacing.breaker(out.trunk).reached(out.leg, now)
            self._learned(out.trunk, now)

    def learn(self, out: Outgoing, number: str, end: LegEnded, verdict: Verdict, now: Now) -> None:
        """Tell the trunk's breaker what its leg came to, unless we ended it ourselves and learned nothing."""
        if out.rang or out.leg is None:
            return  # it has reached somebody, and that was told
        breaker = self._pacing.breaker(out.trunk)
        if verdict.disposition in {Disposition.TRUNK_FAILURE, Disposition.INVALID_NUMBER}:
            breaker.refused(out.leg, now, verdict.reason, sip_status=end.sip_status, retry_after_s=end.retry_after_s)
            if end.sip_status in OVERLOADED:
                self._pacing.throttle(out.trunk).overloaded(number, now.mono)
        elif end.by is EndedBy.FAR and out.asked is None:
            breaker.reached(out.leg, now)

    def over(self, out: Outgoing) -> None:
        """The leg has really ended, or never came to be: its channel can carry another call."""
        if out.leg is not None:
            self._pacing.breaker(out.trunk).over(out.leg)
            del self._legs[out.leg]
            out.leg = None
            self._pacing.release(out.trunk)
