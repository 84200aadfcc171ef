"""What has just happened: sliding counts, and ends by the minute."""

from dialer.core.changes import AgentArmed, AttemptArmed, AttemptEnded, AttemptRetried, Change
from dialer.core.model import CallId, CampaignId, Disposition, WallMs
from dialer.recent import CPS_WINDOW_MS, MINUTE_MS, Ended, Recent, Sliding

C, OTHER = CampaignId(1), CampaignId(2)
T0 = 1_740_823_200_000  # a whole minute


def armed(call: int, at: int, *, trunk: str = "pbx", campaign: CampaignId = C) -> AttemptArmed:
    return AttemptArmed(CallId(call), campaign, 1, WallMs(at), WallMs(at), trunk, "", f"{call}-1")


def ended(call: int, at: int, disposition: Disposition, status: int | None, campaign: CampaignId = C) -> AttemptEnded:
    return AttemptEnded(CallId(call), campaign, 1, WallMs(at), disposition, "", status, None, "far")


def test_a_sliding_count_is_the_window_so_far_and_a_share_of_the_one_before() -> None:
    count: Sliding[str] = Sliding(60_000)
    for i in range(20):
        count.add("a", WallMs(T0 + i))
    for i in range(5):
        count.add("a", WallMs(T0 + 60_000 + i))
    assert count.count("a", WallMs(T0 + 80_000)) == 5 + 20 * 2 / 3
    assert count.count("b", WallMs(T0 + 80_000)) == 0


def test_what_lies_two_windows_back_is_forgotten() -> None:
    count: Sliding[str] = Sliding(1000)
    count.add("a", WallMs(T0))
    assert count.count("a", WallMs(T0 + 2000)) == 0
    count.add("a", WallMs(T0 + 2000))
    assert count.count("a", WallMs(T0 + 2999)) == 1


def test_a_clock_that_is_set_back_makes_no_count_negative_or_larger() -> None:
    count: Sliding[str] = Sliding(1000)
    count.add("a", WallMs(T0))
    count.add("a", WallMs(T0 + 1000))
    assert count.count("a", WallMs(T0 - 3_600_000)) == 2


def test_campaigns_count_attempts_and_trunks_all_invites() -> None:
    recent = Recent()
    changes: list[Change] = [armed(i, T0 + i) for i in range(6)]
    changes += [AttemptRetried(CallId(0), 1, WallMs(T0 + 9), "carrier", "", "0-1.2", "503")]
    changes += [armed(9, T0 + 9, campaign=OTHER)]
    until = WallMs(T0 + 30_000)
    changes += [AgentArmed(CallId(0), C, 1, 1, WallMs(T0 + 9), until, "200", "pbx", "", "0-1-a1")]
    recent.stored(changes)
    assert recent.begun.count(C, WallMs(T0 + 100)) == 6
    assert recent.begun.count(OTHER, WallMs(T0 + 100)) == 1
    assert recent.invites.count("pbx", WallMs(T0 + 100)) == 8
    assert recent.invites.count("carrier", WallMs(T0 + CPS_WINDOW_MS + 5000)) == 0.5


def test_ends_are_counted_by_campaign_minute_and_kind_and_name_the_newest() -> None:
    recent = Recent()
    recent.stored(
        [
            ended(1, T0 + 1, Disposition.BUSY, 486),
            ended(2, T0 + 2, Disposition.BUSY, 486),
            ended(3, T0 + 3, Disposition.BUSY, 600),
            ended(4, T0 + MINUTE_MS, Disposition.BUSY, 486),
            ended(5, T0 + 5, Disposition.NO_ANSWER, None, OTHER),
        ]
    )
    assert recent.kinds == 4
    minute = T0 // MINUTE_MS
    assert recent.take_ended() == [
        Ended(C, minute, Disposition.BUSY, 486, 2, WallMs(T0 + 2), CallId(2), 1),
        Ended(C, minute, Disposition.BUSY, 600, 1, WallMs(T0 + 3), CallId(3), 1),
        Ended(C, minute + 1, Disposition.BUSY, 486, 1, WallMs(T0 + MINUTE_MS), CallId(4), 1),
        Ended(OTHER, minute, Disposition.NO_ANSWER, 0, 1, WallMs(T0 + 5), CallId(5), 1),
    ]
    assert (recent.ended(), recent.kinds) == ([], 0)
