"""What the called party does, by the end of the called number: one table, and the few functions that read it.

Pure. A number that ends in a SIP failure code fails with that code; two-digit endings tell the other stories; the longest
ending that fits wins; any other number answers, talks and hangs up. Seconds are at pace 1.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from dialer.core.model import Disposition
from sip.lab.voices import GREETING, HELLO, Speech
from sip.wire import REASONS

MAX_REMEMBERED_NUMBERS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to one INVITE.

    `alert` is the provisional response after 100 (None: none); 183 brings early audio. `alert_seconds` is the time from
    the INVITE to the final `status`; None: there never is one. `talk_seconds` runs from the ACK of the answer; None:
    until the caller hangs up. Without `audio` the answer has a description, but no packet follows. `says` is said once
    after the answer, then it is silent; None: a tone of `tone_hz` for as long as the call. `presses` are keys that it presses
    two seconds after the answer.
    """

    trying: bool = True
    alert: Literal[180, 183] | None = 180
    alert_seconds: float | None = 1.0
    status: int = 200
    talk_seconds: float | None = 3.0
    audio: bool = True
    says: Speech | None = None
    tone_hz: int = 400
    presses: str = ""
    retry_after_seconds: int | None = None
    q850_cause: int | None = None

    def in_words(self) -> str:
        """The plan as a person would tell it."""
        seconds = "" if self.alert_seconds is None else f" {self.alert_seconds:g} s"
        words = {180: [f"rings{seconds}"], 183: [f"183 with early audio{seconds}"], None: []}[self.alert]
        if self.alert_seconds is None:
            return (
                f"{words[0]} until the caller gives up"
                if words
                else "100 Trying and no more"
                if self.trying
                else "no reply"
            )
        if self.status != 200:
            extra = f", Retry-After {self.retry_after_seconds} s" if self.retry_after_seconds is not None else ""
            return ", ".join([*words, f"{self.status} {REASONS[self.status]}{extra}"])
        words.append("answers" if self.audio else "answers, sends no audio")
        if self.says is not None:
            words.append(self.says.words)
        if self.presses:
            words.append(f"presses {self.presses}")
        match self.talk_seconds:
            case None:
                words.append("stays until the caller hangs up")
            case 0:
                words.append("hangs up at once")
            case talk:
                talks = self.audio and self.says is None
                words.append(f"{'talks' if talks else 'stays'} {talk:g} s, hangs up")
        return ", ".join(words)


ANSWERS: Final = Plan()
RINGS_OUT: Final = Plan(alert_seconds=None)


