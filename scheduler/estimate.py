"""When a campaign will probably be over: a plain rule that can be checked by hand, and errs on the late side.

    end = time of the last first attempt + the longest recall + one ring timeout

The last first attempt comes after what is left, one by one, at the pace of the campaign so far: (last first attempt -
launch) / (first attempts - 1), but no faster than its stagger. Nobody knows whether the last contact will need every
recall; the estimate assumes it. Where nobody may be called now it counts from the opening, and a last recall in closed
hours waits for the next; queues of other campaigns, hours that close in between and pauses show in it only as they slow
the pace. It is never before the next attempt has rung out.
"""

import json
from dataclasses import dataclass

from dialer.core.model import CampaignStatus, WallMs
from scheduler.closed_hours import CampaignRow, opens_at


@dataclass(frozen=True, slots=True)
class Pace:
    """How far a campaign has come, and how fast.

    `cursor` first attempts were claimed, the last at `last_first_attempt_at`.
    """

    launch_at: WallMs
    stagger_ms: int
    size: int
    cursor: int
    last_first_attempt_at: WallMs | None
    longest_recall_ms: int
    ring_ms: int


def estimated_end(pace: Pace, now: WallMs) -> WallMs:
    """The estimate at `now`, for a campaign that is not over.

    1,000 calls of which 101 began within 200 s (one each 2 s), recall [30], 30 s of ringing: 899 are left and take
    another 1,796 s from now on, so that the end is in 1,796 + 1,800 + 30 = 3,626 s.

    >>> estimated_end(Pace(WallMs(0), 200, 1000, 101, WallMs(200_000), 1_800_000, 30_000), WallMs(200_000)) - 200_000
    3626000
    """
    left = pace.size - pace.cursor
    last_first = pace.last_first_attempt_at if pace.last_first_attempt_at is not None else pace.launch_at
    if left > 0:
        gap = float(pace.stagger_ms)
        if pace.cursor > 1:
            gap = max(gap, (last_first - pace.launch_at) / (pace.cursor - 1))
        next_slot = pace.launch_at + pace.cursor * pace.stagger_ms
        last_first = WallMs(round(max(now, next_slot) + (left - 1) * gap))
    return WallMs(max(now, last_first + pace.longest_recall_ms) + pace.ring_ms)


def end_of(campaign: CampaignRow, now: WallMs, next_attempt: WallMs | None = None) -> WallMs | None:
    """The estimate for a campaign as it is stored; None where it is paused or over. `next_attempt`: when it is due."""
    # Nobody knows when a person will decide about what is under review.
    if campaign["status"] not in {CampaignStatus.SCHEDULED, CampaignStatus.RUNNING} or campaign["under_review"]:
        return None
    recall = json.loads(campaign["recall"])
    pace = Pace(
        launch_at=WallMs(campaign["launch_at"] + campaign["clock_shift_ms"]),
        stagger_ms=campaign["stagger_ms"],
        size=campaign["size"],
        cursor=campaign["cursor"],
        last_first_attempt_at=campaign["last_first_attempt_at"],
        longest_recall_ms=round(recall[-1] * 60_000) if recall else 0,
        ring_ms=round(campaign["ring_seconds"] * 1000),
    )
    end = estimated_end(pace, opens_at(campaign, now))
    end = WallMs(opens_at(campaign, WallMs(end - pace.ring_ms)) + pace.ring_ms)
    return end if next_attempt is None else WallMs(max(end, next_attempt + pace.ring_ms))
