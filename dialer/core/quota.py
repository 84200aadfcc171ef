"""How many calls an account, or a token, may have at once: a count beside the trunks' channels."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True)
class Quota:
    """`live` attempts count against `most`. `name` is for people."""

    name: str
    most: int
    live: int = 0

    @property
    def full(self) -> bool:
        """True while no further call may begin."""
        return self.live >= self.most


def first_full(quotas: Iterable[Quota]) -> Quota | None:
    """The quota that holds a call back; None: there is room in all."""
    return next((quota for quota in quotas if quota.full), None)
