"""A hierarchical timing wheel: what falls due when, for very many items, without a clock of its own.

    beyond   | one heap                    | later superblocks (from 68 min 16 s up)
    level 1  | 64 slots of 64 s (a block)  | the rest of this superblock, unsorted lists
    level 0  | 64 slots of 1 s             | the rest of this block, unsorted lists
    open     | one heap                    | this second and everything overdue: the only place that `poll` takes from

Slots are aligned to time zero: second s is slot s % 64 of level 0 while the wheel stands in block s // 64. An item is
filed at the lowest level whose slots reach it, and moves down, at most three times, as the wheel opens the slot that
holds it. Only what falls due within a second is ever sorted. A level's occupied slots are the bits of an integer, so
that a jump over hours costs as much as one over a second.
"""

from collections.abc import Hashable, Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)
_Entry = tuple[int, int, Item]  # due, order of insertion, item

_SECOND = 1000
_BLOCK = 64
_SUPERBLOCK = 64 * 64


class Wheel(Generic[Item]):
    """Items by due time, in milliseconds of any one clock. Each item is in the wheel once at most.

    The wheel's `elapsed` second only moves forward; a `poll` at an earlier time than the last is right all the same,
    and so is an item that is scheduled in the past: it is due at once.
    """

    def __init__(self) -> None:
        self._elapsed = 0  # the open second
        self._live: dict[Item, _Entry[Item]] = {}
        self._order = 0
        self._dead = 0  # entries of cancelled items, which stay filed until they are met or swept
        self._open: list[_Entry[Item]] = []
        self._levels: tuple[list[list[_Entry[Item]]], ...] = tuple([[] for _ in range(_BLOCK)] for _ in range(2))
        self._occupied = [0, 0]
        self._beyond: list[_Entry[Item]] = []
        self._deadline: int | None = None
        self._deadline_known = True

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[tuple[int, Item]]:
        """Every item with its due time, in no order."""
        return ((entry[0], entry[2]) for entry in self._live.values())

    def __contains__(self, item: Item) -> bool:
        return item in self._live

    def schedule(self, due: int, item: Item) -> None:
        """Put `item` in, due at `due`; an item that is in already moves there, behind others of the same `due`."""
        if item in self._live:
            self.cancel(item)
        self._order += 1
        self._live[item] = entry = (due, self._order, item)
        self._file(entry)
        if self._deadline_known and (self._deadline is None or due < self._deadline):
            self._deadline = due

    def cancel(self, item: Item) -> bool:
        """Take `item` out; False when it is not in."""
        gone = self._live.pop(item, None)
        if gone is None:
            return False
        if gone[0] == self._deadline:
            self._deadline_known = False
        self._dead += 1
        if self._dead > 64 + len(self._live):
            self._sweep()
        return True

    def poll(self, now: int) -> Iterator[tuple[int, Item]]:
        """Take out what is due (due <= `now`), by due time, then by order of insertion.

        An item leaves the wheel when the iteration gives it: one that is not asked for stays in. Items that are
        scheduled during the iteration are given too when they are due.
        """
        self._open_until(now // _SECOND)
        due_soon, live = self._open, self._live
        while due_soon and due_soon[0][0] <= now:
            entry = heappop(due_soon)
            item = entry[2]
            if live.get(item) is not entry:
                self._dead -= 1
                continue
            del live[item]
            self._deadline_known = False
            yield entry[0], item

    def next_deadline(self) -> int | None:
        """The due time of the earliest item; None when the wheel is empty."""
        if not self._deadline_known:
            self._deadline = self._earliest()
            self._deadline_known = True
        return self._deadline

    def _file(self, entry: _Entry[Item]) -> None:
        second = entry[0] // _SECOND
        if second <= self._elapsed:
            heappush(self._open, entry)
        elif second // _BLOCK == self._elapsed // _BLOCK:
            self._put(0, second % _BLOCK, entry)
        elif second // _SUPERBLOCK == self._elapsed // _SUPERBLOCK:
            self._put(1, second // _BLOCK % _BLOCK, entry)
        else:
            heappush(self._beyond, entry)

    def _put(self, level: int, slot: int, entry: _Entry[Item]) -> None:
        self._levels[level][slot].append(entry)
        self._occupied[level] |= 1 << slot

    def _take(self, level: int, slot: int) -> list[_Entry[Item]]:
        entries = self._levels[level][slot]
        self._levels[level][slot] = []
        self._occupied[level] &= ~(1 << slot)
        return entries

    def _open_until(self, second: int) -> None:
        """Move `elapsed` forward to `second`, from one occupied slot to the next."""
        if second <= self._elapsed:
            return
        while (start := self._next_occupied()) is not None and start <= second:
            level = self._lowest_level()
            self._elapsed = start
            if level == 0:
                # Sorting in the whole second at once: a heap push for each of its items would cost three times as much.
                self._open.extend(self._take(0, start % _BLOCK))
                heapify(self._open)
            elif level == 1:
                for entry in self._take(1, start // _BLOCK % _BLOCK):
                    self._file(entry)
            else:
                while self._beyond and self._beyond[0][0] // _SECOND // _SUPERBLOCK == start // _SUPERBLOCK:
                    self._file(heappop(self._beyond))
        self._elapsed = second

    def _lowest_level(self) -> int:
        if self._occupied[0]:
            return 0
        return 1 if self._occupied[1] else 2

    def _next_occupied(self) -> int | None:
        """The first second of the earliest occupied place after the open one; None when there is none.

        Slots behind `elapsed` are empty, so the lowest bit is the earliest slot.
        """
        level = self._lowest_level()
        if level == 2:
            return self._beyond[0][0] // _SECOND // _SUPERBLOCK * _SUPERBLOCK if self._beyond else None
        slot = (self._occupied[level] & -self._occupied[level]).bit_length() - 1
        if level == 0:
            return self._elapsed // _BLOCK * _BLOCK + slot
        return self._elapsed // _SUPERBLOCK * _SUPERBLOCK + slot * _BLOCK

    def _first_open(self) -> _Entry[Item] | None:
        while self._open and self._is_dead(self._open[0]):
            heappop(self._open)
            self._dead -= 1
        return self._open[0] if self._open else None

    def _earliest(self) -> int | None:
        if not self._live:
            return None
        first = self._first_open()
        if first is not None:
            return first[0]
        for level in (0, 1):
            bits = self._occupied[level]
            while bits:
                slot = (bits & -bits).bit_length() - 1
                dues = [entry[0] for entry in self._levels[level][slot] if not self._is_dead(entry)]
                if dues:
                    return min(dues)
                bits &= bits - 1
        while self._is_dead(self._beyond[0]):
            heappop(self._beyond)
            self._dead -= 1
        return self._beyond[0][0]

    def _is_dead(self, entry: _Entry[Item]) -> bool:
        return self._live.get(entry[2]) is not entry

    def _sweep(self) -> None:
        """File the living anew. One sweep is paid for by as many cancellations as there are items."""
        self._open.clear()
        self._beyond.clear()
        for level in (0, 1):
            self._occupied[level] = 0
            for slot in self._levels[level]:
                slot.clear()
        for entry in self._live.values():
            self._file(entry)
        self._dead = 0
