"""Whether a trunk may be given calls: the circuit breaker of one trunk, told what its legs came to and the time.

    UP --5 refusals, 3 silent legs, Retry-After, 2 unanswered OPTIONS--> DOWN --2, 4, 8 .. 30 s--> PROBING
    ^                                                                      ^                          |
    |                                                                      +--- no answer, or --------+
    |                                                                           a trial that fails    |
    +----- two answers to OPTIONS where the trunk was silent; two trial calls that reach somebody ----+

What opens it. A call *reaches* somebody when it rings, is answered, or is refused in the callee's name (busy, declined,
unreachable). Refusals by the trunk, and numbers that it says do not exist, count in a row: five, of three different numbers
at least, with no call between them that reached somebody and left later than they did. So one bad number that is tried again
opens nothing, and a call that rings late but was routed before the trouble began proves nothing. Three that bring a
Retry-After are enough, and hold the trunk for as long as it asks. A leg that got no response at all for 4 s is *silent* (its
INVITE has been sent four times by then, RFC 3261 17.1.1.2): three of them in the order of departure open the breaker while
their own transactions still have 28 s to go; a trunk with fewer channels needs as many as it has.

How it closes. An OPTIONS asks first. Where the trunk was silent two answers, a second apart, are enough. Where it refused,
OPTIONS proves little: one call at a time is let through until two have reached somebody. A trunk that never answered OPTIONS
is not expected to: there a call is let through too. Each failure doubles the pause.

Worked example: a trunk loses its routes at 10:00:00 and answers 404 to everything, five calls a second. The 404s of 10:00:00.0
to .6 are doubted (`dialer.core.doubts`: no number is marked). The fifth, at .8, opens the breaker: all five calls are retried
on the next trunk of their playbook. At 10:00:02.8 OPTIONS is answered and a call is let through; it gets 404, and the next
trial is due at 10:00:06.8. A lone 404 between calls that ring is believed as soon as a call that left after it rings.
"""

from dataclasses import dataclass
from enum import StrEnum

from dialer.core.amounts import amount
from dialer.core.model import LegId, Mono, Now, WallMs

REFUSALS_TO_OPEN = 5
DIFFERENT_NUMBERS = 3
SILENT_TO_OPEN = 3
# A row of refusals that is spread over more than this is no row.
ROW_SECONDS = 600.0
PROBE_AFTER_SECONDS = (2.0, 4.0, 8.0, 16.0, 30.0)
# A trunk that stayed up for so long begins with the shortest pause again.
STEADY_SECONDS = 60.0
MAX_HOLD_SECONDS = 3600.0
MISSES_TO_OPEN = 2
ANSWERS_TO_CLOSE = 2
TRIALS_TO_CLOSE = 2
ASK_AGAIN_SECONDS = 1.0
MISSED_AGAIN_SECONDS = 2.0


class TrunkState(StrEnum):
    """Whether calls may go: all, none, or one at a time to find out."""

    UP = "up"
    DOWN = "down"
    PROBING = "probing"


@dataclass(frozen=True, slots=True)
class Failure:
    """The latest thing that a trunk did wrong."""

    at: WallMs
    reason: str


@dataclass(slots=True)
class _Leg:
    order: int  # of departure
    number: str
    trial: bool
    silent: bool = False


@dataclass(frozen=True, slots=True)
class _Refusal:
    order: int
    number: str
    at: Mono
    retry_after_s: float | None


