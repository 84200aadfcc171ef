"""The whole engine on a database, under all that can happen and power cuts at its commits, watched by the judge of the core.

What the store on SQLite holds is compared with a simple one in memory after every step.
"""

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from tests.properties.test_dispatch import NO_LIMITS, PHASES, TRUNKS, DispatchAgainstTheJudge
from tests.support.engine_rig import EngineRig


class EngineAgainstTheJudge(DispatchAgainstTheJudge):
    rig: EngineRig

    def make_rig(self) -> EngineRig:
        self.folder = tempfile.TemporaryDirectory()
        return EngineRig(Path(self.folder.name), TRUNKS, max_concurrent_calls=4, min_recall_gap_ms=150)

    @rule(when=st.sampled_from(["before", "after"]))
    def the_power_fails_at_the_next_commit(self, when: str) -> None:
        self.rig.cut_power(when)

    @rule(ms=st.sampled_from([-3_600_000, -700, 700, 3_600_000]))
    def the_process_dies_and_the_wall_clock_is_set_before_the_next_one_starts(self, ms: int) -> None:
        self.rig.crash(ms)

    @invariant()
    def the_database_holds_what_a_simple_store_holds(self) -> None:
        self.rig.store.agree()

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.rig.close()
            self.folder.cleanup()


def test_no_order_of_events_breaks_a_promise() -> None:
    run_state_machine_as_test(
        EngineAgainstTheJudge,
        settings=settings(
            max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=NO_LIMITS, phases=PHASES
        ),
    )


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_no_long_order_of_events_breaks_a_promise() -> None:
    run_state_machine_as_test(
        EngineAgainstTheJudge,
        settings=settings(
            max_examples=1500, stateful_step_count=80, deadline=None, suppress_health_check=NO_LIMITS, phases=PHASES
        ),
    )
