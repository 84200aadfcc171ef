"""Calls that are handed over to agents, under everything that can happen, in random order, watched by the same judge."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dialer.core.model import Trunk
from dialer.core.playbook import Playbook
from tests.properties.test_dispatch import NO_LIMITS, PHASES, durations
from tests.support.dispatch_judge import Leg
from tests.support.model_dispatch import Rig

TRUNKS = [Trunk("main", 2, 6), Trunk("agents", 2, 3), Trunk("both", 3, 150)]
FIRST, SECOND = "+34910000098", "+34910000099"
WHISPER = [{"do": "play", "audio": "from-ana.wav"}, {"do": "say", "text": "from {first_name|somebody}"}]


def to(agent: str, **keys: Any) -> dict[str, Any]:
    return {"do": "transfer", "to": agent, **keys}


STEPS: list[list[dict[str, Any]]] = [
    [to(FIRST, ring_timeout_seconds=1.5)],
    [to(FIRST, trunks=["agents"], ring_timeout_seconds=2), to(SECOND, whisper=WHISPER), {"do": "wait", "seconds": 1}],
    [to(FIRST, trunks=["agents", "both"], whisper=WHISPER, on_failed="again"), {"label": "again", **to(SECOND)}],
    [to("nobody at all", on_failed="real"), {"do": "hangup"}, {"label": "real", **to(FIRST, trunks=["gone", "main"])}],
]
ROUTES = [["main"], ["both"], ["agents", "both"]]
plans, routes = st.sampled_from(STEPS), st.sampled_from(ROUTES)
lengths = st.sampled_from([2.5, 60])
phones = st.sampled_from([f"+349100000{n:02}" for n in range(4)])


class TransfersAgainstTheJudge(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig(TRUNKS, max_concurrent_calls=4, min_recall_gap_ms=150)

    def a_call(self, steps: list[dict[str, Any]], route: list[str], longest: float, phone: str) -> None:
        playbook = Playbook.model_validate(
            {"name": "any", "trunks": route, "steps": steps, "max_call_seconds": longest, "recall_on": []}
        )
        self.rig.submit(self.rig.store.add_campaign(launch_at=self.rig.clock.wall, playbook=playbook, phones=[phone]))
        self.rig.advance(0.1)
        for leg in self.legs(lambda leg: leg.beside is None and not leg.sent):
            self.answer(leg)

    @initialize(steps=plans, route=routes, longest=lengths, phone=phones)
    def a_first_call(self, steps: list[dict[str, Any]], route: list[str], longest: float, phone: str) -> None:
        self.a_call(steps, route, longest, phone)

    @precondition(lambda self: len(self.rig.store.campaigns) < 6)
    @rule(steps=plans, route=routes, longest=lengths, phone=phones)
    def another_call(self, steps: list[dict[str, Any]], route: list[str], longest: float, phone: str) -> None:
        self.a_call(steps, route, longest, phone)

    @rule(which=st.integers(0, 5))
    def an_agent_answers(self, which: int) -> None:
        self.rig.advance(0.4)
        for leg in self.legs(lambda leg: leg.beside is not None and not leg.answered, which):
            self.answer(leg)

    @rule(which=st.integers(0, 5))
    def an_agent_answers_and_is_told_whose_call_it_is(self, which: int) -> None:
        self.an_agent_answers(which)
        for _ in WHISPER:
            for leg in self.legs(lambda leg: leg.beside is not None and leg.playing is not None):
                self.rig.happen(leg, "played")

    @rule(which=st.integers(0, 5), what=st.integers(0, 100))
    def something_happens_to_an_agents_leg(self, which: int, what: int) -> None:
        for leg in self.legs(lambda leg: leg.beside is not None, which):
            possible = self.rig.possible(leg)
            self.rig.happen(leg, possible[what % len(possible)])

    @rule(which=st.integers(0, 5), what=st.integers(0, 100))
    def something_happens_to_a_leg(self, which: int, what: int) -> None:
        for leg in self.legs(lambda _: True, which):
            possible = self.rig.possible(leg)
            self.rig.happen(leg, possible[what % len(possible)])

    @rule(which=st.integers(0, 3))
    def audio_has_ended(self, which: int) -> None:
        for leg in self.legs(lambda leg: leg.playing is not None, which):
            self.rig.happen(leg, "played")

    @rule(which=st.integers(0, 5))
    def a_worker_dies_with_a_pair(self, which: int) -> None:
        for leg in self.legs(lambda leg: leg.beside is not None, which):
            self.rig.happen(leg, "lost")
            if leg.beside in self.rig.judge.legs:
                self.rig.happen(self.rig.judge.legs[leg.beside], "lost")

    @precondition(lambda self: self.rig.store.refuse is None)
    @rule(which=st.integers(0, 20))
    def a_call_is_cancelled(self, which: int) -> None:
        calls = sorted(self.rig.store.calls)
        self.rig.cancel_call(calls[which % len(calls)])

    @rule(seconds=durations)
    def time_passes(self, seconds: float) -> None:
        self.rig.advance(seconds)

    @rule(seconds=st.sampled_from([0.0, 0.009, 0.011, 0.2, 0.5]))
    def a_moment_passes(self, seconds: float) -> None:
        self.rig.advance(seconds)

    @rule()
    def crash(self) -> None:
        self.rig.crash()

    @precondition(lambda self: self.rig.store.refuse is None)
    @rule()
    def restart(self) -> None:
        self.rig.drain_and_restart()

    @rule(seconds=st.sampled_from([0.1, 3.0]))
    def the_disk_refuses_for_a_while(self, seconds: float) -> None:
        self.rig.store.refuse = "disk full"
        self.rig.advance(seconds)
        self.rig.store.refuse = None

    @invariant()
    def channels_are_the_legs_on_the_wire_and_those_about_to_leave(self) -> None:
        self.rig.check()

    def legs(self, which_are: Callable[[Leg], bool], which: int = 0) -> list[Leg]:
        """One of the legs that are so, or none."""
        found = [leg for leg in self.rig.judge.legs.values() if which_are(leg)]
        return [found[which % len(found)]] if found else []

    def answer(self, leg: Leg) -> None:
        for what in ("sent", "rang", "answered"):
            if leg.id in self.rig.judge.legs and not leg.hung_up and not (leg.sent and what == "sent"):
                self.rig.happen(leg, what)
        self.rig.advance(0.0)

    def teardown(self) -> None:
        self.rig.run_to_the_end(seed=len(self.rig.judge.invites))


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        TransfersAgainstTheJudge,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=NO_LIMITS,
            phases=PHASES,
        ),
    )


def test_no_order_of_events_breaks_a_promise_while_calls_are_handed_over() -> None:
    run(100, 40)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_long_order_of_events_breaks_a_promise_while_calls_are_handed_over() -> None:
    run(2000, 80)