class Breaker:
    """The state of one trunk. `channels` is how many calls it takes, `options_interval_seconds` 0 means no keepalive.

    `poll` has to be called at `next_poll`; it says when an OPTIONS is to be sent, whose end is told by `options_ended`.
    """

    def __init__(self, channels: int, options_interval_seconds: float = 0.0) -> None:
        self.change_to(channels, options_interval_seconds)
        self.state = TrunkState.UP
        self.last_failure: Failure | None = None
        self.departed_at = Mono(float("-inf"))
        """When the latest INVITE left."""
        self._legs: dict[LegId, _Leg] = {}
        self._departures = 0
        self._reached = 0  # the latest departure that reached somebody
        self._responded = 0  # the latest departure that got any response
        self._row: list[_Refusal] = []
        self._up_since: Mono | None = None
        self._pause = 0
        self._probe_at: Mono | None = None
        self._next_options: Mono | None = None
        self._asking = False
        self._stale_answers = 0
        self._speaks_options = False
        self._answers = self._misses = self._trials = 0
        self._was_silent = False
        self._trial_allowed = False
        self._trial_taken = False

    def change_to(self, channels: int, options_interval_seconds: float) -> None:
        """From now on the trunk takes so many calls, and is asked so often. Its state stays."""
        self._silent_to_open = min(SILENT_TO_OPEN, channels)
        self._interval = options_interval_seconds
        self._next_options = None

    def successor(self) -> "Breaker":
        """The breaker of the peer that the trunk's name leads to from now on. News of legs that left before mean nothing to it.

        It goes on counting departures, so that what left before comes before all that follows.
        """
        after = Breaker(1, self._interval)
        after._departures = self._departures
        after._stale_answers = self._stale_answers + self._asking
        return after

    # What callers ask

    @property
    def admits(self) -> bool:
        """Whether a call may be given to the trunk now."""
        return self.state is TrunkState.UP or (self._trial_allowed and not self._trial_taken)

    @property
    def usable(self) -> bool:
        """Whether calls can get through as far as is known: it is up, or waits for a call to be tried with."""
        return self.state is TrunkState.UP or self._trial_allowed

    def believes(self, departure: int) -> bool:
        """Whether the trunk's word on a number is trusted: a call that left later has reached somebody."""
        return self._reached > departure

    def undecided_after(self, departure: int) -> bool:
        """Whether a call that left later may still show what the trunk's word is worth."""
        return any(leg.order > departure for leg in self._legs.values())

    # What happens to calls

    def reserve(self) -> None:
        """A call was given to the trunk: while it is probed, this is the one that it is tried with."""
        if self.state is TrunkState.PROBING:
            self._trial_taken = True

    def given_back(self) -> None:
        """A call that was given to the trunk will not leave."""
        if not any(leg.trial for leg in self._legs.values()):
            self._trial_taken = False

    def departed(self, leg: LegId, number: str, now: Mono) -> int:
        """An INVITE leaves; its place in the order of departure, from 1."""
        self._departures += 1
        self.departed_at = now
        trial = self.state is TrunkState.PROBING and self._trial_taken
        self._legs[leg] = _Leg(self._departures, number, trial)
        return self._departures

    def reached(self, leg: LegId, now: Now) -> None:
        """The call rings, was answered, or was refused in the callee's name."""
        known = self._legs.get(leg)
        if known is None:
            return
        self._heard(known, now)
        self._reached = max(self._reached, known.order)
        self._row = [refusal for refusal in self._row if refusal.order > known.order]
        if known.trial:
            known.trial = self._trial_taken = False
            self._trials += 1
            if self._trials >= TRIALS_TO_CLOSE:
                self._close(now)

    def refused(
        self, leg: LegId, now: Now, reason: str, *, sip_status: int = 0, retry_after_s: float | None = None
    ) -> None:
        """The trunk refused the call, or said that the number does not exist. `sip_status` 0: there was no response."""
        known = self._legs.get(leg)
        if known is None:
            return
        self.last_failure = Failure(now.wall, reason)
        if sip_status:
            self._heard(known, now)
        if self.state is not TrunkState.UP:
            if known.trial:
                self._open(now, reason, retry_after_s or 0.0, silent=sip_status == 0)
            return
        self._row = [held for held in self._row if held.at > now.mono - ROW_SECONDS]
        self._row.append(_Refusal(known.order, known.number, now.mono, retry_after_s))
        asked = [refusal for refusal in self._row if refusal.retry_after_s is not None]
        numbers = len({refusal.number for refusal in self._row})
        words = f"{reason}, to {amount(numbers, 'number')} in a row"
        if len({refusal.number for refusal in asked}) >= DIFFERENT_NUMBERS:
            self._open(now, words, max(refusal.retry_after_s or 0.0 for refusal in asked), silent=False)
        elif len(self._row) >= REFUSALS_TO_OPEN and numbers >= DIFFERENT_NUMBERS:
            self._open(now, words, silent=sip_status == 0)

    def silent(self, leg: LegId, now: Now) -> None:
        """The INVITE has had no response at all for some seconds."""
        known = self._legs.get(leg)
        if known is None:
            return
        known.silent = True
        reason = "no response to INVITEs"
        self.last_failure = Failure(now.wall, reason)
        if known.trial:
            self._open(now, reason, silent=True)
            return
        # A leg that left earlier and is not silent has had a response by now, if only a 100.
        heard = [held.order for held in self._legs.values() if not held.silent and held.order < known.order]
        since = max([self._responded, *heard])
        row = sum(held.silent and held.order > since for held in self._legs.values())
        if self.state is TrunkState.UP and row >= self._silent_to_open:
            self._open(now, reason, silent=True)

    def over(self, leg: LegId) -> None:
        """The leg has ended; a trial that proved nothing may be repeated."""
        known = self._legs.pop(leg, None)
        if known is not None and known.trial:
            self._trial_taken = False

    def _heard(self, known: _Leg, now: Now) -> None:
        """Something came back: the trunk is not dead, whatever it says."""
        known.silent = False
        self._responded = max(self._responded, known.order)
        self._misses = 0
        if self.state is TrunkState.DOWN and self._was_silent:
            self._probe_at = now.mono

    # Time and OPTIONS

    def next_poll(self) -> Mono | None:
        """When `poll` has something to do; None: not before something happens."""
        if self._asking:
            return None
        return self._next_options if self.state is TrunkState.UP else self._probe_at

    def poll(self, now: Now) -> bool:
        """Whether an OPTIONS is to be sent now."""
        if self._interval and self._next_options is None:
            self._next_options = Mono(now.mono + self._interval)
        at = self.next_poll()
        if at is None or now.mono < at:
            return False
        if self.state is TrunkState.DOWN:
            self.state = TrunkState.PROBING
            self._answers = self._trials = 0
        self._asking = True
        self._probe_at = None
        return True

    def options_ended(self, now: Now, reason: str | None) -> None:
        """An OPTIONS was answered (`reason` None), or not in time, or by a trunk that says it is out of service."""
        if self._stale_answers:
            self._stale_answers -= 1  # the peer before this one was asked
            return
        self._asking = False
        self._next_options = Mono(now.mono + self._interval) if self._interval else None
        if reason is None:
            self._speaks_options = True
            self._misses = 0
            self._options_answered(now)
            return
        self._answers = 0
        if self.state is TrunkState.UP:
            if not self._speaks_options:
                return  # it may never answer them
            self.last_failure = Failure(now.wall, reason)
            self._misses += 1
            self._next_options = Mono(now.mono + min(self._interval, MISSED_AGAIN_SECONDS))
            if self._misses >= MISSES_TO_OPEN:
                self._open(now, reason, silent=True)
        elif self.state is TrunkState.PROBING and self._speaks_options:
            self._open(now, reason, silent=self._was_silent)
        elif self.state is TrunkState.PROBING:
            self._trial_allowed = True

    def _options_answered(self, now: Now) -> None:
        if self.state is not TrunkState.PROBING:
            return
        self._answers += 1
        if not self._was_silent:
            self._trial_allowed = True
        elif self._answers >= ANSWERS_TO_CLOSE:
            self._close(now)
        else:
            self._probe_at = Mono(now.mono + ASK_AGAIN_SECONDS)

    # Inside

    def _open(self, now: Now, reason: str, hold_seconds: float = 0.0, *, silent: bool) -> None:
        self.last_failure = Failure(now.wall, reason)
        if self.state is TrunkState.UP and (self._up_since is None or now.mono - self._up_since > STEADY_SECONDS):
            self._pause = 0
        pause = PROBE_AFTER_SECONDS[min(self._pause, len(PROBE_AFTER_SECONDS) - 1)]
        self._pause += 1
        self.state = TrunkState.DOWN
        self._was_silent = silent
        self._probe_at = Mono(now.mono + max(pause, min(hold_seconds, MAX_HOLD_SECONDS)))
        self._stop_trials()

    def _close(self, now: Now) -> None:
        self.state = TrunkState.UP
        self._up_since = now.mono
        self._probe_at = None
        self._misses = 0
        self._row.clear()
        self._stop_trials()

    def _stop_trials(self) -> None:
        self._trial_allowed = self._trial_taken = False
        for leg in self._legs.values():
            leg.trial = False
