import pytest

from dialer.core.model import Disposition, WallMs
from dialer.core.recall import Ladder, next_recall

MINUTE = 60_000
TEN = WallMs(1_740_823_200_000)
LADDER = Ladder((30 * MINUTE, 120 * MINUTE), frozenset({"busy", "no_answer"}), MINUTE)


def due(attempts: int, ended_at: int, disposition: Disposition = Disposition.BUSY) -> int | None:
    """Minutes after the anchor."""
    at = next_recall(LADDER, attempts=attempts, anchor=TEN, ended_at=WallMs(TEN + ended_at), disposition=disposition)
    return None if at is None else (at - TEN) // MINUTE


def test_offsets_count_from_the_anchor_and_not_from_the_attempt_before() -> None:
    assert due(1, 10_000) == 30
    assert due(2, 30 * MINUTE + 30_000, Disposition.NO_ANSWER) == 120


def test_a_long_attempt_pushes_the_recall_to_a_gap_after_its_end() -> None:
    assert due(2, 130 * MINUTE) == 131


def test_at_the_edge_the_later_of_offset_and_gap_wins() -> None:
    assert due(1, 29 * MINUTE) == 30
    exactly = next_recall(
        LADDER, attempts=1, anchor=TEN, ended_at=WallMs(TEN + 29 * MINUTE + 1), disposition=Disposition.BUSY
    )
    assert exactly == TEN + 30 * MINUTE + 1


def test_the_last_rung_is_the_end_of_the_ladder() -> None:
    assert due(3, 121 * MINUTE) is None


def test_without_a_ladder_there_is_no_recall_even_after_an_interruption() -> None:
    none = Ladder((), frozenset({"busy"}), MINUTE)
    for disposition in (Disposition.BUSY, Disposition.INTERRUPTED):
        assert next_recall(none, attempts=1, anchor=TEN, ended_at=TEN, disposition=disposition) is None


@pytest.mark.parametrize("disposition", [Disposition.DECLINED, Disposition.UNREACHABLE, Disposition.TRUNK_FAILURE])
def test_an_outcome_that_recall_on_leaves_out_is_final(disposition: Disposition) -> None:
    assert due(1, 10_000, disposition) is None
