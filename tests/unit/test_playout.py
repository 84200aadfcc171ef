"""What a server sent to be heard, frame by frame."""

from sip.stream.playout import AHEAD, MAX_MARKS, MAX_QUEUED_SECONDS, Playout

FRAME = 320


def frames(first: int, count: int) -> bytes:
    return b"".join(bytes([first + n]) * FRAME for n in range(count))


def numbers(given: list[bytes]) -> list[int]:
    assert all(len(frame) == FRAME for frame in given)
    return [frame[0] for frame in given]


def test_the_first_frame_is_given_at_once_and_no_more_than_may_be_ahead() -> None:
    playout = Playout(FRAME)
    playout.add(frames(1, 1))
    assert not playout.empty
    assert numbers(playout.give()) == [1]
    playout.add(frames(2, 2 * AHEAD))
    assert numbers(playout.give()) == list(range(2, AHEAD + 1))
    assert playout.give() == []
    playout.tick(3)
    assert numbers(playout.give()) == list(range(AHEAD + 1, AHEAD + 4))


def test_pieces_of_any_size_make_whole_frames() -> None:
    playout = Playout(FRAME)
    sound = frames(1, 3)
    for at in range(0, len(sound), 7):
        playout.add(sound[at : at + 7])
    assert b"".join(playout.give()) == sound


def test_a_part_of_a_frame_is_followed_by_silence_when_nothing_else_is_left_to_play() -> None:
    playout = Playout(FRAME)
    playout.add(frames(1, 2) + bytes([3]) * 10)
    assert numbers(playout.give()) == [1, 2]
    playout.tick(0)
    assert playout.give() == []
    playout.tick(1)
    playout.tick(2)
    assert playout.give() == [bytes([3]) * 10 + bytes(FRAME - 10)]


def test_a_part_waits_for_its_rest_while_something_else_is_left_to_play() -> None:
    playout = Playout(FRAME)
    playout.add(frames(1, 4) + bytes([5]) * 10)
    assert numbers(playout.give()) == [1, 2, 3, 4]
    for taken in (0, 0, 1, 1, 2, 2):
        playout.tick(taken)
        assert playout.give() == []
    playout.tick(3)
    playout.add(bytes([5]) * (FRAME - 10))
    assert playout.give() == [frames(5, 1)]


def test_every_piece_that_comes_is_waited_for_anew() -> None:
    playout = Playout(FRAME)
    playout.add(b"\1" * 10)
    assert not playout.empty
    playout.tick(0)
    playout.add(b"\1" * 10)
    playout.tick(0)
    assert playout.give() == []
    playout.tick(0)
    assert playout.give() == [b"\1" * 20 + bytes(FRAME - 20)]
    playout.add(b"\2" * 10)
    playout.tick(1)
    assert playout.give() == []


def test_a_mark_is_due_when_all_before_it_was_taken() -> None:
    playout = Playout(FRAME)
    playout.mark("at once")
    playout.give()
    assert playout.due() == ["at once"]
    playout.add(frames(1, 2))
    playout.mark("two")
    playout.add(frames(3, 1))
    playout.mark("three")
    playout.give()
    playout.tick(1)
    assert playout.due() == []
    playout.tick(2)
    assert playout.due() == ["two"]
    playout.tick(3)
    assert playout.due() == ["three"]
    assert playout.empty


def test_a_mark_stands_behind_a_part_of_a_frame() -> None:
    playout = Playout(FRAME)
    playout.add(b"\1" * 10)
    playout.mark("end")
    assert len(playout.give()) == 1
    playout.tick(1)
    assert playout.due() == ["end"]


def test_clear_throws_all_away_and_names_the_marks_that_will_not_be_heard() -> None:
    playout = Playout(FRAME)
    playout.add(frames(1, AHEAD))
    playout.mark("given")
    playout.add(frames(50, 3) + b"\1")
    playout.mark("waiting")
    playout.give()
    assert playout.ahead
    assert playout.clear() == ["given", "waiting"]
    assert not playout.ahead
    assert playout.give() == []
    assert not playout.empty  # the call has not said yet that it took, or threw away, what it was given
    playout.tick(AHEAD)
    assert playout.empty
    playout.add(frames(9, 1))
    assert numbers(playout.give()) == [9]
    assert playout.due() == []


def test_it_is_full_at_its_limit_and_has_room_again() -> None:
    playout = Playout(FRAME)
    limit = round(MAX_QUEUED_SECONDS * 50)
    playout.add(bytes(FRAME) * (limit + AHEAD - 1))
    playout.give()
    assert not playout.full
    playout.add(bytes(FRAME))
    assert playout.full
    playout.tick(1)
    playout.give()
    assert not playout.full


def test_more_marks_than_anybody_needs_fill_it_too() -> None:
    playout = Playout(FRAME)
    playout.add(frames(1, 1))
    playout.give()
    for n in range(MAX_MARKS):
        assert not playout.full
        playout.mark(str(n))
    assert playout.full
    playout.give()
    assert playout.full
    playout.tick(1)
    assert len(playout.due()) == MAX_MARKS
    assert not playout.full


def test_the_end_leaves_no_part_behind() -> None:
    playout = Playout(FRAME)
    playout.add(b"\1" * 10)
    playout.end()
    assert len(playout.give()) == 1
    playout.tick(1)
    assert playout.empty