def _fails(status: int, q850_cause: int | None = None, retry_after_seconds: int | None = None) -> Plan:
    return Plan(
        alert=None, alert_seconds=0, status=status, q850_cause=q850_cause, retry_after_seconds=retry_after_seconds
    )


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One row: a number that ends in `ending` follows `plans`, one for each call to it in turn, the last for all later.

    `dispositions` are what a dialer should make of these calls, one for each plan.
    """

    ending: str
    title: str
    plans: tuple[Plan, ...]
    dispositions: tuple[Disposition, ...]

    def __post_init__(self) -> None:
        if not self.plans or len(self.plans) != len(self.dispositions):
            raise ValueError(f"behaviour {self.ending!r}: needs at least one plan, and a disposition for each")

    @property
    def what_happens(self) -> str:
        """The plans in words, made from the figures themselves."""
        *first, last = [plan.in_words() for plan in self.plans]
        return (
            last
            if not first
            else "; ".join([*(f"call {n}: {text}" for n, text in enumerate(first, 1)), f"then: {last}"])
        )


def _row(ending: str, title: str, *stages: tuple[Plan, Disposition]) -> Behaviour:
    return Behaviour(ending, title, tuple(plan for plan, _ in stages), tuple(outcome for _, outcome in stages))


_ANSWERED: Final = (ANSWERS, Disposition.ANSWERED)
_BUSY: Final = (_fails(486, q850_cause=17), Disposition.BUSY)
_NO_ANSWER: Final = (RINGS_OUT, Disposition.NO_ANSWER)
_UNAVAILABLE: Final = (_fails(503, q850_cause=34, retry_after_seconds=5), Disposition.TRUNK_FAILURE)

BEHAVIOURS: Final[tuple[Behaviour, ...]] = (
    _row("", "answers, talks, hangs up", _ANSWERED),
    _row("01", "answers, talks, hangs up", _ANSWERED),
    _row("02", "answers, waits for the caller to hang up", (Plan(talk_seconds=None), Disposition.ANSWERED)),
    _row("03", "answers at once", (Plan(alert=None, alert_seconds=0), Disposition.ANSWERED)),
    _row("04", "slow to answer", (Plan(alert_seconds=8), Disposition.ANSWERED)),
    _row("05", "early media, then answers", (Plan(alert=183, alert_seconds=2), Disposition.ANSWERED)),
    _row("06", "answers, sends no audio", (Plan(audio=False), Disposition.ANSWERED)),
    _row("07", "answers and hangs up at once", (Plan(talk_seconds=0), Disposition.ANSWERED)),
    _row("10", "rings out", _NO_ANSWER),
    _row("11", "busy, later answers", _BUSY, _ANSWERED),
    _row("12", "rings out, later answers", _NO_ANSWER, _ANSWERED),
    _row("13", "trunk full, later answers", _UNAVAILABLE, _ANSWERED),
    _row("14", "busy, rings out, then answers", _BUSY, _NO_ANSWER, _ANSWERED),
    _row("20", "silent", (Plan(trying=False, alert=None, alert_seconds=None), Disposition.TRUNK_FAILURE)),
    _row("21", "100 Trying, then nothing", (Plan(alert=None, alert_seconds=None), Disposition.NO_ANSWER)),
    _row("31", "presses 1", (Plan(presses="1", talk_seconds=None), Disposition.ANSWERED)),
    _row("32", "presses 2", (Plan(presses="2", talk_seconds=None), Disposition.ANSWERED)),
    _row("33", "types 1234#", (Plan(presses="1234#", talk_seconds=None), Disposition.ANSWERED)),
    _row("41", "a person", (Plan(says=HELLO, talk_seconds=None), Disposition.ANSWERED)),
    _row("42", "an answering machine", (Plan(says=GREETING, talk_seconds=30), Disposition.ANSWERED)),
    _row("403", "forbidden", (_fails(403, q850_cause=21), Disposition.TRUNK_FAILURE)),
    _row("404", "no such number", (_fails(404, q850_cause=1), Disposition.INVALID_NUMBER)),
    _row("410", "number is gone", (_fails(410, q850_cause=22), Disposition.INVALID_NUMBER)),
    _row("480", "phone is off", (_fails(480, q850_cause=20), Disposition.UNREACHABLE)),
    _row("484", "number is incomplete", (_fails(484, q850_cause=28), Disposition.INVALID_NUMBER)),
    _row("486", "busy", _BUSY),
    _row("488", "no common codec", (_fails(488), Disposition.TRUNK_FAILURE)),
    _row("500", "server error", (_fails(500, q850_cause=41), Disposition.TRUNK_FAILURE)),
    _row("503", "trunk full", _UNAVAILABLE),
    _row("600", "busy everywhere", (_fails(600, q850_cause=17), Disposition.BUSY)),
    _row("603", "declines", (Plan(status=603, q850_cause=21), Disposition.DECLINED)),
    _row("604", "exists nowhere", (_fails(604, q850_cause=1), Disposition.INVALID_NUMBER)),
)


def behaviour_table() -> list[Behaviour]:
    """The rows of `dialer lab --list`, in the order to print; the default comes first, with an empty ending."""
    return list(BEHAVIOURS)


def digits_of(user: str) -> str:
    """The digits of a URI's user part: user parameters (;phone-context=...), + and separators are left out."""
    return "".join(character for character in user.partition(";")[0] if character in "0123456789")


class Repertoire:
    """Chooses the plan of each call, and remembers how many calls a number had where its plan depends on that.

    The memory holds the `MAX_REMEMBERED_NUMBERS` numbers called last.
    """

    def __init__(self, behaviours: Sequence[Behaviour]) -> None:
        self._by_ending = {behaviour.ending: behaviour for behaviour in behaviours}
        if "" not in self._by_ending:
            raise ValueError("behaviours: one with an empty ending is needed for all other numbers")
        self._lengths = sorted({len(ending) for ending in self._by_ending}, reverse=True)
        self._calls: OrderedDict[str, int] = OrderedDict()

    def behaviour_for(self, user: str) -> Behaviour:
        """The row with the longest ending that `user` ends in."""
        digits = digits_of(user)
        endings = (digits[-length:] if length else "" for length in self._lengths)
        return next(self._by_ending[ending] for ending in endings if ending in self._by_ending)

    def next_plan(self, user: str) -> Plan:
        """The plan of one more call to `user`."""
        behaviour, digits = self.behaviour_for(user), digits_of(user)
        if len(behaviour.plans) == 1:
            return behaviour.plans[0]
        earlier = self._calls.pop(digits, 0)
        self._calls[digits] = earlier + 1
        if len(self._calls) > MAX_REMEMBERED_NUMBERS:
            self._calls.popitem(last=False)
        return behaviour.plans[min(earlier, len(behaviour.plans) - 1)]
