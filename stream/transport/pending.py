"""Records of one partition that wait for their chunk, in order, counted by records and bytes."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence, Sized
from itertools import accumulate
from typing import Generic, TypeVar

R = TypeVar("R", bound=Sized)


class Pending(Generic[R]):
    """A queue of record lists. `weights` gives the bytes of each record of a list; without it, their lengths.

    Lists are kept as they came and cut only at the end of a chunk, so that the usual hand-over of a
    whole list costs nothing per record.
    """

    __slots__ = ("_lists", "_weights", "byte_count", "records")

    def __init__(self, weights: Callable[[Sequence[R]], list[int]] | None = None) -> None:
        self._weights = weights if weights is not None else _lengths
        self._lists: deque[tuple[Sequence[R], int]] = deque()
        self.records: int = 0
        """Records waiting."""
        self.byte_count: int = 0
        """Their bytes."""

    def __len__(self) -> int:
        return self.records

    def push(self, records: Sequence[R], byte_count: int) -> None:
        """Append records that arrived, with the sum of their bytes."""
        if records:
            self._lists.append((records, byte_count))
            self.records += len(records)
            self.byte_count += byte_count

    def push_front(self, records: Sequence[R]) -> None:
        """Put records back that were taken and have to come again."""
        if records:
            byte_count = sum(self._weights(records))
            self._lists.appendleft((records, byte_count))
            self.records += len(records)
            self.byte_count += byte_count

    def clear(self) -> int:
        """Drop everything; returns how many records that were."""
        dropped = self.records
        self._lists.clear()
        self.records = self.byte_count = 0
        return dropped

    def take(self, max_records: int, max_bytes: int) -> list[R]:
        """Take the longest run from the front within both bounds, but at least one record."""
        taken: list[R] = []
        room = max_bytes
        while self._lists and len(taken) < max_records:
            records, byte_count = self._lists[0]
            want = max_records - len(taken)
            if len(records) <= want and byte_count <= room:
                self._lists.popleft()
                taken.extend(records)
                room -= byte_count
                self.records -= len(records)
                self.byte_count -= byte_count
                continue
            sizes = list(accumulate(self._weights(records[:want])))
            fits = bisect_right(sizes, room)
            if fits == 0:
                if taken:
                    break
                fits = 1  # a record beyond the bound travels alone
            used = sizes[fits - 1]
            taken.extend(records[:fits])
            self.records -= fits
            self.byte_count -= used
            if fits == len(records):
                self._lists.popleft()
            else:
                self._lists[0] = (records[fits:], byte_count - used)
            break
        return taken


def _lengths(records: Sequence[Sized]) -> list[int]:
    return list(map(len, records))
