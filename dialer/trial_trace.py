"""What `dialer playbook try` shows of its call, line by line as it happens, and what the call comes to."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, Final

from dialer.core.changes import (
    AttemptEnded,
    CallFinished,
    CallSnoozed,
    Change,
    StepTaken,
)
from dialer.core.disposition import Evidence, Verdict, classify
from dialer.core.events import (
    Answered,
    DigitPressed,
    EndedBy,
    LegEnded,
    LegEvent,
    LegLost,
    LegRefused,
    NoReply,
    Rang,
    Referred,
)
from dialer.core.model import Disposition, LegId
from dialer.core.playbook import Playbook
from dialer.core.step_kinds import Play
from dialer.ports import DialOrder


class Exit(IntEnum):
    """How the command ends. (2 is wrong usage.) FAULTY: the call was answered, and one of its steps had a fault."""

    ANSWERED = 0
    OTHER = 1
    FAULTY = 3
    BUSY = 4
    NO_ANSWER = 5
    DECLINED = 6
    UNREACHABLE = 7
    INVALID_NUMBER = 8
    TRUNK_FAILURE = 9
    MACHINE = 10


_SHOWN_APART: Final = frozenset({"step", "of_answer", "do", "label", "at", "ended_at"})
_FAULTS: Final = ("fault", "audio_fault")
# What is put off for longer than this (speech that is not ready is for half a second) is not awaited.
PATIENCE_SECONDS: Final = 2


class Trace:
    """Told orders, news and changes of the one call, it writes lines. `finished` is called once, when the call is over.

    A trial does not wait for better times: `give_up` is called where the core would try again later.
    """

    def __init__(
        self,
        playbook: Playbook,
        write: Callable[[str], None],
        *,
        finished: Callable[[], None],
        give_up: Callable[[], None],
    ) -> None:
        self._steps = playbook.steps
        self._write = write
        self._finished = finished
        self._give_up = give_up
        self._invites = 0
        self._ended = False
        self._began = time.monotonic()
        self._agents: set[LegId] = set()
        self._answered: set[LegId] = set()
        self._waits = ""
        self._faulty = False
        self._given_up: Verdict | None = None
        self._end = Verdict(Disposition.INTERRUPTED, "the call did not end")
        self._result: dict[str, Any] | None = None

    @property
    def outcome(self) -> tuple[Exit, dict[str, Any]]:
        """How the command ends, and the call's disposition, reason and result."""
        end = self._given_up or self._end
        told = {"disposition": end.disposition, "reason": end.reason, "result": self._result}
        if end.disposition is Disposition.ANSWERED:
            return Exit.FAULTY if self._faulty else Exit.ANSWERED, told
        return Exit.__members__.get(end.disposition.name, Exit.OTHER), told

    def line(self, text: str) -> None:
        """Write the text, with the seconds since the beginning before it."""
        self._write(f"{time.monotonic() - self._began:7.2f}  {text}")

    def dialed(self, leg: LegId, order: DialOrder) -> None:
        """An INVITE is about to leave."""
        if order.beside is not None:
            self._agents.add(leg)
        else:
            self._invites += 1
        shown = f", as {order.caller_id}" if order.caller_id else ""
        self._tell(leg, f"INVITE to {order.uri or order.number} over {order.trunk}{shown}")

    def heard(self, event: LegEvent) -> None:
        """News of a leg."""
        match event:
            case NoReply(leg):
                self._tell(leg, "no reply so far")
            case Rang(leg, _, status):
                self._tell(leg, f"rings ({status})")
            case Answered(leg):
                self._answered.add(leg)
                self._tell(leg, "answered")
            case DigitPressed(leg, _, digit):
                self._tell(leg, f"key {digit}")
            case Referred(leg, _, _, status, reason):
                self._tell(leg, f"REFER: {status} {reason}")
            case LegEnded():
                self._over(event)
            case LegRefused():
                self._over(event.as_end())
            case LegLost(leg, _, reason):
                self._tell(leg, f"lost: {reason}")

    def told(self, change: Change) -> None:
        """A fact about the call."""
        match change:
            case StepTaken(line=line, result=result):
                self._step(json.loads(line))
                self._result = self._result if result is None else json.loads(result)
            case CallSnoozed(reason=reason, due_at=due_at):
                if due_at / 1000 - time.time() > PATIENCE_SECONDS:
                    self._end_with(Verdict(Disposition.EXPIRED, reason))
                elif reason != self._waits:
                    self._waits = reason
                    self.line(f"waits: {reason}")
            case AttemptEnded(disposition=disposition, reason=reason):
                self._end = Verdict(disposition, reason)
            case CallFinished(disposition=disposition, reason=reason, attempted=attempted):
                if not attempted:
                    self._end = Verdict(disposition, reason)
                self._ended = True
                self._finished()

    def _tell(self, leg: LegId, text: str) -> None:
        self.line(f"agent: {text}" if leg in self._agents else text)

    def _over(self, end: LegEnded) -> None:
        whose = {EndedBy.FAR: "far side", EndedBy.US: "us", EndedBy.STACK: "the SIP stack"}[end.by]
        words = f"{end.final_status or ''} {end.reason}".strip()
        if end.leg in self._answered:
            self._tell(end.leg, f"hung up by {whose}")
            return
        self._tell(end.leg, f"over: {words}")
        if end.leg not in self._agents:
            asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._look, self._invites, end)

    def _look(self, invites: int, end: LegEnded) -> None:
        """The INVITE came to nothing: by now the call is over, or the next trunk was tried, or the core waits.

        It waits to try again, or to know what the trunk's word is worth.
        """
        if invites == self._invites and not self._ended:
            self._end_with(classify(Evidence(end.sip_status, end.by, end.q850, phrase=end.reason)))

    def _end_with(self, verdict: Verdict) -> None:
        self._given_up = verdict
        self._give_up()

    def _step(self, line: Mapping[str, Any]) -> None:
        place = line["step"]
        details = {key: value for key, value in line.items() if key not in _SHOWN_APART}
        where = "" if place is None else f"steps.{place} "
        if "of_answer" in line:
            where = f"answer {line['of_answer']}, {where}"
        elif place is not None and isinstance(step := self._steps[place], Play):
            details = {"audio": step.audio, **details}
        name = f"{line['do']} {line['label']!r}" if "label" in line else line["do"]
        seconds = (line["ended_at"] - line["at"]) / 1000
        shown = "".join(f"  {key}={_plain(value)}" for key, value in details.items())
        self.line(f"{where}{name}  {seconds:.2f} s{shown}")
        self._faulty |= any(key in line for key in _FAULTS)


def _plain(value: object) -> str:
    return value if isinstance(value, str) and value and " " not in value else json.dumps(value, ensure_ascii=False)
