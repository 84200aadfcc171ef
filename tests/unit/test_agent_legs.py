"""Legs to agents through the core's own doors, one story each. tests/properties/test_transfers.py has every order."""

from typing import Any

import pytest

from dialer.core.acts import CallAgent
from dialer.core.agents import Agent, AgentRules
from dialer.core.changes import AgentArmed, AgentEnded, AgentMoved, AttemptEnded, StepTaken, TransferMoved
from dialer.core.destinations import DestinationRules
from dialer.core.model import Disposition, Trunk
from dialer.core.playbook import Machine, Playbook
from tests.support.dispatch_judge import Leg
from tests.support.model_dispatch import Rig
from tests.unit.test_dispatch import changes

CALLEE, AGENT = "+34600000001", "+34910000009"
MAIN, AGENTS, SPARE = (
    Trunk("main", 5, 20, "+34900000001"),
    Trunk("agents", 1, 10, "+34900000002"),
    Trunk("spare", 5, 20),
)


def talking(*, ring: float = 10, longest: float = 600, **keys: Any) -> tuple[Rig, Leg]:
    """A call that was answered and is to be handed over; behind the transfer it waits."""
    bench = Rig([MAIN, AGENTS, SPARE], max_concurrent_calls=10)
    return bench, another(bench, CALLEE, ring=ring, longest=longest, **keys)


def another(bench: Rig, phone: str, *, ring: float = 10, longest: float = 600, **keys: Any) -> Leg:
    step = {"do": "transfer", "to": AGENT, "ring_timeout_seconds": ring, **keys}
    steps = [step, {"do": "wait", "seconds": 60}]
    playbook = Playbook.model_validate(
        {"name": "any", "trunks": ["main"], "steps": steps, "max_call_seconds": longest, "caller_id": "+34900000003"}
    )
    bench.submit(bench.store.add_campaign(playbook=playbook, phones=[phone], launch_at=bench.clock.wall))
    bench.advance(0.06)
    leg = next(leg for leg in bench.judge.legs.values() if leg.phone == phone)
    answer(bench, leg)
    return leg


def answer(bench: Rig, leg: Leg) -> None:
    for what in ("sent", "rang", "answered"):
        bench.happen(leg, what)
    bench.advance(0.0)


def agents_leg(bench: Rig, seconds: float = 0.2) -> Leg:
    bench.advance(seconds)
    (leg,) = [leg for leg in bench.judge.legs.values() if leg.beside is not None]
    return leg


def outcomes(bench: Rig) -> list[tuple[str, Disposition, str]]:
    return [(change.ended_by, change.disposition, change.reason) for change in changes(bench, AgentEnded)]


def lines(bench: Rig) -> list[str]:
    return [change.line for change in changes(bench, StepTaken)]


def test_an_agents_leg_is_on_disk_before_it_leaves_and_holds_a_channel_of_its_trunk() -> None:
    bench, _ = talking(trunks=["agents"])
    leg = agents_leg(bench)
    (armed,) = changes(bench, AgentArmed)
    assert (armed.position, armed.agent, armed.trunk) == (1, AGENT, "agents")
    assert armed.sip_call_id.endswith("-1-agent-1")
    assert (leg.trunk, leg.phone) == ("agents", AGENT)
    assert bench.dispatch.pacing.channels()["agents"] == (1, 1)
    assert bench.dispatch.pacing.taken == 2
    bench.check()


def test_the_pair_ends_together_when_the_agent_hangs_up_and_the_call_was_answered() -> None:
    bench, callee = talking()
    agent = agents_leg(bench)
    answer(bench, agent)
    assert bench.judge.agents.bridged == {(callee.id, agent.id)}
    bench.advance(0.1)
    assert [change.stage for change in changes(bench, AgentMoved)] == ["dialed", "ringing", "answered"]
    assert [change.stage for change in changes(bench, TransferMoved)] == ["transferring", "transferred"]
    bench.happen(agent, "bye")
    assert callee.hung_up
    bench.happen(callee, "bye")
    bench.advance(0.1)
    assert [change.disposition for change in changes(bench, AttemptEnded)] == [Disposition.ANSWERED]
    assert outcomes(bench) == [("far", Disposition.ANSWERED, "the agent hung up")]
    assert bench.dispatch.idle


@pytest.mark.parametrize("answered", [True, False])
def test_a_callee_who_hangs_up_ends_the_agents_leg_which_keeps_its_channel_until_its_end(answered: bool) -> None:
    bench, callee = talking()
    agent = agents_leg(bench)
    if answered:
        answer(bench, agent)
    else:
        bench.happen(agent, "sent")
        bench.happen(agent, "rang")
    bench.happen(callee, "bye")
    bench.advance(5)
    assert agent.hung_up
    assert [change.disposition for change in changes(bench, AttemptEnded)] == [Disposition.ANSWERED]
    assert bench.dispatch.live == 0
    assert bench.dispatch.pacing.taken == 1
    assert not bench.dispatch.idle
    if not answered:
        bench.happen(agent, "answered")  # it crossed our CANCEL: the worker ends it, and nobody is joined with it
        assert bench.judge.agents.bridged == set()
    bench.happen(agent, "bye" if answered else "final 487")
    bench.advance(0.1)
    assert bench.dispatch.idle
    assert changes(bench, AgentEnded)[0].disposition is (Disposition.ANSWERED if answered else Disposition.CANCELLED)


