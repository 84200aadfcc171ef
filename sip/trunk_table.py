"""The trunks of a pool: how each is addressed, where its host is now, and what stands against using it."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sip.messages import SetTrunk
from sip.resolve import Way, find_ways
from sip.trunk import Target, TrunkProfile

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found of trunks' hosts: the ways there, and why there is none."""

    ways: Mapping[str, Way]
    unresolved: Mapping[str, str]


class TrunkTable:
    """`ways` are where the trunks' hosts were found: of a name's addresses the first, and then the same for as long as the name
    has it, so that addresses that change places move no trunk. `failed` is what workers could not set up, `registered` the
    trunks that are to register and whether they are.

    Raises UnfitForSip for a trunk whose URI cannot be used.
    """

    def __init__(self, profiles: Iterable[TrunkProfile], bind_host: str) -> None:
        self.profiles = {profile.name: profile for profile in profiles}
        self.ways: dict[str, Way] = {}
        self.failed: dict[str, str] = {}
        self.registered = {name: False for name, profile in self.profiles.items() if profile.register}
        self._targets = _targets_of(self.profiles.values())
        self._unresolved: dict[str, str] = {}
        self._bind_host = bind_host

    async def resolve(self) -> set[str]:
        """Find all ways anew; the trunks that have another one now. The last known way of those without one stays in use."""
        targets = self._targets
        found = await self._look(targets)
        if targets is not self._targets:
            return set()  # other trunks were put in their place meanwhile, and looked up for that
        moved = {name for name, way in found.ways.items() if self.ways.get(name) != way}
        self.ways |= found.ways
        self._unresolved = dict(found.unresolved)
        return moved

    async def look(self, profiles: Iterable[TrunkProfile]) -> Looked:
        """Find the ways of trunks that are to be `put` here; nothing has changed yet. Raises UnfitForSip."""
        return await self._look(_targets_of(profiles))

    async def _look(self, targets: Mapping[str, Target]) -> Looked:
        async def way(name: str, target: Target) -> Way | OSError:
            try:
                return self.preferred(name, await find_ways(target, self._bind_host))[0]
            except OSError as fault:
                return fault

        found = dict(zip(targets, await asyncio.gather(*map(way, targets, targets.values())), strict=True))
        unresolved = {
            name: f"trunk {name}: {targets[name].host} does not resolve: {fault}"
            for name, fault in found.items()
            if isinstance(fault, OSError)
        }
        for words in unresolved.values():
            log.warning("%s", words)
        return Looked({name: way for name, way in found.items() if isinstance(way, Way)}, unresolved)

    def preferred(self, name: str, ways: list[Way]) -> list[Way]:
        """These ways in the order in which they are to be tried: the one in use first."""
        return sorted(ways, key=lambda way: way != self.ways.get(name))

    def take(self, name: str, way: Way) -> bool:
        """From now on the trunk is reached this way. Whether it is another one."""
        if name not in self.profiles or self.ways.get(name) == way:
            return False
        log.warning("trunk %s: %s is used now, %s does not answer", name, way.address, self.ways.get(name))
        self.ways[name] = way
        return True

    def put(self, profiles: Iterable[TrunkProfile], looked: Looked) -> tuple[set[str], set[str]]:
        """These are the trunks from now on: the names of those that workers are to set up anew, and of those that are gone."""
        before, ways_before, targets_before = self.profiles, self.ways, self._targets
        self.profiles = {profile.name: profile for profile in profiles}
        self._targets = _targets_of(self.profiles.values())
        same = {name for name, target in self._targets.items() if targets_before.get(name) == target}
        self.ways = {name: way for name, way in ways_before.items() if name in same} | dict(looked.ways)
        self._unresolved = dict(looked.unresolved)
        changed = {
            name
            for name, way in self.ways.items()
            if (before.get(name), ways_before.get(name)) != (self.profiles[name], way)
        }
        self.failed = {name: why for name, why in self.failed.items() if name in self.profiles and name not in changed}
        known = self.registered
        self.registered = {name: known.get(name, False) for name, trunk in self.profiles.items() if trunk.register}
        return changed, before.keys() - self.profiles.keys()

    def order(self, name: str, *, registers: bool) -> SetTrunk:
        """What a worker is told of the trunk. Raises KeyError where there is no way to it."""
        way = self.ways[name]
        return SetTrunk(self.profiles[name], way.address, way.local_address, registers)

    def why_not(self, name: str) -> str | None:
        """Why the trunk cannot be dialed; None: it can."""
        if name in self.ways:
            return None
        return self._unresolved.get(name, f"there is no trunk {name}")

    def faults(self) -> dict[str, str]:
        """What stands against each trunk, where something does."""
        faults = {name: f"trunk {name} is not registered" for name, well in self.registered.items() if not well}
        faults |= {name: f"trunk {name}: {reason}" for name, reason in self.failed.items()}
        return faults | self._unresolved


def _targets_of(profiles: Iterable[TrunkProfile]) -> dict[str, Target]:
    return {profile.name: profile.hop for profile in profiles}
