"""How fast INVITEs may leave, and where: CPS, channels and state of each trunk, channels of the machine, stagger.

Everything is in monotonic seconds. A plan reserves (`take`); what then really happened corrects it (`Sent.left`), so that
a turn of the loop that came late never lets two INVITEs come closer together on the wire than their limits allow.

Worked example. A trunk with calls_per_second = 20 lets one INVITE go each 50 ms: 0.000, 0.050, 0.100 ... If the third
really left at 0.109, the fourth may go at 0.157 (2 ms of the delay are caught up at a time), and the 23rd not before 1.129,
one second and a guard after the third: no sliding second ever holds more than 20.
"""

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from dialer.core.breaker import Breaker, Failure, TrunkState
from dialer.core.model import Mono, Now, Trunk
from dialer.core.throttle import Throttle

# How much of a late turn may be caught up by the next INVITE. Without it `last + interval` loses the rate (9 % at 1,000 a
# second); with much of it gaps on the wire get visibly shorter than the stagger. The share is for short intervals. The least
# is for very short ones: it has to be well above what the loop is late as a rule (0.2 to 0.6 ms on a busy machine), or no delay
# is ever caught up, and 800 calls a second become 430.
TOLERANCE_SECONDS = 0.002
TOLERANCE_SHARE = 0.2
LEAST_TOLERANCE_SECONDS = 0.001
# Delays of more than this in sum are not caught up: whatever is late by then goes on at its pace from where it is.
CATCH_UP_SECONDS = 0.25
# The far side's clock and its socket queue add jitter to what it sees of our sliding second.
GUARD_SECONDS = 0.020
# From here to the wire an INVITE takes 0.5 to 3 ms. So much of its way is not held against the one behind it, whose way is
# no shorter: else each would wait for the delay of all before it, and the rate be lost (a quarter of it at a stagger of
# 10 ms). Below the guard, so that no sliding second holds more than it may.
WAY_SECONDS = 0.004


class Sent:
    """One departure: first a plan, then a fact. Departures planned behind one that slips move on with it.

    It knows its places in the queues of the intervals that it keeps (its campaign's, its trunk's), which know what really left
    last: so asking costs the same however many were planned before it, and one of those that is cancelled holds nobody up.
    """

    __slots__ = ("_after", "_places", "at")

    def __init__(self, at: Mono) -> None:
        self.at = at
        self._places: list[tuple[Interval, int]] = []
        self._after: tuple[Sent, float] | None = None

    def stand(self, interval: "Interval", place: int) -> None:
        """Its place in the interval's queue."""
        self._places.append((interval, place))

    def keep_after(self, other: "Sent", seconds: float) -> None:
        """This departure comes at least so long after `other`, which is due that much earlier."""
        self._after = other, seconds

    def earliest(self) -> Mono:
        """The planned time, moved on if a departure before it has slipped."""
        self.at = max(self.at, *(interval.after(place) for interval, place in self._places))
        if self._after is not None:
            other, seconds = self._after
            self.at = Mono(max(self.at, other.at + seconds))
        return self.at

    def left(self, at: Mono) -> None:
        """It is on its way at `at`. A time before what is known changes nothing."""
        self.at = Mono(max(self.at, at))
        self._after = None
        for interval, place in self._places:
            interval.left(self.at, place)

    def seen(self, at: Mono) -> None:
        """It was seen on the wire at `at`, which counts as far as its way took longer than `WAY_SECONDS`."""
        self.left(Mono(at - WAY_SECONDS))


def tolerance_of(interval: float) -> float:
    """How much shorter than `interval` one between two departures may be, all in seconds."""
    return min(TOLERANCE_SECONDS, max(interval * TOLERANCE_SHARE, min(interval, LEAST_TOLERANCE_SECONDS)))


