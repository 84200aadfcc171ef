"""Recall k is due at max(anchor + recall[k], end of the previous attempt + min_recall_gap), or never."""

from hypothesis import given
from hypothesis import strategies as st

from dialer.core.model import Disposition, WallMs
from dialer.core.recall import Ladder, next_recall

NEVER = [
    Disposition.ANSWERED,
    Disposition.INVALID_NUMBER,
    Disposition.SUPPRESSED,
    Disposition.CANCELLED,
    Disposition.EXPIRED,
    Disposition.MACHINE,
]
DAY = 86_400_000

offsets = st.lists(st.integers(1, 30 * DAY), max_size=10, unique=True).map(lambda x: tuple(sorted(x)))
recall_on = st.frozensets(st.sampled_from(["busy", "no_answer", "declined", "unreachable"]))
ladders = st.builds(Ladder, offsets, recall_on, st.integers(0, DAY))
times = st.integers(0, 60 * DAY).map(WallMs)


@given(ladders, st.integers(1, 12), times, times, st.sampled_from(Disposition))
def test_the_formula(ladder: Ladder, attempts: int, anchor: WallMs, ended_at: WallMs, disposition: Disposition) -> None:
    due = next_recall(ladder, attempts=attempts, anchor=anchor, ended_at=ended_at, disposition=disposition)
    if attempts > len(ladder.offsets_ms) or disposition in NEVER:
        assert due is None
    elif due is None:
        word = "unreachable" if disposition is Disposition.TRUNK_FAILURE else disposition.value
        assert word != "interrupted"
        assert word not in ladder.recall_on
    else:
        by_ladder, by_gap = anchor + ladder.offsets_ms[attempts - 1], ended_at + ladder.min_gap_ms
        assert due in {by_ladder, by_gap}
        assert due >= by_ladder
        assert due >= by_gap


@given(ladders, times, st.lists(st.integers(0, 2 * DAY), min_size=11, max_size=11))
def test_a_call_climbs_the_whole_ladder_once_and_never_back(ladder: Ladder, anchor: WallMs, lengths: list[int]) -> None:
    due, ended, made = anchor, anchor, []
    for number, length in enumerate(lengths, 1):
        made.append(due)
        ended = WallMs(due + length)
        following = next_recall(
            ladder, attempts=number, anchor=anchor, ended_at=ended, disposition=Disposition.INTERRUPTED
        )
        if following is None:
            break
        assert following >= ended + ladder.min_gap_ms
        due = following
    assert len(made) == len(ladder.offsets_ms) + 1
    assert made == sorted(made)
