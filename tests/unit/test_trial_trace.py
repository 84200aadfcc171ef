"""What a trial tells of its call, and what the call comes to."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from dialer import trial_trace
from dialer.core.changes import AttemptEnded, CallFinished, CallSnoozed, StepTaken
from dialer.core.events import Answered, DigitPressed, EndedBy, LegEnded
from dialer.core.model import CallId, CampaignId, Disposition, LegId, Mono, WallMs
from dialer.core.playbook import Playbook
from dialer.ports import DialOrder
from dialer.trial_trace import Exit, Trace
from tests.support.labs import async_test

CALL, CAMPAIGN, LEG, AGENT = CallId(1), CampaignId(1), LegId(1), LegId(2)
PLAYBOOK = Playbook.model_validate(
    {"name": "x", "trunks": ["a"], "steps": [{"do": "play", "audio": "hello.wav"}, {"do": "hangup"}]}
)


class Told:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.over = 0
        self.given_up = 0
        self.trace = Trace(PLAYBOOK, self._write, finished=self._finished, give_up=self._give_up)

    def _write(self, line: str) -> None:
        self.lines.append(line.split(maxsplit=1)[1])

    def _finished(self) -> None:
        self.over += 1

    def _give_up(self) -> None:
        self.given_up += 1

    def step(self, **line: Any) -> None:
        whole = {"step": 0, "do": "play", "at": 1000, "ended_at": 2500, **line}
        self.trace.told(StepTaken(CALL, CAMPAIGN, 1, WallMs(0), 1, json.dumps(whole)))

    def ends(self, disposition: Disposition, reason: str = "why", *, attempted: bool = True) -> None:
        if attempted:
            self.trace.told(AttemptEnded(CALL, CAMPAIGN, 1, WallMs(0), disposition, reason, None, None, "far"))
        self.trace.told(CallFinished(CALL, CAMPAIGN, WallMs(0), disposition, reason, attempted))


def order(**keys: Any) -> DialOrder:
    return DialOrder("a", "+34600000001", keys.pop("caller_id", ""), "id", **keys)


def refused(status: int) -> LegEnded:
    return LegEnded(LEG, Mono(0), EndedBy.FAR, status, "Not Found")


def test_the_lines_of_a_call_and_of_its_agent() -> None:
    told = Told()
    told.trace.dialed(LEG, order(caller_id="+34911"))
    told.trace.heard(Answered(LEG, Mono(0)))
    told.trace.heard(DigitPressed(LEG, Mono(0), "5"))
    told.trace.dialed(AGENT, order(uri="sip:ana@pbx", beside=LEG))
    told.trace.heard(Answered(AGENT, Mono(0)))
    told.step(label="hello", cut_off=True)
    told.step(of_answer=2, do="say", text="Hello Ana")
    told.step(step=None, do="amd", decision="human")
    assert told.lines == [
        "INVITE to +34600000001 over a, as +34911",
        "answered",
        "key 5",
        "agent: INVITE to sip:ana@pbx over a",
        "agent: answered",
        "steps.0 play 'hello'  1.50 s  audio=hello.wav  cut_off=true",
        'answer 2, steps.0 say  1.50 s  text="Hello Ana"',
        "amd  1.50 s  decision=human",
    ]


@pytest.mark.parametrize(
    ("disposition", "status"),
    [
        (Disposition.ANSWERED, Exit.ANSWERED),
        (Disposition.MACHINE, Exit.MACHINE),
        (Disposition.DECLINED, Exit.DECLINED),
        (Disposition.UNREACHABLE, Exit.UNREACHABLE),
        (Disposition.INTERRUPTED, Exit.OTHER),
    ],
)
def test_each_disposition_has_its_status(disposition: Disposition, status: Exit) -> None:
    told = Told()
    told.ends(disposition)
    assert (told.trace.outcome[0], told.over) == (status, 1)
    assert told.trace.outcome[1] == {"disposition": disposition, "reason": "why", "result": None}


@pytest.mark.parametrize("key", ["fault", "audio_fault"])
def test_a_step_with_a_fault_shows_in_the_status(key: str) -> None:
    told = Told()
    told.step(**{key: "there is no such file"})
    told.ends(Disposition.ANSWERED)
    assert told.trace.outcome[0] is Exit.FAULTY


def test_what_is_put_off_for_long_ends_the_trial_and_what_is_put_off_shortly_is_told_once() -> None:
    told = Told()
    now = round(time.time() * 1000)
    for _ in range(2):
        told.trace.told(CallSnoozed(CALL, CAMPAIGN, 1, WallMs(now + 500), "being rendered"))
    assert (told.lines, told.given_up) == (["waits: being rendered"], 0)
    told.trace.told(CallSnoozed(CALL, CAMPAIGN, 1, WallMs(now + 5000), "no voice"))
    told.ends(Disposition.CANCELLED, "cancelled", attempted=False)
    assert (told.given_up, told.trace.outcome[1]["reason"]) == (1, "no voice")


def _then_the_next_trunk(told: Told) -> None:
    told.trace.dialed(LegId(3), order())


def _then_the_end(told: Told) -> None:
    told.ends(Disposition.BUSY)


@pytest.mark.parametrize(("then", "given_up"), [(lambda _: None, 1), (_then_the_next_trunk, 0), (_then_the_end, 0)])
def test_a_refusal_that_nothing_follows_is_the_end(
    monkeypatch: pytest.MonkeyPatch, then: Callable[[Told], None], given_up: int
) -> None:
    monkeypatch.setattr(trial_trace, "PATIENCE_SECONDS", 0)

    @async_test
    async def test() -> None:
        told = Told()
        told.trace.dialed(LEG, order())
        told.trace.heard(refused(404))
        then(told)
        await asyncio.sleep(0.01)
        assert told.given_up == given_up
        if given_up:
            assert told.trace.outcome[0] is Exit.INVALID_NUMBER

    test()