class Interval:
    """A least time between departures, without drift: a delay is caught up by intervals that are shorter by the tolerance.

    Any k intervals in a row take k times as long as one, less `CATCH_UP_SECONDS` (the generic cell rate algorithm), and none
    is shorter than `seconds` less the tolerance.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._tolerance = tolerance_of(seconds)
        self._theoretical = Mono(float("-inf"))
        self._last: Sent | None = None
        self._places = 0
        self._left_at, self._left_place = Mono(float("-inf")), 0

    def earliest(self) -> Mono:
        """The first time at which the next departure keeps the distance; -inf when there was none before."""
        if self._last is None:
            return self._theoretical
        # The real departure counts when it came later than the plan.
        return Mono(max(self._theoretical, self._last.at + self.seconds - self._tolerance))

    def take(self, sent: Sent) -> None:
        """Reserve the departure `sent`, not before `earliest()`."""
        self._places += 1
        sent.stand(self, self._places)
        if sent.at - self._theoretical > CATCH_UP_SECONDS:
            # Nobody wanted to leave, or the machine stood still: that is no delay to be caught up.
            self._theoretical = Mono(sent.at - self._tolerance)
        self._theoretical = Mono(self._theoretical + self.seconds)
        self._last = sent

    def after(self, place: int) -> Mono:
        """The first time for the departure in this place: behind what left last, and those in between."""
        between = max(1, place - self._left_place)
        return Mono(self._left_at + between * (self.seconds - self._tolerance))

    def left(self, at: Mono, place: int) -> None:
        """The departure in this place left at `at`."""
        self._left_at = max(self._left_at, at)
        self._left_place = max(self._left_place, place)

    def settle(self) -> None:
        """No departure will slip any more: what is known of the last one is a time, and no cycle of it and this interval."""
        self._theoretical, self._last = self.earliest(), None

    def hold_until(self, at: Mono) -> None:
        """No departure before `at`, besides the rules already in force."""
        self._theoretical = Mono(max(self._theoretical, at))

    def change_to(self, seconds: float) -> None:
        """From now on this distance, from the latest departure to the next one too. What is planned leaves as planned."""
        self.seconds = seconds
        self._tolerance = min(TOLERANCE_SECONDS, seconds * TOLERANCE_SHARE)
        if self._last is not None:
            self._theoretical = Mono(self._last.at + seconds)


class Rate:
    """Calls per second of a trunk: evenly spaced, and never more than that many in any sliding second."""

    def __init__(self, per_second: float) -> None:
        self._full_interval = 1 / per_second
        self._interval = Interval(self._full_interval)
        self._window: deque[Sent] = deque(maxlen=max(1, int(per_second)))

    def slow_to(self, share: float) -> None:
        """From now on only this part of the calls per second; 1: all of them."""
        self._interval.seconds = self._full_interval / share

    def change_to(self, per_second: float) -> None:
        """From now on so many, counting those that left in the second before."""
        self._full_interval = 1 / per_second
        self._interval.change_to(self._full_interval)
        self._window = deque(self._window, maxlen=max(1, int(per_second)))

    def earliest(self) -> Mono:
        """The first time at which an INVITE keeps both rules."""
        at = self._interval.earliest()
        if len(self._window) == self._window.maxlen:
            at = Mono(max(at, self._window[0].at + 1 + GUARD_SECONDS))
        return at

    def take(self, sent: Sent) -> None:
        """Reserve the departure `sent`."""
        self._interval.take(sent)
        if len(self._window) == self._window.maxlen:
            sent.keep_after(self._window[0], 1 + GUARD_SECONDS)
        self._window.append(sent)

    def hold_until(self, at: Mono) -> None:
        """No INVITE before `at`."""
        self._interval.hold_until(at)


class _Line:
    """A trunk's state: its rate, its health, and how many of its channels are taken. `removed`: it is given no more calls."""

    def __init__(self, trunk: Trunk) -> None:
        self.trunk = trunk
        self.rate = Rate(trunk.calls_per_second)
        self.throttle = Throttle()
        self.breaker = Breaker(trunk.max_concurrent_calls, trunk.options_interval_seconds)
        self.taken = 0
        self.removed = False

    def change_to(self, trunk: Trunk) -> None:
        if trunk.calls_per_second != self.trunk.calls_per_second:
            self.rate.change_to(trunk.calls_per_second)
        if trunk != self.trunk:
            self.breaker.change_to(trunk.max_concurrent_calls, trunk.options_interval_seconds)
            self.trunk = trunk

    def forget(self) -> None:
        """What was learned of the peer counts no more: the name leads to another one, or nowhere."""
        self.breaker = self.breaker.successor()
        self.throttle = Throttle()

    @property
    def full(self) -> bool:
        return self.taken >= self.trunk.max_concurrent_calls

    def earliest(self, now: Mono) -> Mono:
        self.rate.slow_to(self.throttle.share(now))
        return Mono(max(now, self.rate.earliest()))


@dataclass(frozen=True, slots=True)
class TrunkView:
    """A trunk at one instant, for people. `usable`: a call may be given to it, if only to try.

    `removed`: it is configured no more, and calls go on that were begun before.
    """

    name: str
    state: TrunkState
    usable: bool
    channels_in_use: int
    channels: int
    calls_per_second: float
    calls_per_second_now: float
    last_failure: Failure | None
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Admission:
    """The trunk that takes the next call, and from when."""

    trunk: str
    at: Mono


