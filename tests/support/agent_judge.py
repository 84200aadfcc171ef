"""The judge's part about legs to agents: recorded before they leave, paced and counted like others, ended with their pair."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dialer.core.changes import AgentArmed, AgentEnded, Change
from dialer.core.model import CallId, Disposition, LegId, WallMs

if TYPE_CHECKING:
    from dialer.core.effects import Dial
    from tests.support.dispatch_judge import Judge, Leg

Key = tuple[CallId, int, int]


@dataclass
class AgentJudge:
    """`armed` hold a channel and have not left; `unheard` are of a process that died, by when they are given up."""

    judge: Judge
    armed: dict[str, str] = field(default_factory=dict)
    unheard: dict[Key, tuple[str, float]] = field(default_factory=dict)
    bridged: set[tuple[LegId, LegId]] = field(default_factory=set)
    _decided: dict[Key, str] = field(default_factory=dict)
    _configurations: dict[Key, int] = field(default_factory=dict)
    _on_disk: dict[str, AgentArmed] = field(default_factory=dict)
    _positions: dict[tuple[CallId, int], int] = field(default_factory=dict)

    # What the core decided, and what is on disk

    def told(self, change: Change) -> None:
        match change:
            case AgentArmed():
                assert change.trunk in self.judge.trunks
                self.armed[change.sip_call_id] = change.trunk
                key = change.call, change.number, change.position
                self._decided[key] = change.sip_call_id
                self._configurations[key] = self.judge.configuration
            case AgentEnded():
                key = change.call, change.number, change.position
                if key in self.unheard:
                    assert self.judge.clock.mono >= self.unheard.pop(key)[1], (
                        "an agent's phone that may ring was given up"
                    )
                if self.armed.pop(self._decided.pop(key, ""), None) is not None:
                    # Its place in the rate stays taken, though it never left.
                    self.judge.unsure_at = self.judge.clock.mono

    def committed(self, change: Change) -> None:
        match change:
            case AgentArmed():
                line = self.judge.lines.get(change.call)
                assert line is not None, "an agent is called for a call that is over"
                assert line.answered
                assert line.number == change.number
                position = self._positions.get((change.call, change.number), 0)
                assert change.position == position + 1
                self._positions[change.call, change.number] = change.position
                self._on_disk[change.sip_call_id] = change
            case AgentEnded():
                live = [
                    leg
                    for leg in self.judge.legs.values()
                    if leg.agent == (change.call, change.number, change.position)
                ]
                assert not live, "an agent's leg was recorded as over before it was"
                assert (
                    change.disposition is not Disposition.ANSWERED
                    or change.sip_status is None
                    or change.sip_status < 300
                )

    # What happens on the wire

    def dial(self, order: Dial) -> Key:
        """The INVITE of an agent's leg leaves; whose it is."""
        judge = self.judge
        assert order.beside is not None
        callee = judge.legs.get(order.beside)
        assert callee is not None, "an agent is called for nobody"
        assert callee.answered
        assert not callee.hung_up
        record = self._on_disk.get(order.sip_call_id)
        assert record is not None, "an INVITE to an agent left that is not on disk"
        assert self.armed.pop(order.sip_call_id) == order.trunk == record.trunk
        assert order.number == record.agent
        others = [leg for leg in judge.legs.values() if leg.beside == order.beside and not leg.hung_up]
        assert not others, "two agents for one callee"
        return record.call, record.number, record.position

    def configuration_of(self, key: Key) -> int:
        """Which one held when it was armed."""
        return self._configurations[key]

    def bridge(self, leg: LegId, other: LegId) -> None:
        callee, agent = self.judge.legs[leg], self.judge.legs[other]
        assert agent.beside == leg
        assert callee.answered
        assert agent.answered
        assert not callee.hung_up
        assert not agent.hung_up
        assert (leg, other) not in self.bridged
        assert callee.playing is None, "the callee hears a phone ring while the agent speaks"
        self.bridged.add((leg, other))

    def hung_up(self, agent: Leg, *, ordered: bool) -> None:
        callee = self.judge.legs.get(agent.beside) if agent.beside is not None else None
        alone = callee is None or callee.hung_up
        assert ordered or alone or self.judge.clock.mono >= agent.gives_up_at - 0.002, (
            "an agent's leg was ended for nothing"
        )

    def left_alone(self) -> list[Leg]:
        """Legs to agents that go on without their callee, or ring for longer than they may."""
        judge = self.judge
        found = []
        for leg in judge.legs.values():
            callee = None if leg.beside is None else judge.legs.get(leg.beside)
            late = not leg.answered and judge.clock.mono > leg.gives_up_at + 0.001
            if leg.beside is not None and not leg.hung_up and (callee is None or callee.hung_up or late):
                found.append(leg)
        for callee_leg, agent_leg in self.bridged:
            held = judge.legs.get(callee_leg)
            if held is not None and not held.hung_up and agent_leg not in judge.legs:
                found.append(held)
        return found

    def crashed(self, wall: WallMs) -> None:
        mono = self.judge.clock.mono
        self.armed.clear()
        self._decided.clear()
        self.bridged.clear()
        self.unheard = {
            (leg.call, leg.number, leg.position): (leg.trunk, mono + (leg.until - wall) / 1000)
            for leg in self.judge.store.open_agent_legs()
            if not leg.dialog and leg.until > wall
        }

    @property
    def channels(self) -> list[str]:
        """The trunks whose channels are taken without a leg."""
        return [*self.armed.values(), *(trunk for trunk, _ in self.unheard.values())]
