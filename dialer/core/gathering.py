"""How a gather takes its digits: told of keys, ends of audio and timers, it says what to do, and at last what came of it."""

from dataclasses import dataclass
from enum import StrEnum

from dialer.core.step_kinds import Gather, Play, Say


class Outcome(StrEnum):
    """What a gather came to."""

    DIGITS = "digits"
    NO_INPUT = "no_input"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Prompt:
    """Play this part of the prompt, and tell when it is over."""

    part: Play | Say


@dataclass(frozen=True, slots=True)
class Hush:
    """Stop the prompt that plays."""


@dataclass(frozen=True, slots=True)
class Await:
    """Tell when so many seconds have passed; a later one takes the place of this."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Gathered:
    """It is over after so many tries. `digits` are those of the last."""

    outcome: Outcome
    digits: str
    tries: int


Order = Prompt | Hush | Await | Gathered


class Gathering:
    """One gather under way. Every method says what to do now; after `Gathered` none is called.

    A key that is pressed while a prompt without barge-in plays counts from the prompt's end.
    """

    def __init__(self, step: Gather) -> None:
        self._step = step
        self._most = max(step.min_digits, step.max_digits)
        self._tries = 0
        self._part = 0
        self._digits = ""
        self._closed = False  # a terminator came, or all digits

    def begin(self) -> list[Order]:
        """The first try, or the next one."""
        self._tries += 1
        self._part, self._digits, self._closed = -1, "", False
        return self.prompt_over()

    @property
    def prompting(self) -> bool:
        """Whether the prompt plays."""
        return self._part < len(self._step.prompt)

    def prompt_over(self) -> list[Order]:
        """The part of the prompt that played has ended."""
        self._part += 1
        if self.prompting:
            return [Prompt(self._step.prompt[self._part])]
        if self._closed:
            return self._judge()
        return [Await(self._step.next_digit_seconds if self._digits else self._step.first_digit_seconds)]

    def pressed(self, digit: str) -> list[Order]:
        """The callee pressed a key."""
        orders: list[Order] = []
        if self.prompting and self._step.barge_in:
            self._part = len(self._step.prompt)
            orders.append(Hush())
        if self._closed:
            return orders
        if digit in self._step.terminators:
            self._closed = True
        else:
            self._digits += digit
            self._closed = len(self._digits) >= self._most
        if self.prompting:
            return orders
        return orders + (self._judge() if self._closed else [Await(self._step.next_digit_seconds)])

    def time_up(self) -> list[Order]:
        """No key was pressed for as long as was to be awaited."""
        return self._judge()

    def _judge(self) -> list[Order]:
        outcome = self._outcome()
        if outcome is Outcome.DIGITS or self._tries >= self._step.max_tries:
            return [Gathered(outcome, self._digits, self._tries)]
        return self.begin()

    def _outcome(self) -> Outcome:
        if not self._digits:
            return Outcome.NO_INPUT
        long_enough = len(self._digits) >= self._step.min_digits
        known = not self._step.branches or self._digits in self._step.branches
        return Outcome.DIGITS if long_enough and known else Outcome.INVALID
