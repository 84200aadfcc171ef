"""The recall ladder: whether a call is tried again after an attempt, and when.

Worked example. `recall = [30, 120]` (minutes), an immediate campaign, first INVITE at 10:00:00. The first attempt ends
busy at 10:00:10: recall 1 is due at 10:30:00. It rings out at 10:30:30: recall 2 is due at 12:00:00, two hours after the
anchor and not after the attempt before. With an attempt that lasted until 12:10 and a `min_recall_gap` of one minute,
recall 2 would be due at 12:11.
"""

from collections.abc import Collection
from dataclasses import dataclass

from dialer.core.model import Disposition, WallMs


@dataclass(frozen=True, slots=True)
class Ladder:
    """The rules that are the same for all calls of a campaign. Times in milliseconds; offsets ascending."""

    offsets_ms: tuple[int, ...]
    recall_on: frozenset[str]
    min_gap_ms: int


def recalls_after(disposition: Disposition, recall_on: Collection[str]) -> bool:
    """True when an attempt that ended so may be followed by a recall, if the ladder still has one.

    `interrupted` always may: the callee's own word was never heard. A `trunk_failure` whose technical retries are spent
    counts as unreachable.
    """
    if disposition is Disposition.INTERRUPTED:
        return True
    word = Disposition.UNREACHABLE if disposition is Disposition.TRUNK_FAILURE else disposition
    return word in recall_on


def next_recall(
    ladder: Ladder, *, attempts: int, anchor: WallMs, ended_at: WallMs, disposition: Disposition
) -> WallMs | None:
    """When the attempt after number `attempts` is due; None when there is none: the call is finished.

    Recall k is due at max(anchor + recall[k], end of the previous attempt + min_recall_gap).

    >>> ladder = Ladder((1_800_000, 7_200_000), frozenset({"busy"}), 60_000)
    >>> next_recall(ladder, attempts=1, anchor=WallMs(0), ended_at=WallMs(10_000), disposition=Disposition.BUSY)
    1800000
    >>> next_recall(ladder, attempts=2, anchor=WallMs(0), ended_at=WallMs(7_800_000), disposition=Disposition.BUSY)
    7860000
    >>> next_recall(ladder, attempts=3, anchor=WallMs(0), ended_at=WallMs(0), disposition=Disposition.BUSY) is None
    True
    """
    if attempts > len(ladder.offsets_ms) or not recalls_after(disposition, ladder.recall_on):
        return None
    return WallMs(max(anchor + ladder.offsets_ms[attempts - 1], ended_at + ladder.min_gap_ms))