class Pacing:
    """Says when the next INVITE may leave and on which trunk; counts channels from `take` to `release`."""

    def __init__(self, trunks: Iterable[Trunk], max_concurrent_calls: int) -> None:
        self._lines = {trunk.name: _Line(trunk) for trunk in trunks}
        self._max = max_concurrent_calls
        self._taken = 0
        self._hold = Mono(float("-inf"))

    def reconfigure(self, trunks: Iterable[Trunk], max_concurrent_calls: int, renewed: Collection[str] = ()) -> None:
        """From now on these trunks and this limit. Channels that are taken stay taken, by whatever trunk.

        What is known of a trunk's health is kept, unless it is one of the `renewed`: another peer under the same name, or the
        same one addressed in another way. A trunk that is left out is given no more calls.
        """
        self._max = max_concurrent_calls
        wanted = {trunk.name: trunk for trunk in trunks}
        for name, line in self._lines.items():
            if name not in wanted and not line.removed:
                # It stays known: legs, retries and late news still speak of it.
                line.removed = True
                line.forget()
        for name, trunk in wanted.items():
            line = self._lines.get(name) or self._add(trunk)
            if name in renewed or line.removed:
                line.forget()
            line.removed = False
            line.change_to(trunk)

    def _add(self, trunk: Trunk) -> _Line:
        line = self._lines[trunk.name] = _Line(trunk)
        line.rate.hold_until(self._hold)
        return line

    @property
    def taken(self) -> int:
        """Channels in use on this machine."""
        return self._taken

    def channels(self) -> dict[str, tuple[int, int]]:
        """Of each trunk: channels in use, channels in all."""
        lines = self._lines.items()
        return {name: (line.taken, line.trunk.max_concurrent_calls) for name, line in lines if not line.removed}

    def known(self) -> list[str]:
        """All trunks, those too that were removed."""
        return list(self._lines)

    def carries(self, name: str, caller_id: str | None) -> bool:
        """Whether there is such a trunk, and it allows the caller id that a playbook chose (None: it chose none)."""
        line = self._lines.get(name)
        return line is not None and not line.removed and line.trunk.allows(caller_id)

    def usable(self, name: str) -> bool:
        """Whether a call can get through there, as far as is known. Raises KeyError."""
        return not self._lines[name].removed and self._lines[name].breaker.usable

    def trunk(self, name: str) -> Trunk:
        """The trunk of this name. Raises KeyError."""
        return self._lines[name].trunk

    def breaker(self, name: str) -> Breaker:
        """The health of the trunk of this name. Raises KeyError."""
        return self._lines[name].breaker

    def throttle(self, name: str) -> Throttle:
        """What the trunk of this name takes of its CPS. Raises KeyError."""
        return self._lines[name].throttle

    def poll(self, now: Now) -> list[str]:
        """The trunks that an OPTIONS is to be sent to now."""
        return [name for name, line in self._lines.items() if not line.removed and line.breaker.poll(now)]

    def next_poll(self) -> Mono | None:
        """When `poll` has something to do; None: not before something happens."""
        times = (line.breaker.next_poll() for line in self._lines.values() if not line.removed)
        return min((at for at in times if at is not None), default=None)

    def views(self, now: Now) -> list[TrunkView]:
        """All trunks, as they stand."""
        return [
            TrunkView(
                name,
                line.breaker.state,
                line.breaker.usable and not line.removed,
                line.taken,
                line.trunk.max_concurrent_calls,
                line.trunk.calls_per_second,
                round(line.trunk.calls_per_second * line.throttle.share(now.mono), 3),
                line.breaker.last_failure,
                line.removed,
            )
            for name, line in self._lines.items()
            if line.taken or not line.removed
        ]

    def hold_until(self, at: Mono) -> None:
        """No INVITE on any trunk before `at`: what a process before this one sent is not known exactly."""
        self._hold = at
        for line in self._lines.values():
            line.rate.hold_until(at)

    def next_dial_time(self, route: Sequence[str], now: Mono) -> Admission | None:
        """The first trunk of `route` with a free channel, and when its CPS allows the next INVITE (`now` or later).

        None: no channel is free, on the route or on the machine, or no trunk of the route may be used; only an event can
        help. A trunk that is full or down is passed over for the next in order of preference; one whose CPS is used up for
        the moment is waited for.
        """
        if self._taken >= self._max:
            return None
        for name in route:
            line = self._lines.get(name)
            if line is not None and not line.removed and not line.full and line.breaker.admits:
                return Admission(name, line.earliest(now))
        return None

    def take(self, trunk: str, at: Mono) -> Sent:
        """Take a channel and a place in the rate for an INVITE at `at`."""
        line = self._lines[trunk]
        if line.full or self._taken >= self._max:
            raise ValueError(f"no free channel on trunk {trunk!r}")
        sent = Sent(at)
        line.rate.take(sent)
        line.breaker.reserve()
        line.taken += 1
        self._taken += 1
        return sent

    def hold(self, trunk: str) -> None:
        """Count a channel that a process before this one took, whatever the limits are now, and whether there is the trunk."""
        line = self._lines.get(trunk)
        if line is None:
            line = self._add(Trunk(trunk, 1, 1.0))
            line.removed = True
        line.taken += 1
        self._taken += 1

    def release(self, trunk: str) -> None:
        """Give the channel back: the leg has really ended."""
        line = self._lines[trunk]
        if line.taken == 0:
            raise ValueError(f"no channel of trunk {trunk!r} is taken")
        line.taken -= 1
        self._taken -= 1
