"""What every store promises of what happens on a call: a playbook's steps, legs to agents, transfers."""

from dialer.core.changes import (
    AgentArmed,
    AgentEnded,
    AgentMoved,
    ContactWritten,
    LegStage,
    TransferMoved,
    TransferStage,
)
from dialer.core.model import (
    Campaign,
    Disposition,
    OpenAgentLeg,
    WallMs,
)
from tests.support.fake_store import Counts
from tests.support.store_world import T0, World, arm, call_of, dial, end, finish, refused, taken

# What a playbook did on a call


def test_steps_are_kept_for_an_open_attempt_and_no_other(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    refused(world, c, taken(c, 1))
    world.store.apply([arm(c), dial(c), taken(c, 1), taken(c, 2), end(c), finish(c)])
    refused(world, c, taken(c, 3))


def test_fields_that_a_playbook_writes_change_nothing_about_the_call(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    before = world.store.call(call_of(c)).contact
    written = ContactWritten(call_of(c), c.id, 1, WallMs(T0), world.store.call(call_of(c)).phone, '{"asked":"yes"}')
    world.store.apply([arm(c), dial(c), written, end(c), finish(c)])
    assert world.store.call(call_of(c)).contact == before


# Legs to agents


def agent_arm(c: Campaign, position: int = 1, *, number: int = 1) -> AgentArmed:
    call = call_of(c)
    until, sip_call_id = WallMs(T0 + 30_000), f"{call}-{number}-agent-{position}@dialer"
    return AgentArmed(call, c.id, number, position, WallMs(T0), until, "+34910000009", "pbx", "+34900", sip_call_id)


def agent_move(c: Campaign, stage: LegStage, dialog: str, position: int = 1) -> AgentMoved:
    return AgentMoved(call_of(c), c.id, 1, position, stage, WallMs(T0 + 100), dialog)


def agent_end(c: Campaign, position: int = 1) -> AgentEnded:
    return AgentEnded(call_of(c), c.id, 1, position, WallMs(T0 + 900), Disposition.BUSY, "Busy Here", 486, 17, "far")


def test_an_agents_leg_is_found_open_until_it_has_ended_which_may_be_after_its_call(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    assert world.store.open_agent_legs() == []
    world.store.apply([arm(c), dial(c), agent_arm(c)])
    found = OpenAgentLeg(call_of(c), c.id, 1, 1, "pbx", WallMs(T0 + 30_000))
    assert world.store.open_agent_legs() == [found]
    world.store.apply([agent_move(c, LegStage.DIALED, "one"), agent_move(c, LegStage.RINGING, "two")])
    world.store.apply([end(c, disposition=Disposition.ANSWERED), finish(c, disposition=Disposition.ANSWERED)])
    world.reopen()
    (held,) = world.store.open_agent_legs()
    assert held.dialog == "two"
    world.store.apply([agent_move(c, LegStage.ANSWERED, "three")])
    world.store.apply([agent_end(c)])
    assert world.store.open_agent_legs() == []
    assert world.counts(c.id) == Counts(0, 0, 1, 1, {"answered": 1})


def test_agents_legs_follow_one_another_in_one_batch(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    sent = agent_move(c, LegStage.DIALED, "one")
    world.store.apply([arm(c), dial(c), agent_arm(c), sent, agent_end(c), agent_arm(c, 2)])
    assert [leg.position for leg in world.store.open_agent_legs()] == [2]


def test_an_agents_leg_needs_an_open_attempt_and_begins_and_ends_once(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    refused(world, c, agent_arm(c))
    world.store.apply([arm(c), dial(c), agent_arm(c)])
    refused(world, c, agent_arm(c))
    refused(world, c, agent_end(c, 2))
    world.store.apply([agent_end(c)])
    refused(world, c, agent_end(c))
    refused(world, c, agent_move(c, LegStage.RINGING, "late"))


def test_a_clock_that_was_set_moves_the_time_at_which_an_agent_is_given_up(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    world.store.apply([arm(c), dial(c), agent_arm(c)])
    world.store.clock_stepped(5_000, WallMs(T0 + 1_000))
    assert [leg.until for leg in world.store.open_agent_legs()] == [T0 + 35_000]


def test_what_is_told_of_a_transfer_changes_nothing_about_the_call(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    told = TransferMoved(call_of(c), c.id, 1, WallMs(T0), TransferStage.TRANSFERRED, "{}")
    world.store.apply([arm(c), dial(c), told, end(c), finish(c)])
    assert world.counts(c.id) == Counts(0, 0, 1, 1, {"busy": 1})