@pytest.mark.parametrize("status", ["486", "603", "480"])
def test_an_agents_own_word_is_followed_by_no_other_invite(status: str) -> None:
    bench, callee = talking(trunks=["agents", "spare"])
    agent = agents_leg(bench)
    bench.happen(agent, "sent")
    bench.happen(agent, f"final {status}")
    bench.advance(20)
    assert len(changes(bench, AgentArmed)) == 1
    assert not callee.hung_up, "the next step is under way"
    assert '"outcome"' in lines(bench)[0]


def test_a_trunk_that_refuses_is_followed_by_the_next_with_a_record_of_its_own() -> None:
    bench, callee = talking(trunks=["agents", "spare"])
    first = agents_leg(bench)
    bench.happen(first, "sent")
    bench.happen(first, "final 503")
    second = agents_leg(bench)
    assert [(change.position, change.trunk) for change in changes(bench, AgentArmed)] == [(1, "agents"), (2, "spare")]
    assert changes(bench, AgentEnded)[0].disposition is Disposition.TRUNK_FAILURE
    bench.happen(second, "sent")
    bench.happen(second, "final 503")
    bench.advance(1)
    assert len(changes(bench, AgentArmed)) == 2, "no trunk is left"
    assert '"outcome":"failed"' in lines(bench)[0]
    assert not callee.hung_up


def test_an_agents_invite_that_is_told_of_after_the_callee_hung_up_is_on_its_own_record_only() -> None:
    bench, callee = talking()
    agent = agents_leg(bench)
    bench.happen(callee, "bye")
    bench.happen(agent, "sent")
    bench.happen(agent, "final 487")
    bench.advance(0.1)
    assert [change.stage for change in changes(bench, AgentMoved)] == ["dialed"]
    assert changes(bench, TransferMoved) == []
    assert bench.dispatch.idle


def test_a_worker_without_a_place_is_asked_again_on_the_same_trunk() -> None:
    bench, _ = talking(trunks=["agents"])
    bench.happen(agents_leg(bench), "refused transient")
    bench.advance(0.45)
    assert len(changes(bench, AgentArmed)) == 1
    assert agents_leg(bench, 0.3).trunk == "agents"


def test_a_worker_that_cannot_carry_it_at_all_is_the_trunks_fault() -> None:
    bench, _ = talking(trunks=["agents", "spare"])
    bench.happen(agents_leg(bench), "refused fatal")
    assert agents_leg(bench).trunk == "spare"


def test_an_agent_who_does_not_answer_is_given_up_and_the_callee_does_not_wait_for_the_end_of_it() -> None:
    bench, callee = talking(ring=4)
    agent = agents_leg(bench)
    bench.happen(agent, "sent")
    bench.happen(agent, "rang")
    bench.advance(3.9)
    assert agent.hung_up
    assert '"outcome":"no_answer"' in lines(bench)[0]
    assert callee.playing is None
    assert bench.dispatch.pacing.taken == 2
    bench.happen(agent, "final 487")
    bench.advance(0.1)
    assert bench.dispatch.pacing.taken == 1
    assert outcomes(bench) == [("far", Disposition.NO_ANSWER, "ring timeout")]


def test_where_no_channel_is_free_it_waits_and_goes_before_calls_that_have_not_begun() -> None:
    bench, _ = talking(trunks=["agents"], ring=30)
    answer(bench, agents_leg(bench))
    another(bench, "+34600000002", trunks=["agents"], ring=30)
    playbook = Playbook(name="other", trunks=["agents"])
    bench.submit(bench.store.add_campaign(playbook=playbook, phones=["+34600000003"], launch_at=bench.clock.wall))
    bench.advance(5)
    (first,) = [leg for leg in bench.judge.legs.values() if leg.trunk == "agents"]
    bench.happen(first, "bye")
    bench.advance(0.3)
    (second,) = [leg for leg in bench.judge.legs.values() if leg.trunk == "agents"]
    assert second.beside is not None


def test_a_transfer_that_finds_no_channel_in_time_has_failed() -> None:
    bench, _ = talking(trunks=["agents"], ring=300)
    answer(bench, agents_leg(bench))
    another(bench, "+34600000002", trunks=["agents"], ring=2)
    bench.advance(2.1)
    assert "no channel was free in time" in lines(bench)[-1]
    assert len(changes(bench, AgentArmed)) == 1


def test_a_trunk_that_this_machine_lacks_leads_nowhere() -> None:
    bench, _ = talking(trunks=["gone"])
    bench.advance(0.01)
    assert "no channel was free in time" in lines(bench)[0]


