"""Whatever a server sends and however the call takes it: what is heard is what was sent, in order, each once."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sip.stream.playout import AHEAD, Playout

FRAME = 4
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 60)),
        st.tuples(st.just("mark"), st.just(0)),
        st.tuples(st.just("clear"), st.just(0)),
        st.tuples(st.just("tick"), st.integers(0, 12)),
    ),
    max_size=60,
)


class Call:
    """The call as the worker has it: frames that it was given, and how many it has taken."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.heard = bytearray()
        self.taken = 0

    def play(self, count: int) -> None:
        for frame in self.frames[:count]:
            self.heard += frame
            self.taken += 1
        del self.frames[:count]

    def clear(self) -> None:
        self.taken += len(self.frames)
        self.frames.clear()


@given(ACTIONS)
def test_what_is_heard_is_what_was_sent(actions: list[tuple[str, Any]]) -> None:
    playout, call = Playout(FRAME), Call()
    sent = bytearray()  # since the last clear; what is heard of it is a beginning of it, with silence here and there
    heard_before = 0
    number = marks = 0
    due: list[str] = []
    cleared: list[str] = []
    for what, amount in [*actions, *[("tick", 12)] * 80]:
        if what == "add":
            piece = bytes(1 + (number + n) % 255 for n in range(amount))
            number += amount
            sent += piece
            playout.add(piece)
        elif what == "mark":
            marks += 1
            playout.mark(str(marks))
        elif what == "clear":
            # What is not ahead needs no throwing away.
            assert playout.ahead or not call.frames
            if playout.ahead:
                call.clear()
            cleared += playout.clear()
            sent.clear()
            heard_before = len(call.heard)
        else:
            call.play(amount)
            playout.tick(call.taken)
        call.frames += playout.give()
        due += playout.due()
        assert len(call.frames) <= AHEAD
        said = bytes(call.heard[heard_before:]).replace(b"\0", b"")
        assert bytes(sent).startswith(said)
    assert playout.empty
    assert bytes(call.heard[heard_before:]).replace(b"\0", b"") == bytes(sent)
    assert sorted(due + cleared, key=int) == [str(n) for n in range(1, marks + 1)]
    assert due == sorted(due, key=int)
