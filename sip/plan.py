"""How many workers, how many legs for each, and which ports. Pure, but for the look at which ports are free."""

import math
import random
import socket
from dataclasses import dataclass
from typing import Final

from sip.facts import BuildFacts

RTP_PORTS_A_LEG: Final = 4  # RTP and RTCP, twice: the pair of an ended call rests for half a second
LARGE_BUILD: Final = 64  # calls in one process; below it a worker carries all that its build can
AUTOMATIC_RTP: Final = (10_000, 32_767)  # below the kernel's usual ephemeral range
SPARE_SLOTS: Final = 1  # a worker that drains and the one that replaces it live side by side
MAX_WORKERS: Final = 250


class PlanImpossible(ValueError):
    """The limits and ports that were configured do not go together; the message names them."""


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """`workers` processes of `places` legs each. Slot i of `slots` owns the RTP ports from `rtp_base + i * rtp_ports`."""

    workers: int
    places: int
    slots: int
    rtp_base: int
    rtp_ports: int

    def rtp_port(self, slot: int) -> int:
        """The first RTP port of a slot."""
        return self.rtp_base + slot * self.rtp_ports


def plan_pool(
    facts: BuildFacts,
    max_concurrent_calls: int,
    *,
    workers: int | None = None,
    rtp: tuple[int, int] | None = None,
    beside: PoolPlan | None = None,
) -> PoolPlan:
    """The plan for that many legs at once, whose workers may run beside those of another plan. Raises PlanImpossible.

    A small build (the PyPI wheel: 4 calls) gets one process for each 4 legs and one more, for places that a dead peer
    holds for 32 s: 30 legs, 9 workers. A large build gets two processes, or as many as the legs need, each able to carry
    all legs alone while the other is replaced: 30 legs, 2 workers of 30 places; 3,000 legs at 1,024 a process, 4 workers.
    """
    small = facts.max_calls < LARGE_BUILD
    needed = math.ceil(max_concurrent_calls / facts.max_calls) + 1
    count = workers or (needed if small else max(2, needed))
    if count > MAX_WORKERS or count * facts.max_calls < max_concurrent_calls:
        raise PlanImpossible(
            f"{max_concurrent_calls} concurrent calls need {needed} workers: this pjsua2 build carries {facts.max_calls}"
            f" calls a process, and workers is {count if workers else f'at most {MAX_WORKERS}'}"
        )
    places = facts.max_calls if small else min(facts.max_calls, max_concurrent_calls)
    slots = count + SPARE_SLOTS
    least = RTP_PORTS_A_LEG * places
    if rtp is None:
        ports = max(least, 32)
        return PoolPlan(count, places, slots, _free_range(slots * ports, beside), ports)
    base = rtp[0] + rtp[0] % 2  # RTP ports are even, RTCP's are the next (RFC 3550 section 11)
    ports = (rtp[1] - base + 1) // slots // 2 * 2
    if ports < least:
        raise PlanImpossible(
            f"rtp_port_min {rtp[0]} to rtp_port_max {rtp[1]} is too small: {slots} x {least} = {slots * least} ports"
            f" are needed ({count} workers and {SPARE_SLOTS} spare, {RTP_PORTS_A_LEG} ports for each of {places} calls)"
        )
    if beside is not None and beside.slots != slots:
        raise PlanImpossible(
            f"{count} workers share rtp_port_min to rtp_port_max in another way than the {beside.workers} that run: this needs"
            " a restart"
        )
    return PoolPlan(count, places, slots, base, ports)


def _free_range(size: int, beside: PoolPlan | None) -> int:
    low, high = AUTOMATIC_RTP
    if beside is not None:
        # The larger part of what the other plan leaves.
        below, above = (low, beside.rtp_base), (beside.rtp_base + beside.slots * beside.rtp_ports, high)
        low, high = max(below, above, key=lambda part: part[1] - part[0])
    if size > high - low:
        raise PlanImpossible(f"{size} RTP ports do not fit between {low} and {high}: set rtp_port_min and rtp_port_max")
    base = low
    for _ in range(50):
        base = random.randrange(low, high - size, 2)  # noqa: S311 - to keep out of each other's way, not a secret
        if all(_is_free(port) for port in range(base, base + size, max(2, size // 64 * 2))):
            break
    return base


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        try:
            trial.bind(("", port))
        except OSError:
            return False
    return True
