import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.facts import BuildFacts
from sip.plan import PlanImpossible, plan_pool

WHEEL = BuildFacts("2.15.1", 4, waits_by_epoll=False, tls_1_3=False)
OWN = BuildFacts("2.17", 1024, waits_by_epoll=True, tls_1_3=True)


def test_the_docstrings_examples() -> None:
    assert plan_pool(WHEEL, 30).workers == 9
    plan = plan_pool(OWN, 30)
    assert (plan.workers, plan.places) == (2, 30)
    assert plan_pool(OWN, 3_000, rtp=(10_000, 65_000)).workers == 4


@given(st.sampled_from([WHEEL, OWN]), st.integers(1, 900), st.none() | st.integers(1, 60))
def test_a_plan_carries_the_limit_and_its_ports_are_disjoint(
    facts: BuildFacts, limit: int, workers: int | None
) -> None:
    try:
        plan = plan_pool(facts, limit, workers=workers)
    except PlanImpossible:
        assert workers is not None
        return
    assert plan.workers * plan.places >= limit
    assert plan.places <= facts.max_calls
    assert plan.rtp_ports >= 4 * plan.places
    assert plan.slots > plan.workers
    starts = [plan.rtp_port(slot) for slot in range(plan.slots)]
    assert all(start % 2 == 0 for start in starts)
    assert all(later - earlier >= plan.rtp_ports for earlier, later in itertools.pairwise(starts))
    assert starts[0] > 1_024
    assert starts[-1] + plan.rtp_ports <= 32_768


@given(st.integers(1_024, 60_000), st.integers(0, 5_000), st.integers(1, 40))
def test_ports_that_were_given_are_never_left(low: int, width: int, limit: int) -> None:
    try:
        plan = plan_pool(OWN, limit, rtp=(low, low + width))
    except PlanImpossible:
        assert width < 3 * 4 * limit + 3  # three slots, and what rounding to even ports costs
        return
    assert plan.rtp_port(0) >= low
    assert plan.rtp_port(plan.slots - 1) + plan.rtp_ports - 1 <= low + width


def test_too_few_workers_for_the_build_are_refused() -> None:
    with pytest.raises(PlanImpossible, match="4 calls a process, and workers is 2"):
        plan_pool(WHEEL, 30, workers=2)
