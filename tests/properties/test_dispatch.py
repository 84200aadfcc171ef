"""The dialing core under everything that can happen, in random order, watched by a judge that knows only the promises."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from dialer.core.model import CallId, CampaignId, Trunk
from dialer.core.playbook import Playbook
from tests.support.dispatch_judge import Leg
from tests.support.model_dispatch import Rig

TRUNKS = [Trunk("main", 2, 4), Trunk("spare", 1, 1.5), Trunk("fast", 3, 150)]
# What a reload may bring: the same, other limits, and the trunk that was missing.
OTHERS = [
    *TRUNKS,
    Trunk("main", 1, 2.5),
    Trunk("main", 4, 30),
    Trunk("spare", 3, 150),
    Trunk("fast", 1, 1),
    Trunk("gone", 2, 9),
]
ROUTES = [
    ["main"],
    ["spare", "main"],
    ["main", "spare"],
    ["fast"],
    ["fast", "main"],
    ["gone", "main"],
    ["main", "gone"],
]
STEPS: list[list[dict[str, Any]]] = [
    [],
    [{"do": "play", "audio": "hello.wav"}],
    [{"do": "wait", "seconds": 0.5}, {"do": "play", "audio": "hello.wav"}, {"do": "wait", "seconds": 5}],
    [{"do": "transfer", "to": "+34910000099", "ring_timeout_seconds": 1.5}, {"do": "play", "audio": "hello.wav"}],
    [
        {"do": "transfer", "to": "+34910000098", "trunks": ["spare", "fast"], "ring_timeout_seconds": 1},
        {"do": "transfer", "to": "+34910000099", "whisper": [{"do": "play", "audio": "hello.wav"}]},
    ],
]
PHONES = [f"+349100000{n:02}" for n in range(7)]
FORBIDDEN = PHONES[-1]

playbooks = st.builds(
    lambda route, steps, ring, longest, recall_on: Playbook.model_validate(
        {
            "name": "any",
            "trunks": route,
            "steps": steps,
            "ring_timeout_seconds": ring,
            "max_call_seconds": longest,
            "recall_on": recall_on,
        }
    ),
    st.sampled_from(ROUTES),
    st.sampled_from(STEPS),
    st.sampled_from([1, 2.5]),
    st.sampled_from([1, 4]),
    st.sampled_from([["busy", "no_answer", "declined", "unreachable"], ["busy"], []]),
)
phones = st.lists(st.sampled_from(PHONES), min_size=1, max_size=5, unique=True)
ladders = st.sampled_from([(), (200,), (500, 1500), (100, 101, 3_600_000)])
staggers = st.sampled_from([0, 1, 6, 50, 300, 2500])
durations = st.sampled_from([0.0, 0.001, 0.009, 0.01, 0.011, 0.2, 0.4999, 0.5, 1.0, 5.0, 60.0])


class DispatchAgainstTheJudge(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.rig = self.make_rig()
        self.rig.store.forbid(FORBIDDEN)

    def make_rig(self) -> Rig:
        return Rig(TRUNKS, max_concurrent_calls=4, min_recall_gap_ms=150)

    def pick_call(self, index: int) -> CallId:
        calls = sorted(self.rig.store.calls)
        return calls[index % len(calls)]

    def pick_campaign(self, index: int) -> CampaignId:
        campaigns = sorted(self.rig.store.campaigns)
        return campaigns[index % len(campaigns)]

    @precondition(lambda self: len(self.rig.store.campaigns) < 8)
    @rule(
        account=st.integers(1, 3),
        numbers=phones,
        stagger_ms=staggers,
        recall_ms=ladders,
        delay_ms=st.sampled_from([None, -5000, 0, 1, 10, 11, 2500]),
        playbook=playbooks,
    )
    def submit(
        self,
        account: int,
        numbers: list[str],
        stagger_ms: int,
        recall_ms: tuple[int, ...],
        delay_ms: int | None,
        playbook: Playbook,
    ) -> None:
        campaign = self.rig.store.add_campaign(
            size=len(numbers),
            launch_at=self.rig.clock.wall + (delay_ms or 0),
            stagger_ms=stagger_ms,
            recall_ms=recall_ms,
            scheduled=delay_ms is not None,
            account=account,
            playbook=playbook,
            phones=numbers,
        )
        self.rig.submit(campaign)

    @precondition(lambda self: self.rig.store.campaigns)
    @rule(which=st.integers(0, 7), order=st.sampled_from(["pause", "pause", "resume", "resume", "cancel"]))
    def order(self, which: int, order: str) -> None:
        getattr(self.rig, order)(self.pick_campaign(which))

    @precondition(lambda self: self.rig.store.calls and self.rig.store.refuse is None)
    @rule(which=st.integers(0, 40))
    def cancel_call(self, which: int) -> None:
        self.rig.cancel_call(self.pick_call(which))

    @precondition(lambda self: self.rig.judge.legs)
    @rule(which=st.integers(0, 5), what=st.integers(0, 100), soon=st.booleans())
    def something_happens_to_a_leg(self, which: int, what: int, soon: bool) -> None:
        legs: list[Leg] = list(self.rig.judge.legs.values())
        leg = legs[which % len(legs)]
        possible = self.rig.possible(leg)
        self.rig.happen(leg, possible[what % len(possible)])
        if soon:
            self.rig.advance(0.0)

    @precondition(lambda self: self.rig.judge.legs)
    @rule()
    def every_leg_of_a_worker_is_lost(self) -> None:
        for leg in list(self.rig.judge.legs.values()):
            self.rig.happen(leg, "lost")

    @rule(seconds=durations)
    def time_passes(self, seconds: float) -> None:
        self.rig.advance(seconds)

    @rule(off=st.sampled_from([-0.001, 0.0, 0.001, 0.01, 0.011]))
    def time_passes_to_the_edge_of_the_next_turn(self, off: float) -> None:
        self.rig.advance_to_next_turn(off)

    @rule(seconds=st.sampled_from([0.003, 0.02, 0.3, 2.0]))
    def the_loop_is_late(self, seconds: float) -> None:
        self.rig.be_late(seconds)

    @rule(ms=st.sampled_from([-3_600_000, -700, -6, 6, 700, 3_600_000]))
    def somebody_sets_the_wall_clock(self, ms: int) -> None:
        self.rig.step_wall(ms)

    @rule()
    def crash(self) -> None:
        self.rig.crash()

    @rule()
    def restore_a_backup(self) -> None:
        self.rig.restore()

    @precondition(lambda self: self.rig.store.reviewed)
    @rule(most=st.sampled_from([1, 3, 100]))
    def release_from_review(self, most: int) -> None:
        self.rig.release(most)

    @precondition(lambda self: self.rig.store.refuse is None)
    @rule()
    def restart(self) -> None:
        self.rig.drain_and_restart()

    @rule(
        trunks=st.lists(st.sampled_from(OTHERS), max_size=4, unique_by=lambda trunk: trunk.name),
        calls=st.sampled_from([1, 2, 4, 6]),
        gap_ms=st.sampled_from([0, 150, 700]),
        renewed=st.sets(st.sampled_from([trunk.name for trunk in TRUNKS])),
    )
    def somebody_reloads_another_configuration(
        self, trunks: list[Trunk], calls: int, gap_ms: int, renewed: set[str]
    ) -> None:
        self.rig.reconfigure(trunks, calls, gap_ms, renewed=renewed)

    @rule(answered=st.booleans())
    def trunks_answer_options_or_do_not(self, answered: bool) -> None:
        self.rig.options_reason = None if answered else "no answer to OPTIONS"

    @rule(works=st.booleans())
    def the_disk_refuses_or_works(self, works: bool) -> None:
        self.rig.store.refuse = None if works else "disk full"

    @invariant()
    def channels_are_the_legs_on_the_wire_and_those_about_to_leave(self) -> None:
        self.rig.check()

    def teardown(self) -> None:
        self.rig.run_to_the_end(seed=len(self.rig.judge.invites))
        for call in self.rig.judge.finished.values():
            assert call <= 1


# No `explain` phase: it traces every line, and a failure here takes minutes to explain.
PHASES = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]
NO_LIMITS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def test_no_order_of_events_breaks_a_promise() -> None:
    run_state_machine_as_test(
        DispatchAgainstTheJudge,
        settings=settings(
            max_examples=250, stateful_step_count=40, deadline=None, suppress_health_check=NO_LIMITS, phases=PHASES
        ),
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_long_order_of_events_breaks_a_promise() -> None:
    run_state_machine_as_test(
        DispatchAgainstTheJudge,
        settings=settings(
            max_examples=3000,
            stateful_step_count=80,
            deadline=timedelta(seconds=60),
            suppress_health_check=NO_LIMITS,
            phases=PHASES,
        ),
    )