def test_an_agents_invite_does_not_leave_while_the_disk_refuses_its_record_and_never_for_a_callee_who_is_gone() -> None:
    bench = Rig([MAIN, AGENTS, SPARE], max_concurrent_calls=10)
    playbook = Playbook.model_validate({"name": "x", "trunks": ["main"], "steps": [{"do": "transfer", "to": AGENT}]})
    bench.submit(bench.store.add_campaign(playbook=playbook, phones=[CALLEE], launch_at=bench.clock.wall))
    bench.advance(0.06)
    (callee,) = bench.judge.legs.values()
    for what in ("sent", "rang", "answered"):
        bench.happen(callee, what)
    bench.store.refuse = "full"
    bench.advance(0.2)
    assert bench.judge.agents.armed
    assert list(bench.judge.legs.values()) == [callee]
    bench.happen(callee, "bye")
    bench.store.refuse = None
    bench.advance(1)
    assert not bench.judge.legs
    assert [change.disposition for change in changes(bench, AgentEnded)] == [Disposition.CANCELLED]
    assert bench.dispatch.idle


@pytest.mark.parametrize("order", ["max_call", "cancel"])
def test_limits_and_orders_end_both_legs(order: str) -> None:
    bench, callee = talking(longest=20)
    agent = agents_leg(bench)
    answer(bench, agent)
    if order == "cancel":
        bench.cancel_call(callee.call)
    else:
        bench.advance(20)
    assert (callee.hung_up, agent.hung_up) == (True, True)
    bench.happen(agent, "bye")
    bench.happen(callee, "bye")
    bench.advance(0.1)
    assert '"ended_by":"us"' in lines(bench)[0]
    assert bench.dispatch.idle


def test_draining_lets_a_pair_talk_on_and_begins_no_leg_to_an_agent() -> None:
    bench, _ = talking(trunks=["agents"], ring=300)
    pair = agents_leg(bench)
    answer(bench, pair)
    another(bench, "+34600000002", trunks=["agents"], ring=300)
    bench.dispatch.drain(bench.clock.now())
    bench.advance(0.1)
    assert not pair.hung_up
    assert "the server is stopping" in lines(bench)[-1]


@pytest.mark.parametrize("heard", [True, False])
def test_after_a_crash_a_leg_to_an_agent_is_over_or_counts_as_long_as_its_phone_may_ring(heard: bool) -> None:
    bench, _ = talking(trunks=["agents"], ring=10)
    agent = agents_leg(bench)
    if heard:
        bench.happen(agent, "sent")
        bench.advance(0.1)
    bench.crash()
    bench.advance(5)
    assert bench.dispatch.pacing.channels()["agents"] == (0 if heard else 1, 1)
    bench.advance(5.1)
    assert bench.dispatch.pacing.taken == 0
    assert [change.disposition for change in changes(bench, AgentEnded)] == [Disposition.INTERRUPTED]


def test_a_worker_that_dies_takes_the_pair_with_it() -> None:
    bench, callee = talking()
    agent = agents_leg(bench)
    answer(bench, agent)
    bench.happen(callee, "lost")
    bench.happen(agent, "lost")
    bench.advance(0.1)
    assert [change.disposition for change in changes(bench, AttemptEnded)] == [Disposition.INTERRUPTED]
    assert [change.disposition for change in changes(bench, AgentEnded)] == [Disposition.INTERRUPTED]
    assert bench.dispatch.idle


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ({}, "+34900000003"),
        ({"trunks": ["agents"]}, "+34900000002"),
        ({"trunks": ["spare"]}, ""),
        ({"caller_id": "callee"}, CALLEE),
        ({"trunks": ["agents"], "caller_id": "+34900000009"}, "+34900000009"),
    ],
)
def test_the_agent_sees_what_the_playbook_chose_else_what_calls_on_that_trunk_show(
    keys: dict[str, Any], shown: str
) -> None:
    bench, _ = talking(**keys)
    agents_leg(bench)
    assert [change.caller_id for change in changes(bench, AgentArmed)] == [shown]


def test_two_agents_at_once_for_one_call_are_a_defect() -> None:
    bench, callee = talking()
    attempt = bench.dispatch._attempts.get(callee.call)
    assert attempt is not None
    with pytest.raises(ValueError, match="has a leg to an agent already"):
        bench.dispatch._attempts.agents.call(attempt, CallAgent(Agent("1", "", ("main",)), None, 1), bench.clock.now())


def test_after_a_new_configuration_calls_are_handed_over_by_its_rules() -> None:
    bench = Rig([MAIN, AGENTS, SPARE], max_concurrent_calls=10)
    machine = Machine({}, agents=AgentRules(destinations=DestinationRules(("+44",))))
    bench.dispatch.reconfigure([MAIN, AGENTS, SPARE], bench.limits, bench.clock.now(), machine=machine)
    another(bench, CALLEE)
    bench.advance(0.2)
    assert not changes(bench, AgentArmed)
    assert '"outcome":"failed"' in lines(bench)[0]
